"""A user's own clips of another kind than the shipped weights know, and a model that reads them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from lvcf.data.video import Frames, write_preview
from tests.helpers import rewrite

COLOURS = {"red": (220, 40, 40), "green": (40, 190, 60)}
SIZE, FRAMES = 48, 9


def write_discs(root: Path, n: int) -> None:
    """Clips of 64x48 pixels at 12 fps in which a disc crosses a dark scene; a table says its colour."""
    root.mkdir(parents=True)
    random, rows = np.random.RandomState(0), []
    for i in range(n):
        colour = list(COLOURS)[i % 2]
        write_preview(root / f"{i:02d}.mp4", disc(random, COLOURS[colour]), 12.0)
        rows.append({"path": f"{i:02d}.mp4", "label": colour})
    rewrite(root / "labels.csv", rows)


def disc(
    random: np.random.RandomState, colour: tuple[int, int, int], frames: int = 26, height: int = 48, width: int = 64
) -> Frames:
    """It is thrown back by the walls; the scene's colour and the way are random."""
    radius, size = 9.0, np.array([width, height])
    y, x = np.mgrid[:height, :width]
    slope = np.stack([0.6 * x, 0.8 * y, 0.3 * (x + y)], -1)
    scene = random.randint(20, 90, 3) + random.uniform(0.3, 1) * slope
    place, angle = random.uniform([14, 12], size - [14, 12]), random.uniform(0, 2 * np.pi)
    step = random.uniform(1, 2) * np.array([np.cos(angle), np.sin(angle)])
    drawn = []
    for _ in range(frames):
        step = np.where((place + step < radius) | (place + step > size - radius), -step, step)
        place = place + step
        inside = np.clip(radius + 0.5 - np.hypot(x - place[0], y - place[1]), 0, 1)[..., None]
        drawn.append(scene * (1 - inside) + np.array(colour) * inside)
    return np.stack(drawn).clip(0, 255).round().astype(np.uint8)


class DiscColour(nn.Module):
    """Red against green where the colours are strongest: clips in [0, 1] to two logits."""

    def forward(self, clips: Tensor) -> Tensor:
        weight = torch.softmax(12.0 * (clips.amax(1) - clips.amin(1)).flatten(1), 1)
        redder = ((clips[:, 0] - clips[:, 1]).flatten(1) * weight).sum(1)
        return torch.stack([6.0 * redder, -6.0 * redder], 1)


def save_model(path: Path) -> None:
    """As a user exports it, for any number of clips."""
    clips, shapes = torch.rand(2, 3, FRAMES, SIZE, SIZE), ({0: torch.export.Dim("b")},)
    torch.export.save(torch.export.export(DiscColour(), (clips,), dynamic_shapes=shapes), path)
