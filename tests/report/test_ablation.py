"""An ablation's page shows every cell, also a failed one, and links to the videos instead of holding them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from lvcf.cli.report import write_report
from lvcf.errors import UserError
from lvcf.report.ablation_page import ablation_context, read_cells


def _data(page: str) -> dict[str, Any]:
    return json.loads(re.findall(r'<script type="application/json" id="comparison">(.*?)</script>', page)[0])


def test_cells_come_in_the_order_and_by_the_names_of_the_table(ablation: Path) -> None:
    assert [cell.name for cell in read_cells(ablation)] == ["do nothing", "RG", "w/o AGG, target", "full, target"]
    (ablation / "table.csv").unlink()
    assert [cell.name for cell in read_cells(ablation)] == ["do nothing", "full, target", "rg", "w o agg, target"]


def test_a_cell_that_did_not_finish_is_a_row_with_the_last_words_of_its_log(ablation: Path) -> None:
    rows = {row["name"]: row for row in ablation_context(ablation)["rows"]}
    assert rows["RG"]["status"] == "failed"
    assert rows["RG"]["reason"] == "rg/log.txt: lvcf predict: no <memory> left"
    assert rows["RG"]["numbers"] == {}
    assert "no &lt;memory&gt; left" in write_report(ablation).read_text(encoding="utf-8")
    (ablation / "rg" / "log.txt").unlink()
    assert {row["name"]: row["reason"] for row in ablation_context(ablation)["rows"]}["RG"] == "not run yet"


def test_figures_stand_with_intervals_and_what_no_row_has_with_its_reason(ablation: Path) -> None:
    shown = ablation_context(ablation)
    assert list(shown["figures"]) == ["adherence/mae", "fidelity/ssim", "truth/ssim_of_truth"]
    full = next(row for row in shown["rows"] if row["name"] == "full, target")
    assert [cell.interval for cell, _ in full["cells"]] == ["0.20 to 0.40", "", ""]
    assert [(row.key, row.value) for row in shown["unavailable"]] == [("fidelity/lpips", "unavailable: no weights")]
    page = write_report(ablation).read_text(encoding="utf-8")
    assert "Unavailable in every row: LPIPS (no weights)" in page
    assert "<strong>simulated</strong>" in page


def test_derived_and_published_rows_and_tested_differences_are_shown_as_the_tables_have_them(ablation: Path) -> None:
    shown = ablation_context(ablation)
    assert shown["others"]["headings"] == ["row", "kind", "clips", "R2"]
    assert shown["others"]["rows"] == [
        ["R23", "method", "2", "0.710 [0.620 to 0.800]"],
        ["R23 (paper)", "paper", "", "0.500"],
    ]
    assert shown["differences"]["reference"] == "full, target"
    assert shown["differences"]["rows"] == [
        ["MAE", "do nothing", "2", "28.7 [26.0 to 31.0]", "0.010", "worse"],
        ["MAE", "RG", "1", "3.00", "–", "too few clips"],
    ]
    assert [row["name"] for row in shown["rows"] if row["control"]] == ["do nothing"]


def test_clips_are_compared_where_a_method_has_them_and_videos_are_linked(ablation: Path) -> None:
    page = write_report(ablation).read_text(encoding="utf-8")
    data = _data(page)
    assert [clip["id"] for clip in data["clips"]] == ["clip_a", "clip_b"]
    assert [method["name"] for method in data["methods"]] == ["do nothing", "w/o AGG, target", "full, target"]
    nothing, without, full = data["clips"][1]["methods"]
    assert (nothing["status"], without["status"], full["status"]) == ("not_reached", "failed", "reached")
    assert full["told"] == "60.0 → 34.0 %, target 30 %"
    assert nothing["factual"] == full["factual"]
    assert dict(zip(data["figures"], full["values"], strict=True))["SSIM"] == pytest.approx(0.85)
    assert "data:video" not in page
    assert page.count("data:image/svg+xml") == 1
    assert len(page) < 100_000


def test_an_ablation_without_pareto_or_table_says_so_and_one_that_has_begun_is_shown(ablation: Path) -> None:
    (ablation / "pareto.svg").unlink()
    for name in ("do_nothing", "full__target", "w_o_agg__target"):
        (ablation / name / "metrics.json").unlink()
        (ablation / name / "manifest.json").unlink()
    page = write_report(ablation).read_text(encoding="utf-8")
    assert "No <code>pareto.svg</code>" in page
    assert "No method has a finished clip yet." in page


def test_a_damaged_cell_names_its_file(ablation: Path) -> None:
    (ablation / "full__target" / "metrics.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"full__target/metrics\.json: damaged"):
        write_report(ablation)
