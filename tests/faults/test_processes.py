"""How a run ends: signals, Ctrl-C, a module that exits, a reader that goes, two runs in one folder, workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lvcf.ablation import run as running
from lvcf.ablation.run import is_whole, run_cell
from lvcf.cli import main
from tests.faults.test_cli_resume import SMALL, fit
from tests.helpers import ROOT, fails, predict_arguments, results, subset

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
ASCII = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts real commands, and ends what is left of them."""
    processes: list[subprocess.Popen[str]] = []
    # tests that are run in the background ignore Ctrl-C, and what they start would too
    before = signal.signal(signal.SIGINT, signal.default_int_handler)

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "lvcf", *arguments]
        pipe = subprocess.PIPE
        new = subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True)
        processes.append(new)
        return new

    yield start
    signal.signal(signal.SIGINT, before)
    for process in processes:
        process.kill()
        process.wait()


def wait_until(condition: Callable[[], object], process: subprocess.Popen[str], seconds: float = 120.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


# --- signals -----------------------------------------------------------------------------------------------------


def test_sigterm_ends_a_training_with_143_and_a_sentence(started, echo_root, backbone_folder, tmp_path) -> None:
    arguments = fit(
        "target", echo_root, tmp_path, backbone_folder, "--data.num_workers=0", "--trainer.max_steps=100000"
    )
    quick = ["--trainer.callbacks.ModelCheckpoint.save_top_k=1", "--trainer.limit_val_batches=0"]
    process = started(*arguments, "--model.network.channels=[8,8,16]", *quick)
    wait_until(lambda: list((tmp_path / "checkpoints").glob("*.ckpt")), process)
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "lvcf fit: stopped by SIGTERM; go on from its last checkpoint with --ckpt_path last" in err
    assert "Traceback" not in err
    assert not (tmp_path / "weights").exists()


def test_ctrl_c_ends_a_prediction_with_130_and_a_sentence(
    started, echo_root, backbone_folder, target_folder, tmp_path
) -> None:
    run = tmp_path / "run"
    process = started(*predict_arguments(echo_root, backbone_folder, target_folder, run, "--model.steps=400"))
    wait_until((run / "manifest.json").exists, process)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "lvcf predict: interrupted; the same command goes on where it stopped" in err
    assert "Traceback" not in err


def test_a_module_that_exits_is_named_and_is_no_success(capfd, monkeypatch, tmp_path) -> None:
    (tmp_path / "leaving.py").write_text("import sys\nsys.exit(0)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    line = fails(capfd, ["predict", "--config", "phantom.yaml", "--data=leaving.Data"], code=70)
    assert "the module leaving ended the program" in line


def test_help_and_a_wrong_argument_stay_the_parsers_own_exits() -> None:
    for arguments, code in ((["simulate", "--help"], 0), (["simulate", "no_such_domain"], 2)):
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == code


# --- readers of the output ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", ["--help", "simulate --help"])
def test_a_reader_that_goes_is_no_error(arguments) -> None:
    script = f"{sys.executable} -m lvcf {arguments} | true; echo ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert done.stdout.strip() in ("0", "141")


@pytest.mark.slow
def test_a_reader_of_a_table_may_go_and_a_terminal_may_know_ascii_alone(
    echo_root, backbone_folder, target_folder, tmp_path
) -> None:
    data = subset(echo_root, tmp_path / "data", 1)
    run = tmp_path / "run"
    predict = predict_arguments(data, backbone_folder, target_folder, run, "--model.steps=1", "--data.size=112")
    command = [sys.executable, "-m", "lvcf"]
    ascii_only = {**ENVIRONMENT, **ASCII}
    done = subprocess.run([*command, *predict], cwd=ROOT, env=ascii_only, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"1 clips" in done.stdout
    evaluate = [*command, "evaluate", str(run)]
    done = subprocess.run(evaluate, cwd=ROOT, env=ascii_only, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert b"mean absolute error" in done.stdout
    reading, writing = os.pipe()
    os.close(reading)
    gone = subprocess.run(evaluate, cwd=ROOT, env=ENVIRONMENT, stdout=writing, stderr=subprocess.PIPE, check=False)
    os.close(writing)
    assert gone.returncode == 141
    assert b"Traceback" not in gone.stderr
    assert b"Exception ignored" not in gone.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["evaluate", "--help"]])
def test_a_closed_output_is_no_error(arguments) -> None:
    command = f"{sys.executable} -m lvcf {' '.join(arguments)} >&-"
    done = subprocess.run(["bash", "-c", command], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_an_output_without_room_is_one_line() -> None:
    command = f"{sys.executable} -m lvcf --help >/dev/full"
    done = subprocess.run(["bash", "-c", command], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "could not be written (No space left on device)" in done.stderr
    assert "Traceback" not in done.stderr


# --- two in one folder -------------------------------------------------------------------------------------------


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Another process writes into a folder, until it is killed."""
    code = "import sys, pathlib; from lvcf.runs.lock import locked\n"
    code += "with locked(pathlib.Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(folder)]
    pipe = subprocess.PIPE
    holder = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=ENVIRONMENT)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    yield
    holder.kill()
    holder.wait()


@pytest.fixture
def taken(tmp_path) -> Iterator[Path]:
    """A folder that another process writes into."""
    with held(tmp_path / "taken"):
        yield tmp_path / "taken"


def test_a_second_prediction_in_the_same_folder_is_refused(
    capfd, taken, echo_root, backbone_folder, target_folder, tmp_path
) -> None:
    data = subset(echo_root, tmp_path / "data", 1)
    arguments = predict_arguments(data, backbone_folder, target_folder, taken, "--model.steps=1")
    line = fails(capfd, arguments)
    assert f"{taken}: another lvcf is writing here; wait for it or choose another --model.output" in line
    assert results(taken) == {}
    arguments += [f"--model.output={tmp_path / 'free'}"]
    assert main(arguments) == main(arguments) == 0  # the lock goes with the run


def test_a_second_simulation_in_the_same_folder_is_refused(capfd, taken) -> None:
    line = fails(capfd, ["simulate", "echo", "--out", str(taken), "--n", "1"])
    assert f"{taken}: another lvcf is writing here; wait for it or choose another --out" in line


def test_a_second_training_into_the_same_checkpoints_is_refused_while_the_first_one_lives(
    capfd, echo_root, backbone_folder, tmp_path
) -> None:
    arguments = [*fit("target", echo_root, tmp_path, backbone_folder, "--trainer.max_steps=1"), *SMALL["target"]]
    with held(tmp_path / "checkpoints"):
        line = fails(capfd, arguments)
        assert f"{tmp_path / 'checkpoints'}: another lvcf is writing here; wait for it or choose another" in line
        assert "ModelCheckpoint.dirpath" in line
        assert not list((tmp_path / "checkpoints").glob("*.ckpt"))
    assert main(arguments) == main(arguments) == 0  # a lock goes with its process, and with its training


# --- workers -----------------------------------------------------------------------------------------------------


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(pid: int) -> bool:
    """Whether it runs; one that has ended and is not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_simulation_leaves_no_worker(number, started, tmp_path) -> None:
    process = started("simulate", "echo", "--out", str(tmp_path / "set"), "--n", "400")
    wait_until(lambda: len(children(process.pid)) >= (os.cpu_count() or 1), process)
    workers = children(process.pid)
    process.send_signal(number)
    process.wait()
    deadline = time.monotonic() + 20
    while any(map(alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(alive, workers))


# --- cells of an ablation ----------------------------------------------------------------------------------------


def write_cell(folder: Path, n: int, failed: int = 0, ids: int = 6) -> None:
    (folder / "metrics.json").write_text(json.dumps({"n": n, "failed": failed}))
    manifest = {"ids": [str(i) for i in range(ids)], "batch_size": 2, "ranks": 1}
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("n", "failed", "limit", "whole"),
    [
        (6, 0, None, True),
        (4, 2, None, True),
        (1, 0, None, False),
        (5, 0, None, False),
        (2, 0, 1, True),
        (1, 0, 1, False),
    ],
)
def test_a_cell_is_done_when_every_clip_is_counted(n, failed, limit, whole, tmp_path) -> None:
    write_cell(tmp_path, n, failed)
    trainer = {} if limit is None else {"limit_predict_batches": limit}
    assert is_whole(tmp_path, {"trainer": trainer}) is whole


def test_a_partial_cell_is_done_again_and_an_interrupted_one_stops_the_ablation(monkeypatch, tmp_path) -> None:
    """The cell's commands are stand-ins that write what predict and evaluate would."""
    cell = ("full", {"trainer": {}})
    codes = {"n": 1}

    def commands(folder: Path, options: list[str]) -> list[list[str]]:
        write_cell(folder.parent, codes["n"])
        return [["cp", str(folder.parent / "metrics.json"), str(folder.parent / "manifest.json"), str(folder)]]

    monkeypatch.setattr(running, "commands", commands)
    monkeypatch.chdir(ROOT)
    assert run_cell(cell, tmp_path) is False
    assert json.loads((tmp_path / "full" / "failed.json").read_text())["exit_code"] == 0
    codes["n"] = 6
    assert run_cell(cell, tmp_path) is True
    monkeypatch.setattr(running, "commands", lambda folder, options: [["sh", "-c", "exit 130"]])
    assert run_cell(cell, tmp_path) is True  # done: nothing runs
    (tmp_path / "full" / "metrics.json").unlink()
    with pytest.raises(KeyboardInterrupt):
        run_cell(cell, tmp_path)
