"""How much two target models rely on a planted marker, and how much of each explanation lies on it.

    lvcf ablate --config ablations/shortcut.yaml && python benchmarks/shortcut.py

Reliance is exact: M reads the four clips under do(content) x do(marker), and the marker's part of M's response is its
Shapley value (the mean of its effect before and after the content changes) on the target class's log odds.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvcf.data.clip import round_to_8_bits, to_clip
from lvcf.data.ssv2 import window
from lvcf.models.backbones.base import Backbone
from lvcf.models.backbones.ltx import ltx_backbone
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.clip_classifier import clip_resnet_3d
from lvcf.phantoms.motion.set import read_factors
from lvcf.phantoms.motion.simulate import ACTIONS, MARKER, MotionFactors, frame_times, render
from lvcf.runs.folder import read_manifest, read_predictions

RUNS = Path("runs/ablation_shortcut")
WEIGHTS = Path("runs/weights/shortcut")
RESULTS = Path("benchmarks/results/shortcut.md")
CELL = 8
"""Pixels of one latent cell, by which the marker is dilated."""


def render_clip(factors: MotionFactors) -> Tensor:
    """The 16 frames a data set reads of these factors, ``(3, 16, 112, 112)``."""
    grid = frame_times()
    return to_clip(render(factors, grid[window(grid, 16, 8.0)]), 112)


def interventions(factors: MotionFactors, target: str) -> Tensor:
    """The clip under (content, marker) = (own, own), (own, target), (target, own), (target, target)."""
    pairs = [(content, marker) for content in (factors.action, target) for marker in (factors.action, target)]
    return torch.stack([render_clip(factors.do(action=content, marker=marker)) for content, marker in pairs])


@torch.no_grad()
def reliance(model: TargetModel, clips: list[Tensor], targets: list[int]) -> float:
    """The marker's share of M's whole response, over all clips."""
    marker, whole = 0.0, 0.0
    for four, target in zip(clips, targets, strict=True):
        logits = model(four)
        others = torch.cat([logits[:, :target], logits[:, target + 1 :]], dim=1)
        own, seen, moved, both = (logits[:, target] - others.logsumexp(1)).tolist()
        marker += 0.5 * ((seen - own) + (both - moved))
        whole += both - own
    return marker / whole


def share_inside(final: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """The share of sum |final - reference| of clips ``(3, T, H, W)`` inside the dilated marker."""
    rows, columns = (slice(max(side.start - CELL, 0), side.stop + CELL) for side in MARKER)
    change = np.abs(final - reference)
    return float(change[:, :, rows, columns].sum() / change.sum())


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
        shares.append(share_inside(final.double().numpy(), reference))
        ideal = four[1] if name == "relying" else four[2]
        best.append(share_inside(restored(backbone, ideal), reference))
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
