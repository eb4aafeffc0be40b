"""The panel video: factual | counterfactual | signed difference | mask, side by side; and how a page shows it."""

from __future__ import annotations

import base64
import io
import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.image import imsave
from numpy.typing import NDArray

from lvcf.data.video import Frames, read_video, write_preview

Array = NDArray[np.float32]

CAPTIONS = ("factual", "counterfactual", "signed difference", "mask on the factual")
TILE = 336
"""Height in pixels that a tile is scaled towards, by an integer factor."""
GAP, HEADER, FOOTER = 8, 44, 56
_GROUND, _INK, _QUIET = "#0f1215", "#f2f3f4", "#a9b0b7"
_DARK = tuple(bytes.fromhex(_GROUND[1:]))
_AMBER = np.array([255.0, 190.0, 40.0], dtype=np.float32)
_LEVELS = (10, 20, 30, 40, 50, 60, 80, 100, 120, 160, 200, 255)


def panel_frames(factual: Frames, counterfactual: Frames, mask: NDArray[np.floating]) -> Frames:
    """Lay the four tiles of every frame side by side, captions above, legends below.

    Args:
        factual: the input clip, uint8 ``(T, H, W, 3)``.
        counterfactual: the edited clip, of the same shape.
        mask: where the clip was changed, ``(T, H, W)`` in 0..1.

    Returns:
        uint8 ``(T, HEADER + f * H + FOOTER, 4 * f * W + 3 * GAP, 3)`` with the integer factor f that
        brings a tile's height nearest to ``TILE``.
    """
    factor = max(1, round(TILE / factual.shape[1]))
    scale = difference_scale(factual, counterfactual)
    before = upscale(factual.astype(np.float32), factor)
    after = upscale(counterfactual.astype(np.float32), factor)
    coloured = difference_colours(upscale(_difference(factual, counterfactual), factor), scale)
    marked = _overlay(before, upscale(mask, factor))
    tiles = (_levels(before), _levels(after), coloured, _levels(marked))
    tall, wide = before.shape[1:3]
    ground = _surround(tall, wide, scale)
    panel = np.repeat(ground[None], len(factual), axis=0)
    for index, tile in enumerate(tiles):
        left = index * (wide + GAP)
        panel[:, HEADER : HEADER + tall, left : left + wide] = tile
    return panel


def beside(factual: Frames, counterfactuals: Sequence[Frames]) -> Frames:
    """A clip and its counterfactuals side by side, each one's signed difference below it.

    Args:
        factual: the input clip, uint8 ``(T, H, W, 3)``.
        counterfactuals: k of the same shape.

    Returns:
        uint8 ``(T, 2 * f * H + GAP, (k + 1) * f * W + k * GAP, 3)``, f as in :func:`panel_frames`; differences have one
        scale, and the tile below the factual is empty.
    """
    factor = max(1, round(TILE / factual.shape[1]))
    scale = max(difference_scale(factual, one) for one in counterfactuals)
    above = [_levels(upscale(clip.astype(np.float32), factor)) for clip in (factual, *counterfactuals)]
    below = [difference_colours(upscale(_difference(factual, one), factor), scale) for one in counterfactuals]
    tall, wide = above[0].shape[1:3]
    panel = np.full((len(factual), 2 * tall + GAP, len(above) * (wide + GAP) - GAP, 3), _DARK, dtype=np.uint8)
    for index, tile in enumerate(above):
        panel[:, :tall, index * (wide + GAP) : index * (wide + GAP) + wide] = tile
    for index, tile in enumerate(below, start=1):
        panel[:, tall + GAP :, index * (wide + GAP) : index * (wide + GAP) + wide] = tile
    return panel


def difference_scale(factual: Frames, counterfactual: Frames) -> int:
    """Levels (of 255) at which the difference's colours end: its 99.5th percentile, rounded up to a plain number."""
    size = float(np.percentile(np.abs(_difference(factual, counterfactual)), 99.5))
    return next(level for level in _LEVELS if level >= size)


def difference_colours(change: NDArray[np.floating], scale: float) -> Frames:
    """Signed levels ``(...)`` to uint8 RGB ``(..., 3)``: red is brighter, blue is darker, pale is the same."""
    # coolwarm is even in lightness on both sides and is not pure white, which would glare beside dark ultrasound
    return np.asarray(colormaps["coolwarm"](0.5 + 0.5 * change / scale, bytes=True)[..., :3], dtype=np.uint8)


def upscale(frames: NDArray[np.floating], factor: int) -> Array:
    """Enlarge ``(T, H, W)`` or ``(T, H, W, C)`` by an integer factor with cubic convolution; values may overshoot."""
    rows, columns = (_cubic(size, factor) for size in frames.shape[1:3])
    return np.asarray(np.einsum("hi,tij...,wj->thw...", rows, frames, columns, optimize=True), dtype=np.float32)


def _cubic(size: int, factor: int) -> Array:
    """Keys' cubic kernel (a = -0.5) as a ``(size * factor, size)`` matrix, the edge pixel repeated outside."""
    target = np.arange(size * factor)
    at = (target + 0.5) / factor - 0.5
    first = np.floor(at).astype(int) - 1
    matrix = np.zeros((size * factor, size), dtype=np.float32)
    for tap in range(4):
        d = np.abs(at - (first + tap))
        weight = np.where(d < 1, 1.5 * d**3 - 2.5 * d**2 + 1, -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2)
        np.add.at(matrix, (target, np.clip(first + tap, 0, size - 1)), weight)
    return matrix


