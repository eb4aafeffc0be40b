"""A simulated clip at the size of a run's clips, as the readers resize it."""

from __future__ import annotations

from lvcf.data.clip import to_clip, to_frames
from lvcf.data.video import Frames
from lvcf.metrics.unavailable import unavailable
from lvcf.phantoms.motion.draw import SIZE


def at_size(frames: Frames, size: int) -> Frames:
    """Frames ``(T, H, W, 3)`` as ``(T, size, size, 3)``; those of that size as they are."""
    return to_frames(to_clip(frames, size))


def fits_ruler(frames: Frames) -> bool:
    """Whether frames ``(T, H, W, 3)`` have the phantoms' own size, in whose pixels the rulers measure."""
    return frames.shape[1:3] == (SIZE, SIZE)


def no_ruler(frames: Frames) -> str:
    """What stands in place of the rulers' figures of frames ``(T, H, W, 3)`` of another size."""
    height, width = frames.shape[1:3]
    return unavailable(f"the ruler measures clips of {SIZE}x{SIZE} pixels, these have {height}x{width}")
