"""Seconds, once the device has done what it was asked."""

from __future__ import annotations

import time

import torch


def now(device: torch.device) -> float:
    """Of :func:`time.perf_counter`; a GPU works on after a call has returned, so it is waited for."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
