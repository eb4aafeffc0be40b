"""An ablation logged to W&B, in processes of its own: one group, a run per cell and verb, and the comparison."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
import yaml

from lvcf.cli import main
from lvcf.configuration import read_section
from lvcf.wandb_runs.names import recall
from tests.helpers import ROOT, results, subset
from tests.wandb_record import written

pytestmark = pytest.mark.slow


@pytest.fixture
def plan_file(tmp_path, monkeypatch, echo_root, backbone_folder, target_folder) -> Path:
    """One cell on two clips, with everything tiny."""
    for name in ("WANDB_API_KEY", "WANDB_DATA_DIR", "WANDB_PROJECT", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    environment = {"WANDB_MODE": "offline", "WANDB_SILENT": "true", "HOME": str(tmp_path), "PYTHONPATH": str(ROOT)}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    data = subset(echo_root, tmp_path / "data", 2)
    (data / "Factors.csv").unlink()  # the truth is known at the phantom's own size alone
    base = read_section("phantom.yaml", "predict")
    model = base["model"]["init_args"]
    model["backbone"]["init_args"]["weights"] = str(backbone_folder)
    model["target_model"]["init_args"]["weights"] = str(target_folder)
    base["threads"] = 1
    base["trainer"] |= {"precision": "32-true", "accelerator": "cpu", "enable_progress_bar": False}
    base["data"]["init_args"] |= {"root": str(data), "batch_size": 2, "size": 32}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({"predict": base}))
    cases = {"do nothing": {"model": {"steps": 1, "decode": "residual"}, "callbacks": []}}
    plan = {
        "base": str(tmp_path / "base.yaml"),
        "output": str(tmp_path / "out"),
        "prompts": ["neutral"],
        "cases": cases,
    }
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"ablate": {**plan, "cases": cases}}))
    return tmp_path / "plan.yaml"


def test_an_ablation_is_one_group_of_runs_and_a_comparison(plan_file) -> None:
    output = plan_file.parent / "out"
    assert main(["ablate", "--config", str(plan_file), "--logger", "wandb"]) == 0
    runs = written(output)
    assert sorted(one.run.job_type for one in runs) == ["ablate", "evaluate", "predict"]
    assert {one.run.run_group for one in runs} == {"out"}
    by_verb = {one.run.job_type: one for one in runs}
    assert {by_verb[verb].run.display_name for verb in ("predict", "evaluate")} == {"do nothing"}
    (row,) = by_verb["ablate"].table("comparison")
    with (output / "table.csv").open(newline="") as stream:
        (measured,) = csv.DictReader(stream)
    assert row["method"] == measured["method"] == "do nothing"
    assert row["SSIM"] == pytest.approx(float(measured["SSIM"]))
    place = recall(output)
    assert place is not None
    names = list(results(output / "do_nothing"))
    for verb in ("predict", "evaluate"):
        assert [r["id"] for r in by_verb[verb].table("predictions")] == [place.call(name) for name in names]
    for one in runs:
        content = b"".join(p.read_bytes() for p in one.folder.rglob("*") if p.is_file())
        assert not [name for name in names if name.encode() in content]
