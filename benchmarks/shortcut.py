"""How much two target models rely on a planted marker, and how much of each explanation lies on it.

    lvcf ablate --config ablations/shortcut.yaml && python benchmarks/shortcut.py

Reliance is exact, by do(content) x do(marker); see :mod:`lvcf.phantoms.motion.reliance`.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

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
from lvcf.phantoms.motion.simulate import ACTIONS, MotionFactors
from lvcf.runs.folder import Prediction, read_manifest, read_predictions

RUNS = Path("runs/ablation_shortcut")
WEIGHTS = Path("runs/weights/shortcut")
RESULTS = Path("benchmarks/results/shortcut.md")


@torch.no_grad()
def restored(backbone: Backbone, video: Tensor) -> NDArray[np.float64]:
    """D(E(x)) on 8-bit levels, as saved clips are, ``(3, T, H, W)``."""
    clip = backbone.decode(backbone.encode(video[None]), video.shape[1])[0]
    return round_to_8_bits(clip).double().numpy()


class Explained(NamedTuple):
    """A clip that was explained: what the run wrote, what it was made from, and the action that M was asked for."""

    prediction: Prediction
    factors: MotionFactors
    asked: str


def explained(run: Path) -> list[Explained]:
    """The finished clips of a run that were asked for another action than they show: M may misread a clip."""
    truths, actions = read_factors(Path(read_manifest(run)["data"])), list(ACTIONS)
    found = [
        Explained(p, truths[p.id], actions[int(p.result["target"]["low"])])
        for p in read_predictions(run)
        if not p.failed
    ]
    return [one for one in found if one.asked != one.factors.action]


def share_of(one: Explained, backbone: Backbone) -> tuple[float, NDArray[np.float64]]:
    """The share of a clip's change that is on the marker, and the clip's reconstruction, which the change is from."""
    factual, final = (to_clip(frames, 112) for frames in (one.prediction.factual(), one.prediction.counterfactual()))
    reference = restored(backbone, factual)
    return share_on_marker(final.double().numpy(), reference), reference


def summary(clips: list[Explained], shares: list[float]) -> dict[str, float]:
    """What is told of the explanations of one model."""
    return {
        "reached": float(np.mean([one.prediction.status == "reached" for one in clips])),
        "share of the change on the marker": float(np.mean(shares)),
        "its standard error": float(np.std(shares, ddof=1) / np.sqrt(len(shares))),
    }


def measure(name: str, backbone: Backbone) -> dict[str, float]:
    """One target model: its reliance, its explanations' share on the marker, and the best that share can be."""
    found = explained(RUNS / name)
    clips = [interventions(one.factors, one.asked) for one in found]
    targets = [list(ACTIONS).index(one.asked) for one in found]
    shares, best = [], []
    for one, four in zip(found, clips, strict=True):
        share, reference = share_of(one, backbone)
        shares.append(share)
        best.append(share_on_marker(restored(backbone, four[1] if name == "relying" else four[2]), reference))
    return {
        "clips": len(found),
        "reliance on the marker": reliance(clip_resnet_3d(str(WEIGHTS / name)).freeze(), clips, targets),
        **summary(found, shares),
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
