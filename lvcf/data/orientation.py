"""How a stored picture is shown: its pixels made square, then turned or mirrored.  What says neither stays as it is."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Picture = NDArray[np.uint8]
"""One frame ``(H, W, 3)`` RGB."""
Signs = tuple[int, int, int, int]
"""a, b, c, d of a display matrix."""

TURNS = {
    (1, 0, 0, 1): "",
    (0, 1, -1, 0): "turned by 90 degrees",
    (-1, 0, 0, -1): "turned by 180 degrees",
    (0, -1, 1, 0): "turned by 270 degrees",
    (-1, 0, 0, 1): "mirrored",
    (1, 0, 0, -1): "mirrored and turned by 180 degrees",
    (0, 1, 1, 0): "mirrored and turned by 270 degrees",
    (0, -1, -1, 0): "mirrored and turned by 90 degrees",
}
"""What the signs a, b, c, d of a display matrix (x' = a x + c y, y' = b x + d y) do to a picture, clockwise."""
UPRIGHT: Signs = (1, 0, 0, 1)
SLANTED = "its frames are turned by no multiple of 90 degrees; turn them and encode it again"
WIDEST = 10
"""Pixels more than so many times as wide as high, or as high as wide, are a damaged header."""


def quarter_turn(angle: int) -> Signs:
    """The signs of a turn by ``angle`` degrees anticlockwise.

    Raises:
        ValueError: it is no multiple of 90.
    """
    if angle % 90:
        raise ValueError(SLANTED)
    return ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))[angle // 90 % 4]


def signs(matrix: Sequence[int]) -> Signs:
    """The signs a, b, c, d of a display matrix of nine numbers; a matrix of zeros says nothing.

    Raises:
        ValueError: it turns by no multiple of 90 degrees.
    """
    rotation = np.array([matrix[0], matrix[1], matrix[3], matrix[4]], dtype=np.float64)
    size = np.abs(rotation).max()
    if size == 0.0:
        return UPRIGHT
    a, b, c, d = (int(np.sign(value)) if abs(value) > 0.01 * size else 0 for value in rotation)
    if (a, b, c, d) not in TURNS:
        raise ValueError(SLANTED)
    return a, b, c, d


def turn(picture: Picture, turned: Signs) -> Picture:
    """A picture as :func:`signs` say."""
    a, b, c, d = turned
    if b:
        return picture.swapaxes(0, 1)[::b, ::c]
    return picture[::d, ::a]


def square_pixels(picture: Picture, width: Fraction) -> Picture:
    """A picture whose pixels are ``width`` times as wide as high, resized in its width alone.

    Raises:
        ValueError: no picture has such pixels.
    """
    if not Fraction(1, WIDEST) <= width <= WIDEST:
        raise ValueError(f"states pixels {float(width):g} times as wide as high; correct its pixel aspect ratio")
    columns = max(round(picture.shape[1] * width), 1)
    if columns == picture.shape[1]:
        return picture
    resized = Image.fromarray(picture).resize((columns, picture.shape[0]), Image.Resampling.BICUBIC)
    return np.array(resized)


def in_words(width: Fraction, turned: Signs) -> tuple[str, ...]:
    """What was done, in words; empty for square pixels as they are stored."""
    words = [f"width times {float(width):.3g}"] if width != 1 else []
    return tuple(filter(None, (*words, TURNS[turned])))
