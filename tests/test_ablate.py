"""Ablations: the cells of a plan, and a tiny one from the command line to its table."""

from __future__ import annotations

import copy
import csv
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from lvcf.ablation import run as running
from lvcf.cli import ablate, main
from lvcf.cli.ablate import expand, shown, slug
from lvcf.configuration import read_section
from lvcf.errors import UserError
from tests.helpers import ROOT, fails, results, subset

RG = {
    "class_path": "lvcf.callbacks.guidance.GradientGuidance",
    "init_args": {
        "samples": 1,
        "weight": {"class_path": "lvcf.guidance.weight.ConstantWeight", "init_args": {"value": 0.1}},
    },
}
PLAN: dict[str, Any] = {
    "base": "phantom.yaml",
    "output": "runs/x",
    "prompts": ["neutral", "target"],
    "model": {"seed": 5},
    "cases": {
        "do nothing": {"prompts": ["neutral"], "model": {"steps": 1, "decode": "residual"}, "callbacks": []},
        "RG": {"callbacks": [RG]},
        "w/o RG": {"prompts": ["target"], "callbacks": []},
    },
}


# --- cells -------------------------------------------------------------------------------------------------------


def test_every_case_is_made_for_every_prompt_it_names() -> None:
    cells = expand(PLAN, Path("out"), None)
    assert [name for name, _ in cells] == ["do nothing", "RG, neutral", "RG, target", "w/o RG"]
    prompts = [section["model"]["init_args"]["prompt"] for _, section in cells]
    assert prompts == ["neutral", "neutral", "target", "target"]
    folders = [section["model"]["init_args"]["output"] for _, section in cells]
    assert folders == ["out/do_nothing", "out/rg__neutral", "out/rg__target", "out/w_o_rg"]


def test_a_cell_is_the_base_with_the_plans_and_then_the_cases_changes() -> None:
    base = read_section("phantom.yaml", "predict")
    nothing, guided = (section for _, section in expand(PLAN, Path("out"), None)[:2])
    assert (nothing["model"]["init_args"]["steps"], nothing["model"]["init_args"]["decode"]) == (1, "residual")
    assert guided["model"]["init_args"]["steps"] == base["model"]["init_args"]["steps"]
    assert {section["model"]["init_args"]["seed"] for section in (nothing, guided)} == {5}
    assert guided["data"] == base["data"]
    assert nothing["trainer"]["callbacks"] == [{"class_path": ablate.WRITER}]
    assert guided["trainer"]["callbacks"] == [RG, {"class_path": ablate.WRITER}]
    assert {k: v for k, v in guided["trainer"].items() if k != "callbacks"} == {
        k: v for k, v in base["trainer"].items() if k != "callbacks"
    }


def test_a_case_may_bring_its_own_data() -> None:
    plan = copy.deepcopy(PLAN)
    plan["data"] = {"class_path": "Everyones", "init_args": {"batch_size": 4}}
    plan["cases"]["RG"]["data"] = {"class_path": "Mine", "init_args": {"batch_size": 2}}
    cells = dict(expand(plan, Path("out"), 5))
    assert cells["do nothing"]["data"]["class_path"] == "Everyones"
    assert cells["RG, target"]["data"]["class_path"] == "Mine"
    limits = [cells[name]["trainer"]["limit_predict_batches"] for name in ("do nothing", "RG, target")]
    assert limits == [2, 3]  # five clips, rounded up to whole batches of 4 and of 2


def test_without_a_number_of_clips_there_is_no_limit() -> None:
    assert not any("limit_predict_batches" in section["trainer"] for _, section in expand(PLAN, Path("out"), None))


def test_cells_are_copies_and_the_plan_stays() -> None:
    before = copy.deepcopy(PLAN)
    cells = expand(PLAN, Path("out"), 3)
    assert before == PLAN
    cells[0][1]["model"]["init_args"]["target_model"]["init_args"]["weights"] = "another"
    cells[0][1]["trainer"]["precision"] = "another"
    for _, section in [*cells[1:], *expand(PLAN, Path("out"), 3)]:
        assert section["model"]["init_args"]["target_model"]["init_args"]["weights"] == "phantom/target"
        assert section["trainer"]["precision"] == "bf16-mixed"


def test_a_cells_folder_name_is_safe() -> None:
    assert slug("w/o AGG, target") == "w_o_agg__target"
    assert slug("../../etc") == "etc"


def test_a_table_entry_says_how_sure_it_is() -> None:
    row = {"method": "RG", "MAE": 12.345, "MAE se": 0.5, "SSIM": 0.91234, "SSIM se": None, "R2": "unavailable: one"}
    assert shown(row, "method") == "RG"
    assert shown(row, "MAE") == "12.35 ± 0.50" or shown(row, "MAE") == "12.34 ± 0.50"
    assert shown(row, "SSIM") == "0.912"
    assert shown(row, "R2") == "–"


