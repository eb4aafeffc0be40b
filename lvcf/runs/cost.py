"""What a call costs: seconds, and the peak of memory of this process or its GPU."""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import torch

_PROC = Path("/proc/self")


def now(device: torch.device) -> float:
    """Of :func:`time.perf_counter`; a GPU works on after a call has returned, so it is waited for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


def peak_memory(device: torch.device) -> int:
    """Bytes since :func:`forget_peak`, or ever: the GPU's peak; on the CPU, the process's resident set's."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    scale = 1 if sys.platform == "darwin" else 1024
    try:
        (line,) = [row for row in (_PROC / "status").read_text().splitlines() if row.startswith("VmHWM:")]
        return int(line.split()[1]) * 1024
    except (OSError, ValueError):  # no Linux
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * scale


def forget_peak(device: torch.device) -> bool:
    """Begin to measure anew; False where the system forbids it (no Linux, some sandboxes): the old peak stays."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return True
    try:
        (_PROC / "clear_refs").write_text("5")  # proc(5): resets VmHWM to the present size
    except OSError:
        return False
    return True
