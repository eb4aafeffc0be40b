"""What of a clip may change: a region, frames that are not frozen; all else stays the clip's.  docs/method.md, 22."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from skimage.draw import polygon2mask
from torch import Tensor
from torch.nn import functional

from lvcf.data.clip import Box, safe_name
from lvcf.data.tables import read_rows
from lvcf.errors import UserError, told
from lvcf.given_frames import GivenFrames, numbers_of
from lvcf.models.backbones.base import Backbone

Region = Box | str | Callable[[str, Tensor], Any]
"""What may change, in pixels of the clip as it is explained:

- a box ``(left, top, right, bottom)``, right and bottom excluded;
- a file: a picture, or an array ``(H, W)`` or ``(T, H, W)`` (``.npy``, or ``mask`` in an ``.npz``); the clip may change
  where 8 bits are above half and where others are not 0; or a CSV table with the columns ``clip`` and ``polygon``
  (``x y, x y, x y``);
- a function of a clip's name and the clip ``(3, T, H, W)`` in [-1, 1] that returns such an array.
"""
Find = Callable[[str, Tensor], Tensor]
"""From a clip's name and the clip to its mask, bool ``(H, W)`` or ``(T, H, W)``."""
ALL, HALF = slice(None), 127
NAMED = "model.region"
"""What messages call a region unless it has another name."""
CLIP_COLUMN, POLYGON_COLUMN = "clip", "polygon"
WHOLE = "is no box; give left, top, right, bottom in pixels: left below right, top below bottom, none below 0"


class ClipRegionError(UserError):
    """One clip has no region; the others may have theirs."""


@dataclass(frozen=True)
class Kept:
    """What a batch of clips keeps: the one place where it is put back.

    Attributes:
        video: the clips ``(B, 3, T, H, W)``.
        z_ref: their latents ``(B, C, F, h, w)``.
        pixels: where they may change ``(B, 1, T, H, W)`` bool; None: everywhere.
        latents: which latents stand for such pixels ``(B, 1, F, h, w)`` bool; None: all.
    """

    video: Tensor = field(default_factory=lambda: torch.zeros(0))
    z_ref: Tensor = field(default_factory=lambda: torch.zeros(0))
    pixels: Tensor | None = None
    latents: Tensor | None = None

    @classmethod
    def of(cls, video: Tensor, z_ref: Tensor, backbone: Backbone, editable: Tensor | None, given: GivenFrames) -> Kept:
        """Of clips that may change where ``editable`` ``(B, 1, T, H, W)`` says, without their given frames."""
        pixels = editable
        if numbers := numbers_of(given):
            pixels = torch.ones_like(video[:, :1], dtype=torch.bool) if editable is None else editable.clone()
            pixels[:, :, numbers] = False
        latents = None if editable is None else _in_latents(editable, z_ref, backbone)
        return cls(video, z_ref, pixels, latents)

    def put_back(self, clips: Tensor, rows: Tensor | slice = ALL) -> Tensor:
        """Clips ``(N, 3, T, H, W)`` of some rows with what is kept as it was."""
        return clips if self.pixels is None else torch.where(self.pixels[rows], clips, self.video[rows])

    def let_through(self, mask: Tensor) -> Tensor:
        """A mask ``(B, 1, T, H, W)`` that is 0 where the clips are kept."""
        return mask if self.pixels is None else mask * self.pixels

    def hold(self, z: Tensor, rows: Tensor | slice = ALL, own: Tensor | None = None) -> Tensor:
        """Latents ``(N, C, F, h, w)`` of some rows whose kept ones are ``z_ref``'s, or ``own``'s."""
        if self.latents is None:
            return z
        return torch.where(self.latents[rows], z, self.z_ref[rows] if own is None else own)


def _in_latents(pixels: Tensor, z_ref: Tensor, backbone: Backbone) -> Tensor:
    """A latent stands for a pixel that may change, or for none."""
    frames = pixels.shape[2]
    spans = [backbone.frames_of(place, frames) for place in range(z_ref.shape[2])]
    at_frames = torch.stack([pixels[:, 0, span.start : span.stop].any(1) for span in spans], dim=1)
    size = (z_ref.shape[3], z_ref.shape[4])
    return functional.adaptive_max_pool2d(at_frames.float(), size).bool()[:, None]


def in_pixels(latents: Tensor, backbone: Backbone, size: Sequence[int]) -> Tensor:
    """The pixels ``(B, 1, T, H, W)`` that latents ``(B, 1, F, h, w)`` stand for, bool; ``size`` is (T, H, W)."""
    frames, height, width = size
    places = [place for place in range(latents.shape[2]) for _ in backbone.frames_of(place, frames)]
    return functional.interpolate(latents[:, 0].float(), (height, width)).bool()[:, None, places]


