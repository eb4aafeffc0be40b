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
from tests.test_readme import OWN_MODEL, README, code, python_blocks

QUIET = ["--threads=1", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
CHEAP = ["--model.steps=4", "--trainer.callbacks.GradientGuidance.samples=1", *QUIET]
COMMANDS = [line for line in code(OWN_MODEL) if line.startswith("lvcf predict --config")]


@pytest.fixture
def folder(echo_root, tmp_path, monkeypatch) -> Path:
    """A user's working folder, with one clip in ``DIR``."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "mymodel", raising=False)
    (tmp_path / "DIR").mkdir()
    shutil.copy(min((echo_root / "Videos").glob("*.avi")), tmp_path / "DIR")
    return tmp_path


@pytest.fixture
def ran(folder) -> Callable[[str], dict[str, Any]]:
    """Runs the block that names a class of ``mymodel.py`` on one clip; its result.json."""

    def run(name: str) -> dict[str, Any]:
        (block,) = python_blocks(OWN_MODEL, f"class {name}")
        (command,) = (line for line in COMMANDS if f"mymodel.{name}" in line)
        (folder / "mymodel.py").write_text(block)
        assert main([*shlex.split(command)[1:], *CHEAP]) == 0
        (made,) = Path("runs").iterdir()
        (result,) = results(made).values()
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


@pytest.mark.slow
@pytest.mark.parametrize(("text", "name"), [(README, "MyModel"), (OWN_MODEL, "MyClassifier")], ids=["README", "page"])
def test_the_python_shown_explains_a_clip(text, name, folder) -> None:
    (shown,) = python_blocks(text, "lvcf.Explainer(")
    (block,) = python_blocks(OWN_MODEL, f"class {name}")
    Path("mymodel.py").write_text(block)
    (clip,) = Path("DIR").iterdir()
    names = {"clip": str(clip), "model": getattr(importlib.import_module("mymodel"), name)()}
    exec(shown.replace('"clip.mp4"', "clip"), names)
    assert names["e"].status in ("reached", "not_reached")
    assert names["e"].after != names["e"].before
    assert len(shown.splitlines()) <= 9
    if text is README:
        assert list(results(Path("runs/one")).values()) == [names["e"].facts]


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
