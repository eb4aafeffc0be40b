"""Simulated faces labelled by age, gender, beard and baldness instead of their expression."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lvcf.data.clip import Clip, Split
from lvcf.data.face_attributes import ATTRIBUTES, index_of
from lvcf.data.ferv39k import FERV39KDataset, expression_prompt, scene_words
from lvcf.datamodules.base import Stage
from lvcf.datamodules.ferv39k import FERV39KDataModule
from lvcf.errors import UserError
from lvcf.phantoms.face.attributes import set_values, values_of
from lvcf.phantoms.face.set import read_factors


class FaceAttributesDataset(FERV39KDataset):
    """A clip's label is its attributes' combination; its neutral prompt says the rest, the scene and the expression.

    Args:
        root: the folder of a simulated set.
        split: ``train``, ``val``, ``test``, or ``all``.
        options: see :class:`~lvcf.data.ferv39k.FERV39KDataset`.

    Raises:
        UserError: the set is not simulated, or see :class:`~lvcf.data.ferv39k.FERV39KDataset`.
    """

    def __init__(self, root: Path, split: Split, **options: Any) -> None:
        super().__init__(root, split, **options)
        self.factors = read_factors(self.root)
        if not self.factors:
            raise UserError(f"{root}: has no Factors.csv to tell who is shown; make a set: lvcf simulate face")

    def __getitem__(self, index: int) -> Clip:
        clip, entry = super().__getitem__(index), self.entries[index]
        clip["label"] = float(index_of(self.known(clip["id"])))
        clip["neutral_prompt"] = expression_prompt(entry.label, scene_words(entry.path))
        return clip

    def known(self, name: str) -> dict[str, str]:
        """A clip's attributes."""
        return values_of(self.factors[name])

    def truth(self, name: str, do: Mapping[str, str]) -> dict[str, str]:
        """Its attributes by the phantom's own mechanisms and this clip's noise; empty if ``do`` sets something else."""
        settable = all(value in ATTRIBUTES.get(attribute, ()) for attribute, value in do.items())
        return values_of(set_values(self.factors[name], dict(do))) if settable else {}


class FaceAttributesDataModule(FERV39KDataModule):
    """Simulated faces whose label and prompt name age, gender, beard and baldness.

    Args:
        root: the set's folder.
        predict_split: the split ``lvcf predict`` explains.
        batch_size: clips per batch.
        num_workers: loader processes.
        options: how clips are sampled, see :class:`~lvcf.data.ferv39k.FERV39KDataset`.
    """

    def make_dataset(self, stage: Stage) -> FaceAttributesDataset:
        """As FERV39K's."""
        split = self.predict_split if stage == "predict" else stage
        training, recording = stage == "train", stage == "predict"
        return FaceAttributesDataset(self.root, split, random_start=training, record_errors=recording, **self.options)
