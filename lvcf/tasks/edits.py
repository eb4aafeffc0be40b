"""What goes into the edit of a batch, and what comes out of it."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lvcf.callbacks.sampling import finite
from lvcf.data.clip import Batch
from lvcf.guidance.goal import Goal, TargetRequest
from lvcf.models.targets.base import TargetModel


@dataclass
class Edit:
    """What came out for one clip.

    Attributes:
        id: the clip's name.
        video: the counterfactual ``(3, T, H, W)`` on 8-bit levels in [-1, 1].
        mask: ``(1, T, H, W)`` in [0, 1], where the edit was let through.
        goal: what M should say, a batch of one.
        facts: the entries of ``result.json`` that only sampling knows.
    """

    id: str
    video: Tensor
    mask: Tensor
    goal: Goal
    facts: dict[str, Any]


def sample_generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator seeded by sha256(seed, id): a clip's noise depends on nothing else."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def draws(generators: list[torch.Generator]) -> list[float]:
    """Each clip's own first random number: ``uniform`` and ``other`` take it."""
    return [float(torch.rand((), generator=g)) for g in generators]


def readable(batch: Batch, output: Tensor) -> list[int]:
    """The samples that can be explained; one on which M says no number gets that for its error."""
    for i, fine in enumerate(finite(output).tolist()):
        if not (fine or batch["error"][i]):
            batch["error"][i] = "the target model's output is not a finite number on this clip; check its weights"
    return [i for i, error in enumerate(batch["error"]) if not error]


def select(batch: Batch, rows: list[int]) -> Batch:
    """Some samples of a batch."""
    return {k: v[rows] if isinstance(v, Tensor) else [v[i] for i in rows] for k, v in batch.items()}  # type: ignore[return-value,index]  # keys are Batch's


def check_labels(batch: Batch, request: TargetRequest, model: TargetModel) -> None:
    """A clip without a label M knows cannot be asked for its own label: that is its error."""
    known = range(len(model.labels)) if model.task == "classification" else None
    for i, label in enumerate(batch["label"].tolist() if request.kind == "label" else []):
        if not batch["error"][i] and (math.isnan(label) or (known is not None and label not in known)):
            batch["error"][i] = f"model.target label: the clip's label is {label:g}; ask for a class or a value"
