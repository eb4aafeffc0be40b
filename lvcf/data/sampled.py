"""What the data sets of labelled videos have in common: how clips are sampled, and what becomes of unreadable ones."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvcf.data.clip import SIMULATED, Clip, ClipDataset, check_sampling, to_clip
from lvcf.data.frame_folder import read_frame_folder
from lvcf.data.video import clip_indices, read_video, spare_seconds
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
        offset: the share of the time that a clip leaves over after which one starts that is not drawn at random.
    """

    decodes = True
    offset: ClassVar[float] = 0.0

    def __init__(self, root: Path, frames: int, fps: float, size: int, random_start: bool, record_errors: bool) -> None:
        check_sampling(frames, fps, size)
        self.root = Path(root)
        self.frames, self.fps, self.size = frames, fps, size
        self.random_start, self.record_errors = random_start, record_errors

    @property
    def notice(self) -> str:
        """What a report on these clips has to say."""
        return SIMULATED if (self.root / "Factors.csv").exists() else ""

    def clip(
        self, name: str, path: Path, decode: Callable[[], Tensor], label: float, prompt: str, neutral_prompt: str
    ) -> Clip:
        """One clip with what is known of it; zeros and the reason if ``path`` could not be decoded.

        Decoders meet damage with exceptions of every kind: whichever it is, only this clip fails.

        Raises:
            UserError: it could not, and errors are not recorded.
        """
        try:
            video, problem = decode() if self.decodes else torch.empty(0), ""
        except Exception as error:
            problem = failure(path, error)
            if not self.record_errors:
                raise UserError(problem) from error
            video = torch.zeros(3, self.frames, self.size, self.size)
        return {
            "video": video,
            "id": name,
            "label": label,
            "prompt": prompt,
            "neutral_prompt": neutral_prompt,
            "fps": self.fps,
            "error": problem,
        }

    def of_video(self, path: Path) -> Tensor:
        """The clip ``(3, T, H, W)`` out of a video file."""
        return to_clip(read_video(path, self.choose).frames, self.size)

    def of_pictures(self, folder: Path, fps: float) -> Tensor:
        """The clip out of a folder of numbered pictures, which may differ in size."""
        pictures = read_frame_folder(folder, fps, self.choose)
        return torch.cat([to_clip(picture[None], self.size) for picture in pictures], dim=1)

    def choose(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """The frames of a clip out of all, by their presentation times."""
        return clip_indices(times, self.frames, self.fps, self.start(times))

    def start(self, times: NDArray[np.float64]) -> float:
        """Seconds at which a clip starts: a share of the time it leaves over, random or the ``offset``."""
        share = float(torch.rand(())) if self.random_start else self.offset
        return share * spare_seconds(times, self.frames, self.fps)
