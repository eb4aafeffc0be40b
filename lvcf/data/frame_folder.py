"""Reading clips that are folders of numbered images."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lvcf.data.video import Choose
from lvcf.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png")
Picture = NDArray[np.uint8]
"""One frame ``(H, W, 3)`` RGB; a folder's frames may differ in size."""


def read_frame_folder(folder: Path, fps: float, choose: Choose) -> list[Picture]:
    """Read the frames that ``choose`` picks from all presentation times.

    Frame n lies at n / ``fps`` seconds, so a missing number is a longer wait, not a jump.

    Raises:
        UserError: the folder is missing, holds fewer than two frames, a name has no number or one that another file
            has, or a chosen frame is unreadable.
    """
    files = numbered_files(folder)
    numbers = np.array(list(files), dtype=np.float64)
    wanted = choose((numbers - numbers[0]) / fps)
    paths = list(files.values())
    pictures = {i: read_picture(paths[i]) for i in np.unique(wanted).tolist()}
    return [pictures[i] for i in wanted.tolist()]


def numbered_files(folder: Path) -> dict[int, Path]:
    """Image files by the last number in their names, in its order."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder of frames; check the data root")
    files: dict[int, Path] = {}
    for path in sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")):
        found = re.findall(r"\d+", path.stem)
        if not found:
            raise UserError(f"{path}: its name has no frame number; rename it like 07{path.suffix}")
        if int(found[-1]) in files:
            raise UserError(f"{path}: has the frame number of {files[int(found[-1])].name}; remove one")
        files[int(found[-1])] = path
    if len(files) < 2:
        raise UserError(f"{folder}: holds {len(files)} frames; a clip needs at least 2: complete or remove it")
    return dict(sorted(files.items()))


def read_picture(path: Path) -> Picture:
    """Decode an image to RGB: gray is repeated, 16 bits become 8, CMYK is converted, an alpha channel dropped.

    Raises:
        UserError: it cannot be decoded.
    """
    try:
        with Image.open(path) as image:
            if image.mode.startswith("I;16"):  # Pillow would clip at 255
                return np.repeat((np.array(image) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for a broken PNG
        raise UserError(f"{path}: not a readable image ({error}); copy it again or remove it") from error