def check_region(region: Region | None, frozen: Sequence[int]) -> None:
    """Refuse what no clip could have.

    Raises:
        UserError: the box is none, or a frame has a number below 0.
    """
    if not (region is None or isinstance(region, str) or callable(region)):
        check_box(list(region))
    if below := [number for number in frozen if number < 0]:
        raise UserError(f"model.freeze_frames {below[0]}: frames are counted from 0; give their numbers")


def check_box(corners: list[int], named: str = NAMED) -> None:
    """Refuse what is no box.

    Raises:
        UserError: it is none.
    """
    if len(corners) != 4 or not (0 <= corners[0] < corners[2] and 0 <= corners[1] < corners[3]):
        raise UserError(f"{named} {corners}: {WHOLE}")


def written(region: Region) -> Any:
    """A region for a run's manifest: a function's name instead of the function."""
    if not callable(region):
        return region
    named = region if hasattr(region, "__qualname__") else type(region)
    return f"{named.__module__}.{named.__qualname__}"


def read_region(region: Region | None, named: str = NAMED) -> Find | None:
    """What gives every clip its mask; None where all may change.

    Args:
        region: as it is written.
        named: what messages call it.

    Raises:
        UserError: a file is not there or cannot be read, its mask is empty or of no clip's shape, or a polygon is none.
    """
    if region is None:
        return None
    if callable(region):
        return _asked(region)
    if not isinstance(region, str):
        return _box(list(region), named)
    return _polygons(Path(region)) if region.lower().endswith(".csv") else _mask(Path(region), named)


def may_change(find: Find | None, frozen: Sequence[int], name: str, video: Tensor) -> Tensor:
    """Where a clip ``(3, T, H, W)`` may change, ``(1, T, H, W)`` bool.

    Raises:
        ClipRegionError: this clip has no region, or none outside the frozen frames.
        UserError: the region fits no such clip, or the frozen frames are not there, or are all.
    """
    frames, height, width = video.shape[1:]
    if beyond := [number for number in frozen if number >= frames]:
        raise UserError(f"model.freeze_frames {beyond[0]}: the clips have frames 0 to {frames - 1}; give one of them")
    if len({*frozen}) == frames:
        raise UserError(
            f"model.freeze_frames {list(frozen)}: are all {frames} frames of the clips; leave out those that may change"
        )
    mask = torch.ones(height, width, dtype=torch.bool) if find is None else find(name, video)
    mask = mask.to(video.device).expand(frames, height, width).clone()
    mask[list(frozen)] = False
    if not mask.any():
        raise ClipRegionError(
            f"clip '{name}': model.region lies in frozen frames alone; take one of them out of model.freeze_frames"
        )
    return mask[None]


def _box(corners: list[int], named: str) -> Find:
    left, top, right, bottom = corners

    def find(_name: str, video: Tensor) -> Tensor:
        height, width = video.shape[2:]
        if right > width or bottom > height:
            raise UserError(
                f"{named} {corners}: leaves the clips' {width}x{height} pixels; right is at most {width}, bottom "
                f"{height}"
            )
        mask = torch.zeros(height, width, dtype=torch.bool)
        mask[top:bottom, left:right] = True
        return mask

    return find


def _mask(path: Path, named: str) -> Find:
    mask = torch.from_numpy(_read_mask(path, named))
    mask = mask > (HALF if mask.dtype == torch.uint8 else 0)
    if mask.dim() not in (2, 3):
        raise UserError(
            f"{named} {path}: holds an array of shape {tuple(mask.shape)}; a mask is (height, width) or (frames, "
            "height, width)"
        )
    if not mask.any():
        raise UserError(f"{named} {path}: the mask is empty; make it white (255) where the clips may change")

    def find(_name: str, video: Tensor) -> Tensor:
        if not _fits(mask, video):
            raise UserError(
                f"{named} {path}: the mask is {_size(mask)}, the clips are {_size(video[0])}; resize it (clips "
                "are explained at data.size)"
            )
        return mask

    return find


