"""Reading and writing video files with PyAV.  Frames are uint8 ``(T, H, W, 3)`` RGB here and nowhere else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from lvcf.errors import UserError

Frames = NDArray[np.uint8]
Choose = Callable[[NDArray[np.float64]], NDArray[np.int64]]
"""From all presentation times (seconds from 0) to the indices of the frames to keep."""

SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")


@dataclass
class Video:
    """Decoded frames ``(T, H, W, 3)`` uint8 and their presentation times in seconds, from 0."""

    frames: Frames
    times: NDArray[np.float64]

    @property
    def fps(self) -> float:
        """Mean frames per second; 0 for a single frame."""
        return float((len(self.times) - 1) / self.times[-1]) if len(self.times) > 1 else 0.0


def read_video(path: Path, choose: Choose | None = None) -> Video:
    """Decode a file, or only the frames that ``choose`` picks from all presentation times.

    Raises:
        UserError: the file is missing, is no video, is damaged, holds no frame, or ``choose`` finds it too short.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such video file; check the data root")
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise UserError(f"{path}: holds no video stream; use one of {', '.join(SUFFIXES)}")
            return _decode(path, container, choose or (lambda times: np.arange(len(times))))
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{path}: not a readable video ({error}); re-encode or remove it") from error


def _decode(path: Path, container: av.container.InputContainer, choose: Choose) -> Video:
    stream = container.streams.video[0]
    stream.thread_count = 1
    packets = [packet for packet in container.demux(stream) if packet.size]
    if not packets:
        raise UserError(f"{path}: holds no frame; remove it or record it again")
    if len(packets) < stream.frames:
        raise UserError(f"{path}: truncated, {len(packets)} of {stream.frames} frames are there; copy it again")
    _check_whole(path, container, packets)
    independent = stream.codec_context.codec.intra_only
    if independent:
        times = _times(path, [_seconds(p.pts, p.time_base) for p in packets], stream.average_rate)
        wanted = _chosen(path, times, choose)
        frames = [f for i in np.unique(wanted) for f in stream.decode(packets[i])]
        kept = frames if len(frames) == len(np.unique(wanted)) else []
        kept = [kept[i] for i in np.searchsorted(np.unique(wanted), wanted)] if kept else []
    else:
        frames = [f for p in [*packets, None] for f in stream.decode(p)]
        # not f.time: frames that the decoder held back to the end have a pts but no time base
        times = _times(path, [_seconds(f.pts, stream.time_base) for f in frames], stream.average_rate)
        wanted = _chosen(path, times, choose) if frames else np.arange(0)
        kept = [frames[i] for i in wanted]
    if not kept:
        raise UserError(f"{path}: its frames do not decode; copy it again or remove it")
    return Video(np.stack([f.to_ndarray(format="rgb24") for f in kept]), times[wanted] - times[wanted][0])


def _check_whole(path: Path, container: av.container.InputContainer, packets: list[av.Packet[av.VideoStream]]) -> None:
    """Refuse a file whose header promises a longer video: Matroska has no count of frames, and a part of it decodes."""
    stamps = sorted(s for s in (_seconds(p.pts, p.time_base) for p in packets) if s is not None)
    if "matroska" not in container.format.name or len(container.streams) > 1 or len(stamps) < 2:
        return  # a sound track may last longer than its pictures
    promised, interval = (container.duration or 0) / av.time_base, (stamps[-1] - stamps[0]) / (len(stamps) - 1)
    there = stamps[-1] + interval
    if there < 0.95 * promised - 0.1:
        raise UserError(f"{path}: truncated, {there:.2f} of {promised:.2f} s are there; copy it again")


def _seconds(pts: int | None, base: Fraction | None) -> float | None:
    return None if pts is None or base is None else float(pts * base)


def _chosen(path: Path, times: NDArray[np.float64], choose: Choose) -> NDArray[np.int64]:
    try:
        return choose(times)
    except ValueError as error:
        raise UserError(f"{path}: {error}; use a longer clip or fewer frames") from error


def _times(path: Path, stamps: list[float | None], rate: Fraction | None) -> NDArray[np.float64]:
    """Presentation times from 0; where the container has none, or repeats one, an even grid at its frame rate.

    Raises:
        UserError: it has no rate either.
    """
    times = np.array([np.nan if s is None else s for s in stamps], dtype=np.float64)
    if np.isnan(times).any() or (np.diff(times) <= 0).any():
        if not rate:
            raise UserError(f"{path}: states neither frame times nor a frame rate; re-encode it with one")
        times = np.arange(len(stamps)) / float(rate)
    return times - times[:1]


def spare_seconds(times: NDArray[np.float64], frames: int, fps: float) -> float:
    """By how much a video is longer than a clip of ``frames`` frames at ``fps``; 0 if it is not."""
    return max(float(times[-1]) - (frames - 1) / fps, 0.0)


def clip_indices(times: NDArray[np.float64], frames: int, fps: float, start: float = 0.0) -> NDArray[np.int64]:
    """Which frames to take for a clip of ``frames`` frames at ``fps``, from ``start`` seconds, by presentation time.

    Raises:
        ValueError: the video ends more than half a frame interval before the clip does.
    """
    wanted = start + np.arange(frames) / fps
    if wanted[-1] > times[-1] + 0.5 / fps:
        raise ValueError(f"lasts {times[-1]:.2f} s; {frames} frames at {fps:g} fps need {(frames - 1) / fps:.2f} s")
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
    """Write an H.264 MP4 that every browser plays; odd sizes are padded, since yuv420p refuses them."""
    odd = [(0, 0), (0, frames.shape[1] % 2), (0, frames.shape[2] % 2), (0, 0)]
    _write(path, np.pad(frames, odd), fps, "libx264", "yuv420p", {"crf": "16", "preset": "veryfast"})


def _write(path: Path, frames: Frames, fps: float, codec: str, pixels: str, options: dict[str, str]) -> None:
    # bitexact: no random identifiers in the container, so that the same frames give the same file
    with av.open(str(path), mode="w", container_options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000), options=options)
        assert isinstance(stream, av.VideoStream)  # all codecs here are video codecs
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], pixels
        stream.codec_context.thread_count = 1
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
