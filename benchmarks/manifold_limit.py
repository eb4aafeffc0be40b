"""How far true counterfactuals come to lie from all clips of their phantom by the shipped VAE alone.

    python benchmarks/manifold_limit.py [--n 24]

Each is encoded and decoded as the phantom's configuration does it.  The 95 % quantile is the ``LIMIT`` of
``plausible/on_manifold`` (``lvcf/phantoms/*/truth.py``; a test holds both equal).  No other table shows these clips.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lvcf.configuration import read_section
from lvcf.data.clip import to_clip, to_frames
from lvcf.data.ferv39k import EXPRESSIONS
from lvcf.data.video import Frames
from lvcf.models.backbones.load import load_backbone
from lvcf.phantoms.echo import truth as echo
from lvcf.phantoms.echo.simulate import EchoFactors
from lvcf.phantoms.echo.world import EchoWorld
from lvcf.phantoms.face import truth as face
from lvcf.phantoms.face.factors import FaceFactors
from lvcf.phantoms.face.world import FaceWorld
from lvcf.phantoms.manifold import changed, find_nearest
from lvcf.phantoms.motion import truth as motion
from lvcf.phantoms.motion.set import LABELS
from lvcf.phantoms.motion.simulate import ACTIONS, MotionFactors
from lvcf.phantoms.motion.world import MotionWorld

SEED = 77
CLIP = {"frames": 16, "fps": 8.0}
PHANTOMS = {"echo": "phantom.yaml", "face": "face_agg.yaml", "motion": "motion.yaml"}


def draw(name: str, rng: np.random.Generator) -> tuple[Any, Any, Any]:
    """A phantom's clip, its counterfactual to another value, and what can be painted of it."""
    if name == "echo":
        heart = EchoFactors.sample(rng)
        ef = next(value for value in rng.uniform(15.0, 80.0, 100) if abs(value - heart.ef) >= 10.0)
        own, asked = (echo.EchoTruth(heart, {**CLIP, "target": {"low": v, "high": v}}) for v in (heart.ef, float(ef)))
        return own, asked, EchoWorld(heart, asked.times, float(ef))
    if name == "face":
        person = FaceFactors.sample(rng)
        other = str(rng.choice([one for one in EXPRESSIONS if one != person.expression]))
        own, asked = (face.FaceTruth(person, {**CLIP, "target": {"text": t}}) for t in (person.expression, other))
        return own, asked, FaceWorld(person, asked.times)
    action, other = (int(place) for place in rng.permutation(len(ACTIONS))[:2])
    table = MotionFactors.sample(rng, list(ACTIONS)[action])
    own, asked = (motion.MotionTruth(table, {**CLIP, "target": {"text": LABELS[t]}}) for t in (action, other))
    return own, asked, MotionWorld(table, asked.times)


@torch.no_grad()
def through(backbone: Any, truth: Frames, factual: Frames, decode: str) -> Frames:
    """A true counterfactual through the VAE, decoded as a configuration says."""
    x_true, x = (to_clip(clip, clip.shape[1]) for clip in (truth, factual))
    drawn, reference = (backbone.decode(backbone.encode(clip[None]), clip.shape[1])[0] for clip in (x_true, x))
    return to_frames((x + drawn - reference if decode == "residual" else drawn).clamp(-1.0, 1.0))


def main() -> None:
    """Print the table into ``benchmarks/results``."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=24)
    n = parser.parse_args().n
    lines = [
        f"{n} simulated true counterfactuals of each phantom through the shipped VAE; made by "
        "`python benchmarks/manifold_limit.py`",
        "",
        "| phantom | off the manifold, mean (levels) | 95 % quantile, the limit of `plausible/on_manifold` |",
        "|---|---|---|",
    ]
    for name, config in PHANTOMS.items():
        model = read_section(config, "predict")["model"]["init_args"]
        backbone = load_backbone(model["backbone"]["init_args"]["weights"]).eval()
        rng, levels = np.random.default_rng(SEED), []
        while len(levels) < n:
            own, asked, world = draw(name, rng)
            clip = through(backbone, asked.video, own.video, model.get("decode", "plain"))
            found = find_nearest(world, clip, changed(own.video, clip, asked.video))
            levels += [] if found is None else [found.levels]
        lines.append(f"| {name} | {np.mean(levels):.1f} | {np.quantile(levels, 0.95):.1f} |")
        print(lines[-1], flush=True)
    Path("benchmarks/results/manifold_limit.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