# --- a tiny ablation, end to end ---------------------------------------------------------------------------------


@pytest.fixture
def plan_file(tmp_path, monkeypatch, echo_root, backbone_folder, target_folder, oracle_folder) -> Path:
    """Two cells on three clips, with everything tiny; the oracle stands where evaluate looks for it."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(oracle_folder, tmp_path / "phantom" / "oracle")
    base = read_section("phantom.yaml", "predict")
    model = base["model"]["init_args"]
    model["backbone"]["init_args"]["weights"], model["target_model"]["init_args"]["weights"] = (
        str(backbone_folder),
        str(target_folder),
    )
    model["steps"], base["threads"] = 2, 1
    base["trainer"] |= {"precision": "32-true", "accelerator": "cpu", "enable_progress_bar": False}
    base["data"]["init_args"] |= {"root": str(subset(echo_root, tmp_path / "data", 3)), "batch_size": 2}
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({"predict": base}))
    cases = {name: PLAN["cases"][name] for name in ("do nothing", "RG")}
    write_plan(tmp_path / "plan.yaml", cases)
    return tmp_path / "plan.yaml"


def write_plan(path: Path, cases: dict[str, Any], prompt: str = "neutral") -> None:
    plan = {"base": str(path.parent / "base.yaml"), "output": str(path.parent / "out"), "prompts": [prompt]}
    path.write_text(yaml.safe_dump({"ablate": {**plan, "cases": cases}}, sort_keys=False))


@pytest.fixture
def inside(monkeypatch) -> list[list[str]]:
    """Run the cells' commands in this process (seconds faster each); the list of what was run."""
    ran: list[list[str]] = []

    def run(command: list[str], **_: Any) -> SimpleNamespace:
        assert command[1:3] == ["-m", "lvcf"]
        ran.append(command[3:])
        return SimpleNamespace(returncode=main(command[3:]))

    monkeypatch.setattr(running.subprocess, "run", run)
    return ran


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "table.csv").open(newline="") as stream:
        return {row["method"]: row for row in csv.DictReader(stream)}


def check_tables(out: Path) -> None:
    rows = table(out)
    assert list(rows) == ["do nothing", "RG"]
    for name, row in rows.items():
        metrics = json.loads((out / slug(name) / "metrics.json").read_text())
        assert int(row["n"]) == metrics["n"] == 3
        for heading, key in ablate.COLUMNS.items():
            value = metrics.get(key)
            assert row[heading] == ("" if value is None else str(value))
            if f"{key}.se" in metrics:
                assert float(row[f"{heading} se"]) == pytest.approx(metrics[f"{key}.se"])
    assert float(rows["do nothing"]["SSIM"]) > 0.999
    assert (rows["do nothing"]["gradients"], rows["do nothing"]["steps"]) == ("0.0", "1.0")
    assert float(rows["RG"]["gradients"]) > 0
    lines = (out / "table.md").read_text().partition("\n\n")[0].splitlines()
    assert lines[0].startswith("| method | ")
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| do nothing", "| RG"]
    assert len({line.count("|") for line in lines}) == 1


def test_an_ablation_makes_its_tables_and_a_second_run_computes_nothing(plan_file, inside, capsys) -> None:
    arguments, out = ["ablate", "--config", str(plan_file)], plan_file.parent / "out"
    assert main(arguments) == 0
    assert [command[0] for command in inside] == ["predict", "evaluate"] * 2
    check_tables(out)
    assert "standard error over n clips" in capsys.readouterr().out
    assert len(results(out / "rg")) == 3
    stamps = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file() and p.parent != out}
    inside.clear()
    assert main(arguments) == 0
    assert inside == []
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps


def test_a_killed_cell_goes_on(plan_file, inside) -> None:
    """Predicted but not evaluated, and one clip lost: only that is made again."""
    arguments, out = ["ablate", "--config", str(plan_file), "--only", "RG"], plan_file.parent / "out"
    assert main(arguments) == 0
    (out / "rg" / "metrics.json").unlink()
    lost, *kept = sorted((out / "rg" / "predictions").iterdir())
    shutil.rmtree(lost)
    stamps = [(p / "result.json").stat().st_mtime_ns for p in kept]
    assert main(arguments) == 0
    assert (lost / "result.json").is_file()
    assert [(p / "result.json").stat().st_mtime_ns for p in kept] == stamps
    assert list(table(out)) == ["RG"]


