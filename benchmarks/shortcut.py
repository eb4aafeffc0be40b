"""How much two target models rely on a planted marker, and how much of each explanation lies on it.

    lvcf ablate --config ablations/shortcut.yaml && python benchmarks/shortcut.py

Reliance is exact, by do(content) x do(marker); see :mod:`lvcf.phantoms.motion.reliance`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvcf.data.clip import round_to_8_bits, to_clip
from lvcf.models.backbones.base import Backbone
from lvcf.models.backbones.ltx import ltx_backbone
from lvcf.models.targets.clip_classifier import clip_resnet_3d
from lvcf.phantoms.motion.reliance import interventions, reliance, share_on_marker
from lvcf.phantoms.motion.set import read_factors
from lvcf.phantoms.motion.simulate import ACTIONS
from lvcf.runs.folder import read_manifest, read_predictions

RUNS = Path("runs/ablation_shortcut")
WEIGHTS = Path("runs/weights/shortcut")
RESULTS = Path("benchmarks/results/shortcut.md")


@torch.no_grad()
def restored(backbone: Backbone, video: Tensor) -> NDArray[np.float64]:
    """D(E(x)) on 8-bit levels, as saved clips are, ``(3, T, H, W)``."""
    clip = backbone.decode(backbone.encode(video[None]), video.shape[1])[0]
    return round_to_8_bits(clip).double().numpy()


def measure(name: str, backbone: Backbone) -> dict[str, float]:
    """One target model: its reliance, its explanations' share on the marker, and the best that share can be."""
    run = RUNS / name
    truths = read_factors(Path(read_manifest(run)["data"]))
    finished = [p for p in read_predictions(run) if not p.failed]
    asked = {p.id: list(ACTIONS)[int(p.result["target"]["low"])] for p in finished}
    predictions = [p for p in finished if asked[p.id] != truths[p.id].action]  # M may misread a clip: nothing to change
    names = [asked[p.id] for p in predictions]
    targets = [list(ACTIONS).index(name) for name in names]
    clips = [interventions(truths[p.id], action) for p, action in zip(predictions, names, strict=True)]
    shares, best = [], []
    for prediction, four in zip(predictions, clips, strict=True):
        factual, final = (to_clip(frames, 112) for frames in (prediction.factual(), prediction.counterfactual()))
        reference = restored(backbone, factual)
        shares.append(share_on_marker(final.double().numpy(), reference))
        ideal = four[1] if name == "relying" else four[2]
        best.append(share_on_marker(restored(backbone, ideal), reference))
    reached = [p.result["status"] == "reached" for p in predictions]
    return {
        "clips": len(predictions),
        "reliance on the marker": reliance(clip_resnet_3d(str(WEIGHTS / name)).freeze(), clips, targets),
        "reached": float(np.mean(reached)),
        "share of the change on the marker": float(np.mean(shares)),
        "its standard error": float(np.std(shares, ddof=1) / np.sqrt(len(shares))),
        "ceiling": float(np.mean(best)),
    }


def table(found: dict[str, dict[str, float]]) -> str:
    """Markdown, a row per figure."""
    rows = [
        f"| {name} | " + " | ".join(f"{one[name]:.3g}" for one in found.values()) + " |" for name in found["relying"]
    ]
    head = [
        "Simulated motions; made by `lvcf ablate --config ablations/shortcut.yaml && python benchmarks/shortcut.py`.",
        "",
    ]
    return "\n".join([*head, "| figure | " + " | ".join(found) + " |", "|---" * (1 + len(found)) + "|", *rows]) + "\n"


if __name__ == "__main__":
    model = ltx_backbone("face_motion/backbone").eval()
    measured = {name: measure(name, model) for name in ("relying", "ignoring")}
    RESULTS.write_text(table(measured))
    print(table(measured))
