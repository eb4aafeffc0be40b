"""Random numbers that hang on a seed and a clip's name alone."""

from __future__ import annotations

import hashlib

import torch


def sample_generator(seed: int, name: str) -> torch.Generator:
    """A CPU generator seeded by sha256(seed, id): a clip's noise depends on nothing else."""
    digest = hashlib.sha256(f"{seed}:{name}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:8], "big") >> 1)


def draws(generators: list[torch.Generator]) -> list[float]:
    """Each clip's own first random number: ``uniform`` and ``other`` take it."""
    return [float(torch.rand((), generator=g)) for g in generators]
