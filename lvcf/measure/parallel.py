"""Many clips measured at once, a process per core."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lvcf.errors import UserError
from lvcf.measure.table import Line
from lvcf.runs.folder import Prediction

Measure = Callable[[Prediction], Line]
CLIPS_PER_PROCESS = 4
"""Fewer are not worth a process."""


class _Rows(Dataset[Line | UserError | OSError]):
    """What the command line tells in a sentence is handed over whole: a worker would wrap it into a traceback."""

    def __init__(self, measure: Measure, predictions: list[Prediction]) -> None:
        self.measure, self.predictions = measure, predictions

    def __len__(self) -> int:
        return len(self.predictions)

    def __getitem__(self, index: int) -> Line | UserError | OSError:
        try:
            return self.measure(self.predictions[index])
        except (UserError, OSError) as problem:
            return problem


def measure_each(measure: Measure, predictions: list[Prediction]) -> Iterator[Line]:
    """The row of every prediction, in order.

    Raises:
        UserError, OSError: the measure's.
    """
    rows, processes = _Rows(measure, predictions), _processes(len(predictions))
    start = "fork" if processes else None  # a measure is a closure, which no other start carries over
    loader = DataLoader(
        rows, batch_size=None, num_workers=processes, collate_fn=_as_it_is, multiprocessing_context=start
    )
    for row in tqdm(loader, desc="evaluate", unit="clip", disable=None):
        if isinstance(row, UserError | OSError):
            raise row
        yield row


def _processes(clips: int) -> int:
    """Beside this one; none outside Linux, and none where a copy could not use the GPU or the threads it inherits."""
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    if not hasattr(os, "sched_getaffinity") or on_gpu or "onnxruntime" in sys.modules:
        return 0
    processes = min(len(os.sched_getaffinity(0)), clips // CLIPS_PER_PROCESS)
    return processes if processes > 1 else 0


def _as_it_is(row: Any) -> Any:
    return row
