"""What denoisers that are shown the first frame in channels share."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from PIL import Image
from torch import Tensor

from lvcf.data.clip import to_frames
from lvcf.errors import UserError


def check_shown(given: Sequence[int], allowed: Collection[int], also: str = "") -> None:
    """Refuse given frames that a denoiser cannot be shown.

    Args:
        given: their numbers.
        allowed: those that it can be shown.
        also: what it can be shown beside the first frame, in words.

    Raises:
        UserError: there is another among them.
    """
    if others := sorted(set(given) - set(allowed)):
        raise UserError(f"model.given_frames {others[0]}: this backbone is shown the first frame{also}; give that")


def as_images(first: Tensor) -> list[Image.Image]:
    """First frames ``(B, 3, 1, H, W)`` in [-1, 1] as the stock pipelines take them, on 8-bit levels."""
    return [Image.fromarray(to_frames(frame)[0]) for frame in first]
