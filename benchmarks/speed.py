"""What every method costs on simulated echocardiograms, all in one run, and where the time goes.

    python benchmarks/speed.py

Every round makes each method's counterfactuals of the same clips once, one method after another, so that a slow minute
of the machine meets them all; a figure is the median of the rounds.  Nothing else may run beside it.  A pass is the
denoiser's on one noised latent: classifier-free guidance and the clip's own path cost one each.  Writes
``benchmarks/results/speed.md``.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import lvcf
from lvcf.data.video import Frames, clip_indices
from lvcf.explanation import Explanation
from lvcf.models.backbones.base import Backbone
from lvcf.models.backbones.ltx import ltx_backbone
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.ejection_fraction import echo_resnet_3d
from lvcf.phantoms.echo.ruler import measure
from lvcf.phantoms.echo.set import frame_times, through_codec
from lvcf.phantoms.echo.simulate import EchoFactors, Ventricle, render

RESULTS = Path("benchmarks/results/speed.md")
SEED, CLIPS, ROUNDS = 4100, 2, 3
TARGET = "uniform:15..80:10"
METADATA = "apical four chamber echocardiogram"
BASELINE = "RG, M alone"
METHODS: dict[str, tuple[str, dict[str, Any]]] = {
    BASELINE: ("RG", {}),
    "RG, M alone, tuned": ("RG", {"steps": 48}),
    "SG, M alone, tuned": ("SG", {}),
    "full, M alone": ("full", {}),
    "full, n = 1, M alone": ("full, n = 1", {}),
    "full, n = 1, 6 steps, M alone": ("full, n = 1", {"steps": 6}),
    "posterior, M alone": ("posterior", {}),
    "RG, words": ("RG", {"prompt": "target"}),
    "full, words": ("full", {"prompt": "target"}),
    "full, n = 1, words": ("full, n = 1", {"prompt": "target"}),
}
"""The ablation's method and the settings that differ; tuned: ablations/fair_echo.yaml."""
PARTS = ("denoiser", "VAE", "M", "backwards")
"""Where time is spent; the rest is what is left."""


class Clock:
    """Seconds and calls by part, of whatever runs inside :meth:`running`; a part inside another is the outer one's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.passes = 0
        self._inside = False

    @contextmanager
    def running(self, backbone: Backbone, model: TargetModel) -> Iterator[None]:
        """Measure the backbone, M and torch's gradient."""
        parts = [
            (backbone, "predict", "denoiser"),
            (backbone, "encode", "VAE"),
            (backbone, "decode", "VAE"),
            (model, "forward", "M"),
            (torch.autograd, "grad", "backwards"),
        ]
        patches = [
            mock.patch.object(whose, name, self._timed(getattr(whose, name), part)) for whose, name, part in parts
        ]
        for patch in patches:
            patch.start()
        try:
            yield
        finally:
            for patch in patches:
                patch.stop()

    def _timed(self, function: Callable[..., Any], part: str) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            if part == "denoiser":
                self.passes += len(args[0])
            if self._inside:
                return function(*args, **kwargs)
            self._inside, started = True, time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[part] += time.perf_counter() - started
                self._inside = False

        return timed


class Bench:
    """Clips with their targets, and the shipped model and backbone.

    Args:
        clips: how many.
    """

    def __init__(self, clips: int) -> None:
        self.backbone, self.model = ltx_backbone("phantom/backbone"), echo_resnet_3d("phantom/target")
        self.factors = [EchoFactors.sample(np.random.default_rng([SEED, number])) for number in range(clips)]
        self.names = [f"speed_{number}" for number in range(clips)]
        grid = frame_times()
        self.times = grid[clip_indices(grid, 16, 8.0)]
        self.videos = [self.video(factors) for factors in self.factors]

    def video(self, factors: EchoFactors) -> Frames:
        """A clip as a data set reads it."""
        return through_codec(render(factors, self.times))

    def explainer(self, method: str, settings: dict[str, Any]) -> lvcf.Explainer:
        """On the shared model and backbone."""
        return lvcf.Explainer(self.model, self.backbone, method, metadata=METADATA, progress=False, **settings)

    def pixels_off(self, found: list[Explanation]) -> float:
        """Mean distance of the ejection fraction in the pixels from the true counterfactual's, in points."""
        off = []
        for explanation, factors in zip(found, self.factors, strict=True):
            shape = Ventricle.of(factors)
            true = self.video(factors.do(ef=explanation.facts["target"]["low"]))
            seen = [measure(clip[..., 0], shape).ef for clip in (explanation.video, true)]
            off.append(abs(seen[0] - seen[1]))
        return float(np.mean(off))


