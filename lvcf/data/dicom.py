"""Reading echocardiograms from DICOM files with pydicom."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.errors import InvalidDicomError
from pydicom.pixels.decoders.base import get_decoder
from pydicom.pixels.utils import iter_pixels, pixel_array
from pydicom.tag import Tag
from pydicom.uid import MPEGTransferSyntaxes

from lvcf.data.decoding import decode
from lvcf.data.dicom_pixels import to_8_bits
from lvcf.data.orientation import UPRIGHT, Picture, in_words, square_pixels
from lvcf.data.video import Choose, Frames, Video
from lvcf.errors import UserError, said

Numbers = NDArray[np.float64]
SUFFIXES = (".dcm",)
SPACINGS = ("PixelAspectRatio", "PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing")
"""All are vertical, horizontal."""
DAMAGE = (
    InvalidDicomError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    ArithmeticError,
    RuntimeError,
    OSError,
    NotImplementedError,
)
"""What reading raises where an element is missing, empty or of another kind than the standard has it."""
PICTURES_2D = 1
"""RegionSpatialFormat of a moving picture; others are M-modes, spectra, curves."""


def is_dicom(path: Path) -> bool:
    """Whether a file is DICOM: by its ending, or, since archives name files by numbers, by its first bytes.

    Raises:
        UserError: it cannot be read.
    """
    if path.suffix.lower() in SUFFIXES:
        return True
    if path.name.upper() == "DICOMDIR" or not os.path.isfile(path):  # a disc's table of contents; a pipe would wait
        return False
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); correct its permissions or move it out") from error


def read_dicom(path: Path, choose: Choose | None = None) -> Video:
    """The frames that ``choose`` picks (or all) of a multi-frame DICOM: its 2D region, with its own frame times.

    Nothing else is read from the file: names, dates and identifiers of patients stay in it.

    Raises:
        UserError: the file is no DICOM, is damaged, holds no moving picture, or ``choose`` finds it too short.
    """
    if not os.path.isfile(path):
        raise UserError(f"{path}: no such file; check the data root")
    try:
        dataset = pydicom.dcmread(path)
        return _moving_picture(path, dataset, choose or (lambda times: np.arange(len(times))))
    except DAMAGE as error:
        raise UserError(f"{path}: not a readable DICOM video ({said(error)}); export it again") from error


def _moving_picture(path: Path, dataset: Dataset, choose: Choose) -> Video:
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    if count < 2:
        raise UserError(f"{path}: holds {count} frame; a counterfactual video needs a moving picture")
    if count > len(dataset.PixelData):
        raise UserError(f"{path}: NumberOfFrames {count} is more than it has bytes for; export it again")
    times = frame_times(path, dataset, count)
    try:
        wanted = choose(times)
    except ValueError as error:
        raise UserError(f"{path}: {error}") from error
    frames = np.stack([_region(dataset, picture) for picture in _pictures(path, dataset, count, wanted)])
    width = _pixel_width(dataset)
    if width != 1:
        frames = np.stack([square_pixels(picture, width) for picture in frames])
    return Video(frames, times[wanted] - times[wanted][0], in_words(width, UPRIGHT))


def _pictures(path: Path, dataset: Dataset, count: int, wanted: NDArray[np.int64]) -> list[Picture]:
    """The wanted frames as 8-bit RGB.

    Raises:
        UserError: there are fewer frames than stated, or there is nothing to decode them with.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax in MPEGTransferSyntaxes:
        return list(_decoded_video(path, dataset, count, wanted))
    decoder = get_decoder(syntax)
    if not decoder.is_available:
        extra = any("pylibjpeg-libjpeg" in needed for needed in decoder.missing_dependencies)
        remedy = "pip install 'lvcf[dicom]' brings a decoder" if extra else "export it uncompressed"
        raise UserError(f"{path}: is compressed as {syntax.name}, which needs a decoder; {remedy}")
    chosen, pictures, there = set(wanted.tolist()), dict[int, Picture](), 0
    if not syntax.is_compressed:  # iter_pixels loses its place in uncompressed YBR_FULL_422
        pictures = {number: to_8_bits(dataset, number, pixel_array(dataset, index=number)) for number in chosen}
        return [pictures[number] for number in wanted.tolist()]
    for there, pixels in enumerate(iter_pixels(dataset), start=1):
        if there - 1 in chosen:
            pictures[there - 1] = to_8_bits(dataset, there - 1, pixels)
    if there < count:
        raise UserError(f"{path}: truncated, {there} of {count} frames are there; copy it again")
    return [pictures[number] for number in wanted.tolist()]


