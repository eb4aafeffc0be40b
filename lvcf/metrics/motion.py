"""Temporal consistency: what is left of a frame after the one before was moved along the optical flow.

The flow is Lucas & Kanade's (1981), coarse to fine, in square windows: no network, no further dependency.  It
follows motion of a few pixels on textured ground; elsewhere its error counts as inconsistency, so read the figure
beside that of the factual clip.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, map_coordinates, uniform_filter, zoom
from torch import Tensor

Array = NDArray[np.float64]

WINDOW = 9
"""Side of the square in which motion is one, in pixels."""
ITERATIONS = 2
COARSEST = 24
"""Least side of a pyramid level, in pixels."""
FLAT = 1.0
"""Added to the structure tensor, in squared levels: flat ground stays where it is."""


def warping_error(video: Tensor) -> float:
    """Mean absolute difference in levels of every frame to the one before, warped (as Lai et al. 2018).

    Args:
        video: a clip ``(3, T, H, W)`` in [-1, 1], by its mean over colours; pixels that the flow brings in from
            outside are left out.

    Returns:
        0 for a clip whose brightness only moves; the noise between frames stays in.
    """
    gray = (video.double().mean(dim=0).numpy() + 1.0) * 127.5
    before, after = gray[:-1], gray[1:]
    warped, inside = _warp(before, optical_flow(before, after))
    return float(np.abs(after - warped)[inside].mean())


def optical_flow(before: Array, after: Array) -> Array:
    """Where each pixel of ``after`` was in ``before``, minus its place: ``(2, N, H, W)``, rows and columns, in pixels.

    Args:
        before: frames ``(N, H, W)`` in levels.
        after: the frames that follow.
    """
    height, width = before.shape[1:]
    if min(height, width) < 2 * COARSEST:
        return _refined(before, after, np.zeros((2, *before.shape)))
    half = (1, (height // 2) / height, (width // 2) / width)
    coarse = optical_flow(*(zoom(gaussian_filter(v, 1.0, axes=(1, 2)), half, order=1) for v in (before, after)))
    back = (1, height / coarse.shape[2], width / coarse.shape[3])
    start = np.stack([zoom(flow, back, order=1) * scale for flow, scale in zip(coarse, back[1:], strict=True)])
    return _refined(before, after, start)


def _refined(before: Array, after: Array, flow: Array) -> Array:
    """Gauss-Newton steps on the squared difference in every window."""
    for _ in range(ITERATIONS):
        warped, inside = _warp(before, flow)
        down, right = np.gradient(warped, axis=(1, 2))
        missed = np.where(inside, after - warped, 0.0)
        dd, dr, rr, dm, rm = (
            uniform_filter(a * b, WINDOW, axes=(1, 2))
            for a, b in ((down, down), (down, right), (right, right), (down, missed), (right, missed))
        )
        dd, rr = dd + FLAT, rr + FLAT
        determinant = dd * rr - dr * dr
        flow = flow + np.stack([rr * dm - dr * rm, dd * rm - dr * dm]) / determinant
    return flow


def _warp(frames: Array, flow: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Frames ``(N, H, W)`` read at ``place + flow``, and where that lies inside."""
    places = np.stack(np.meshgrid(*(np.arange(s, dtype=np.float64) for s in frames.shape[1:]), indexing="ij"))
    wanted = places[:, None] + flow
    limits = np.array(frames.shape[1:], dtype=np.float64).reshape(2, 1, 1, 1) - 1.0
    inside = np.asarray(((wanted >= 0.0) & (wanted <= limits)).all(axis=0))
    warped = np.stack(
        [map_coordinates(f, at, order=1, mode="nearest") for f, at in zip(frames, wanted.swapaxes(0, 1), strict=True)]
    )
    return warped, inside
