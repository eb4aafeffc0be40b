"""The most bytes of tensors that live at once while something is computed, on any device, the meta device too."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):
    """Counts storages that operations make, from when they are made until nothing holds them.

    Attributes:
        now: bytes that live.
        most: the most that did at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation and count what it made."""
        for tensor in tree_leaves((args, kwargs)):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor, made=False)
        made = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(made):
            if isinstance(tensor, torch.Tensor):
                self._see(tensor, made=True)
        self.most = max(self.most, self.now)
        return made

    def _see(self, tensor: torch.Tensor, made: bool) -> None:
        """Of a storage met for the first time: what was there before is not counted."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes() if made else 0
        if key in self.known:
            return
        self.known.add(key)
        self.now += size
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def most_live_bytes(compute: Callable[[], Any]) -> int:
    """Of the activations, gradients and results of a computation; its inputs and weights do not count."""
    with LiveBytes() as counter:
        compute()
    return counter.most