@dataclass
class Cost:
    """Of one method in one round: seconds, denoiser passes and gradients a clip, and seconds by part."""

    seconds: float
    passes: float
    gradients: float
    parts: dict[str, float]
    found: list[Explanation]


def once(bench: Bench, explainer: lvcf.Explainer) -> Cost:
    """Explain the clips in one batch."""
    clock, clips = Clock(), len(bench.videos)
    with clock.running(bench.backbone, bench.model):
        started = time.perf_counter()
        found = explainer.explain(bench.videos, TARGET, names=bench.names)
        seconds = (time.perf_counter() - started) / clips
    gradients = sum(each.facts["gradient_evaluations"] for each in found) / clips
    return Cost(seconds, clock.passes / clips, gradients, {k: v / clips for k, v in clock.seconds.items()}, found)


def compared(bench: Bench, rounds: int) -> str:
    """Markdown: every method, interleaved."""
    explainers = {name: bench.explainer(*what) for name, what in METHODS.items()}
    costs: dict[str, list[Cost]] = defaultdict(list)
    for number in range(rounds):
        for name, explainer in explainers.items():
            costs[name].append(once(bench, explainer))
            print(f"round {number + 1}: {name}: {costs[name][-1].seconds:.2f} s a clip", flush=True)
    base = median(costs[BASELINE])
    lines = [
        f"| method | s/clip | least to most | times {BASELINE} | passes | gradients | pixel EF off | "
        + " | ".join((*PARTS, "rest"))
        + " |",
        "|---" * (8 + len(PARTS)) + "|",
    ]
    for name, of_method in costs.items():
        seconds, last = [cost.seconds for cost in of_method], of_method[-1]
        parts = [float(np.median([cost.parts.get(part, 0.0) for cost in of_method])) for part in PARTS]
        shown = [*parts, max(0.0, median(of_method) - sum(parts))]
        lines.append(
            f"| {name} | {median(of_method):.2f} | {min(seconds):.2f} to {max(seconds):.2f} | "
            f"{median(of_method) / base:.2f} | {last.passes:.1f} | {last.gradients:.1f} | "
            f"{bench.pixels_off(last.found):.1f} | " + " | ".join(f"{value:.2f}" for value in shown) + " |"
        )
    return "\n".join(lines)


def median(costs: list[Cost]) -> float:
    """Seconds a clip."""
    return float(np.median([cost.seconds for cost in costs]))


def growing(most: int) -> str:
    """Markdown: the default method's cost against the clips of a batch."""
    lines = ["| clips in a batch | s/clip |", "|---|---|"]
    for clips in (1, 4, 16):
        if clips <= most:
            bench = Bench(clips)
            explainer = bench.explainer("full, n = 1", {})
            lines.append(f"| {clips} | {once(bench, explainer).seconds:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--clips", type=int, default=CLIPS)
    options = parser.parse_args()
    table = compared(Bench(options.clips), options.rounds)
    words = (
        f"{options.clips} simulated echocardiograms of seed {SEED} in one batch, {torch.get_num_threads()} threads; "
        f"seconds are the median of {options.rounds} interleaved rounds; made by `make bench-speed`. The last "
        f"{len(PARTS) + 1} columns are seconds a clip by part."
    )
    RESULTS.write_text(f"{words}\n\n{table}\n\n{growing(16)}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
