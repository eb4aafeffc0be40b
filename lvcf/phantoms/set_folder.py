"""What writing a simulated set has in common: ``Factors.csv``, and the clips that are not there yet."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

from tqdm import tqdm

from lvcf.errors import UserError
from lvcf.files import write_rows
from lvcf.runs.ranks import serve

F = TypeVar("F")
Marker = Literal["none", "label", "random", "alone"]
"""The planted corner marker: absent, telling the label (a shortcut), of a random class, telling nothing, or of a random
class that is the clip's label whatever it shows: the marker alone tells it."""
RANDOM: tuple[Marker, ...] = ("random", "alone")
"""Markers of a random class."""


def known_class(name: str, classes: tuple[str, ...]) -> str:
    """The phantom's class of this name, whatever its index is to the model explained.

    Raises:
        UserError: the phantom shows no such class.
    """
    by_name = {known.lower(): known for known in classes}
    if name.lower() not in by_name:
        raise UserError(f"target '{name}': the phantom shows no such class; it has {', '.join(classes)}")
    return by_name[name.lower()]


def write_factors(out: Path, rows: list[dict[str, Any]]) -> None:
    """Make the set's folder with its ``Factors.csv``.

    Raises:
        UserError: ``out`` holds a set made with other settings.
    """
    out.mkdir(parents=True, exist_ok=True)
    if (out / "Factors.csv").exists() and read_rows(out) != rows:
        raise UserError(f"{out}: holds a set made with another --n, --seed or --marker; choose another --out")
    write_rows(out / "Factors.csv", rows)


def read_rows(root: Path) -> list[dict[str, str]]:
    """The rows of a set's ``Factors.csv``; none of a real set."""
    path = root / "Factors.csv"
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def write_missing(clips: Mapping[Path, F], write: Callable[[Path, F], None], title: str) -> None:
    """Write the clips whose path is not there, on all processors: a killed run goes on.

    Args:
        clips: factors by path.
        write: makes one clip; a picklable function under whose hands the path appears complete.
        title: of the progress bar.
    """
    todo = [(path, factors) for path, factors in clips.items() if not path.exists()]
    with ProcessPoolExecutor(os.cpu_count(), initializer=serve) as pool:
        jobs = pool.map(write, *zip(*todo, strict=True), chunksize=4) if todo else iter(())
        for _ in tqdm(jobs, total=len(todo), desc=title, unit="clip", disable=None):
            pass
