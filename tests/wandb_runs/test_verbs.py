"""ablate with W&B: the cells' loggers, and the run with the comparison."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvcf.configuration import read_section
from lvcf.errors import UserError
from lvcf.wandb_runs.names import HIDDEN, recall
from lvcf.wandb_runs.verbs import LOGGER, evaluate_options, log_comparison, with_logger
from tests.helpers import parse
from tests.wandb_record import written


@pytest.fixture(autouse=True)
def offline(tmp_path, monkeypatch) -> None:
    for name in ("WANDB_API_KEY", "WANDB_DATA_DIR", "WANDB_PROJECT", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def cells(tmp_path) -> list[tuple[str, dict[str, Any]]]:
    section = read_section("phantom.yaml", "predict")
    found = [("RG, neutral", copy.deepcopy(section)), ("full", copy.deepcopy(section))]
    for name, one in found:
        one["model"]["init_args"]["output"] = str(tmp_path / "table1" / name[:2].lower())
    return found


def test_every_cell_logs_in_the_ablations_group_under_its_own_name(cells, tmp_path) -> None:
    before = copy.deepcopy(cells)
    logged = with_logger(cells, tmp_path / "table1", hash_ids=True)
    assert cells == before
    for name, section in logged:
        (tmp_path / "cell.yaml").write_text(yaml.safe_dump({"predict": section}))
        logger = parse(["predict", "--config", str(tmp_path / "cell.yaml")]).trainer.logger
        assert logger.class_path == LOGGER
        assert (logger.init_args.group, logger.init_args.name, logger.init_args.hash_ids) == ("table1", name, True)
        assert evaluate_options(section) == ["--logger", "wandb"]
    assert evaluate_options(before[0][1]) == []
    assert evaluate_options(with_logger(cells, tmp_path / "table1", hash_ids=False)[0][1])[2:] == ["--log-ids"]


def test_a_clip_has_one_name_in_all_cells(cells, tmp_path) -> None:
    with_logger(cells, tmp_path / "table1", hash_ids=True)
    places = [recall(Path(section["model"]["init_args"]["output"])) for _, section in cells]
    places.append(recall(tmp_path / "table1"))
    assert len({place.call("0X1A") for place in places if place}) == 1
    assert None not in places


ROWS = [
    {"method": "RG, <neutral>", "n": 3, "MAE": 1.5, "MAE se": None, "R2": "unavailable: one clip"},
    {"method": "full", "n": 3, "MAE": 0.25, "MAE se": 0.1, "R2": 0.9, "SSIM": 0.8},
]


def test_the_comparison_is_a_table_of_rows_by_metrics_and_its_markdown(cells, tmp_path) -> None:
    output = tmp_path / "table1"
    with_logger(cells, output, hash_ids=True)
    (output / "rg").mkdir(exist_ok=True)
    (output / "rg" / "manifest.json").write_text(json.dumps({"ids": ["0X1A"]}))
    (output / "table.md").write_text("| method |\n|---|\n| RG, <neutral> |\n")
    plan = {"base": "phantom.yaml", "data": {"init_args": {"root": "/hospital"}}, "note": "without 0X1A"}
    log_comparison(ROWS, output, plan)
    (one,) = written(output)
    assert (one.run.project, one.run.run_group, one.run.job_type) == ("lvcf", "table1", "ablate")
    assert one.config["data"] == {"init_args": {"root": HIDDEN}}
    assert one.config["note"] == f"without {HIDDEN}"
    columns = ["method", "n", "MAE", "MAE se", "R2", "SSIM"]
    assert one.table("comparison") == [{key: row.get(key) for key in columns} for row in ROWS]
    (page,) = (path for name, path in one.uploads if name.endswith(".html"))
    assert "RG, &lt;neutral&gt;" in page.read_text()
    assert page.read_text().startswith("<pre>| method |")


def test_without_rows_or_without_a_logger_there_is_no_run(cells, tmp_path) -> None:
    log_comparison(ROWS, tmp_path / "table1", {})
    with_logger(cells, tmp_path / "table1", hash_ids=True)
    log_comparison([], tmp_path / "table1", {})
    assert not written(tmp_path)


def test_a_damaged_memory_stops_before_anything_runs(cells, tmp_path) -> None:
    (tmp_path / "table1").mkdir()
    (tmp_path / "table1" / "wandb.json").write_text("{")
    with pytest.raises(UserError, match=r"wandb\.json: damaged"):
        with_logger(cells, tmp_path / "table1", hash_ids=True)
