"""Tables that others open: no cell is a formula, no name is markup, and what was written is read back."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from lvcf.ablation.cells import slug
from lvcf.cli import main
from lvcf.cli.ablate import write_results
from lvcf.files import write_json, write_rows
from lvcf.measure.summary import summarise
from lvcf.runs.folder import read_table
from tests.study.conftest import answer, made_runs, made_study, study

__all__ = ["made_runs", "made_study", "study"]  # fixtures

TEXTS = ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\tx", "\rx", "\nx", "'=1", "''@x", "-", "=", "+-1", "-1e"]
PLAIN = ["a=1", "'tis", "", "-3.2", "+1e-5", "-inf", "x@y", "1-2", "'", "5"]


@pytest.mark.parametrize("text", [*TEXTS, *PLAIN])
def test_text_that_looks_like_a_formula_is_quoted_and_comes_back(text: str, tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    write_rows(path, [{"id": "a", "class_after": text, "n": -1.5}])
    with path.open(newline="") as stream:
        cells = next(iter(csv.DictReader(stream)))
    assert cells["class_after"] == (f"'{text}" if text in TEXTS else text)
    assert cells["n"] == "-1.5"
    row = read_table(path)[0]
    assert row.get("class_after", "") == text
    assert row["n"] == -1.5


def line(name: str, target: float, **more: Any) -> dict[str, Any]:
    row = {"id": name, "status": "reached", "task": "regression", "prediction_after": target, "fidelity/ssim": 0.9}
    return row | {"target": f"{target:g}", "target_low": target, "target_high": target} | more


NASTY = "=x|<img src=x onerror=alert(1)>\n*a* `b` [c](javascript:d)"


def test_an_ablations_names_are_no_formulas_and_no_markup(tmp_path: Path) -> None:
    for name in (NASTY, "full"):
        folder = tmp_path / slug(f"{name}, target" if name == NASTY else name)
        rows = [line("a", 20.0), line("b", 40.0)]
        folder.mkdir(parents=True, exist_ok=True)
        write_rows(folder / "predictions.csv", rows)
        write_json(folder / "metrics.json", summarise(rows))
        (folder / "cell.yaml").write_text("predict: {}\n")
    plan = {"base": "phantom.yaml", "output": "out", "prompts": ["target"], "reference": "full"}
    write_results(plan | {"cases": {f"{NASTY}, target": {}, "full": {}}}, tmp_path)
    with (tmp_path / "table.csv").open(newline="") as stream:
        assert [row["method"][:3] for row in csv.DictReader(stream)] == ["'=x", "ful"]
    text = (tmp_path / "table.md").read_text()
    assert "<img" not in text
    assert "[c](" not in text.replace("\\[c](", "")
    assert r"=x\|&lt;img src=x onerror=alert(1)&gt; \*a\* \`b\` \[c](javascript:d)" in text
    assert main(["report", str(tmp_path)]) == 0
    page = (tmp_path / "report.html").read_text()
    assert "=x|&lt;img" in page
    assert "&#39;=x|" not in page  # read back without the apostrophe


def test_a_raters_name_is_no_formula(study: Path) -> None:
    path = answer(study, "r1", "first")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rater": '=HYPERLINK("http://x")'}))
    assert main(["study", "analyse", str(study)]) == 0
    with (study / "answers.csv").open(newline="") as stream:
        assert {row["rater"] for row in csv.DictReader(stream)} == {'\'=HYPERLINK("http://x")'}
    assert main(["report", str(study)]) == 0


def test_an_unfinished_cell_is_told_below_the_table(tmp_path: Path) -> None:
    rows = [line("a", 20.0), line("b", 40.0)]
    folder = tmp_path / "full"
    folder.mkdir()
    write_rows(folder / "predictions.csv", rows)
    write_json(folder / "metrics.json", summarise(rows) | {"unfinished": "2 of 6 clips; run lvcf predict again"})
    write_results({"base": "phantom.yaml", "output": "out", "cases": {"full": {}}, "prompts": ["target"]}, tmp_path)
    assert "full: 2 of 6 clips; run lvcf predict again." in (tmp_path / "table.md").read_text()
