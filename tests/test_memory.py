"""The process's peak of memory, measured anew for every call."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from lvcf.memory import forget_peak, peak_memory

CPU = torch.device("cpu")
HUGE = 200 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process's peak cannot be forgotten")
def test_a_peak_is_of_what_was_used_since() -> None:
    forget_peak(CPU)
    before = peak_memory(CPU)
    block = np.ones(HUGE // 8)
    assert peak_memory(CPU) > before + 0.9 * HUGE
    del block
    assert peak_memory(CPU) > before + 0.9 * HUGE
    forget_peak(CPU)
    assert peak_memory(CPU) < before + 0.5 * HUGE