def test_a_cell_that_fails_is_named_and_the_others_are_done(plan_file, inside, capsys) -> None:
    broken = {"callbacks": [{"class_path": "lvcf.callbacks.no_such.Guidance"}]}
    write_plan(plan_file, {"broken one": broken, "do nothing": PLAN["cases"]["do nothing"]})
    arguments, out = ["ablate", "--config", str(plan_file)], plan_file.parent / "out"
    for _ in range(2):  # the second time it is tried again, and alone
        inside.clear()
        assert main(arguments) == 1
        err = capsys.readouterr().err
        assert "failed: broken one; see log.txt" in err
        assert "Traceback" not in err
        rows = table(out)
        assert list(rows) == ["broken one", "do nothing"]
        assert (rows["broken one"]["kind"], rows["do nothing"]["kind"]) == ("failed", "method")
        told = f"failed (exit code 2), see {out / 'broken_one' / 'log.txt'}"
        assert rows["broken one"]["problem"] == told
        assert told in (out / "table.md").read_text()
    assert [command[0] for command in inside] == ["predict"]


def test_a_failed_cell_that_is_put_right_is_a_failure_no_more(plan_file, inside) -> None:
    arguments, out = ["ablate", "--config", str(plan_file)], plan_file.parent / "out"
    write_plan(plan_file, {"do nothing": {"callbacks": [{"class_path": "lvcf.callbacks.no_such.Guidance"}]}})
    assert main(arguments) == 1
    write_plan(plan_file, {"do nothing": PLAN["cases"]["do nothing"]})
    assert main(arguments) == 0
    assert table(out)["do nothing"]["kind"] == "method"
    assert not (out / "do_nothing" / "failed.json").exists()


def test_only_some_cells_a_few_clips_another_folder_and_a_dry_run(plan_file, inside, capfd, tmp_path) -> None:
    arguments = ["ablate", "--config", str(plan_file)]
    assert main([*arguments, "--dry-run"]) == 0
    out = plan_file.parent / "out"
    python, told = shlex.quote(sys.executable), capfd.readouterr().out
    assert told.splitlines() == [
        "# do nothing",
        f"{python} -m lvcf predict --config {out}/do_nothing/cell.yaml",
        f"{python} -m lvcf evaluate {out}/do_nothing",
        "# RG",
        f"{python} -m lvcf predict --config {out}/rg/cell.yaml",
        f"{python} -m lvcf evaluate {out}/rg",
    ]
    assert "'SG' is no cell of" in fails(capfd, [*arguments, "--only", "RG", "SG"])
    assert not (plan_file.parent / "out").exists()
    there = ["--only", "do nothing", "--n", "1", "--output", str(tmp_path / "else")]
    assert main([*arguments, *there]) == 0
    assert len(inside) == 2
    assert list(table(tmp_path / "else")) == ["do nothing"]
    section = read_section(str(tmp_path / "else" / "do_nothing" / "cell.yaml"), "predict")
    assert section["trainer"]["limit_predict_batches"] == 1
    assert not (plan_file.parent / "out").exists()


def test_more_clips_are_made_when_more_are_asked_for(plan_file, monkeypatch) -> None:
    ran: list[str] = []

    def finish(command: list[str], **_: Any) -> SimpleNamespace:
        """Leaves what a finished cell leaves, and no more."""
        ran.append(command[3])
        (plan_file.parent / "out" / "rg" / "manifest.json").write_text('{"ids": ["a", "b"], "batch_size": 2}')
        (plan_file.parent / "out" / "rg" / "metrics.json").write_text('{"n": 2}')
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(running.subprocess, "run", finish)
    arguments = ["ablate", "--config", str(plan_file), "--only", "RG"]
    assert main([*arguments, "--n", "2"]) == 0
    assert main(arguments) == 0
    assert ran == ["predict", "evaluate"] * 2


@pytest.mark.parametrize("lacking", ["base", "cases", "prompts", "output"])
def test_a_plan_that_lacks_an_entry_is_a_users_mistake(lacking, tmp_path, capfd) -> None:
    plan = {key: value for key, value in PLAN.items() if key != lacking}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump({"ablate": plan}))
    assert lacking in fails(capfd, ["ablate", "--config", str(tmp_path / "plan.yaml"), "--dry-run"])


def test_cases_that_would_share_a_folder_are_refused() -> None:
    cases = {"AGG + ADS": {"callbacks": [RG]}, "AGG - ADS": {"callbacks": []}}
    try:
        cells = expand({**PLAN, "cases": cases}, Path("out"), None)
    except UserError:
        return
    assert len({slug(name) for name, _ in cells}) == len(cells)


