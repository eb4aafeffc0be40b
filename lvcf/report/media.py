"""A clip's panel video as text for the page, with a still of its most telling frame."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave

from lvcf.data.video import read_video
from lvcf.report.panel import CAPTIONS, FOOTER, GAP, HEADER, difference_scale

LAYOUT = {"names": CAPTIONS, "gap": GAP, "header": HEADER, "footer": FOOTER}
"""Where the tiles of a panel video lie, for the page's script."""


def embed_panel(folder: Path) -> dict[str, Any]:
    """Read ``panel.mp4`` and the two lossless clips of a prediction folder.

    Returns:
        ``video`` and ``poster`` (data URIs; the poster is the frame that changed most, which is what is printed),
        ``layout`` of its tiles, and ``scale``, the levels at which the panel's difference colours end.

    Raises:
        UserError: one of the three files is missing or damaged.
    """
    panel = read_video(folder / "panel.mp4").frames
    factual, counterfactual = (read_video(folder / f"{name}.mkv").frames for name in ("factual", "counterfactual"))
    change = np.abs(counterfactual.astype(np.int16) - factual).mean(axis=(1, 2, 3))
    still = io.BytesIO()
    imsave(still, panel[int(change.argmax())], format="jpeg", pil_kwargs={"quality": 82})
    return {
        "video": data_uri("video/mp4", (folder / "panel.mp4").read_bytes()),
        "poster": data_uri("image/jpeg", still.getvalue()),
        "layout": {**LAYOUT, "width": panel.shape[2], "height": panel.shape[1]},
        "scale": difference_scale(factual, counterfactual),
    }


def data_uri(kind: str, content: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"
