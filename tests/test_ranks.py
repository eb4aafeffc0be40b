"""Two processes make the run that one makes: the same clips, noise, statuses and, batch by batch, the same bits."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lvcf.callbacks.writer import PredictionWriter
from lvcf.cli import main
from lvcf.data.clip import ClipDataset
from lvcf.datamodules.base import ClipDataModule
from lvcf.datamodules.sharding import WholeBatches, share
from lvcf.errors import UserError
from lvcf.runs import ranks
from tests.helpers import ROOT, predict_arguments, results, told

VOLATILE = ("seconds", "peak_memory_bytes")
TOLERANCE = 21
"""Of the six clips, three are within reach of their targets."""


def environment(**more: str) -> dict[str, str]:
    """Without what this very process's own launcher may have set."""
    kept = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "NODE_RANK")}
    return {**kept, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT), **more}


def start(arguments: list[str], *launcher: str, **more: str) -> subprocess.Popen[str]:
    command = [sys.executable, *(launcher or ("-m",)), "lvcf", *arguments]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment(**more), **pipes)


def ended(process: subprocess.Popen[str]) -> tuple[str, str]:
    """What it printed."""
    try:
        return process.communicate(timeout=600)
    finally:
        process.kill()


def free_port() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


def stable(run: Path) -> dict[str, dict]:
    """Every clip's facts and the bytes of its videos, without what two runs may differ in."""
    facts = {}
    for name, result in results(run).items():
        videos = {v: (run / "predictions" / name / v).read_bytes() for v in ("counterfactual.mkv", "factual.mkv")}
        facts[name] = {k: v for k, v in result.items() if k not in VOLATILE} | videos
    return facts


@pytest.fixture(scope="module")
def command(echo_root, backbone_folder, target_folder) -> Callable[..., list[str]]:
    """``lvcf predict`` of six clips into a folder."""

    def arguments(run: Path, *more: str) -> list[str]:
        folders = (echo_root, backbone_folder, target_folder)
        return predict_arguments(*folders, run, f"--model.tolerance={TOLERANCE}", *more)

    return arguments


def test_two_processes_finish_what_one_began(command, tmp_path) -> None:
    """Three batches of two, the first one done: the ranks compute one each, and both bits are those of one process."""
    alone, run = tmp_path / "alone", tmp_path / "run"
    assert main(command(alone)) == 0
    wanted = stable(alone)
    off = [abs(result["prediction_after"] - result["target"]["low"]) for result in wanted.values()]
    assert {distance <= TOLERANCE for distance in off} == {True, False}
    shutil.copytree(alone, run)
    kept, left = list(wanted)[:2], list(wanted)[2:]
    for name in left:
        shutil.rmtree(run / "predictions" / name)
    stamps = {p: p.stat().st_mtime_ns for name in kept for p in (run / "predictions" / name).iterdir()}
    process = start(command(run, "--trainer.devices=2", "--trainer.strategy=ddp"))
    printed, _ = ended(process)
    assert process.returncode == 0
    assert printed.count("6 clips: ") == 1  # rank 0 alone tells
    assert stable(run) == wanted
    assert {p: p.stat().st_mtime_ns for p in stamps} == stamps
    manifest = json.loads((run / "manifest.json").read_text())
    assert (manifest["ranks"], manifest["ids"]) == (2, list(wanted))
    assert not list((run / "predictions").glob(".*"))


def test_sigterm_stops_a_run_after_its_batch(command, tmp_path, monkeypatch, capfd) -> None:
    write = PredictionWriter.on_predict_batch_end

    def write_and_terminate(self: PredictionWriter, *arguments: Any) -> None:
        write(self, *arguments)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(PredictionWriter, "on_predict_batch_end", write_and_terminate)
    assert main(command(tmp_path / "run")) == 2
    assert "lvcf predict: stopped from outside; the same command goes on" in capfd.readouterr().err
    assert len(results(tmp_path / "run")) == 2


