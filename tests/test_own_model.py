"""README's "Explain your own model", as written there."""

from __future__ import annotations

import re
import shlex
import shutil
import sys

import pytest

from lvcf.cli import main
from tests.helpers import ROOT, results


@pytest.fixture
def section() -> str:
    text = (ROOT / "README.md").read_text()
    return text[text.index("## Explain your own model") : text.index("## Targets and prompts")]


def test_the_section_does_what_it_says(section, echo_root, tmp_path, monkeypatch) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)
    (command,) = re.findall(r"```sh\nlvcf (.*?)\n```", section, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "mymodel.py").write_text(block)
    (tmp_path / "DIR").mkdir()
    first = min((echo_root / "Videos").glob("*.avi"))
    shutil.copy(first, tmp_path / "DIR")
    cheap = ["--model.steps=4", "--threads=1", "--trainer.enable_progress_bar=false", "--trainer.accelerator=cpu"]
    assert main([*shlex.split(command), *cheap]) == 0
    (result,) = results(tmp_path / "runs" / "own_model").values()
    assert result["status"] == "reached"
    assert result["prediction_after"] - result["prediction_before"] == pytest.approx(5.0, abs=0.5)


def test_every_class_path_of_the_table_exists(section) -> None:
    import importlib

    paths = [row[1] for row in re.findall(r"^\| (.*) \| `([a-z0-9_]+\.\w+)` \|$", section, flags=re.MULTILINE)]
    assert len(paths) == 7
    for path in paths:
        module, _, name = path.partition(".")
        assert callable(getattr(importlib.import_module(f"lvcf.models.targets.{module}"), name))
