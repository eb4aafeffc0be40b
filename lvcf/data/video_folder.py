"""A user's own clips: every video or DICOM file below a folder."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydicom.data import get_testdata_file

from lvcf.data.clip import Clip, ClipDataset, check_names, check_sampling, safe_name, to_clip
from lvcf.data.dicom import read_dicom
from lvcf.data.video import SUFFIXES, Video, clip_indices, read_video
from lvcf.errors import UserError

DICOM_SUFFIXES = (".dcm",)
Box = tuple[int, int, int, int]
"""Left, top, right, bottom in pixels; right and bottom excluded."""


class VideoFolderDataset(ClipDataset):
    """Clips from the beginning of every file, in the order of their names; an unreadable one carries its error.

    Args:
        root: a folder (searched recursively), one file, or ``pydicom:NAME``.
        metadata: the neutral prompt: what the clips show, without the explained attribute.
        frames: frames per clip.
        fps: frames per second to sample at, by presentation time.
        size: height and width of the clip (the centre square, resized).
        crop: cut this box out of every frame first.
        loop: repeat a video that is too short (a cine loop) instead of refusing it.

    Raises:
        UserError: nothing is there to read, or two files share a name.
    """

    def __init__(
        self,
        root: Path,
        metadata: str,
        frames: int = 16,
        fps: float = 8.0,
        size: int = 112,
        crop: Box | None = None,
        loop: bool = False,
    ) -> None:
        check_sampling(frames, fps, size)
        self.root, self.metadata = resolve_root(Path(root)), metadata
        self.frames, self.fps, self.size, self.crop, self.loop = frames, fps, size, crop, loop
        self.files = find_videos(self.root)
        self.ids = [safe_name(self._name(path)) for path in self.files]
        check_names(self.root, self.ids)

    def _name(self, path: Path) -> str:
        inside = path.name if path == self.root else str(path.relative_to(self.root))
        return inside.removesuffix(path.suffix)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> Clip:
        path = self.files[index]
        video, error = torch.zeros(3, self.frames, self.size, self.size), ""
        try:
            video = self._read(path)
        except UserError as problem:
            error = str(problem)
        return {
            "video": video,
            "id": self.ids[index],
            "label": math.nan,
            "prompt": self.metadata,
            "neutral_prompt": self.metadata,
            "fps": self.fps,
            "error": error,
        }

    def _read(self, path: Path) -> torch.Tensor:
        whole = read_dicom(path) if path.suffix.lower() in DICOM_SUFFIXES else read_video(path)
        try:
            chosen = self._choose(whole)
        except ValueError as error:
            raise UserError(f"{path}: {error}; use a longer clip or set data.loop: true") from error
        frames = whole.frames[chosen]
        if self.crop is not None:
            left, top, right, bottom = self.crop
            if not (0 <= left < right <= frames.shape[2] and 0 <= top < bottom <= frames.shape[1]):
                raise UserError(
                    f"{path}: data.crop {list(self.crop)} does not fit frames of {frames.shape[2]}x{frames.shape[1]}"
                )
            frames = frames[:, top:bottom, left:right]
        return to_clip(frames, self.size)

    def _choose(self, video: Video) -> NDArray[np.int64]:
        if not self.loop or len(video.times) < 2:
            return clip_indices(video.times, self.frames, self.fps)
        period = video.times[-1] + float(np.diff(video.times).mean())
        turns = math.ceil(self.frames / self.fps / period)
        times = np.concatenate([video.times + turn * period for turn in range(turns)])
        return clip_indices(times, self.frames, self.fps) % len(video.times)


def resolve_root(root: Path) -> Path:
    """``pydicom:NAME`` names a test file that the pydicom package ships; any other root is itself."""
    scheme, _, name = str(root).partition(":")
    if scheme != "pydicom":
        return root
    found = get_testdata_file(name, download=False)
    if found is None:
        raise UserError(f"{root}: pydicom ships no such test file; try pydicom:examples_ybr_color.dcm")
    return Path(str(found))


def find_videos(root: Path) -> list[Path]:
    """Readable files at or below ``root``, by name.

    Raises:
        UserError: there is none.
    """
    known = (*SUFFIXES, *DICOM_SUFFIXES)
    found = (
        [root] if root.is_file() else sorted(p for p in root.rglob("*") if p.suffix.lower() in known and p.is_file())
    )
    if not found:
        state = "holds no" if root.is_dir() else "does not exist; point data.root to a folder of"
        raise UserError(f"{root}: {state} {', '.join(known)} files")
    return found