@pytest.mark.slow
def test_a_killed_rank_loses_only_what_it_was_at(command, tmp_path) -> None:
    """Two tasks as srun starts them: kill -9 hits the second; the first finishes its own batches and says so."""
    alone, run = tmp_path / "alone", tmp_path / "run"
    single = ("--data.batch_size=1", "--model.steps=6")
    assert main(command(alone, *single)) == 0
    names = list(results(alone))
    port, tasks = free_port(), []
    for rank in range(2):
        slurm = {"NTASKS": 2, "NTASKS_PER_NODE": 2, "NNODES": 1, "JOB_ID": 7, "NODEID": 0, "PROCID": rank}
        slurm |= {"LOCALID": rank, "JOB_NAME": "lvcf"}
        told_by_slurm = {f"SLURM_{key}": str(value) for key, value in slurm.items()}
        arguments = command(run, *single, "--trainer.devices=2")
        tasks.append(start(arguments, MASTER_PORT=port, **told_by_slurm))
    try:
        deadline = time.monotonic() + 600
        while time.monotonic() < deadline and not (run / "predictions" / names[1] / "result.json").exists():
            assert tasks[1].poll() is None
            time.sleep(0.005)
        tasks[1].send_signal(signal.SIGKILL)
        _, complaint = ended(tasks[0])
    finally:
        for task in tasks:
            task.kill()
            task.wait()
    assert tasks[0].returncode == 2
    assert "another process of the run has ended early; the same command" in complaint
    assert "Traceback" not in complaint
    survived = results(run)
    assert {names[0], names[1], names[2], names[4]} <= set(survived) < set(names)
    stamps = {name: (run / "predictions" / name / "result.json").stat().st_mtime_ns for name in survived}
    assert main(command(run, *single)) == 0
    assert {name: (run / "predictions" / name / "result.json").stat().st_mtime_ns for name in survived} == stamps
    assert stable(run) == stable(alone)


