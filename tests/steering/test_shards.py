"""``lvcf steer --shard i/n``: several processes make the run that one makes, every clip once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvcf.cli import main
from lvcf.errors import UserError
from lvcf.runs.lock import locked
from lvcf.runs.shards import parse_shard, part_of
from tests.helpers import ROOT, fails
from tests.steering import bands

COSTS = ("seconds", "peak_memory_bytes")
HOLD = """import pathlib, sys
from lvcf.runs.lock import locked
with locked(pathlib.Path(sys.argv[1]), "output", range(0, 1)):
    print("held", flush=True)
    sys.stdin.read()"""


@pytest.fixture
def section(tmp_path, monkeypatch) -> dict[str, Any]:
    """Two clips; without ``output``, which the command line says.  This process waits for no other."""
    monkeypatch.setenv("HERE", str(tmp_path))
    monkeypatch.setenv("PROCESSES", "1")
    content = bands.section(tmp_path) | {"methods": ["graph", "steered"]}
    content["editor"] = {"class_path": "tests.steering.odd.MeetingEditor", "init_args": {"needs": ["old very old"]}}
    del content["output"]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"steer": content}))
    return content


def arguments(folder: Path, run: str, *more: str) -> list[str]:
    return ["steer", "--config", str(folder / "mine.yaml"), "--output", str(folder / run), *more]


def start(folder: Path, run: str, *more: str) -> subprocess.Popen[str]:
    """One of two processes whose editors begin together; one of them is killed."""
    (folder / "here").mkdir(exist_ok=True)
    (folder / "here" / "kill").touch()
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HERE": str(folder / "here"), "PROCESSES": "2"}
    command = [sys.executable, "-m", "lvcf", *arguments(folder, run, *more)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.Popen(command, cwd=ROOT, env=environment, **pipes)


def ended(process: subprocess.Popen[str]) -> str:
    """What it printed."""
    try:
        return process.communicate(timeout=300)[0]
    finally:
        process.kill()


def kept(run: Path) -> dict[str, Any]:
    """Every file of a run, without what two runs may differ in: names of folders and costs."""
    files = {str(path.relative_to(run)): path for path in sorted(run.rglob("*")) if path.is_file()}
    return {name: _content(path, run) for name, path in files.items() if not name.endswith(".csv")}


def _content(path: Path, run: Path) -> Any:
    if path.suffix == ".json":
        return _told(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [_told(json.loads(line)) for line in path.read_text().splitlines()]
    return path.read_bytes().replace(str(run).encode(), b"run")


def _told(content: Any) -> Any:
    if isinstance(content, dict):
        named = {key: value for key, value in content.items() if not any(cost in key for cost in COSTS)}
        return {key: _told(value) for key, value in named.items()}
    return [_told(value) for value in content] if isinstance(content, list) else content


@pytest.mark.slow
def test_two_processes_at_once_make_the_run_of_one(section, tmp_path) -> None:
    assert main(arguments(tmp_path, "alone")) == 0
    wanted = kept(tmp_path / "alone")
    shards = [start(tmp_path, "run", "--shard", f"{i}/2") for i in (1, 2)]
    printed = [ended(process) for process in shards]
    assert sorted(process.returncode for process in shards) == [-9, 0], printed
    killed = 1 + (shards[1].returncode == -9)
    assert "of 8 clips; run lvcf steer again" in printed[2 - killed]
    half = kept(tmp_path / "run")
    assert 0 < sum(name.endswith("calls.jsonl") for name in half) < sum(name.endswith("calls.jsonl") for name in wanted)
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("result.json")}
    assert main(arguments(tmp_path, "run", "--shard", f"{killed}/2")) == 0
    assert kept(tmp_path / "run") == wanted
    assert {path: path.stat().st_mtime_ns for path in stamps} == stamps


def test_a_clip_that_another_process_makes_is_refused_and_others_are_made(section, tmp_path, capfd) -> None:
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "run")], cwd=ROOT, **pipes) as other:
        assert other.stdout.readline() == "held\n"
        for more in ([], ["--shard", "1/2"]):
            assert "another lvcf is writing here" in fails(capfd, arguments(tmp_path, "run", *more))
        assert not (tmp_path / "run" / "manifest.json").exists()
        assert main(arguments(tmp_path, "run", "--shard", "2/2")) == 0
        other.kill()
    assert {path.parent.name.partition(".")[0] for path in (tmp_path / "run").rglob("result.json")} == {"two"}


def test_shards_are_all_clips_once_and_nearly_as_many() -> None:
    for clips, n in ((1, 1), (7, 3), (8, 4), (100, 7)):
        parts = [part_of(clips, (i, n)) for i in range(1, n + 1)]
        assert [place for part in parts for place in part] == list(range(clips))
        assert {len(part) for part in parts} <= {clips // n, -(-clips // n)}
    assert parse_shard("2/3") == (2, 3)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1/0", "1", "1/2/3", "a/b", "-1/2", ""])
def test_a_shard_that_is_none_is_refused(text, section, tmp_path, capfd) -> None:
    assert "such as 1/4" in fails(capfd, arguments(tmp_path, "run", f"--shard={text}"))
    assert not (tmp_path / "run").exists()


def test_more_shards_than_clips_are_refused(section, tmp_path, capfd) -> None:
    assert "--shard 1/3: 2 clips make 2 parts at most" in fails(capfd, arguments(tmp_path, "run", "--shard", "1/3"))


def test_a_shard_holds_its_own_clips_alone(tmp_path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with locked(tmp_path, "output", range(1, 9)):
            pass
        for clips in (range(0, 1), range(0, 9), range(0)):
            with pytest.raises(UserError, match="another lvcf is writing here"), locked(tmp_path, "output", clips):
                pass
        other.kill()
