"""The last correction: Newton steps on the final latents until M is within tolerance.  docs/method.md, 11."""

from __future__ import annotations

import torch
from torch import Tensor

from lvcf.checks import check_number
from lvcf.diffusion.parameterization import expand
from lvcf.guidance.gradient import bounded, target_gradient
from lvcf.sampling import SamplingCallback, SamplingState


class LastCorrection(SamplingCallback):
    """Step to where M would say the target if it were linear; repeat until M is well within tolerance.

    A separate switch: it buys adherence that need not be truth, so M's reading before it is kept in ``result.json``.

    Args:
        steps: most steps per sample.
        aim: how well within tolerance to come, which leaves room for rounding and refinement: the share of a value's
            tolerance; of a classifier the log-odds of the target class (0 is a probability of one half, 0.5 is 0.62).
        largest: most root-mean-square change of one step, in units of the latent's own deviation.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, steps: int = 6, aim: float = 0.5, largest: float = 0.1) -> None:
        check_number("LastCorrection.steps", steps, 0)
        check_number("LastCorrection.aim", aim, 0.0)
        check_number("LastCorrection.largest", largest, 0.0, above=True)
        self.steps, self.aim, self.largest = steps, aim, largest

    def label(self) -> str:
        """See the base class."""
        return "last correction"

    def on_sampling_end(self, state: SamplingState) -> None:
        """Correct every sample that needs it, in place."""
        rows = torch.arange(len(state.z), device=state.z.device)
        for step in range(self.steps + 1):
            goal = state.goal[rows]
            output = state.read(state.z[rows], rows)
            if step == 0:
                for note, reading in zip(state.notes, goal.reading(output).tolist(), strict=True):
                    note["prediction_before_correction"] = reading
            far = ~goal.settled(output, self.aim)
            if step == self.steps or not bool(far.any()):
                return
            rows = rows[far]
            gradient, output = target_gradient(state.reader(rows), state.z[rows], goal[far])
            state.z[rows] -= self._newton(gradient, goal[far].newton(output, self.aim))
            for row in rows.tolist():
                state.gradient_evaluations[row] += 1

    def _newton(self, gradient: Tensor, length: Tensor) -> Tensor:
        """``length`` g / |g|^2 (:meth:`lvcf.guidance.goal.Goal.newton`), no longer than ``largest``."""
        flat = gradient.flatten(1)
        return bounded(expand(length / (flat.square().sum(1) + 1e-12), gradient) * gradient, self.largest)
