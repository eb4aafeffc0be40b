"""Decoding video files with PyAV: all presentation times first, then no more frames than were chosen."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.codec import Codec, UnknownCodecError
from av.container import InputContainer
from av.sidedata.sidedata import SideDataContainer
from av.sidedata.sidedata import Type as SideData
from av.stream import Disposition
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from lvcf.data.orientation import UPRIGHT, Picture, Signs, in_words, quarter_turn, signs, square_pixels, turn
from lvcf.errors import UserError, said

Frames = NDArray[np.uint8]
Times = NDArray[np.float64]
Choose = Callable[[Times], NDArray[np.int64]]
"""From all presentation times (seconds from 0) to the indices of the frames to keep."""
Source = Path | bytes
"""A file, or a whole video in memory."""

JOINED = (
    "{}: its edit list joins pieces inside a group of pictures, which FFmpeg misreads{}; export it again, re-encoded"
)
"""Of a video that was cut into several pieces without being encoded anew."""
TWICE = "Duplicate POC"
"""What FFmpeg's HEVC decoder says where a piece begins with a frame that the piece before has needed."""
PROMISING = ("matroska", "asf", "flv")
"""Containers without a count of frames whose header says how long they are."""


@dataclass(frozen=True)
class Video:
    """Decoded frames and when they are shown.

    Attributes:
        frames: ``(T, H, W, 3)`` uint8.
        times: presentation times in seconds, from 0.
        done: what was done to its pixels for them to be square and upright, in words; mostly nothing.
    """

    frames: Frames
    times: Times
    done: tuple[str, ...] = ()

    @property
    def fps(self) -> float:
        """Mean frames per second; 0 for a single frame."""
        return float((len(self.times) - 1) / self.times[-1]) if len(self.times) > 1 else 0.0


@dataclass(frozen=True)
class _Survey:
    """What a stream says of its frames.

    Attributes:
        stamps: when they are shown, in units of ``base``, in the order in which they are decoded.
        base: seconds.
        rate: frames per second; None where the container does not say.
        pixel_width: how many times as wide as high its pixels are.
        independent: each frame decodes by itself.
    """

    stamps: list[int | None]
    base: Fraction | None
    rate: Fraction | None
    pixel_width: Fraction
    independent: bool

    @property
    def is_told(self) -> bool:
        """Whether every frame is told from the others."""
        return self.independent or (None not in self.stamps and len(set(self.stamps)) == len(self.stamps))

    def times(self) -> Times:
        """Presentation times from 0; where the container has none, or repeats one, an even grid at its frame rate.

        Raises:
            ValueError: it has no rate either.
        """
        base = self.base
        seconds = [np.nan if s is None or base is None else float(s * base) for s in self.stamps]
        times = np.array(seconds, dtype=np.float64)
        if np.isnan(times).any() or (np.diff(times) <= 0).any():
            if not self.rate:
                raise ValueError("states neither frame times nor a frame rate; re-encode it with one")
            times = np.arange(len(self.stamps)) / float(self.rate)
        return times - times[:1]


def decode(name: Path, source: Source, choose: Choose, whole: bool = False) -> Video:
    """The frames that ``choose`` picks from all presentation times, with their times.

    Args:
        name: of the file, for messages.
        source: where it is.
        choose: which frames to keep; only they are in memory.
        whole: decode all frames, so that damage after the last chosen one is found too.

    Raises:
        UserError: it is no video, is damaged, holds no frame, or ``choose`` finds it too short.
    """
    try:
        with _watched(name):
            survey = _survey(name, source)
            video = _pick(name, source, survey, choose, whole) if survey.is_told else None
            if video is None and not survey.independent:  # packets without times, or that show nothing: decode twice
                stamps = [frame.pts for _, frame in _frames(name, source, None)]
                video = _pick(name, source, replace(survey, stamps=stamps, independent=False), choose, whole)
    except (av.error.FFmpegError, OSError) as error:
        raise UserError(f"{name}: not a readable video ({said(error)}); re-encode or remove it") from error
    except ValueError as error:
        raise UserError(f"{name}: {error}") from error
    if video is None:
        raise UserError(f"{name}: its frames do not decode; copy it again, re-encode or remove it")
    return video


