"""Reading echocardiograms from DICOM files with pydicom."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels.utils import pixel_array

from lvcf.data.video import Frames, Video
from lvcf.errors import UserError


def read_dicom(path: Path) -> Video:
    """All frames of a multi-frame DICOM, cropped to the stated ultrasound region, with its own frame times.

    Nothing else is read from the file: names, dates and identifiers of patients stay in it.

    Raises:
        UserError: the file is no DICOM, is damaged, or holds no moving picture.
    """
    try:
        dataset = pydicom.dcmread(path)
        frames = pixel_array(dataset)
    except (InvalidDicomError, AttributeError, ValueError, RuntimeError, OSError, NotImplementedError) as error:
        raise UserError(
            f"{path}: not a readable DICOM video ({' '.join(str(error).split())[:200]}); export it again"
        ) from error
    count = int(dataset.get("NumberOfFrames", 1) or 1)
    if count < 2:
        raise UserError(f"{path}: holds {count} frame; a counterfactual video needs a moving picture")
    rgb = frames if frames.ndim == 4 else np.repeat(frames[..., None], 3, axis=-1)
    return Video(_region(dataset, _to_8_bits(rgb)), frame_times(path, dataset, count))


def frame_times(path: Path, dataset: Dataset, count: int) -> NDArray[np.float64]:
    """Presentation times in seconds: FrameTimeVector, FrameTime (both ms), or a rate, whichever is there."""
    if vector := dataset.get("FrameTimeVector"):
        steps: NDArray[np.float64] = np.array(vector if len(vector) == count else [0.0, *vector], dtype=np.float64)[
            :count
        ]
        steps[0] = 0.0
        return np.asarray(np.cumsum(steps) / 1000.0, dtype=np.float64)
    if interval := dataset.get("FrameTime"):
        return np.asarray(np.arange(count) * (float(interval) / 1000.0), dtype=np.float64)
    rate = dataset.get("CineRate") or dataset.get("RecommendedDisplayFrameRate")
    if not rate:
        raise UserError(f"{path}: states no frame time (FrameTime, FrameTimeVector, CineRate); add one")
    return np.arange(count) / float(rate)


def _to_8_bits(frames: NDArray[Any]) -> Frames:
    if frames.dtype == np.uint8:
        return frames.astype(np.uint8)
    values = frames.astype(np.float64)
    scaled: Frames = np.round(255.0 * (values - values.min()) / max(float(np.ptp(values)), 1.0)).astype(np.uint8)
    return scaled


def _region(dataset: Dataset, frames: Frames) -> Frames:
    """The largest stated ultrasound region that lies inside the picture (a resized copy keeps stale ones), else all."""
    regions = dataset.get("SequenceOfUltrasoundRegions") or []
    boxes = [
        (int(r.RegionLocationMinX0), int(r.RegionLocationMinY0), int(r.RegionLocationMaxX1), int(r.RegionLocationMaxY1))
        for r in regions
        if r.RegionLocationMaxX1 < frames.shape[2] and r.RegionLocationMaxY1 < frames.shape[1]
    ]
    if not boxes:
        return frames
    left, top, right, bottom = max(boxes, key=lambda b: (b[2] - b[0]) * (b[3] - b[1]))
    return frames[:, top : bottom + 1, left : right + 1]
