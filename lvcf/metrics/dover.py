"""Video quality by DOVER (Wu et al. 2023), from a user's own ONNX file: its licence forbids shipping the weights.

The file is what DOVER's ``convert_to_onnx.py`` writes: inputs ``aes_view`` and ``tech_view`` ``(N, 3, T, H, W)`` of
RGB levels standardised by ImageNet's mean and deviation, and one output for each.  Sizes are read from the file: N
clips, T frames, H x W pixels; where it leaves them open, 1 and 3 clips of 32 frames, 224 x 224.  A file with one input
gets the aesthetic view, and its output is a score of whatever it was trained on.

Fragments lie in the middle of their cells, where DOVER draws their places at random: the same clip has the same score.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from einops import rearrange
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lvcf.errors import UserError
from lvcf.models.targets.black_box import onnx_session

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
FRAMES, SIDE, CLIPS, INTERVAL, GRID = 32, 224, 3, 2, 7
"""DOVER's own: frames, pixels, technical clips, every second frame, fragments along a side."""
AESTHETIC, TECHNICAL = (-0.08285, 0.03774, 0.3896), (0.1107, 0.07355, 0.6104)
"""Mean and deviation of each score, and its weight in the fused one, as DOVER's evaluation scripts have them."""


class View(NamedTuple):
    """One input: its name, clips, frames, height and width."""

    name: str
    clips: int
    frames: int
    height: int
    width: int


class Dover:
    """A quality network run by onnxruntime (the extra ``onnx``).

    Args:
        path: the file.

    Raises:
        UserError: it does not run, or takes something else than clips.
    """

    def __init__(self, path: Path) -> None:
        self.session = onnx_session(path)
        self.views = [_view(path, entry) for entry in self.session.get_inputs()]
        if len(self.views) > 2 or len(self.views) != len(self.session.get_outputs()):
            raise UserError(
                f"--dover {path}: {len(self.views)} inputs and {len(self.session.get_outputs())} outputs; export "
                "aes_view and tech_view with a score for each, or one view with one score"
            )
        if len(self.views) == 2 and [_is_technical(view) for view in self.views] != [False, True]:
            names = ", ".join(view.name for view in self.views)
            raise UserError(f"--dover {path}: inputs {names}; name the first aes_view and the second tech_view")

    def __call__(self, video: Tensor) -> dict[str, float]:
        """Scores of a clip ``(3, T, H, W)`` in [-1, 1]; higher is better.

        Returns:
            ``aesthetic`` and ``technical``, raw, and ``overall`` in 0-1; of a file with one input, ``score``.
        """
        made = {
            view.name: (technical_view if _is_technical(view) else aesthetic_view)(video, view) for view in self.views
        }
        scores = [float(np.mean(part)) for part in self.session.run(None, made)]
        if len(scores) == 1:
            return {"score": scores[0]}
        aesthetic, technical = scores
        return {"aesthetic": aesthetic, "technical": technical, "overall": fused(aesthetic, technical)}


def fused(aesthetic: float, technical: float) -> float:
    """The overall score in 0-1: the logistic function of the weighted, standardised two."""
    pairs = ((aesthetic, AESTHETIC), (technical, TECHNICAL))
    return 1.0 / (1.0 + math.exp(-sum((score - mean) / std * weight for score, (mean, std, weight) in pairs)))


def aesthetic_view(video: Tensor, view: View) -> NDArray[np.float32]:
    """Frames spread evenly over the clip, resized."""
    places = torch.linspace(0, video.shape[1] - 1, view.frames).round().long()
    frames = functional.interpolate(
        rearrange(video[:, places], "c t h w -> t c h w"), size=(view.height, view.width), mode="bilinear"
    )
    clip = rearrange(_standardised(frames), "t c h w -> 1 c t h w")
    return np.repeat(clip.numpy(), view.clips, axis=0)


def technical_view(video: Tensor, view: View) -> NDArray[np.float32]:
    """Clips of every second frame, each frame 7 x 7 fragments at full resolution.

    The clips begin evenly spread and go on at the start where the video ends; too small a frame is enlarged first.
    """
    total = video.shape[1]
    spare = max(total - INTERVAL * view.frames, 0)
    starts = torch.linspace(0, spare, view.clips).round().long()
    places = (starts[:, None] + INTERVAL * torch.arange(view.frames)) % total
    frames = rearrange(video, "c t h w -> t c h w")
    scale = max(view.height / frames.shape[2], view.width / frames.shape[3], 1.0)
    if scale > 1.0:
        size = (math.ceil(frames.shape[2] * scale), math.ceil(frames.shape[3] * scale))
        frames = functional.interpolate(frames, size=size, mode="bilinear")
    rows, columns = (_places(frames.shape[axis], side) for axis, side in ((2, view.height), (3, view.width)))
    cut = _standardised(frames[:, :, rows][:, :, :, columns])
    return rearrange(cut[places], "n t c h w -> n c t h w").contiguous().numpy()


def _places(length: int, side: int) -> Tensor:
    """The pixels of :data:`GRID` fragments along an axis, each in the middle of its cell."""
    fragment = side // GRID
    edges = torch.arange(GRID) * length // GRID
    starts = edges + (length // GRID - fragment) // 2
    return (starts[:, None] + torch.arange(fragment)).flatten()


def _standardised(frames: Tensor) -> Tensor:
    levels = (frames.float() + 1.0) * 127.5
    return (levels - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)


def _is_technical(view: View) -> bool:
    return view.name.startswith("tech")


def _view(path: Path, entry: Any) -> View:
    shape = list(entry.shape)
    if len(shape) != 5 or (isinstance(shape[1], int) and shape[1] != 3):
        raise UserError(f"--dover {path}: input {entry.name} is {shape}; (clips, 3, frames, height, width) is needed")
    if entry.type != "tensor(float)":
        raise UserError(f"--dover {path}: input {entry.name} is {entry.type}; export it in float32")
    technical = entry.name.startswith("tech")
    usual = (CLIPS if technical else 1, 3, FRAMES, SIDE, SIDE)
    clips, _, frames, height, width = (n if isinstance(n, int) else u for n, u in zip(shape, usual, strict=True))
    if technical and (height % GRID or width % GRID):
        raise UserError(f"--dover {path}: {entry.name} is {height}x{width}; {GRID}x{GRID} fragments do not fill it")
    return View(entry.name, clips, frames, height, width)
