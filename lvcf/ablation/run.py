"""Running one cell of an ablation: two processes, a log, and a mark where it failed."""

from __future__ import annotations

import shlex
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from lvcf.ablation.cells import Cell, slug
from lvcf.files import read_optional, write_json
from lvcf.runs.lock import waited_for

FINE = (0, 1)
"""Exit codes after which a run counts: 1 says that a clip failed, which metrics.json counts."""
INTERRUPTED = (128 + signal.SIGINT, -signal.SIGINT)
"""Exit codes of a run that Ctrl-C ended: the user wants no further cell."""


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
    written = folder / "cell.yaml"
    with waited_for(folder / ".lock", f"ablate: {name}: another process is at work on it; waiting") as lock:
        same = written.exists() and written.read_text(encoding="utf-8", errors="replace") == asked
        if same and is_whole(folder, section):
            return True
        written.write_text(asked, encoding="utf-8")
        for old in (folder / "metrics.json", folder / "failed.json"):
            old.unlink(missing_ok=True)
        print(f"ablate: {name}", flush=True)
        with (folder / "log.txt").open("a") as log:
            for command in commands(folder, options):
                done = subprocess.run(command, stdout=log, stderr=log, check=False, pass_fds=[lock])
                if done.returncode in INTERRUPTED:
                    raise KeyboardInterrupt
                if done.returncode not in FINE:
                    break
        whole = is_whole(folder, section)
        if not whole:
            write_json(folder / "failed.json", {"command": shlex.join(command), "exit_code": done.returncode})
        return whole


def is_whole(folder: Path, section: dict[str, Any]) -> bool:
    """Whether a cell's metrics count every clip that it was to explain.

    Args:
        folder: the cell's.
        section: its ``predict`` section.
    """
    metrics, manifest = read_optional(folder / "metrics.json"), read_optional(folder / "manifest.json")
    if not isinstance(metrics, dict) or not isinstance(manifest, dict) or not isinstance(manifest.get("ids"), list):
        return False
    clips, limit = len(manifest["ids"]), section["trainer"].get("limit_predict_batches")
    if isinstance(limit, int):
        clips = min(clips, limit * manifest["batch_size"] * manifest.get("ranks", 1))
    return bool(metrics.get("n", 0) + metrics.get("failed", 0) == clips)
