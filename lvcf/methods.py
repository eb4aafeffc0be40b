"""What a method is called: after the callbacks that took part in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from lvcf.callbacks.sampling import SamplingCallback


def method_label(callbacks: Iterable[Any], prompt: str) -> str:
    """``AGG + ADS + MSPR + last correction``, in the order of the callbacks; ``prompt only`` where M takes no part.

    Args:
        callbacks: of the run; those that do not sample are left out.
        prompt: neutral or target.
    """
    labels = [callback.label() for callback in callbacks if isinstance(callback, SamplingCallback)]
    return " + ".join(labels) or ("prompt only" if prompt == "target" else "guidance off")
