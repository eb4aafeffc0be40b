"""Latents of clips with a target model's answers on them: what a latent reader is taught."""

from __future__ import annotations

from typing import TypedDict

import torch
from lightning import LightningDataModule
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from lvcf.checks import check_number
from lvcf.data.clip import Batch
from lvcf.datamodules.base import ClipDataModule, Stage
from lvcf.datamodules.resumable import ResumableLoader
from lvcf.models.backbones.base import Backbone
from lvcf.models.targets.base import TargetModel

AT_ONCE = 8
"""Clips that are encoded at once."""


class AnswerBatch(TypedDict):
    """Latents ``(B, C, F, H, W)`` and what the target model says of their clips, ``(B,)`` or ``(B, K)``."""

    latent: Tensor
    answer: Tensor


class AnswerDataset(Dataset[AnswerBatch]):
    """In memory.

    Args:
        latents: of all clips.
        answers: of the target model on them.
    """

    def __init__(self, latents: Tensor, answers: Tensor) -> None:
        self.latents, self.answers = latents, answers

    def __len__(self) -> int:
        return len(self.latents)

    def __getitem__(self, index: int) -> AnswerBatch:
        return {"latent": self.latents[index].float(), "answer": self.answers[index]}


class AnswersDataModule(LightningDataModule):
    """Every clip is encoded and the target model asked about it once, before training; all stays in memory.

    Args:
        clips: of the domain.
        backbone: whose latents are read.
        target_model: M, whose answers are taught.
        batch_size: latents per training batch.

    Raises:
        UserError: ``batch_size`` is below 1.
    """

    def __init__(
        self, clips: ClipDataModule, backbone: Backbone, target_model: TargetModel, batch_size: int = 32
    ) -> None:
        super().__init__()
        check_number("data.batch_size", batch_size, 1)
        self.clips, self.batch_size = clips, batch_size
        self.backbone, self.target_model = backbone.eval().requires_grad_(False), target_model.freeze()
        self.answered: dict[Stage, AnswerDataset] = {}

    def setup(self, stage: str) -> None:
        """Encode and ask."""
        wanted: tuple[Stage, ...] = {"validate": ("val",), "test": ("test",)}.get(stage, ("train", "val"))  # type: ignore[assignment]  # literals
        for each in wanted:
            if each not in self.answered:
                self.answered[each] = self._answered(each)

    @torch.no_grad()
    def _answered(self, stage: Stage) -> AnswerDataset:
        latents, answers = [], []
        loader: DataLoader[Batch] = DataLoader(self.clips.make_dataset(stage), AT_ONCE)  # type: ignore[arg-type]  # collation makes batches of clips
        for batch in tqdm(loader, f"ask about {stage} clips"):
            answers.append(self.target_model(batch["video"]).float())
            latents.append(self.backbone.encode(batch["video"]).half())
        return AnswerDataset(torch.cat(latents), torch.cat(answers))

    def train_dataloader(self) -> DataLoader[AnswerBatch]:
        """Shuffled whole batches."""
        return ResumableLoader(self.answered["train"], self.batch_size)

    def val_dataloader(self) -> DataLoader[AnswerBatch]:
        """In order."""
        return DataLoader(self.answered["val"], self.batch_size)

    def test_dataloader(self) -> DataLoader[AnswerBatch]:
        """In order."""
        return DataLoader(self.answered["test"], self.batch_size)