@contextmanager
def _watched(name: Path) -> Iterator[None]:
    """Refuse what FFmpeg calls an error: it hides damage in its pictures and goes on.

    Raises:
        UserError: it logged one.
    """
    level, skip = av.logging.get_level(), av.logging.get_skip_repeated()
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as logs:
            yield
    finally:
        av.logging.set_level(level)
        av.logging.set_skip_repeated(skip)
    seen = [message for _, decoder, message in logs if not _is_of_sound(decoder)]
    problems = [" ".join(message.split()) for message in seen if "EXIF" not in message]  # pictures are whole then
    if problems and TWICE in problems[0]:
        raise UserError(JOINED.format(name, f", if it is not damaged ({problems[0]})"))
    if problems:
        raise _damaged(name, problems[0])


def _is_of_sound(decoder: str) -> bool:
    """Whether a complaint is one of sound or subtitles, which FFmpeg looks into when it opens a file."""
    try:
        return Codec(decoder).type != "video"
    except UnknownCodecError:  # a container's
        return False


def _damaged(name: Path, what: str) -> UserError:
    return UserError(f"{name}: damaged ({what}); copy it again, re-encode or remove it")


@contextmanager
def _opened(name: Path, source: Source) -> Iterator[tuple[InputContainer, VideoStream]]:
    """A container and its video, not its cover picture."""
    # an absolute path, since 12:30.mp4 would be taken for a protocol's address; titles may be in any encoding
    file = io.BytesIO(source) if isinstance(source, bytes) else str(source.absolute())
    with av.open(file, mode="r", metadata_errors="replace") as container:
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise UserError(f"{name}: holds no video stream; remove it or give a video")
        stream = streams[0]
        if stream.codec_context is None:
            raise UserError(f"{name}: its codec has no decoder here; re-encode it, e.g. as H.264")
        stream.thread_count = 1
        stream.codec_context.options = {"err_detect": "crccheck"}  # where a codec has checksums, use them
        yield container, stream


def _survey(name: Path, source: Source) -> _Survey:
    """All packets' times, without decoding.

    Raises:
        UserError: there is no frame, or fewer than the header promises.
    """
    with _opened(name, source) as (container, stream):
        promised = stream.frames
        if "mov" in container.format.name:  # what an edit list cuts away is counted, but not indexed
            promised = min(promised, len(stream.index_entries))
        packets = [(p.pts, p.dts, p.is_discard) for p in container.demux(stream) if p.size]
        if not packets:
            raise UserError(f"{name}: holds no frame; remove it or record it again")
        there, decoded_last = len(packets), packets[-1][1]
        if "avi" in container.format.name and decoded_last is not None:  # an empty chunk, "as before", counts too
            there = max(there, decoded_last + 1)
        if there < promised:
            raise UserError(f"{name}: truncated, {there} of {promised} frames are there; copy it again")
        stamps = [pts for pts, _, discarded in packets if not discarded]
        _check_joints(name, stamps, [pts for pts, _, discarded in packets if discarded])
        independent = stream.codec_context.codec.intra_only
        told = [stamp for stamp in stamps if stamp is not None]
        if not independent and len(told) == len(stamps):
            stamps = [*sorted(told)]
        width = stream.sample_aspect_ratio or Fraction(1)
        survey = _Survey(stamps, stream.time_base, stream.average_rate, width, independent)
        _check_whole(name, container, survey)
        return survey


def _check_joints(name: Path, shown: list[int | None], cut: list[int | None]) -> None:
    """Refuse pieces that FFmpeg shows too late: after frames that their edit cuts away, it leaves a hole in time."""
    stamps = np.sort([stamp for stamp in shown if stamp is not None])
    if len(stamps) < 2:
        return
    between = [stamp for stamp in cut if stamp is not None and stamps[0] < stamp < stamps[-1]]
    half = float(np.median(np.diff(stamps))) / 2.0
    if any(float(np.abs(stamps - stamp).min()) > half for stamp in between):
        raise UserError(JOINED.format(name, ""))


