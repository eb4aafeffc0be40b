"""Temporal consistency: what is left of a frame after the one before was moved along the optical flow.

The flow is Lucas & Kanade's (1981) as scikit-image has it: iterated, coarse to fine, no network.  It follows motion of
a few pixels on textured ground; elsewhere its error counts as inconsistency, so read the figure beside that of the
factual clip.
"""

from __future__ import annotations

import itertools

import numpy as np
from numpy.typing import NDArray
from skimage.registration import optical_flow_ilk
from skimage.transform import warp
from torch import Tensor

Array = NDArray[np.float64]

RADIUS = 7
"""Half the side of the square in which motion is one, in pixels."""
WARPS = 3
"""Times that a level's flow is refined; five and ten leave the same error."""


def warping_error(video: Tensor) -> float:
    """Mean absolute difference in levels of every frame to the one before, warped (as Lai et al. 2018).

    Args:
        video: a clip ``(3, T, H, W)`` in [-1, 1], by its mean over colours; pixels that the flow brings in from
            outside are left out.

    Returns:
        0 for a clip whose brightness only moves; the noise between frames stays in.
    """
    gray = (video.double().mean(dim=0).numpy() + 1.0) / 2.0
    places = np.stack(np.meshgrid(*(np.arange(side, dtype=np.float64) for side in gray.shape[1:]), indexing="ij"))
    missed = []
    for before, after in itertools.pairwise(gray):
        warped = warp(before, places + optical_flow(before, after), order=1, mode="constant", cval=np.nan)
        missed.append(np.abs(after - warped))
    return 255.0 * float(np.nanmean(missed))


def optical_flow(before: Array, after: Array) -> Array:
    """Where each pixel of ``after`` was in ``before``, minus its place: ``(2, H, W)``, rows and columns, in pixels.

    Args:
        before: a frame ``(H, W)`` in [0, 1].
        after: the frame that follows.
    """
    flow: Array = optical_flow_ilk(after, before, radius=RADIUS, num_warp=WARPS, dtype=np.float64)
    return flow
