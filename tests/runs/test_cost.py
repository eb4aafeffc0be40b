"""The process's peak of memory, measured anew for every call where the system allows it."""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np
import pytest
import torch

from lvcf.runs.cost import forget_peak, peak_memory

CPU = torch.device("cpu")
HUGE = 200 * 2**20


def _system_forgets() -> bool:
    """Whether a process may forget its peak here: Linux alone can, and a sandboxed kernel may refuse or ignore it."""
    block = np.ones(HUGE // 8)
    del block
    try:
        Path("/proc/self/clear_refs").write_text("5")
        rows = dict(row.split(":") for row in Path("/proc/self/status").read_text().splitlines())
        peak, resident = (int(rows[name].split()[0]) * 1024 for name in ("VmHWM", "VmRSS"))
    except (OSError, KeyError):
        return False
    return peak - resident < HUGE / 2


def test_a_peak_is_of_what_was_used_since() -> None:
    if not _system_forgets():
        pytest.skip("this system does not let a process forget its peak")
    forget_peak(CPU)
    before = peak_memory(CPU)
    with mmap.mmap(-1, HUGE) as pages:  # the allocator may hold memory back that it can hand out again
        pages.write(b"x" * HUGE)
        assert peak_memory(CPU) > before + 0.9 * HUGE
    assert peak_memory(CPU) > before + 0.9 * HUGE
    forget_peak(CPU)
    assert peak_memory(CPU) < before + 0.5 * HUGE
