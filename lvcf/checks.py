"""Refusing a wrong number or word where it is given, in one line that names it."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from typing import Any

import torch

from lvcf.errors import UserError, hint

THREADS_PER_CORE = 16
"""More crash the libraries below torch."""


def check_number(
    name: str, value: float | None, low: float = -math.inf, high: float = math.inf, above: bool = False
) -> None:
    """Refuse a number that is not finite or not in [low, high].

    Args:
        name: the argument's, as it stands in a configuration.
        value: what was given.
        low: the smallest one.
        high: the largest one.
        above: whether ``low`` itself is refused too.

    Raises:
        UserError: it is.
    """
    if value is None:  # an empty entry of a configuration: the parser lets it pass
        raise UserError(f"{name}: is empty; give a number, or leave it out")
    if math.isfinite(value) and low <= value <= high and not (above and value == low):
        return
    wanted = ["choose a finite number"]
    if math.isfinite(low):
        wanted.append(f"above {low:g}" if above else f"at least {low:g}")
    if math.isfinite(high):
        wanted.append(f"at most {high:g}")
    raise UserError(f"{name} {value:g}: {', '.join(wanted)}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a word that is none of ``choices``.

    Raises:
        UserError: with the nearest choice, or all of them.
    """
    if value not in choices:
        raise UserError(f"{name} '{value}': {hint(str(value), choices)}")


def check_threads(threads: int) -> None:
    """Refuse more threads than the machine can start.

    Raises:
        UserError: there are too many.
    """
    most = THREADS_PER_CORE * (os.cpu_count() or 1)
    if threads > most:
        raise UserError(f"--threads {threads}: this machine has {os.cpu_count()} cores; choose at most {most}")


def check_devices(devices: Any, accelerator: Any) -> None:
    """Refuse more devices than the machine has: on CPUs, Lightning would start as many processes.

    Args:
        devices: of the Trainer; whatever is no number is left to it.
        accelerator: of the Trainer; others than CPUs and CUDA's are left to it.

    Raises:
        UserError: there are not as many.
    """
    gpus = torch.cuda.device_count() if accelerator in ("auto", "cuda", "gpu") else 0
    there, kind = (gpus, "GPUs") if gpus else (os.cpu_count() or 1, "cores")
    known = gpus or accelerator in ("auto", "cpu")
    if known and str(devices).isdecimal() and int(devices) > there:
        raise UserError(f"--trainer.devices {devices}: this machine has {there} {kind}; choose at most {there}")
