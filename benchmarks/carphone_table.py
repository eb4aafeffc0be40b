"""What the expression network says before and after, in its own box and in boxes beside it.

    lvcf ablate --config ablations/carphone.yaml && python benchmarks/carphone_table.py

The network reads a box that is given (face-api would look for the face).  An edit that fools it in this very box alone
says little; so the same clips are read in the eight boxes that lie 3 pixels away.  The share of the change that lies in
the box is that of sum |counterfactual - factual|.  Writes benchmarks/results/carphone.md and docs/carphone.png.
"""

from __future__ import annotations

from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from lvcf.cli.ablate import expand, read_plan, slug
from lvcf.configuration import read_section
from lvcf.data.clip import to_clip
from lvcf.metrics.fidelity import ssim
from lvcf.models.targets.face_expression import LABELS, SIZE, Box, FaceExpression, face_expression
from lvcf.runs.folder import Prediction, read_predictions

RUNS = Path("runs/ablation_carphone")
RESULTS = Path("benchmarks/results/carphone.md")
MOVED = 3 / SIZE
SHOWN = [0, 4, 8, 12, 15]
"""The picture's frames."""
HEAD = (
    "Real clip, real network; made by `make carphone`. Means over windows that overlap. *before*, *after*: probability "
    "of the target; *boxes beside*: mean over eight boxes 3 pixels away."
)


def boxes() -> list[Box]:
    """The configured box, then the eight around it."""
    section = read_section("carphone.yaml", "predict")
    left, top, right, bottom = section["model"]["init_args"]["target_model"]["init_args"]["box"]
    shifts = sorted(product((0, -MOVED, MOVED), repeat=2), key=lambda shift: shift != (0, 0))
    return [(left + x, top + y, right + x, bottom + y) for x, y in shifts]


@torch.no_grad()
def probabilities(models: list[FaceExpression], clip: torch.Tensor, target: str) -> list[float]:
    """Of the target, by every model, for a clip ``(3, T, H, W)``."""
    return [float(model(clip[None]).softmax(-1)[0, LABELS.index(target)]) for model in models]


def measure(prediction: Prediction, models: list[FaceExpression], box: Box) -> dict[str, float]:
    """One edit."""
    target = prediction.result["target"]["text"]
    factual, final = (to_clip(frames, SIZE) for frames in (prediction.factual(), prediction.counterfactual()))
    before, after = (probabilities(models, clip, target) for clip in (factual, final))
    left, top, right, bottom = (round(SIZE * side) for side in box)
    change = (final - factual).abs()
    return {
        "before": before[0],
        "after": after[0],
        "before, boxes beside": float(np.mean(before[1:])),
        "after, boxes beside": float(np.mean(after[1:])),
        "SSIM": ssim(final, factual),
        "voxels let through": float(prediction.mask().mean()),
        "change in the box": float(change[..., top:bottom, left:right].sum() / change.sum()),
    }


def picture() -> Image.Image:
    """Frames before and, below them, after, of the first clip there and of the first one back; by M alone."""
    rows = []
    for name in ("to surprised, neutral", "to neutral, neutral"):
        first = read_predictions(RUNS / slug(name))[0]
        rows += [np.concatenate(list(frames[SHOWN]), axis=1) for frames in (first.factual(), first.counterfactual())]
    return Image.fromarray(np.concatenate(rows))


def main() -> None:
    """Write the table, a row per finished cell."""
    around = boxes()
    models = [face_expression("face_expression", box).freeze() for box in around]
    lines, columns = list[str](), list[str]()
    for name, _ in expand(read_plan("ablations/carphone.yaml"), RUNS, None):
        finished = read_predictions(RUNS / slug(name)) if (RUNS / slug(name)).is_dir() else []
        measured = [measure(prediction, models, around[0]) for prediction in finished if not prediction.failed]
        if measured:
            columns = list(measured[0])
            means = (float(np.mean([one[column] for one in measured])) for column in columns)
            lines.append(f"| {name} | {len(measured)} | " + " | ".join(f"{mean:.2f}" for mean in means) + " |")
    table = "\n".join([f"| edit | n | {' | '.join(columns)} |", "|---" * (2 + len(columns)) + "|", *lines])
    RESULTS.write_text(f"{HEAD}\n\n{table}\n")
    print(table)
    picture().save("docs/carphone.png", optimize=True)


if __name__ == "__main__":
    main()
