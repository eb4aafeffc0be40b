"""docs/cluster.md and docs/slurm: commands are understood, scripts do what they say with a stand-in SLURM."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.helpers import ROOT, parse

GUIDE = ROOT / "docs" / "cluster.md"
SCRIPTS = sorted((ROOT / "docs" / "slurm").glob("*.sbatch"))
SLURM = {"SLURM_JOB_ID": "42", "SLURM_NTASKS_PER_NODE": "4", "SLURM_NNODES": "2", "SLURM_CPUS_PER_TASK": "8"}


def script(name: str) -> Path:
    return ROOT / "docs" / "slurm" / f"{name}.sbatch"


def directives(path: Path) -> dict[str, str]:
    lines = re.findall(r"^#SBATCH --(\S+)$", path.read_text(), flags=re.MULTILINE)
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


def stand_in(folder: Path, name: str, code: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/bash\n{code}\n")
    path.chmod(0o755)


@pytest.fixture
def cluster(tmp_path) -> dict[str, str]:
    """srun notes what it is asked and takes its time; scontrol notes what it is asked."""
    stand_in(tmp_path, "srun", f'printf "%s\\n" "$@" > {tmp_path}/asked; exec sleep "${{SRUN_SECONDS:-0}}"')
    stand_in(tmp_path, "scontrol", f'echo "$@" > {tmp_path}/requeued')
    return {**os.environ, **SLURM, "PATH": f"{tmp_path}:{os.environ['PATH']}"}


def lvcf_arguments(words: list[str]) -> list[str]:
    return words[words.index("lvcf") + 1 :]


def guide_commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```", GUIDE.read_text(), flags=re.DOTALL | re.MULTILINE)
    return [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]


@pytest.mark.parametrize("words", guide_commands(), ids=lambda words: " ".join(words)[:40])
def test_every_command_of_the_guide_is_understood(words) -> None:
    if words[0] == "sbatch":
        assert (ROOT / words[1]).is_file()
        return
    config = parse(lvcf_arguments(words))
    asked = int(config.trainer.devices) * config.trainer.num_nodes
    if words[0] == "torchrun":
        started = [int(words[words.index(f"--{name}") + 1]) for name in ("nnodes", "nproc-per-node")]
        assert started[0] * started[1] == asked
    assert asked > 1


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_scripts_start_one_task_per_device_and_lvcf_understands_them(path, cluster, tmp_path) -> None:
    asked = directives(path)
    assert asked["ntasks-per-node"] == asked["gpus-per-node"] == SLURM["SLURM_NTASKS_PER_NODE"]
    assert asked["nodes"] == SLURM["SLURM_NNODES"]
    assert {"requeue", "signal", "time", "open-mode"} <= set(asked)
    assert subprocess.run(["bash", str(path)], env=cluster, cwd=tmp_path, check=False).returncode == 0
    words = (tmp_path / "asked").read_text().splitlines()
    assert {"--kill-on-bad-exit=1", "--cpus-per-task=8"} <= set(words[: words.index("lvcf")])
    config = parse(lvcf_arguments(words))
    assert (int(config.trainer.devices), config.trainer.num_nodes, config.trainer.strategy) == (4, 2, "ddp")
    assert not (tmp_path / "requeued").exists()


def test_predict_queues_itself_again_and_waits_for_what_slurm_does(cluster, tmp_path) -> None:
    """The signal neither ends the script nor srun: SLURM does, when it has queued the job."""
    started = time.monotonic()
    process = subprocess.Popen(["bash", str(script("predict"))], env={**cluster, "SRUN_SECONDS": "2"}, cwd=tmp_path)
    while not (tmp_path / "asked").exists() and time.monotonic() < started + 60:
        time.sleep(0.02)
    time.sleep(0.2)  # the script is at its wait
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 0
    assert (tmp_path / "requeued").read_text() == "requeue 42\n"
    assert time.monotonic() - started > 2
    assert directives(script("predict"))["signal"].startswith("B:USR1@")  # to the script


def test_predict_ends_with_sruns_exit_code(cluster, tmp_path) -> None:
    stand_in(tmp_path, "srun", "exit 2")
    assert subprocess.run(["bash", str(script("predict"))], env=cluster, cwd=tmp_path, check=False).returncode == 2


def test_fit_leaves_the_signal_to_lightning_and_gives_each_job_a_folder_of_its_own(cluster, tmp_path) -> None:
    assert directives(script("fit"))["signal"].startswith("USR1@")  # to the tasks
    subprocess.run(["bash", str(script("fit"))], env=cluster, cwd=tmp_path, check=True)
    words = (tmp_path / "asked").read_text().splitlines()
    assert parse(lvcf_arguments(words)).trainer.default_root_dir == "runs/slurm/42"
