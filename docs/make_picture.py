"""Make the README's picture from a run of `make demo`: python docs/make_picture.py [RUN] [CLIP ...]."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from lvcf.runs.folder import Prediction, read_predictions
from lvcf.runs.panel import panel_frames


def picture_row(prediction: Prediction) -> np.ndarray:
    """The panel's frame at end-systole."""
    mask = np.load(prediction.folder / "mask.npz")["mask"] / 255.0
    frames = panel_frames(prediction.factual(), prediction.counterfactual(), mask)
    return frames[(prediction.curves or {"es": 0})["es"]]


def main(arguments: list[str]) -> None:
    """Stack the rows of the named clips, or of the first two that reached their target."""
    run = Path(arguments[0]) if arguments else Path("runs/phantom")
    reached = [p for p in read_predictions(run) if p.status == "reached"]
    chosen = [p for p in reached if p.id in arguments[1:]] or reached[:2]
    picture = Image.fromarray(np.concatenate([picture_row(p) for p in chosen]))
    picture.save(Path(__file__).with_name("counterfactual.png"), optimize=True)


if __name__ == "__main__":
    main(sys.argv[1:])