def test_shards_make_all_cells_and_any_of_them_prints_what_is_done(plan_file, inside) -> None:
    arguments, out = ["ablate", "--config", str(plan_file)], plan_file.parent / "out"
    assert main([*arguments, "--shard", "2/2"]) == 0
    assert list(table(out)) == ["RG"]
    assert main([*arguments, "--shard", "1/2"]) == 0
    check_tables(out)
    assert [command[0] for command in inside] == ["predict", "evaluate"] * 2


def test_evaluates_options_are_passed_on_and_another_choice_is_measured_again(plan_file, inside) -> None:
    arguments = ["ablate", "--config", str(plan_file), "--only", "do nothing"]
    assert main(arguments) == 0
    plan = yaml.safe_load(plan_file.read_text())
    plan["ablate"]["evaluate"] = ["--with-model"]
    plan_file.write_text(yaml.safe_dump(plan, sort_keys=False))
    stamps = {p: p.stat().st_mtime_ns for p in (plan_file.parent / "out").rglob("result.json")}
    inside.clear()
    assert main(arguments) == 0
    assert inside[1] == ["evaluate", str(plan_file.parent / "out" / "do_nothing"), "--with-model"]
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    inside.clear()
    assert main(arguments) == 0
    assert inside == []


def test_every_cell_asks_the_same_of_a_clip_and_starts_from_the_same_noise(plan_file, inside) -> None:
    """Paired cells: guidance sees the same first estimate; another noise has the same targets and another estimate."""
    still = copy.deepcopy(RG)
    still["init_args"]["weight"]["init_args"]["value"] = 1e-9  # it looks, and does nothing
    four = copy.deepcopy(RG)
    four["init_args"]["samples"] = 4
    cases = {"still": {"callbacks": [still]}, "four": {"callbacks": [four]}}
    cases |= {"other": {"callbacks": [still], "noises": [1, 2]}}
    write_plan(plan_file, cases, prompt="target")  # with one prompt for both clips no noise is seen
    assert main(["ablate", "--config", str(plan_file), "--n", "1"]) == 0
    runs = {
        name: results(plan_file.parent / "out" / name) for name in ("still", "four", "other__noise_1", "other__noise_2")
    }
    for clip in runs["still"]:
        assert len({runs[name][clip]["target"]["low"] for name in runs}) == 1
        first = {name: runs[name][clip]["trajectory"][0]["prediction"] for name in runs}
        assert first["still"] == first["four"]
        assert len(set(first.values())) == 3


def crashing(verb: str) -> Any:
    """A process of ``verb`` that ends in a traceback (Python's exit code is 1 then); the other verb succeeds."""
    return lambda command, **_: SimpleNamespace(returncode=int(command[3] == verb))


def test_a_cell_whose_evaluation_crashes_is_a_failure(plan_file, monkeypatch) -> None:
    monkeypatch.setattr(running.subprocess, "run", crashing("evaluate"))
    assert main(["ablate", "--config", str(plan_file)]) == 1


@pytest.mark.slow
def test_an_ablation_in_processes_of_its_own(plan_file, tmp_path) -> None:
    assert subprocess.run is running.subprocess.run
    assert main(["ablate", "--config", str(plan_file)]) == 0
    check_tables(plan_file.parent / "out")
    there = tmp_path / "else"
    assert main(["ablate", "--config", str(plan_file), "--only", "RG", "--n", "1", "--output", str(there)]) == 0
    assert table(there)["RG"]["n"] == "2"  # a whole batch
    assert "3 clips: " in (plan_file.parent / "out" / "rg" / "log.txt").read_text()


def start(plan_file: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "lvcf", "ablate", "--config", str(plan_file)]
    paths = os.pathsep.join(path for path in (str(ROOT), os.environ.get("PYTHONPATH")) if path)
    return subprocess.Popen(command, start_new_session=True, env={**os.environ, "PYTHONPATH": paths})


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    while not path.exists():
        assert process.poll() is None
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("whole_group", [True, False], ids=["with its cell", "alone"])
def test_an_ablation_that_was_killed_goes_on(plan_file, whole_group) -> None:
    """``kill -9`` in the second cell; of the ablation alone, its cell's process lives on, and is waited for."""
    out = plan_file.parent / "out"
    process = start(plan_file)
    wait_for(out / "rg" / "manifest.json", process)
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.wait()
    first = {p: p.stat().st_mtime_ns for p in (out / "do_nothing").rglob("*") if p.is_file()}
    assert not (out / "rg" / "metrics.json").exists()
    again = start(plan_file)
    assert again.wait(timeout=300) == 0
    assert {p: p.stat().st_mtime_ns for p in first} == first
    check_tables(out)
    assert len(results(out / "rg")) == 3
    assert not list((out / "rg" / "predictions").glob(".*"))
