"""A clip's panel video for the page, inside it or linked, with a still of its most telling frame."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from matplotlib.image import imsave

from lvcf.data.video import read_video
from lvcf.runs.panel import CAPTIONS, FOOTER, GAP, HEADER, difference_scale

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
        video, poster = (f"predictions/{quote(folder.name)}/{name}" for name in ("panel.mp4", "poster.jpg"))
    else:
        video = data_uri("video/mp4", (folder / "panel.mp4").read_bytes())
        poster = data_uri("image/jpeg", still.getvalue())
    return {
        "video": video,
        "poster": poster,
        "layout": {**LAYOUT, "width": panel.shape[2], "height": panel.shape[1]},
        "scale": difference_scale(factual, counterfactual),
    }


def data_uri(kind: str, content: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
