"""A training's loader whose place a checkpoint holds: a resumed training sees what the undisturbed one would."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from itertools import islice
from typing import Any, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, RandomSampler, default_collate, get_worker_info

State = dict[str, Any]


class ResumableLoader(DataLoader[Any]):
    """Shuffled whole batches; Lightning puts :meth:`state_dict` into its checkpoints.

    That is the place in the epoch's order and the states of all generators, this process's and the loader processes',
    so the batches, the windows drawn in them and the noise of the steps go on bit for bit.  It serves one rank: with
    several, Lightning shuffles by a sampler of its own.

    Args:
        clips: items by number.
        batch_size: items per batch; an incomplete last one is dropped.
        num_workers: loader processes, kept from epoch to epoch.
    """

    def __init__(self, clips: Dataset[Any], batch_size: int, num_workers: int = 0) -> None:
        self.order = _Order(clips, batch_size)
        super().__init__(
            _Told(clips),
            batch_size,
            sampler=self.order,
            num_workers=num_workers,
            drop_last=True,
            persistent_workers=num_workers > 0,
            collate_fn=_collate,
        )
        self._seen = 0  # batches of this epoch
        self._start = torch.get_rng_state()  # what the loader processes were seeded from
        self._workers: dict[int, Tensor] = {}
        self._going_on: State | None = None

    def state_dict(self) -> State:
        """After the last batch that was taken."""
        cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []  # type: ignore[no-untyped-call]
        states = {"here": torch.get_rng_state(), "cuda": cuda, "start": self._start, "workers": dict(self._workers)}
        return {**states, "seed": self.order.seed, "seen": self._seen % len(self)}

    def load_state_dict(self, state: State) -> None:
        """Go on there when the next epoch is asked for."""
        self._going_on = state

    def __iter__(self) -> Iterator[Any]:  # type: ignore[override]  # torch promises its own iterator, and uses none
        """Batches; the first time after :meth:`load_state_dict` those that are left of the epoch."""
        state, self._going_on = self._going_on, None
        signals = 0
        if state is not None:
            self._seen, self._workers = state["seen"], dict(state["workers"])
            signals = self.order.go_on(state, self.num_workers)
            torch.set_rng_state(state["start"] if self.num_workers else state["here"])
        else:
            self._seen = 0
        if self._iterator is None:
            self._start = torch.get_rng_state()
        for batch, worker in islice(super().__iter__(), signals, None):
            self._seen += 1
            self._workers |= worker
            yield batch


class _Order(RandomSampler):
    """As RandomSampler's, from a seed that is known.

    To loader processes it can send signals, batches that hold the state of a generator instead of items' numbers.
    """

    def __init__(self, clips: Dataset[Any], batch_size: int) -> None:
        super().__init__(cast(Sized, clips))
        self.batch_size, self.seed = batch_size, 0
        self._state: State | None = None
        self._signals: list[Tensor] = []

    def go_on(self, state: State, workers: int) -> int:
        """Go on behind the batches that ``state`` has seen; returns the number of signals that come first.

        Batches go to the loader processes in turn, so after one signal for each, more let the turn be whose it was.
        """
        self._state = state
        turn = state["seen"] % workers if workers else 0
        known = [state["workers"].get(worker, torch.empty(0)) for worker in range(workers)]
        self._signals = [*known, *known[:turn]]
        return len(self._signals)

    def __iter__(self) -> Iterator[Any]:
        state, self._state = self._state, None
        for signal in self._signals:
            yield from [signal] * self.batch_size
        seen = state["seen"] if state else 0
        if state and (seen or self._signals):
            torch.set_rng_state(state["here"])
        if state and state["cuda"]:
            torch.cuda.set_rng_state_all(state["cuda"])
        self._signals = []
        self.seed = state["seed"] if state and seen else int(torch.empty((), dtype=torch.int64).random_())
        self.generator = torch.Generator().manual_seed(self.seed)
        yield from islice(super().__iter__(), seen * self.batch_size, None)


class _Told(Dataset[Any]):
    """Items by number, for the numbers of a whole batch at once; obeys a signal."""

    def __init__(self, clips: Dataset[Any]) -> None:
        self.clips = clips

    def __getitems__(self, numbers: list[Any]) -> list[Any]:
        first = numbers[0]
        if isinstance(first, Tensor):
            if len(first):
                torch.set_rng_state(first)
            return []
        return [self.clips[number] for number in numbers]


def _collate(clips: list[Any]) -> tuple[Any, dict[int, Tensor]]:
    """The batch, and by the number of the loader process that made it the state of its generator thereafter."""
    worker = get_worker_info()
    told = {worker.id: torch.get_rng_state()} if worker else {}
    return (default_collate(clips) if clips else None), told
