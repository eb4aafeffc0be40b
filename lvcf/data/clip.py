"""The clip every part of lvcf passes around: float32 ``(C=3, T, H, W)`` in [-1, 1], and what is known about it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NotRequired, TypedDict, get_args

import numpy as np
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from lvcf.checks import check_choice, check_number
from lvcf.data.video import Frames
from lvcf.errors import UserError

SIMULATED = "The clips are simulated."
"""What every report on simulated clips has to say."""


FRAMES, SIZES = (2, 10_000), (16, 8_192)
"""The least and most frames of a clip, and pixels of its side: more would not fit into memory."""
SLOWEST, FASTEST = 0.001, 100_000.0
"""Frames per second."""


Fit = Literal["crop", "letterbox"]
"""How a rectangle becomes a square."""
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom excluded."""
Split = Literal["train", "val", "test", "all"]


class Clip(TypedDict):
    """One sample of a data set; a batch stacks ``video``, ``label`` and ``fps`` and lists the rest.

    Attributes:
        video: ``(3, T, H, W)`` in [-1, 1].
        id: unique within the data set; safe as a folder name after :func:`safe_name`.
        label: class index or value; NaN where unknown.
        prompt: the metadata and the label in words.
        neutral_prompt: the metadata without the explained attribute.
        fps: frames per second of ``video``.
        error: why the clip could not be read; empty for a good one (then ``video`` is zeros).
        treatment: what was done to a user's own clip that is explained, in words; data sets of one kind say nothing.
    """

    video: Tensor
    id: str
    label: float
    prompt: str
    neutral_prompt: str
    fps: float
    error: str
    treatment: NotRequired[str]


