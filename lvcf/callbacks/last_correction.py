"""The last correction: Newton steps on the final latents until M is within tolerance."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lvcf.callbacks.sampling import SamplingCallback, SamplingState
from lvcf.diffusion.parameterization import expand
from lvcf.guidance.gradient import target_gradient


class LastCorrection(SamplingCallback):
    """Step to where the target loss would vanish if M were linear; repeat until M is well within tolerance.

    A separate switch: it buys adherence that need not be truth, so M's reading before it is kept in ``result.json``.

    Args:
        steps: most steps per sample.
        aim: share of the tolerance to come within, which leaves room for rounding and refinement.
        largest: most root-mean-square change of one step, in units of the latent's own deviation.
    """

    def __init__(self, steps: int = 6, aim: float = 0.5, largest: float = 0.1) -> None:
        self.steps, self.aim, self.largest = steps, aim, largest

    def on_sampling_end(self, state: SamplingState) -> None:
        """Correct every sample that needs it, in place."""
        rows = torch.arange(len(state.z), device=state.z.device)
        for step in range(self.steps + 1):
            goal = state.goal[rows]
            output = state.read(state.z[rows], rows)
            if step == 0:
                for note, reading in zip(state.notes, goal.reading(output).tolist(), strict=True):
                    note["prediction_before_correction"] = reading
            far = ~replace(goal, tolerance=self.aim * goal.tolerance).reached(output)
            if step == self.steps or not bool(far.any()):
                return
            rows = rows[far]
            gradient, output = target_gradient(state.reader(rows), state.z[rows], goal[far])
            state.z[rows] -= self._newton(gradient, goal[far].loss(output))
            for row in rows.tolist():
                state.gradient_evaluations[row] += 1

    def _newton(self, gradient: Tensor, loss: Tensor) -> Tensor:
        """The step that would bring a squared linear loss to 0, ``2 L g / |g|^2``, no longer than ``largest``."""
        flat = gradient.flatten(1)
        step = expand(2.0 * loss / (flat.square().sum(1) + 1e-12), gradient) * gradient
        rms = step.flatten(1).square().mean(1).sqrt()
        return step * expand(torch.clamp(self.largest / (rms + 1e-12), max=1.0), step)
