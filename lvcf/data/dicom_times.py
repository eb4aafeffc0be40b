"""When a DICOM file's frames are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from lvcf.errors import UserError

Numbers = NDArray[np.float64]


def frame_times(path: Path, dataset: Dataset, count: int) -> Numbers:
    """Presentation times in seconds, from 0.

    What FrameIncrementPointer names counts first, then FrameTimeVector, FrameTime (both ms), CineRate and
    RecommendedDisplayFrameRate.  One that tells no time for every frame, or none above 0, is passed over.

    Raises:
        UserError: none tells.
    """
    pointed = {int(Tag(tag)) for tag in np.atleast_1d(dataset.get("FrameIncrementPointer") or []).tolist()}
    ordered = sorted(STATEMENTS, key=lambda name: int(Tag(name)) not in pointed)
    for name in ordered:
        stated = np.atleast_1d(np.asarray(dataset.get(name) or [], dtype=np.float64))
        times = STATEMENTS[name](stated, count) if stated.any() else None
        if times is not None and np.isfinite(times).all() and (np.diff(times) > 0.0).all():
            return times
    there = [f"{name} {str(dataset.get(name))[:40]}" for name in STATEMENTS if dataset.get(name) is not None]
    raise UserError(
        f"{path}: states no frame time for {count} frames ({', '.join(there) or 'none of ' + ', '.join(STATEMENTS)}); "
        "correct or add FrameTime"
    )


def _by_vector(stated: Numbers, count: int) -> Numbers | None:
    """One increment for every frame, the first's without meaning, or one between every two."""
    if len(stated) not in (count, count - 1):
        return None
    return np.asarray(np.cumsum([0.0, *stated[-(count - 1) :]]) / 1000.0, dtype=np.float64)


def _by_interval(stated: Numbers, count: int) -> Numbers | None:
    return np.asarray(np.arange(count) * (stated[0] / 1000.0), dtype=np.float64)


def _by_rate(stated: Numbers, count: int) -> Numbers | None:
    return np.asarray(np.arange(count) / stated[0], dtype=np.float64)


STATEMENTS: dict[str, Callable[[Numbers, int], Numbers | None]] = {
    "FrameTimeVector": _by_vector,
    "FrameTime": _by_interval,
    "CineRate": _by_rate,
    "RecommendedDisplayFrameRate": _by_rate,
}
"""In the order in which they count."""
