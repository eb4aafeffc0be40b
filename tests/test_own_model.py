"""docs/own_model.md, as written there: every block is understood (test_readme.py); two are run."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lvcf.cli import main
from tests.helpers import results
from tests.test_readme import OWN_MODEL, code, python_blocks

QUIET = ["--threads=1", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
CHEAP = ["--model.steps=4", "--trainer.callbacks.GradientGuidance.samples=1", *QUIET]
COMMANDS = [line for line in code(OWN_MODEL) if line.startswith("lvcf predict --config")]


@pytest.fixture
def ran(echo_root, tmp_path, monkeypatch) -> Callable[[str], dict[str, Any]]:
    """Runs the block that names a class of ``mymodel.py`` on one clip; its result.json."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "mymodel", raising=False)
    (tmp_path / "DIR").mkdir()
    shutil.copy(min((echo_root / "Videos").glob("*.avi")), tmp_path / "DIR")

    def run(name: str) -> dict[str, Any]:
        (block,) = python_blocks(OWN_MODEL, f"class {name}")
        (command,) = (line for line in COMMANDS if f"mymodel.{name}" in line)
        (tmp_path / "mymodel.py").write_text(block)
        assert main([*shlex.split(command)[1:], *CHEAP]) == 0
        (folder,) = Path("runs").iterdir()
        (result,) = results(folder).values()
        return result

    return run


def test_the_classifier_is_turned(ran) -> None:
    result = ran("MyClassifier")
    assert result["status"] == "reached"
    assert {result["class_before"], result["class_after"]} == {"dark", "bright"}
    assert result["prediction_before"] < 0.5 <= result["prediction_after"]


def test_the_regressor_is_moved_by_what_was_asked(ran) -> None:
    result = ran("MyModel")
    assert result["status"] == "reached"
    assert result["prediction_after"] - result["prediction_before"] == pytest.approx(5.0, abs=0.5)


def test_every_kind_has_a_block_that_says_what_the_model_gives() -> None:
    kinds = {re.search(r"--model\.target_model lvcf\.models\.targets\.(\S+)", line)[1]: line for line in COMMANDS}
    declared = {"exported.ModuleTarget", "exported.ExportedTarget", "black_box.OnnxTarget", "black_box.HttpTarget"}
    assert set(kinds) == declared | {"video_classifier.video_classifier"}
    for kind in declared - {"exported.ModuleTarget"}:
        assert re.search(r"answer\.gives (logits|probabilities)", kinds[kind]), kind
    assert "MyClassifier" in COMMANDS[0]
    assert "answer.gives logits" in COMMANDS[0]


def test_every_class_path_of_the_table_exists() -> None:
    paths = re.findall(r"^\| .* \| `(lvcf\.[a-z0-9_.]+)\.(\w+)` \|$", OWN_MODEL, flags=re.MULTILINE)
    assert len(paths) == 3
    for module, name in paths:
        assert callable(getattr(importlib.import_module(module), name))
