"""Averages over the cells of a grid, which need not divide what is averaged.  Light: no torch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


def cell_means(values: NDArray[Any], cells: Sequence[int]) -> Floats:
    """The mean in every cell of a grid over the last axes; the mean of all cells is the mean of all values.

    Args:
        values: ``(..., n_1, ..., n_k)``.
        cells: how many along each of the last k axes; more than values repeat them.

    Returns:
        ``(..., cells_1, ..., cells_k)``.
    """
    found = values.astype(np.float32)
    for axis, count in enumerate(cells, start=found.ndim - len(cells)):
        if count != found.shape[axis]:
            found = np.moveaxis(np.tensordot(_overlaps(found.shape[axis], count), found, (1, axis)), 0, axis)
    return found


@lru_cache(maxsize=32)
def _overlaps(size: int, cells: int) -> Floats:
    """``(cells, size)``: which share of a cell each value covers."""
    ends, edges = np.arange(size + 1) / size, np.arange(cells + 1) / cells
    starts = np.maximum(edges[:-1, None], ends[:-1])
    stops = np.minimum(edges[1:, None], ends[1:])
    return np.asarray(np.clip(stops - starts, 0, None) * cells, dtype=np.float32)
