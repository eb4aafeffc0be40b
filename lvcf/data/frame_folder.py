"""Reading clips that are folders of numbered images."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from lvcf.data.decoding import Choose
from lvcf.data.orientation import Picture
from lvcf.errors import UserError

SUFFIXES = (".jpg", ".jpeg", ".png")


def read_frame_folder(folder: Path, fps: float, choose: Choose) -> list[Picture]:
    """Read the frames that ``choose`` picks from all presentation times; they may differ in size.

    Frame n lies at n / ``fps`` seconds, so a missing number is a longer wait, not a jump.

    Raises:
        UserError: the folder is missing, holds fewer than two frames, a name has no number or one that another file
            has, ``choose`` finds it too short, or a chosen frame is unreadable.
    """
    files = numbered_files(folder)
    first = next(iter(files))
    numbers = np.array([n - first for n in files], dtype=np.float64)  # of 20 digits they would all be one float
    try:
        wanted = choose(numbers / fps)
    except ValueError as error:
        raise UserError(f"{folder}: {error}") from error
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


def is_turned(path: Path) -> bool:
    """Whether EXIF says of a picture that it is stored on its side, upside down or mirrored."""
    with Image.open(path) as image:
        return image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)


def read_picture(path: Path) -> Picture:
    """Decode an image to upright RGB: gray is repeated, 16 bits become 8, CMYK is converted, alpha is dropped.

    Raises:
        UserError: it cannot be decoded.
    """
    if not os.path.isfile(path):  # reading a pipe would wait for ever
        raise UserError(f"{path}: is no file; copy the picture again")
    try:
        with Image.open(path) as image:
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode.startswith("I;16"):  # Pillow would clip at 255
                return np.repeat((np.array(image) >> 8).astype(np.uint8)[..., None], 3, axis=-1)
            return np.array(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:  # a broken PNG is a SyntaxError
        raise UserError(f"{path}: not a readable image ({error}); copy it again or remove it") from error