def _levels(frames: Array) -> Frames:
    return np.clip(np.rint(frames), 0, 255).astype(np.uint8)


def _difference(factual: Frames, counterfactual: Frames) -> Array:
    return np.asarray((counterfactual.astype(np.float32) - factual.astype(np.float32)).mean(axis=-1), dtype=np.float32)


def _overlay(frames: Array, mask: Array) -> Array:
    """Tint the masked region amber and draw the outline where the mask crosses one half."""
    share = 0.45 * np.clip(mask, 0, 1)[..., None]
    tinted = frames + share * (_AMBER - frames)
    inside = mask > 0.5
    edge = np.zeros_like(inside)
    for axis in (1, 2):
        edge |= inside != np.roll(inside, 1, axis=axis)
    edge[:, 0], edge[:, :, 0] = False, False
    tinted[edge] = _AMBER
    return tinted


@lru_cache(maxsize=len(_LEVELS))
def _surround(tall: int, wide: int, scale: int) -> Frames:
    """Captions, legends and dark ground of one panel frame; the tiles are pasted over it.

    Drawn once for all clips of a run: matplotlib's figures live until the garbage collector comes.
    """
    width, height = 4 * wide + 3 * GAP, HEADER + tall + FOOTER
    figure = Figure(figsize=(width / 100, height / 100), dpi=100, facecolor=_GROUND)
    canvas = FigureCanvasAgg(figure)
    if canvas.get_width_height() != (width, height):  # with some NumPys, 4.6 inches are 459.9999 pixels, cut to 459
        figure.set_size_inches((width + 1e-6) / 100, (height + 1e-6) / 100)
    size = 72 / 100 * min(22.0, wide / 14)
    for index, caption in enumerate(CAPTIONS):
        centre = (index * (wide + GAP) + wide / 2) / width
        figure.text(centre, 1 - 0.5 * HEADER / height, caption, color=_INK, size=size, ha="center", va="center")
    bar_left, bar_wide, bar_middle = 2 * (wide + GAP) + round(0.18 * wide), round(0.5 * wide), FOOTER // 2
    labels = ((bar_left - 8, "right", f"−{scale}"), (bar_left + bar_wide + 8, "left", f"+{scale} levels"))
    for x, side, text in labels:
        figure.text(x / width, bar_middle / height, text, color=_QUIET, size=0.82 * size, ha=side, va="center_baseline")
    canvas.draw()  # type: ignore[no-untyped-call]
    picture = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
    ramp = difference_colours(np.linspace(-scale, scale, bar_wide), scale)
    picture[height - bar_middle - 8 : height - bar_middle + 8, bar_left : bar_left + bar_wide] = ramp
    return picture


LAYOUT = {"names": CAPTIONS, "gap": GAP, "header": HEADER, "footer": FOOTER}
"""Where the tiles of a panel video lie, for the page's script."""


def show_panel(folder: Path, linked: bool) -> dict[str, Any]:
    """Read ``panel.mp4`` and the two lossless clips of a prediction folder.

    Args:
        folder: of the prediction, in ``predictions/`` of the run.
        linked: leave the video where it is and write ``poster.jpg`` beside it.

    Returns:
        ``video`` and ``poster`` (data URIs, or addresses from the run's folder; the poster is the frame that changed
        most, which is what is printed), ``layout`` of its tiles, and ``scale``, the levels at which the panel's
        difference colours end.

    Raises:
        UserError: one of the three files is missing or damaged.
    """
    panel = read_video(folder / "panel.mp4").frames
    factual, counterfactual = (read_video(folder / f"{name}.mkv").frames for name in ("factual", "counterfactual"))
    change = np.abs(counterfactual.astype(np.int16) - factual).mean(axis=(1, 2, 3))
    still = io.BytesIO()
    imsave(still, panel[int(change.argmax())], format="jpeg", pil_kwargs={"quality": 82})
    if linked:
        (folder / "poster.jpg").write_bytes(still.getvalue())
        poster = f"predictions/{quote(folder.name)}/poster.jpg"
    else:
        poster = data_uri("image/jpeg", still.getvalue())
    return {
        "video": show_film(folder, "panel.mp4", linked),
        "poster": poster,
        "layout": {**LAYOUT, "width": panel.shape[2], "height": panel.shape[1]},
        "scale": difference_scale(factual, counterfactual),
    }


def show_film(folder: Path, name: str, linked: bool) -> str:
    """A film of a prediction folder as an address: from the run's folder, or a data URI."""
    if linked:
        return f"predictions/{quote(folder.name)}/{name}"
    return data_uri("video/mp4", (folder / name).read_bytes())


def player(film: Frames, fps: float, more: str = "") -> str:
    """A film ``(T, H, W, 3)`` as an HTML player that needs no other file; ``more`` are attributes of its tag."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.mp4"
        write_preview(path, film, fps)
        source = data_uri("video/mp4", path.read_bytes())
    return f'<video controls loop muted playsinline {more}style="max-width: 100%" src="{source}"></video>'


def data_uri(kind: str, content: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
