"""Maps over clips as pictures, and a clip's thumbnail."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from matplotlib import colormaps
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion

from lvcf.data.video import Frames
from lvcf.runs.folder import Prediction
from lvcf.runs.panel import data_uri, difference_colours, difference_scale

THUMBNAIL = "thumbnail.jpg"
SIDE = 96
"""Height in pixels of a thumbnail's tiles."""
OUTLINE = 3
"""Width of a region's outline in pixels of its picture."""
_SIZES = "inferno"
_OUTLINE = (64, 224, 255)

Map = NDArray[np.float64]


def size_colours(size: NDArray[Any], top: float) -> Frames:
    """How much changed, ``(...)`` to uint8 RGB ``(..., 3)``: black is nothing, pale is ``top`` levels or more."""
    return np.asarray(colormaps[_SIZES](np.clip(size / top, 0, 1), bytes=True)[..., :3], dtype=np.uint8)


def size_picture(size: Map, top: float) -> str:
    """A map of how much changed, as an address."""
    return _png(size_colours(size, top))


def signed_picture(signed: Map, scale: float) -> str:
    """A map of signed changes in the panel's difference colours, as an address."""
    return _png(difference_colours(signed, scale))


def grey_picture(levels: Map) -> str:
    """A mean frame, as an address."""
    return _png(np.repeat(_levels(levels)[..., None], 3, axis=-1))


def outlined_picture(size: Map, top: float, region: Map) -> str:
    """A map of how much changed with the edge of a region ``(H, W)`` in 0..1 drawn on it, three times as large."""
    coloured = np.kron(size_colours(size, top), np.ones((3, 3, 1), dtype=np.uint8))
    inside = np.kron(region > 0.5, np.ones((3, 3), dtype=bool))
    coloured[inside & ~binary_erosion(inside, iterations=OUTLINE)] = _OUTLINE
    return _png(coloured)


def tiles(factual: Frames, final: Frames, frame: int) -> Frames:
    """A frame of a clip ``(T, H, W, 3)``, of its counterfactual, and their signed difference: ``(H, 3 W, 3)``."""
    signed = (final[frame].astype(np.float32) - factual[frame]).mean(axis=-1)
    coloured = difference_colours(signed, difference_scale(factual, final))
    return np.concatenate([factual[frame], final[frame], coloured], axis=1)


def write_thumbnail(prediction: Prediction, factual: Frames, final: Frames, frame: int) -> None:
    """Write ``thumbnail.jpg`` into a clip's folder: :func:`tiles` of the frame that changed most, small."""
    picture = Image.fromarray(tiles(factual, final, frame))
    small = picture.resize((round(picture.width * SIDE / picture.height), SIDE), Image.Resampling.BICUBIC)
    path = prediction.folder / THUMBNAIL
    partial = path.with_name(f".{THUMBNAIL}.partial")
    small.save(partial, format="jpeg", quality=82)
    partial.replace(path)


def _levels(values: Map) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def _png(picture: Frames) -> str:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, format="png", optimize=True)
    return data_uri("image/png", stream.getvalue())