@pytest.mark.slow
def test_fewer_batches_than_ranks_are_told_once(command, tmp_path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--nproc_per_node=2", f"--master_port={free_port()}", "-m")
    process = start(command(tmp_path / "run", "--data.batch_size=8", "--trainer.devices=2"), *torchrun)
    _, complaint = ended(process)
    assert process.returncode != 0
    said = (
        "lvcf predict: 6 clips in batches of 8 are too few for 2 processes; lower --data.batch_size, --trainer.devices"
    )
    assert complaint.count("lvcf predict") == complaint.count(said) == 1
    assert results(tmp_path / "run") == {}


@pytest.mark.slow
def test_two_processes_train_one_denoiser(echo_root, backbone_folder, tmp_path) -> None:
    """Rank 0 alone encodes, writes checkpoints and saves; both see their own half of the batches."""
    latents = {"vae": str(backbone_folder / "vae"), "cache": str(tmp_path / "latents"), "windows": 1, "batch_size": 1}
    clips = {"root": str(echo_root), "size": 32, "batch_size": 2, "num_workers": 0}
    options = {f"data.{k}": v for k, v in latents.items()} | {f"data.clips.{k}": v for k, v in clips.items()}
    options |= {"model.backbone": "lvcf.models.backbones.ltx.ltx_backbone", "model.output": tmp_path / "saved"}
    options |= {"model.backbone.vae": backbone_folder / "vae"}  # else the configuration's stays
    options |= {"model.backbone.weights": backbone_folder, "trainer.default_root_dir": tmp_path / "root"}
    options |= {"trainer.devices": 2, "trainer.accelerator": "cpu", "trainer.precision": "32-true"}
    options |= {"trainer.max_steps": 2, "trainer.val_check_interval": 2, "trainer.logger": "false"}
    arguments = [f"--{key}={value}" for key, value in options.items()]
    checkpoints = f"--trainer.callbacks.init_args.dirpath={tmp_path / 'checkpoints'}"
    arguments += ["--trainer.callbacks=lightning.pytorch.callbacks.ModelCheckpoint", checkpoints]
    process = start(["fit", "--config", "phantom/denoiser.yaml", *arguments, "--trainer.enable_progress_bar=false"])
    _, complaint = ended(process)
    assert process.returncode == 0, complaint
    assert "2 processes" in complaint
    (checkpoint,) = (tmp_path / "checkpoints").glob("*.ckpt")
    assert torch.load(checkpoint, weights_only=False)["global_step"] == 2
    assert len(list((tmp_path / "latents").iterdir())) == 2  # train and val, no leftovers
    weights = "transformer/diffusion_pytorch_model.safetensors"
    before, after = load_file(backbone_folder / weights), load_file(tmp_path / "saved" / weights)
    assert any(bool((before[name] != after[name]).any()) for name in before)
    assert all(bool(value.isfinite().all()) for value in after.values())


SHARES = [([False] * 7, 2), ([False] * 7, 3), ([True] * 5, 2), ([True, False, True, False, False, True, False], 2)]


@pytest.mark.parametrize(("finished", "size"), SHARES)
def test_every_batch_has_one_rank_and_the_unfinished_ones_are_dealt_evenly(finished, size) -> None:
    shares = [share(finished, rank, size) for rank in range(size)]
    assert sorted(itertools.chain(*shares)) == list(range(len(finished)))
    assert all(batches == sorted(batches) and batches for batches in shares)
    left = [sum(not finished[batch] for batch in batches) for batches in shares]
    assert max(left) - min(left) <= 1


def test_one_process_goes_through_its_batches_in_order() -> None:
    assert share([True, False, True, False], 0, 1) == [0, 1, 2, 3]


class Named(ClipDataset):
    """Names without clips."""

    def __init__(self, n: int) -> None:
        self.ids = [f"clip{i}" for i in range(n)]

    def __len__(self) -> int:
        return len(self.ids)


class NamedModule(ClipDataModule):
    def make_dataset(self, stage: str) -> Named:
        return Named(7)


def test_a_ranks_batches_are_whole_batches_of_the_run() -> None:
    """The batches that torch's own sampler makes of a rank's places are those of one process; the short one is last."""
    whole = [[0, 1, 2], [3, 4, 5], [6]]
    for mine in ([0, 2], [1], [1, 2]):
        places = list(WholeBatches(Named(7), 3, mine))
        assert [places[i : i + 3] for i in range(0, len(places), 3)] == [whole[batch] for batch in mine]


def strategy_of(finished: list[bool]) -> SimpleNamespace:
    """A strategy by which rank 0 tells its view."""
    return SimpleNamespace(broadcast=lambda _: finished)


def test_rank_0s_view_of_what_is_finished_holds_for_all() -> None:
    """A file system that lags on another machine must neither lose nor double a batch."""
    dealt = []
    for rank in range(2):
        module = NamedModule(2, 0)
        module.is_finished = lambda name, rank=rank: rank == 1 and name in ("clip0", "clip1")
        strategy = strategy_of([False, False, True, False])
        module.trainer = SimpleNamespace(strategy=strategy, global_rank=rank, world_size=2)
        dealt += list(module.predict_dataloader().sampler)
    assert sorted(dealt) == list(range(7))


@pytest.mark.parametrize(("loader", "batch_size", "size"), [("predict", 4, 3), ("train", 4, 2), ("train", 8, 1)])
def test_too_few_clips(loader, batch_size, size) -> None:
    module = NamedModule(batch_size, 0)
    module.trainer = SimpleNamespace(strategy=strategy_of([]), global_rank=0, world_size=size)
    with pytest.raises(
        UserError, match=f"7 clips in batches of {batch_size} are too few for .*; lower --data.batch_size"
    ):
        getattr(module, f"{loader}_dataloader")()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [({}, 0), ({"LOCAL_RANK": "1"}, 1), ({"RANK": "9", "LOCAL_RANK": "1"}, 9), ({"SLURM_PROCID": "3"}, 3)],
)
def test_the_rank_is_what_the_launcher_says(variables, expected, monkeypatch) -> None:
    for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert ranks.rank() == expected


CHILD = "import sys, time; from lvcf.cli import main; print('up', flush=True); sys.stdin.read(1); main(['nonsense'])"
PARENT = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {CHILD!r}]).wait()"


@pytest.mark.parametrize(("rank", "silent"), [("0", False), ("1", True)])
def test_a_later_rank_leaves_the_talking_to_the_first_one_that_ended(rank, silent) -> None:
    """A real parent and child: the parent is killed, then the child runs into a user's mistake."""
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    process = subprocess.Popen(
        [sys.executable, "-c", PARENT], cwd=ROOT, env=environment(LOCAL_RANK=rank), text=True, **pipes
    )
    assert process.stdout.readline() == "up\n"
    process.kill()
    _, complaint = process.communicate("x", timeout=30)
    assert told(complaint) == ([] if silent else [complaint.strip()])
    assert silent or "unknown verb 'nonsense'" in complaint


def test_a_later_rank_whose_parent_goes_on_tells_its_own_mistake(monkeypatch, capsys) -> None:
    monkeypatch.setenv("LOCAL_RANK", "3")
    monkeypatch.setattr(ranks, "PATIENCE", 0.0)
    monkeypatch.delenv("RANK", raising=False)
    assert main(["nonsense"]) == 2
    assert capsys.readouterr().err.startswith("lvcf nonsense (rank 3): unknown verb")
