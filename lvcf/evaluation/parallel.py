"""Many clips measured at once, a process per core."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lvcf.errors import UserError
from lvcf.evaluation.rows import Row
from lvcf.run_folder import Prediction

Measure = Callable[[Prediction], Row]
CLIPS_PER_PROCESS = 4
"""Fewer are not worth a process."""


class _Rows(Dataset[Row | UserError]):
    """A user's mistake is handed over whole: a loader's worker would wrap it into a traceback."""

    def __init__(self, measure: Measure, predictions: list[Prediction]) -> None:
        self.measure, self.predictions = measure, predictions

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, index: int) -> Row | UserError:
        try:
            return self.measure(self.predictions[index])
        except UserError as problem:
            return problem


def measure_each(measure: Measure, predictions: list[Prediction]) -> Iterator[Row]:
    """The row of every prediction, in order.

    Raises:
        UserError: the measure's.
    """
    rows = _Rows(measure, predictions)
    loader = DataLoader(rows, batch_size=None, num_workers=_processes(len(rows)), collate_fn=_as_it_is)
    for row in tqdm(loader, desc="evaluate", unit="clip"):
        if isinstance(row, UserError):
            raise row
        yield row


def _processes(clips: int) -> int:
    """Beside this one; none where processes do not start as copies of it, or would share its GPU."""
    if not hasattr(os, "sched_getaffinity") or torch.cuda.is_initialized():
        return 0
    processes = min(len(os.sched_getaffinity(0)), clips // CLIPS_PER_PROCESS)
    return processes if processes > 1 else 0


def _as_it_is(row: Row | UserError) -> Row | UserError:
    return row
