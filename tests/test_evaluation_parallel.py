"""Clips measured by several processes: in order, the same figures, mistakes as they were said."""

from __future__ import annotations

import errno
import os
import sys
import time
from pathlib import Path

import pytest

from lvcf.errors import UserError
from lvcf.measure import parallel
from lvcf.measure.parallel import measure_each
from lvcf.runs.folder import Prediction

CLIPS = [Prediction(Path("."), {"id": str(i), "status": "reached"}) for i in range(12)]


@pytest.fixture(autouse=True)
def three_cores(monkeypatch) -> None:
    """And no ONNX Runtime, which another test may have loaded."""
    monkeypatch.delitem(sys.modules, "onnxruntime", raising=False)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2}, raising=False)


def slowest_first(prediction: Prediction) -> dict:
    time.sleep(0.02 * (12 - int(prediction.id)))
    return {"id": prediction.id, "by": os.getpid()}


def test_rows_come_in_order_from_several_processes() -> None:
    rows = list(measure_each(slowest_first, CLIPS))
    assert [row["id"] for row in rows] == [str(i) for i in range(12)]
    assert len({row["by"] for row in rows}) == 3
    assert os.getpid() not in {row["by"] for row in rows}


def test_few_clips_and_other_systems_are_measured_here(monkeypatch) -> None:
    assert {row["by"] for row in measure_each(slowest_first, CLIPS[:7])} == {os.getpid()}
    monkeypatch.delattr(os, "sched_getaffinity")
    assert {row["by"] for row in measure_each(slowest_first, CLIPS)} == {os.getpid()}


@pytest.mark.parametrize("number", [2, 12])
def test_a_mistake_keeps_its_sentence(number) -> None:
    def fails(prediction: Prediction) -> dict:
        raise UserError(f"{prediction.id}: no such mask")

    with pytest.raises(UserError) as caught:
        list(measure_each(fails, CLIPS[:number]))
    assert str(caught.value) == "0: no such mask"


def test_a_full_disk_is_still_known_as_one() -> None:
    def fails(prediction: Prediction) -> dict:
        raise OSError(errno.ENOSPC, "No space left on device", "curves.json")

    with pytest.raises(OSError, match="No space left") as caught:
        list(measure_each(fails, CLIPS))
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "curves.json")


def test_threads_of_onnx_runtime_are_not_copied(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert {row["by"] for row in measure_each(slowest_first, CLIPS)} == {os.getpid()}


def test_a_gpu_in_use_stays_with_one_process(monkeypatch) -> None:
    monkeypatch.setattr(parallel.torch.cuda, "is_initialized", lambda: True)
    assert {row["by"] for row in measure_each(slowest_first, CLIPS)} == {os.getpid()}