def _check_whole(name: Path, container: InputContainer, survey: _Survey) -> None:
    """Refuse a file whose header promises a longer video: it has no count of frames, and a part of it decodes."""
    stamps = sorted(stamp for stamp in survey.stamps if stamp is not None)
    if not any(kind in container.format.name for kind in PROMISING) or len(container.streams) > 1 or len(stamps) < 2:
        return  # a sound track may last longer than its pictures
    base = survey.base or Fraction(0)
    interval = (stamps[-1] - stamps[0]) * base / (len(stamps) - 1)
    promised, there = (container.duration or 0) / av.time_base, float(stamps[-1] * base + interval)
    if there < 0.95 * promised - 0.1:
        raise UserError(f"{name}: truncated, {there:.2f} of {promised:.2f} s are there; copy it again")


def _pick(name: Path, source: Source, survey: _Survey, choose: Choose, whole: bool) -> Video | None:
    """The chosen frames; None if the decoder's frames are not those of the survey."""
    if not survey.stamps:
        return None
    times = survey.times()
    wanted = choose(times)
    chosen, last = set(wanted.tolist()), len(times) - 1 if whole else int(wanted.max())
    needed = (chosen if not whole else set(range(len(times)))) if survey.independent else None
    kept, done, sizes, number = dict[int, Picture](), tuple[str, ...](), dict[str, None](), -1
    for number, frame in _frames(name, source, needed):
        if number > last or frame.pts != survey.stamps[number]:
            return None
        if whole or number in chosen:
            sizes[f"{frame.width}x{frame.height}"] = None
        if number in chosen:
            kept[number], done = _shown(frame, survey.pixel_width)
        if number == last and not whole:
            break
    if number != last or len(kept) < len(chosen):
        return None
    if len(sizes) > 1:
        raise ValueError(f"its frames are of sizes {' and '.join(sizes)}; cut it where the size changes")
    return Video(np.stack([kept[i] for i in wanted.tolist()]), times[wanted] - times[wanted][0], done)


def _frames(name: Path, source: Source, needed: set[int] | None) -> Iterator[tuple[int, VideoFrame]]:
    """Decoded frames with their numbers: all of them, or those needed of frames that decode by themselves.

    Raises:
        UserError: one is damaged.
    """
    with _opened(name, source) as (container, stream):
        packets = (packet for packet in container.demux(stream) if packet.size)
        numbered: Iterator[tuple[int, VideoFrame]]
        if needed is None:
            numbered = enumerate(frame for packet in chain(packets, [None]) for frame in stream.decode(packet))
        else:
            shown = enumerate(packet for packet in packets if not packet.is_discard)
            numbered = ((i, frame) for i, packet in shown if i in needed for frame in stream.decode(packet))
        for number, frame in numbered:
            if frame.is_corrupt:  # what FFmpeg made up where bits were missing
                raise _damaged(name, f"frame {number}")
            yield number, frame


def _shown(frame: VideoFrame, pixel_width: Fraction) -> tuple[Picture, tuple[str, ...]]:
    """A frame as it is to be seen, in RGB, and what was done for that."""
    turned = _turned(frame)
    # one thread: those of more would keep a forked process from freeing a frame that it inherited
    picture: Any = frame.to_ndarray(format="rgb24", threads=1)
    return turn(square_pixels(picture, pixel_width), turned), in_words(pixel_width, turned)


def _turned(frame: VideoFrame) -> Signs:
    """How a frame is turned and mirrored; mirrored is not told of a frame that has EXIF, which PyAV cannot name."""
    try:
        # not the frame's own, with which it would live until the garbage collector comes
        items: list[Any] = list(SideDataContainer(frame))  # type: ignore[call-arg]  # its stub says nothing
    except ValueError:
        return quarter_turn(frame.rotation)
    matrices = [bytes(item) for item in items if item.type == SideData.DISPLAYMATRIX]
    return signs(struct.unpack("=9i", matrices[0])) if matrices else UPRIGHT
