"""DICOM's stored values as 8-bit RGB, by what the file states and never by what one clip happens to hold.

Gray values go through the modality table or rescale, then the first VOI table or window, whose range becomes 0..255;
without one, the range of BitsStored does.  MONOCHROME1 is inverted, PALETTE COLOR looked up.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_color_lut, apply_windowing

from lvcf.data.orientation import Picture

COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
"""Of three samples; pydicom hands them out as RGB."""
MACROS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
"""Where an enhanced file states for all or single frames what others state once."""
WINDOW = ("WindowCenter", "WindowWidth", "VOILUTFunction")
Values = NDArray[Any]


def to_8_bits(dataset: Dataset, number: int, pixels: Values) -> Picture:
    """Frame ``number`` as ``(H, W, 3)`` RGB, from its decoded ``(H, W)`` or ``(H, W, 3)`` values.

    Raises:
        ValueError: the values mean nothing that is known here.
    """
    kind = str(dataset.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        return _coloured(dataset, pixels)
    stated = _stated(dataset, number)
    if kind in COLOURS and pixels.ndim == 3:
        return _scaled(pixels, *_stored_range(stated))
    if kind not in ("MONOCHROME1", "MONOCHROME2") or pixels.ndim != 2:
        raise ValueError(f"PhotometricInterpretation {kind} with {dataset.SamplesPerPixel} samples is not known")
    gray = _gray(stated, pixels)
    return np.repeat((255 - gray if kind == "MONOCHROME1" else gray)[..., None], 3, axis=-1)


def _stated(dataset: Dataset, number: int) -> Dataset:
    """What holds for a frame: its own statements before those for all frames."""
    shared = dataset.get("SharedFunctionalGroupsSequence") or []
    own = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*shared[:1], *own[number : number + 1]]
    stated = Dataset()
    for source in (dataset, *(item for group in groups for macro in MACROS for item in group.get(macro) or [])):
        stated.update({e.tag: e for e in source.group_dataset(0x0028)})
    stated.set_original_encoding(*dataset.original_encoding)
    return stated


def _gray(stated: Dataset, pixels: Values) -> NDArray[np.uint8]:
    values, (low, high) = pixels, _stored_range(stated)
    if table := stated.get("ModalityLUTSequence"):
        values, high = _looked_up(stated, table[0], values)
        low = 0.0
    elif "RescaleSlope" in stated or "RescaleIntercept" in stated:
        slope, intercept = (float(stated.get(name) or 0) for name in ("RescaleSlope", "RescaleIntercept"))
        slope = slope or 1.0
        values = values * slope + intercept
        low, high = sorted((low * slope + intercept, high * slope + intercept))
    if table := stated.get("VOILUTSequence"):
        values, high = _looked_up(stated, table[0], np.rint(values))
        return _scaled(values, 0.0, high)
    if stated.get("WindowCenter") is not None and stated.get("WindowWidth") is not None:
        return _windowed(stated, values)
    return _scaled(values, low, high)


def _stored_range(stated: Dataset) -> tuple[float, float]:
    bits = int(stated.BitsStored)
    half = 2.0 ** (bits - 1)
    return (-half, half - 1.0) if stated.get("PixelRepresentation") else (0.0, 2.0 * half - 1.0)


def _scaled(values: Values, low: float, high: float) -> NDArray[np.uint8]:
    """``low`` to ``high`` as 0..255."""
    if values.dtype == np.uint8 and (low, high) == (0.0, 255.0):
        return np.asarray(values, dtype=np.uint8)
    shares = (values.astype(np.float64) - low) / (high - low)
    return np.round(255.0 * shares.clip(0.0, 1.0)).astype(np.uint8)


def _windowed(stated: Dataset, values: Values) -> NDArray[np.uint8]:
    """The stated window's edges as 0 and 255, by pydicom's own formulas, which end at BitsStored's range."""
    window = Dataset()
    window.PhotometricInterpretation, window.BitsStored, window.PixelRepresentation = "MONOCHROME2", 8, 0
    for name in WINDOW:
        if stated.get(name) not in (None, ""):
            setattr(window, name, stated.get(name))
    return _scaled(apply_windowing(values, window), 0.0, 255.0)


def _looked_up(stated: Dataset, table: Dataset, values: Values) -> tuple[Values, float]:
    """A table's entries for the values, and the largest entry there can be.

    pydicom's own tables wrap around where 8-bit entries are more than 256.
    """
    count, first, bits = (int(number) for number in table.LUTDescriptor)
    entries = _entries(stated, table.LUTData, count or 2**16)
    places = np.clip(values.astype(np.int64) - first, 0, len(entries) - 1)
    return entries[places], 2.0**bits - 1.0


def _entries(stated: Dataset, data: Any, count: int) -> Values:
    """A table's data: numbers, or bytes of one or two each."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, dtype=np.int64))
    width = min(len(data) // count, 2)
    order = "<" if stated.original_encoding[1] else ">"
    return np.frombuffer(data, dtype=f"{order}u{width}", count=count)


def _coloured(dataset: Dataset, pixels: Values) -> Picture:
    """A palette's colours; of 16-bit entries the upper 8, unless all are 8-bit values, as some devices write them."""
    count, first, bits = (int(number) for number in dataset.RedPaletteColorLookupTableDescriptor)
    count = count or 2**16
    if "SegmentedRedPaletteColorLookupTableData" in dataset:
        palette = apply_color_lut(np.arange(first, first + min(count, 2**bits), dtype=np.int64), dataset)[:, :3]
    else:
        data = (dataset[f"{colour}PaletteColorLookupTableData"].value for colour in ("Red", "Green", "Blue"))
        palette = np.stack([_entries(dataset, entries, count) for entries in data], axis=-1)
    places = np.clip(pixels.astype(np.int64) - first, 0, len(palette) - 1)
    colours = palette[places]
    return np.asarray(colours >> 8 if bits > 8 and palette.max() > 255 else colours.clip(0, 255)).astype(np.uint8)
