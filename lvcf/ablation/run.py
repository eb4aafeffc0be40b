"""Running one cell of an ablation: two processes, a log, and a mark where it failed."""

from __future__ import annotations

import fcntl
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import yaml

from lvcf.ablation.cells import Cell, slug
from lvcf.files import write_json

FINE = (0, 1)
"""Exit codes after which a run counts: 1 says that a clip failed, which metrics.json counts."""


def commands(folder: Path, options: Sequence[str]) -> list[list[str]]:
    """What a cell runs; processes, since Lightning's launcher re-executes sys.argv.

    Args:
        folder: the cell's.
        options: for ``lvcf evaluate``.
    """
    lvcf = [sys.executable, "-m", "lvcf"]
    return [
        [*lvcf, "predict", "--config", str(folder / "cell.yaml")],
        [*lvcf, "evaluate", str(folder), *options],
    ]


def run_cell(cell: Cell, output: Path, options: Sequence[str] = ()) -> bool:
    """Predict and evaluate one cell unless that is done; returns whether it stands.

    A cell that another process works on is waited for: a killed ablation's last process may still write there.
    """
    name, section = cell
    folder = output / slug(name)
    asked = yaml.safe_dump({"predict": section} | ({"evaluate": {"options": list(options)}} if options else {}))
    folder.mkdir(parents=True, exist_ok=True)
    metrics, written = folder / "metrics.json", folder / "cell.yaml"
    with locked(folder / ".lock", f"ablate: {name}: another process is at work on it; waiting") as lock:
        if metrics.exists() and written.exists() and written.read_text() == asked:
            return True
        written.write_text(asked)
        for old in (metrics, folder / "failed.json"):
            old.unlink(missing_ok=True)
        print(f"ablate: {name}", flush=True)
        with (folder / "log.txt").open("a") as log:
            for command in commands(folder, options):
                done = subprocess.run(command, stdout=log, stderr=log, check=False, pass_fds=[lock])
                if done.returncode not in FINE:
                    break
        if not metrics.exists():
            write_json(folder / "failed.json", {"command": shlex.join(command), "exit_code": done.returncode})
        return metrics.exists()


@contextmanager
def locked(path: Path, waiting: str = "") -> Iterator[int]:
    """Hold a lock file, after waiting for it; gives its descriptor: a process that inherits it holds it too."""
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                print(waiting, flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream.fileno()
