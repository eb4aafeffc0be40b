"""docs/cluster.md and docs/slurm: commands are understood, scripts do what they say with a stand-in SLURM."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lvcf.cli import main
from tests.helpers import ROOT, parse, predict_arguments, results
from tests.test_ranks import environment, stable

GUIDE = ROOT / "docs" / "cluster.md"
SCRIPTS = sorted((ROOT / "docs" / "slurm").glob("*.sbatch"))
ARRAY = ROOT / "docs" / "slurm" / "predict_array.sbatch"
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


@pytest.mark.parametrize("path", [path for path in SCRIPTS if path != ARRAY], ids=lambda path: path.name)
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


def task(number: int, count: int, **more: str) -> dict[str, str]:
    """What SLURM tells the job of an array, beside the folder that holds stand-ins."""
    told = {"ARRAY_JOB_ID": 42, "ARRAY_TASK_ID": number, "ARRAY_TASK_COUNT": count, "CPUS_PER_TASK": 1, "NTASKS": 1}
    told |= {"JOB_ID": 42 + number, "PROCID": 0, "LOCALID": 0, "NODEID": 0, "JOB_NAME": "lvcf-predict"}
    return environment(**{f"SLURM_{name}": str(value) for name, value in told.items()}, **more)


def test_a_job_of_the_array_makes_its_shard_and_queues_itself_again(cluster, tmp_path) -> None:
    stand_in(tmp_path, "lvcf", f'printf "%s\\n" "$@" > {tmp_path}/asked; exec sleep 2')
    started = time.monotonic()
    command = ["bash", str(ARRAY), "--config", "phantom.yaml", "--model.output", "a b"]
    process = subprocess.Popen(command, env=task(2, 8, PATH=cluster["PATH"]), cwd=tmp_path)
    while not (tmp_path / "asked").exists() and time.monotonic() < started + 60:
        time.sleep(0.02)
    time.sleep(0.2)  # the script is at its wait
    process.send_signal(signal.SIGUSR1)
    assert process.wait(timeout=60) == 0
    assert time.monotonic() - started > 2
    assert (tmp_path / "requeued").read_text() == "requeue 42_2\n"
    config = parse((tmp_path / "asked").read_text().splitlines())
    assert (config.shard, config.model.init_args.output, int(config.trainer.devices)) == ("2/8", Path("a b"), 1)
    assert directives(ARRAY)["signal"].startswith("B:USR1@")
    assert directives(ARRAY)["array"].startswith("1-")


@pytest.mark.slow  # four starts of lvcf
def test_the_array_makes_the_run_of_one_process(echo_root, backbone_folder, target_folder, tmp_path) -> None:
    """The script itself, with what SLURM would tell each of three jobs: six clips in three batches."""
    folders = (echo_root, backbone_folder, target_folder)
    verb, *options = predict_arguments(*folders, tmp_path / "run")
    stand_in(tmp_path, "lvcf", f'exec {sys.executable} -m lvcf "$@"')
    for number in (3, 1, 2):
        path = f"{tmp_path}:{os.environ['PATH']}"
        job = subprocess.run(["bash", str(ARRAY), *options], env=task(number, 3, PATH=path), cwd=tmp_path, check=False)
        assert job.returncode == 0
    assert verb == "predict"
    assert main(predict_arguments(*folders, tmp_path / "alone")) == 0
    assert len(results(tmp_path / "run")) == 6
    assert stable(tmp_path / "run") == stable(tmp_path / "alone")