def _decoded_video(path: Path, dataset: Dataset, count: int, wanted: NDArray[np.int64]) -> Frames:
    """The wanted frames of a whole MPEG stream inside; when they are shown, the DICOM says."""

    def choose(times: NDArray[np.float64]) -> NDArray[np.int64]:
        if len(times) < count:
            raise ValueError(f"truncated, {len(times)} of {count} frames are there; copy it again")
        return wanted

    return decode(path, b"".join(_fragments(dataset)), choose).frames


def _fragments(dataset: Dataset) -> Iterator[bytes]:
    """The parts of an encapsulated stream; a table of offsets comes first."""
    fragments = generate_fragments(dataset.PixelData)
    next(fragments)
    return fragments


def _pixel_width(dataset: Dataset) -> Fraction:
    """How many times as wide as high the pixels are: by their ratio, or their spacing where there is no ratio."""
    for name in SPACINGS:
        stated = [Fraction(str(number)) for number in np.atleast_1d(dataset.get(name) or []).tolist()]
        if len(stated) == 2 and min(stated) > 0:
            return (stated[1] / stated[0]).limit_denominator(100)
    return Fraction(1)


def _region(dataset: Dataset, picture: Picture) -> Picture:
    """The largest stated 2D region that lies inside the picture (a resized copy keeps stale ones), else all."""
    regions = dataset.get("SequenceOfUltrasoundRegions") or []
    boxes = [_box(region, picture) for region in regions if region.get("RegionSpatialFormat", 1) == PICTURES_2D]
    inside = [box for box in boxes if box is not None]
    if not inside:
        return picture
    left, top, right, bottom = max(inside, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
    return picture[top : bottom + 1, left : right + 1]


def _box(region: Dataset, picture: Picture) -> tuple[int, int, int, int] | None:
    """A region's first and last columns and rows: left, top, right, bottom; None if it is none or lies outside."""
    height, width = picture.shape[:2]
    stated = [region.get(f"RegionLocation{name}") for name in ("MinX0", "MinY0", "MaxX1", "MaxY1")]
    if None in stated:
        return None
    left, top, right, bottom = (int(number) for number in stated)
    right, bottom = min(right, width - (right == width)), min(bottom, height - (bottom == height))  # off by one
    return (left, top, right, bottom) if 0 <= left < right < width and 0 <= top < bottom < height else None


def frame_times(path: Path, dataset: Dataset, count: int) -> Numbers:
    """Presentation times in seconds, from 0.

    What FrameIncrementPointer names counts first, then FrameTimeVector, FrameTime (both ms), CineRate and
    RecommendedDisplayFrameRate.  One that tells no time for every frame, or none above 0, is passed over.

    Raises:
        UserError: none tells.
    """
    pointed = {int(Tag(tag)) for tag in np.atleast_1d(dataset.get("FrameIncrementPointer") or []).tolist()}
    ordered = sorted(STATEMENTS, key=lambda name: int(Tag(name)) not in pointed)
    for name in ordered:
        stated = np.atleast_1d(np.asarray(dataset.get(name) or [], dtype=np.float64))
        times = STATEMENTS[name](stated, count) if stated.any() else None
        if times is not None and np.isfinite(times).all() and (np.diff(times) > 0.0).all():
            return times
    there = [f"{name} {str(dataset.get(name))[:40]}" for name in STATEMENTS if dataset.get(name) is not None]
    raise UserError(
        f"{path}: states no frame time for {count} frames ({', '.join(there) or 'none of ' + ', '.join(STATEMENTS)}); "
        "correct or add FrameTime"
    )


def _by_vector(stated: Numbers, count: int) -> Numbers | None:
    """One increment for every frame, the first's without meaning, or one between every two."""
    if len(stated) not in (count, count - 1):
        return None
    return np.asarray(np.cumsum([0.0, *stated[-(count - 1) :]]) / 1000.0, dtype=np.float64)


def _by_interval(stated: Numbers, count: int) -> Numbers | None:
    return np.asarray(np.arange(count) * (stated[0] / 1000.0), dtype=np.float64)


def _by_rate(stated: Numbers, count: int) -> Numbers | None:
    return np.asarray(np.arange(count) / stated[0], dtype=np.float64)


STATEMENTS: dict[str, Callable[[Numbers, int], Numbers | None]] = {
    "FrameTimeVector": _by_vector,
    "FrameTime": _by_interval,
    "CineRate": _by_rate,
    "RecommendedDisplayFrameRate": _by_rate,
}
"""In the order in which they count."""
