"""Reading all of a clip's frames to see whether they decode, without keeping them: for ``lvcf data check``.

The videos returned hold the first frame alone, and the times of all.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvcf.data.dicom import is_dicom, read_dicom
from lvcf.data.ferv39k import SOURCE_FPS
from lvcf.data.frame_folder import is_turned, numbered_files, read_picture
from lvcf.data.video import Video, read_video
from lvcf.data.video_folder import refuse_gaps, refuse_sizes


def read_all_frames(path: Path) -> Video:
    """A video or DICOM file.

    Raises:
        UserError: a frame does not decode.
    """
    read, seen = read_dicom if is_dicom(path) else partial(read_video, whole=True), list[NDArray[np.float64]]()

    def first(times: NDArray[np.float64]) -> NDArray[np.int64]:
        seen.append(times)
        return np.zeros(1, dtype=np.int64)

    video = read(path, first)
    return Video(video.frames, seen[-1], video.done)


def read_pictures(folder: Path) -> Video:
    """A frame folder of FERV39K, whose rate is assumed; the first picture's size is told.

    Raises:
        UserError: a picture does not decode.
    """
    return _as_video(folder, [read_picture(path).shape for path in numbered_files(folder).values()])


def read_any(path: Path) -> Video:
    """A file, or a frame folder that lacks no picture and has one size; its rate is assumed.

    Raises:
        UserError: a frame does not decode.
    """
    if not path.is_dir():
        return read_all_frames(path)
    refuse_gaps(path)
    shapes = [read_picture(picture).shape for picture in numbered_files(path).values()]
    refuse_sizes(path, shapes)
    return _as_video(path, shapes)


def _as_video(folder: Path, shapes: list[tuple[int, ...]]) -> Video:
    turned = any(is_turned(path) for path in numbered_files(folder).values())
    frames, times = np.zeros((1, *shapes[0]), dtype=np.uint8), np.arange(len(shapes)) / SOURCE_FPS
    return Video(frames, times, ("turned as EXIF says",) if turned else ())
