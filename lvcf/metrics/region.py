"""Where the edit was let through, against where it belongs.  Masks and regions are bool ``(T, H, W)``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Region = NDArray[np.bool_]


def region_precision(mask: Region, region: Region) -> float:
    """Share in [0, 1] of the mask that lies in the region; NaN of an empty mask."""
    return float((mask & region).sum() / mask.sum()) if mask.any() else float("nan")


def region_iou(mask: Region, region: Region) -> float:
    """Intersection over union in [0, 1]; 1 if both are empty."""
    union = float((mask | region).sum())
    return float((mask & region).sum()) / union if union else 1.0
