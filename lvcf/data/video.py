"""Reading and writing video files with PyAV.  Frames are uint8 ``(T, H, W, 3)`` RGB here and nowhere else."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from lvcf.data.decoding import Choose, Frames, Video, decode
from lvcf.errors import UserError

__all__ = [
    "SUFFIXES",
    "Choose",
    "Frames",
    "Video",
    "clip_indices",
    "nearest_frames",
    "read_video",
    "spare_seconds",
    "write_lossless",
    "write_mjpeg",
    "write_preview",
    "write_webm",
]

SUFFIXES = (".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm", ".wmv")
MOST_COPIES = 4
"""How many times a clip may show each frame on the average."""


def read_video(path: Path, choose: Choose | None = None, whole: bool = False) -> Video:
    """Decode a file, or only the frames that ``choose`` picks from all presentation times.

    Frames are as they are to be seen: turned as the file says, and with square pixels.  Only chosen ones are kept in
    memory.  With ``whole`` all are decoded though, to find damage anywhere.

    Raises:
        UserError: the file is missing, is no video, is damaged, holds no frame, or ``choose`` finds it too short.
    """
    if not os.path.isfile(path):  # Path.is_file raises on a name that is too long
        raise UserError(f"{path}: no such video file; check the data root")
    return decode(path, path, choose or (lambda times: np.arange(len(times))), whole)


def spare_seconds(times: NDArray[np.float64], frames: int, fps: float) -> float:
    """By how much a video is longer than a clip of ``frames`` frames at ``fps``; 0 if it is not."""
    return max(float(times[-1]) - (frames - 1) / fps, 0.0)


def clip_indices(
    times: NDArray[np.float64],
    frames: int,
    fps: float,
    start: float = 0.0,
    remedy: str = "use a longer clip or fewer frames",
) -> NDArray[np.int64]:
    """Which frames to take for a clip of ``frames`` frames at ``fps``, from ``start`` seconds, by presentation time.

    A video that is slower than ``fps`` shows some frames several times.

    Raises:
        ValueError: the video ends more than half a frame interval before the clip does (what to do then is the
            ``remedy``), or the clip would be copies of one frame or show each more than four times on the average.
    """
    wanted = start + np.arange(frames) / fps
    if wanted[-1] > times[-1] + 0.5 / fps:
        needed = (frames - 1) / fps
        later = f" from {start:g} s" if start else ""
        raise ValueError(
            f"lasts {times[-1]:.2f} s; {frames} frames at {fps:g} fps need {needed:.2f} s{later}; {remedy}"
        )
    chosen = nearest_frames(times, wanted)
    different = len(np.unique(chosen))
    if different < max(min(frames, 2), frames / MOST_COPIES):
        raise ValueError(
            f"gives {different} of {frames} frames ({(len(times) - 1) / times[-1]:.3g} frames per second in the file, "
            f"{fps:g} asked); lower data.fps"
        )
    return chosen


def nearest_frames(times: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.int64]:
    """The frames shown nearest to the ``wanted`` times; after the end the last one."""
    after = np.clip(np.searchsorted(times, wanted), 1, max(len(times) - 1, 1))
    before = after - 1
    after = np.minimum(after, len(times) - 1)
    nearest = np.where(wanted - times[before] <= times[after] - wanted, before, after)
    return nearest.astype(np.int64)


def write_lossless(path: Path, frames: Frames, fps: float) -> None:
    """Write an FFV1 file in bgr0, which returns exactly what went in (metrics read these)."""
    _write(path, frames, fps, "ffv1", "bgr0", {})


def write_mjpeg(path: Path, frames: Frames, fps: float) -> None:
    """Write an MJPG AVI of high quality, as EchoNet-Dynamic's."""
    _write(path, frames, fps, "mjpeg", "yuvj420p", {"qmin": "1", "qmax": "2", "q": "1"})


def write_webm(path: Path, frames: Frames, fps: float) -> None:
    """Write a VP9 WebM in its lossless RGB mode: Something-Something V2's container and codec, and exact."""
    _write(path, frames, fps, "libvpx-vp9", "gbrp", {"lossless": "1", "deadline": "good", "cpu-used": "4"})


def write_preview(path: Path, frames: Frames, fps: float) -> None:
    """Write an H.264 MP4 that every browser plays; odd sizes are padded, since yuv420p refuses them.

    Without x264's look ahead, with which the same frames now and then gave another file.
    """
    odd = [(0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)]
    _write(
        path,
        np.pad(frames, odd),
        fps,
        "libx264",
        "yuv420p",
        {"crf": "16", "preset": "veryfast", "x264-params": "bframes=0:mbtree=0"},
    )


def _write(path: Path, frames: Frames, fps: float, codec: str, pixels: str, options: dict[str, str]) -> None:
    # bitexact: no random identifiers in the container, so that the same frames give the same file
    with av.open(str(path), mode="w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000), options=options)
        assert isinstance(stream, av.VideoStream)  # all codecs here are video codecs
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
        stream.codec_context.thread_count = 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture.reformat(format=pixels, threads=1)))
        container.mux(stream.encode(None))
