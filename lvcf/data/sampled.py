"""What the data sets of labelled videos have in common: how clips are sampled, and what becomes of unreadable ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvcf.data.clip import SIMULATED, ClipDataset, check_sampling
from lvcf.data.video import spare_seconds
from lvcf.errors import UserError


def failure(path: Path, error: Exception) -> str:
    """Why ``path`` could not be read, in one line that can be written anywhere: a name may be no UTF-8."""
    text = str(error) if isinstance(error, UserError) else f"{path}: {type(error).__name__}: {error}"
    return " ".join(text.encode("utf-8", "backslashreplace").decode().splitlines())


class SampledDataset(ClipDataset):
    """Clips of ``frames`` frames at ``fps``, cut out of longer videos.

    Args:
        root: the data set's folder.
        frames: frames per clip.
        fps: frames per second to sample at, by presentation time.
        size: height and width of the clip.
        random_start: start anywhere in the video (training).
        record_errors: return an unreadable clip with its ``error`` instead of raising.

    Attributes:
        decodes: whether clips come with their videos; without, they tell their words alone, at once.
    """

    decodes = True

    def __init__(self, root: Path, frames: int, fps: float, size: int, random_start: bool, record_errors: bool) -> None:
        check_sampling(frames, fps, size)
        self.root = Path(root)
        self.frames, self.fps, self.size = frames, fps, size
        self.random_start, self.record_errors = random_start, record_errors

    @property
    def notice(self) -> str:
        """What a report on these clips has to say."""
        return SIMULATED if (self.root / "Factors.csv").exists() else ""

    def read(self, path: Path, decode: Callable[[], Tensor]) -> tuple[Tensor, str]:
        """The clip at ``path``, ``(3, T, H, W)``, and no error, or zeros and why it could not be decoded.

        Decoders meet damage with exceptions of every kind: whichever it is, only this clip fails.

        Raises:
            UserError: it could not, and errors are not recorded.
        """
        if not self.decodes:
            return torch.empty(0), ""
        try:
            return decode(), ""
        except Exception as error:
            problem = failure(path, error)
            if not self.record_errors:
                raise UserError(problem) from error
            return torch.zeros(3, self.frames, self.size, self.size), problem

    def start(self, times: NDArray[np.float64], otherwise: float = 0.0) -> float:
        """Seconds at which a clip starts: a random share of the time it leaves over, or the share ``otherwise``."""
        share = float(torch.rand(())) if self.random_start else otherwise
        return share * spare_seconds(times, self.frames, self.fps)
