"""Several data sets as one, for training what they share: a VAE, a denoiser."""

from __future__ import annotations

from typing import cast

from lvcf.data.clip import Clip, ClipDataset
from lvcf.datamodules.base import ClipDataModule, Stage
from lvcf.errors import UserError


class MixtureDataset(ClipDataset):
    """The clips of several data sets, evenly interleaved, so that any stretch of them shows every part.

    Args:
        parts: the data sets.
    """

    def __init__(self, parts: list[ClipDataset]) -> None:
        self.parts = parts
        sizes = [len(part.ids) for part in parts]
        places = [((i + 0.5) / size, part, i) for part, size in enumerate(sizes) for i in range(size)]
        self.order = [(part, i) for _, part, i in sorted(places)]
        self.ids = [f"{part}_{parts[part].ids[i]}" for part, i in self.order]

    def __getitem__(self, index: int) -> Clip:
        part, i = self.order[index]
        clip = cast(Clip, dict(self.parts[part][i]))
        clip["id"] = self.ids[index]
        return clip


class MixtureDataModule(ClipDataModule):
    """The clips of several data modules in the same batches; labels of different parts mean different things.

    Args:
        parts: the data modules; their own batch sizes and workers play no part.
        batch_size: clips per batch.
        num_workers: loader processes.

    Raises:
        UserError: there is no part, or a number is out of range.
    """

    def __init__(self, parts: list[ClipDataModule], batch_size: int = 8, num_workers: int = 0) -> None:
        super().__init__(batch_size, num_workers)
        if not parts:
            raise UserError("data.parts []: name at least one data module")
        self.parts = parts

    def make_dataset(self, stage: Stage) -> MixtureDataset:
        """Every part's data set of the stage."""
        return MixtureDataset([part.make_dataset(stage) for part in self.parts])
