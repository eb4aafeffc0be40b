"""What the phantoms' target models read: the attribute they are named for, or what should not matter.

    python benchmarks/reliance.py [--n 24] [--seed 3100]

Exact interventions on clips of a seed of their own.  Every clip is painted under do(attribute) x do(all else):
``reliance`` is the share of M's variance that stays when all else is drawn anew while the attribute is held (the
first-order Sobol index by pick and freeze; Saltelli et al. 2010), of EF points or, of classes, of M's probabilities.
``moved by`` is how far M's answer moves, on average, when the same clip is shown with or without the set's codec, with
noise of two levels, and through the VAE: in EF points, or in points of percent of the named class's probability.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvcf.data.clip import to_clip
from lvcf.data.ferv39k import EXPRESSIONS
from lvcf.data.video import Frames
from lvcf.models.backbones.ltx import ltx_backbone
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.clip_classifier import clip_resnet_3d
from lvcf.models.targets.ejection_fraction import echo_resnet_3d
from lvcf.phantoms.echo.simulate import EchoFactors
from lvcf.phantoms.face.factors import FaceFactors
from lvcf.phantoms.motion.simulate import ACTIONS, MotionFactors
from lvcf.phantoms.reliance import FRAMES, paint_echo, paint_face, paint_motion

SEED = 3100
RESULTS = Path("benchmarks/results")


@dataclass(frozen=True)
class Phantom:
    """How a phantom's clips are drawn and painted.

    Attributes:
        draw: factors of a clip.
        held: factors of another clip with the attribute of the first.
        paint: see :func:`lvcf.phantoms.reliance.paint_echo`.
        models: the target models, by kind.
        backbone: whose VAE clips go through.
    """

    draw: Callable[[np.random.Generator], Any]
    held: Callable[[Any, Any], Any]
    paint: Callable[[Any], tuple[Frames, Frames]]
    models: dict[str, Callable[[], TargetModel]]
    backbone: str


def draw_motion(rng: np.random.Generator) -> MotionFactors:
    """A motion of any action."""
    return MotionFactors.sample(rng, str(rng.choice(list(ACTIONS))))


PHANTOMS = {
    "echo": Phantom(
        EchoFactors.sample,
        lambda other, own: other.do(ef=own.ef),
        paint_echo,
        {
            "brittle": lambda: echo_resnet_3d("phantom/target"),
            "right": lambda: echo_resnet_3d("phantom/target_right"),
        },
        "phantom/backbone",
    ),
    "face": Phantom(
        FaceFactors.sample,
        lambda other, own: other.do(expression=own.expression),
        paint_face,
        {
            "brittle": lambda: clip_resnet_3d("face_motion/face_target"),
            "right": lambda: clip_resnet_3d("face_motion/face_target_right"),
        },
        "face_motion/backbone",
    ),
    "motion": Phantom(
        draw_motion,
        lambda other, own: other.do(action=own.action),
        paint_motion,
        {
            "brittle": lambda: clip_resnet_3d("face_motion/motion_target"),
            "right": lambda: clip_resnet_3d("face_motion/motion_target_right"),
        },
        "face_motion/backbone",
    ),
}
CLASSES = {"face": list(EXPRESSIONS), "motion": list(ACTIONS)}


@dataclass(frozen=True)
class Clips:
    """Clips ``(N, 3, T, H, W)``, each as it is named and all in the same order."""

    own: Tensor
    held: Tensor
    variants: dict[str, Tensor]
    labels: list[int]


@torch.no_grad()
def draw_clips(name: str, n: int, seed: int = SEED) -> Clips:
    """The clips of one phantom that all its models are shown."""
    phantom, rng = PHANTOMS[name], np.random.default_rng(seed)
    own = [phantom.draw(rng) for _ in range(n)]
    others = [phantom.held(phantom.draw(rng), factors) for factors in own]
    bare, shown = zip(*(phantom.paint(factors) for factors in own), strict=True)
    held = [phantom.paint(factors)[1] for factors in others]
    clips, pairs, plain = (torch.stack([to_clip(f, f.shape[1]) for f in some]) for some in (shown, held, bare))
    noise = torch.randn(clips.shape, generator=torch.Generator().manual_seed(seed)) * 2.0 / 127.5
    vae = ltx_backbone(phantom.backbone).eval()
    restored = torch.cat([vae.decode(vae.encode(clip[None]), FRAMES) for clip in clips]).clamp(-1, 1)
    variants = {"codec": plain, "noise": (clips + noise).clamp(-1, 1), "VAE": restored}
    attribute = {"face": "expression", "motion": "action"}.get(name)
    labels = [] if attribute is None else [CLASSES[name].index(getattr(f, attribute)) for f in own]
    return Clips(clips, pairs, variants, labels)


def answers(model: TargetModel, clips: Tensor) -> Tensor:
    """EF in percent ``(N, 1)``, or 100 times the probabilities ``(N, classes)``."""
    with torch.no_grad():
        said = torch.cat([model(clip[None]) for clip in clips])
    return said[:, None] if said.ndim == 1 else 100.0 * said.softmax(1)


def reliance(own: Tensor, held: Tensor) -> float:
    """The first-order Sobol index of the held factor, over all outputs ``(N, K)`` together (Janon et al. 2014)."""
    mean = (own + held).mean(0) / 2
    covariance = ((own - mean) * (held - mean)).sum()
    return float(covariance / (((own - mean).square() + (held - mean).square()).sum() / 2))


def measure(model: TargetModel, clips: Clips) -> dict[str, float]:
    """The figures of one model."""
    own = answers(model, clips.own)
    rows = range(len(own))
    found = {"reliance on the attribute": reliance(own, answers(model, clips.held))}
    for kind, shown in clips.variants.items():
        moved = (answers(model, shown) - own).abs()
        points = moved[rows, clips.labels] if clips.labels else moved[:, 0]
        found[f"moved by {kind}"] = float(points.mean())
    return found


def main() -> None:
    """Measure every model and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=24)
    parser.add_argument("--seed", type=int, default=SEED)
    n, seed = (given := parser.parse_args()).n, given.seed
    command = "python benchmarks/reliance.py" + (f" --n {n} --seed {seed}" if seed != SEED else "")
    lines = [f"{n} simulated clips of each phantom, seed {seed}; made by `{command}`.", ""]
    for name, phantom in PHANTOMS.items():
        clips = draw_clips(name, n, seed)
        for kind, load in phantom.models.items():
            found = measure(load().eval(), clips)
            if len(lines) == 2:
                lines += ["| M | " + " | ".join(found) + " |", "|---" * (1 + len(found)) + "|"]
            digits = [f"{value:.{3 if figure.startswith('reliance') else 2}f}" for figure, value in found.items()]
            lines.append(f"| {name}, {kind} | " + " | ".join(digits) + " |")
            print(lines[-1], flush=True)
    name = "reliance.md" if seed == SEED else f"reliance_{seed}.md"
    (RESULTS / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