class ClipDataset(Dataset[Clip]):
    """A data set of clips that knows their names.

    Attributes:
        ids: the clips' names, in order.
    """

    ids: list[str]

    def __len__(self) -> int:
        return len(self.ids)

    def known(self, name: str) -> dict[str, str]:
        """A clip's factual values by a causal graph's variables.

        Raises:
            UserError: the data set does not tell.
        """
        raise UserError(
            "factual data: only CelebVTextDataModule and, of simulated faces, "
            "lvcf.phantoms.face.attribute_set.FaceAttributesDataModule tell; use judge or a file"
        )

    def truth(self, name: str, do: Mapping[str, str]) -> dict[str, str]:
        """A clip's true values under an intervention, which only a simulator knows; empty by default."""
        return {}

    def asked(self, name: str, do: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """A benchmark's own question and right answer for each variable under an intervention; none by default."""
        return {}

    def given(self, name: str, do: Mapping[str, str]) -> str:
        """A benchmark's own prompt for an intervention; empty where it has none, as by default."""
        return ""


class Batch(TypedDict):
    """A collated list of :class:`Clip`: ``video`` is ``(B, 3, T, H, W)``.

    Attributes:
        editable: where the clips may change ``(B, 1, T, H, W)`` bool, if not everywhere.
    """

    video: Tensor
    id: list[str]
    label: Tensor
    prompt: list[str]
    neutral_prompt: list[str]
    fps: Tensor
    error: list[str]
    treatment: NotRequired[list[str]]
    editable: NotRequired[Tensor]


def to_clip(frames: Frames, size: int, fit: Fit = "crop") -> Tensor:
    """Frames ``(T, H, W, 3)`` uint8 to ``(3, T, size, size)`` in [-1, 1]: a square of them, resized.

    Args:
        frames: of any size.
        size: height and width of the clip.
        fit: ``crop`` takes the centre square, ``letterbox`` puts black bars on both sides of the shorter one.
    """
    square = torch.from_numpy(np.ascontiguousarray(_centre(frames) if fit == "crop" else _letterboxed(frames)))
    video = rearrange(square, "t h w c -> t c h w").float()
    if square.shape[1] != size:
        video = functional.interpolate(video, size=(size, size), mode="bicubic", antialias=True).clamp(0, 255).round()
    return rearrange(video / 127.5 - 1.0, "t c h w -> c t h w").contiguous()


def _centre(frames: Frames) -> Frames:
    height, width = frames.shape[1:3]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return frames[:, top : top + side, left : left + side]


def _letterboxed(frames: Frames) -> Frames:
    side = max(frames.shape[1:3])
    bars = [(lack // 2, lack - lack // 2) for lack in (side - length for length in frames.shape[1:3])]
    return np.pad(frames, [(0, 0), *bars, (0, 0)])


def check_sampling(
    frames: int = 16,
    fps: float = 8.0,
    size: int = 112,
    fit: str = "crop",
    start: float = 0.0,
    crop: Box | None = None,
    source_fps: float | None = None,
    frame_folder_fps: float | None = None,
    **others: object,
) -> None:
    """Refuse clips that cannot be, by those options of a data set that are given, before anything is read.

    Raises:
        UserError: a number is out of range, or a word is none of the choices.
    """
    for name, value, (least, most) in (("frames", frames, FRAMES), ("size", size, SIZES)):
        if not least <= value <= most:
            raise UserError(f"data.{name} {value}: at least {least} is needed, and at most {most} can be")
    for name, rate in (("fps", fps), ("source_fps", source_fps), ("frame_folder_fps", frame_folder_fps)):
        if rate is not None and not SLOWEST <= rate <= FASTEST:
            raise UserError(
                f"data.{name} {rate}: choose a number above 0, from {SLOWEST:g} to {FASTEST:g} frames per second"
            )
    check_choice("data.fit", fit, get_args(Fit))
    check_number("data.start", start, 0.0)
    if crop is not None and not (0 <= crop[0] < crop[2] and 0 <= crop[1] < crop[3]):
        raise UserError(f"data.crop {list(crop)}: is no box; give left, top, right, bottom in pixels")


def hash_share(name: str) -> float:
    """A number in [0, 1) that hangs on a name alone: splits by it stay when clips are added."""
    return int(hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:8], 16) / 2**32


def check_names(source: Path, ids: list[str], shown: list[str] | None = None) -> None:
    """Refuse clips that would share a folder, on disks too that do not tell upper from lower case (macOS, Windows).

    Args:
        source: where the clips are listed.
        ids: their names.
        shown: what a message shows for them instead.

    Raises:
        UserError: two ids are the same after :func:`safe_name`, but for upper and lower case.
    """
    seen: dict[str, str] = {}
    for name, label in zip(ids, shown or ids, strict=True):
        folder = safe_name(name).casefold()
        if folder in seen:
            raise UserError(f"{source}: '{seen[folder]}' and '{label}' would share a folder; rename one")
        seen[folder] = label


def is_plain(name: str) -> bool:
    """Whether a name that a list gives is that of a file in its folder, and of none elsewhere or hidden."""
    return name != "" and Path(name).name == name and not name.startswith(".")


def to_frames(video: Tensor) -> Frames:
    """The inverse on ``(3, T, H, W)``: clamped, rounded to 8 bits, ``(T, H, W, 3)``.

    Raises:
        ValueError: a voxel is not finite; 8 bits would make it black.
    """
    if not video.isfinite().all():
        raise ValueError("a clip with voxels that are not finite cannot be written")
    levels = ((video.detach().float().cpu().clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)
    return rearrange(levels, "c t h w -> t h w c").contiguous().numpy()


def round_to_8_bits(video: Tensor) -> Tensor:
    """What a saved and re-read clip holds, still in [-1, 1]; scoring happens on this."""
    return ((video.clamp(-1, 1) + 1.0) * 127.5).round() / 127.5 - 1.0


def safe_name(identifier: str) -> str:
    """A folder name that cannot leave its parent: all but letters, digits, ``.``, ``_`` and ``-`` becomes ``_``."""
    name = "".join(c if c.isalnum() or c in "._-" else "_" for c in identifier).lstrip(".")
    return name[:120] or "clip"