def _read_mask(path: Path, named: str) -> NDArray[Any]:
    """A picture, of a coloured one its brightest channel; an array; or the entry ``mask`` of several, as runs have it.

    Raises:
        UserError: it is none of them.
    """
    if not path.is_file():
        raise UserError(
            f"{named} {path}: no such file; name a picture, an .npy, .npz or .csv file, or give a box as "
            "[left, top, right, bottom]"
        )
    try:
        if path.suffix.lower() not in (".npy", ".npz"):
            with Image.open(path) as picture:
                return np.asarray(np.asarray(picture.convert("RGB")).max(-1))
        loaded = np.load(path, allow_pickle=False)
        return np.asarray(loaded if isinstance(loaded, np.ndarray) else loaded["mask"])
    except (OSError, ValueError, KeyError, UnidentifiedImageError) as error:
        raise UserError(f"{named} {path}: is no mask ({told(error)}); save a picture or an array") from error


def _polygons(path: Path) -> Find:
    """Pixels whose centres lie in a clip's polygon: columns ``clip`` and ``polygon``, which is x y, x y, x y ...

    Raises:
        UserError: the table cannot be read, a column is missing, or a polygon is none.
    """
    columns, rows = read_rows(path)
    for column in (CLIP_COLUMN, POLYGON_COLUMN):
        if column not in columns:
            raise UserError(f"{path}: column {column} is missing; a region's table has {CLIP_COLUMN}, {POLYGON_COLUMN}")
    found = {
        safe_name(row[CLIP_COLUMN].strip()): (line, _points(f"{path}, line {line}", row[POLYGON_COLUMN]))
        for line, row in rows
    }

    def find(name: str, video: Tensor) -> Tensor:
        if safe_name(name) not in found:
            raise ClipRegionError(f"{path}: names no clip '{name}'; add a row with its polygon")
        line, points = found[safe_name(name)]
        try:
            return _filled(points, video)
        except ValueError as error:
            raise ClipRegionError(f"{path}, line {line}: the polygon of clip '{name}' {error}") from error

    return find


def read_polygon(points: Sequence[Sequence[float]], named: str) -> Find:
    """One polygon of points (x, y) for all clips; ``named`` is what messages call it.

    Raises:
        UserError: it is none.
    """
    found = _points(named, ", ".join(" ".join(map(str, point)) for point in points))

    def find(_name: str, video: Tensor) -> Tensor:
        try:
            return _filled(found, video)
        except ValueError as error:
            raise UserError(f"{named}: the polygon {error}") from error

    return find


def _filled(points: NDArray[np.float64], video: Tensor) -> Tensor:
    """The pixels of a clip whose centres lie in a polygon ``(n, 2)``.

    Raises:
        ValueError: it leaves them, or holds none.
    """
    height, width = video.shape[2:]
    if (points < 0).any() or (points > (width, height)).any():
        raise ValueError(f"leaves its {width}x{height} pixels; move it inside")
    mask = torch.from_numpy(polygon2mask((height, width), points[:, ::-1] - 0.5))
    if not mask.any():
        raise ValueError("holds no pixel; make it larger")
    return mask


def _points(where: str, cell: str) -> NDArray[np.float64]:
    try:
        points = [[float(number) for number in point.split()] for point in cell.split(",") if point.strip()]
    except ValueError:
        points = [[]]
    if any(len(point) != 2 or not np.isfinite(point).all() for point in points):
        raise UserError(f"{where}: polygon '{cell}' is none; write its points as x y, x y, x y")
    if len(points) < 3:
        raise UserError(f"{where}: polygon '{cell}' has {len(points)} points; give at least 3, as x y, x y, x y")
    return np.array(points)


def _asked(region: Callable[[str, Tensor], Any]) -> Find:
    name_of = written(region)

    def find(name: str, video: Tensor) -> Tensor:
        try:
            mask = torch.as_tensor(region(name, video)) != 0
        except Exception as error:  # anybody's
            raise ClipRegionError(
                f"clip '{name}': model.region {name_of} fails with {told(error)}; correct it"
            ) from error
        if not (mask.dim() in (2, 3) and _fits(mask, video)):
            raise ClipRegionError(
                f"clip '{name}': model.region {name_of} gives a mask of shape {tuple(mask.shape)}, the clip is "
                f"{_size(video[0])}; return (height, width) or (frames, height, width)"
            )
        if not mask.any():
            raise ClipRegionError(f"clip '{name}': model.region {name_of} gives an empty mask; nothing could change")
        return mask

    return find


def _fits(mask: Tensor, video: Tensor) -> bool:
    return mask.shape == video.shape[4 - mask.dim() :]


def _size(mask: Tensor) -> str:
    """Width x height, and frames where there are any."""
    frames = f", {mask.shape[0]} frames" if mask.dim() == 3 else ""
    return f"{mask.shape[-1]}x{mask.shape[-2]}{frames}"
