"""``lvcf predict --shard i/n``: processes that know nothing of each other make the run that one makes."""

from __future__ import annotations

import itertools
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from lightning import LightningDataModule

from lvcf.cli import main
from lvcf.runs.shards import without_shard
from tests.helpers import ROOT, fails, predict_arguments, results
from tests.test_ranks import NamedModule, ended, stable, start, strategy_of

HOLD = """import pathlib, sys
from lvcf.runs.lock import locked
with locked(pathlib.Path(sys.argv[1]), "--model.output", range(0, 2)):
    print("held", flush=True)
    sys.stdin.read()"""


class Whole(LightningDataModule):
    """A user's own data module, which is predicted as a whole."""

    def __init__(self, root: Path, size: int, batch_size: int, predict_split: str = "all") -> None:
        super().__init__()


@pytest.fixture(scope="module")
def command(echo_root, backbone_folder, target_folder) -> Callable[..., list[str]]:
    """``lvcf predict`` of six clips in three batches into a folder."""

    def arguments(run: Path, *more: str) -> list[str]:
        return predict_arguments(echo_root, backbone_folder, target_folder, run, *more)

    return arguments


@pytest.fixture(scope="module")
def alone(command, tmp_path_factory) -> Path:
    """The run as one process makes it.  Read only."""
    run = tmp_path_factory.mktemp("alone") / "run"
    assert main(command(run)) == 0
    return run


def described(run: Path) -> tuple[dict, dict]:
    """What a run's folder says of the whole run, without its own name."""
    manifest = json.loads((run / "manifest.json").read_text())
    configuration = yaml.safe_load((run / "config.yaml").read_text())
    del manifest["command"], configuration["model"]["init_args"]["output"]
    return manifest, configuration


def test_shards_one_after_the_other_make_the_run_of_one_process(command, alone, tmp_path, capsys) -> None:
    run, wanted = tmp_path / "run", stable(alone)
    names = list(wanted)
    assert main(command(run, "--shard", "2/3")) == 0
    told = capsys.readouterr().out
    assert f"{run}: shard 2/3: 2 clips: " in told
    assert "2 of 6 clips are there; lvcf evaluate and lvcf report when all shards are done" in told
    assert list(results(run)) == names[2:4]
    assert described(run) == described(alone)
    assert main(["evaluate", str(run)]) == 0
    assert "2 of 6 clips; run lvcf predict again" in capsys.readouterr().out
    for shard in ("1/3", "3/3"):
        assert main(command(run, f"--shard={shard}")) == 0
    assert f"next: lvcf evaluate {run}" in capsys.readouterr().out
    assert stable(run) == wanted
    assert described(run) == described(alone)
    assert not list((run / "predictions").glob(".*"))
    assert main(["evaluate", str(run)]) == 0
    assert "unfinished" not in json.loads((run / "metrics.json").read_text())


def test_a_shard_tells_its_own_clips_and_their_failures_alone(command, echo_root, tmp_path, capsys) -> None:
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(echo_root, data)
    first = min(path.stem for path in (data / "Videos").iterdir())
    (data / "Videos" / f"{first}.avi").write_bytes(b"no video")
    options = [f"--data.root={data}", "--model.steps=1"]
    assert main(command(run, *options, "--shard=1/2")) == 1
    assert "1 failed" in capsys.readouterr().out
    assert main(command(run, *options, "--shard=2/2")) == 0
    assert "failed" not in capsys.readouterr().out


@pytest.mark.slow
def test_two_shards_at_once_of_which_one_is_killed(command, alone, tmp_path) -> None:
    """The other one makes its clips; started again, the killed one makes what is left of its own."""
    run, wanted = tmp_path / "run", stable(alone)
    shards = [start(command(run, "--shard", f"{i}/2")) for i in (1, 2)]
    try:
        while len(list(run.glob("predictions/*/result.json"))) < 1:
            assert shards[1].poll() is None
            time.sleep(0.005)
        shards[1].send_signal(signal.SIGKILL)
        ended(shards[0])
    finally:
        for shard in shards:
            shard.kill()
            shard.wait()
    assert [shard.returncode for shard in shards] == [0, -signal.SIGKILL]
    survived = {path: path.stat().st_mtime_ns for path in run.glob("predictions/*/result.json")}
    assert set(list(wanted)[:2]) <= set(results(run)) < set(wanted)
    assert main(command(run, "--shard", "2/2")) == 0
    assert stable(run) == wanted
    assert {path: path.stat().st_mtime_ns for path in survived} == survived


def test_clips_that_another_process_makes_are_refused_and_others_are_made(command, alone, tmp_path, capfd) -> None:
    run, pipes = tmp_path / "run", {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(run)], cwd=ROOT, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        for more in ([], ["--shard=1/3"], ["--shard=1/2"]):
            assert "another lvcf is writing here" in fails(capfd, command(run, *more))
        assert main(command(run, "--shard=2/3")) == 0
        other.kill()
    assert list(results(run)) == list(results(alone))[2:4]


def test_a_shard_of_another_run_is_refused(command, alone, capfd) -> None:
    line = fails(capfd, command(alone, "--shard=1/2", "--model.seed=1"))
    assert "holds a run with another seed; choose another --model.output" in line


BAD = {
    "--shard=0/2": "--shard 0/2: write i/n with i from 1 to n, such as 1/4",
    "--shard=3/2": "--shard 3/2: write i/n",
    "--shard=1": "--shard 1: write i/n",
    "--shard=1/4": "--shard 1/4: 3 batches of data.batch_size 2 make 3 parts at most; lower n",
}


@pytest.mark.parametrize("option", BAD)
def test_a_shard_that_cannot_be_is_refused(option, command, tmp_path, capfd) -> None:
    assert BAD[option] in fails(capfd, command(tmp_path / "run", option))
    assert not (tmp_path / "run" / "predictions").exists()


def test_a_data_module_of_ones_own_has_no_parts(command, tmp_path, capfd) -> None:
    line = fails(capfd, command(tmp_path / "run", "--data=tests.test_shards.Whole", "--shard=1/2"))
    assert "--shard: Whole is no ClipDataModule, so it has no parts; leave --shard out" in line


def test_a_training_has_no_shards(capfd) -> None:
    assert "--shard" in fails(capfd, ["fit", "--config", "phantom/target.yaml", "--shard=1/2"])


@pytest.mark.parametrize(("shards", "ranks"), [(1, 1), (2, 1), (2, 2), (4, 1)])
def test_every_batch_has_one_rank_of_one_shard(shards, ranks) -> None:
    dealt, clips = [], []
    for shard, rank in itertools.product(range(1, shards + 1), range(ranks)):
        module = NamedModule(2, 0)
        module.shard = (shard, shards)
        unfinished = strategy_of([False] * -(-len(module.shard_clips(7)) // 2))
        module.trainer = SimpleNamespace(strategy=unfinished, global_rank=rank, world_size=ranks)
        dealt += [list(module.predict_dataloader().sampler)]
        clips += [set(module.shard_clips(7))]
    assert sorted(itertools.chain(*dealt)) == list(range(7))
    assert all(set(places) <= ours for places, ours in zip(dealt, clips, strict=True))
    assert all(places[0] % 2 == 0 for places in dealt)  # whole batches


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [(["a", "--shard", "1/2", "b"], ["a", "b"]), (["--shard=1/2", "--shards", "x"], ["--shards", "x"]), ([], [])],
)
def test_the_manifests_command_is_that_of_all_shards(arguments, kept) -> None:
    assert without_shard(arguments) == kept
