"""The posterior step: a latent reader says what the clip should change to, the denoiser how.  docs/method.md, 19."""

from __future__ import annotations

import torch
from torch import Tensor

from lvcf.checks import check_number
from lvcf.diffusion.parameterization import expand
from lvcf.errors import UserError
from lvcf.guidance.goal import Goal
from lvcf.guidance.gradient import bounded
from lvcf.models.latent_reader import LatentReader
from lvcf.sampling import SamplingCallback, SamplingState, full_precision

NAME = "PosteriorStep"


class PosteriorStep(SamplingCallback):
    """Moves the clean estimate as a Gaussian posterior would, given that the reader should say the target.

    With the reader's number f, its gradient g at the clean estimate, and C = sigma^2 / alpha J the covariance of z_0
    given z_t (Tweedie; J is the denoiser's Jacobian), the step is ``factor * (wanted - f) C g / (g' C g + r^2)``.
    M is not asked: it only verifies.

    Args:
        reader: what was taught M's answers.
        factor: 1 is the posterior's own step.
        deviation: r, how far the reader is off: a value's unit; of classes log-odds.
        margin: log-odds of the target class that are wanted.
        largest: most root-mean-square change of one step, in units of the latent's own deviation.
        time: at which time the reader reads clean estimates; ``None`` for that of the step.
        gain: of a value: read how far it moved from the clip's own path, so that what the reader misreads of both drops
            out, and want this many times the change that is missing from M's reading of the clip; ``None`` reads the
            value itself.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        reader: LatentReader,
        factor: float = 2.0,
        deviation: float = 2.0,
        margin: float = 10.0,
        largest: float = 1.0,
        time: float | None = None,
        gain: float | None = None,
    ) -> None:
        for name, value in {"factor": factor, "deviation": deviation, "largest": largest}.items():
            check_number(f"{NAME}.{name}", value, 0.0, above=True)
        check_number(f"{NAME}.margin", margin, 0.0)
        if time is not None:
            check_number(f"{NAME}.time", time, 0.0, 1.0)
        if gain is not None:
            check_number(f"{NAME}.gain", gain, 0.0, above=True)
        self.reader = reader.eval().requires_grad_(False)
        self.factor, self.deviation, self.margin = factor, deviation, margin
        self.largest, self.time, self.gain = largest, time, gain
        self.factual = torch.zeros(0)

    def label(self) -> str:
        """See the base class."""
        return "posterior step"

    def on_sampling_start(self, state: SamplingState) -> None:
        """Refuse a reader that was taught another model.

        Raises:
            UserError: its classes are not M's, or ``gain`` is set for classes.
        """
        if tuple(self.reader.labels) != tuple(state.model.labels):
            raise UserError(
                f"{NAME}.reader: was taught {list(self.reader.labels) or 'a value'}, the target model says "
                f"{list(state.model.labels) or 'a value'}; teach one with lvcf fit (docs/method.md, 19)"
            )
        if self.gain is not None and self.reader.labels:
            raise UserError(f"{NAME}.gain {self.gain}: is for values, and M says classes; leave it out")
        self.reader.to(state.z.device)
        self.factual = state.prediction.clone()

    def on_clean_estimate(self, state: SamplingState) -> None:
        """Move the active rows whose reading is not there yet."""
        rows, goal = state.rows, state.goal[state.rows]
        t = state.t if self.time is None else torch.full_like(state.t, self.time)
        seen = state.clean if self.gain is not None else state.clean + state.offset
        with torch.enable_grad(), full_precision(seen.device):
            point = seen.detach().float().requires_grad_(True)
            output = self.reader.read(point, t)
            if self.gain is None:
                missing = self._missing(output, goal)
            else:
                factual = self.factual[rows]
                moved = output - self._own_reading(state, t)
                output, missing = factual + moved, self.gain * self._missing(factual, goal) - moved
            (gradient,) = torch.autograd.grad(-missing.sum(), point)
        missing = missing.detach()
        state.prediction[rows] = goal.reading(output.detach())
        state.keep_step([self.factor] * len(rows), missing.abs().tolist())
        todo = (missing.abs() > 0).nonzero()[:, 0]
        if len(todo):
            state.clean[todo] += self._step(state, todo, gradient[todo], missing[todo])

    @torch.no_grad()
    def _own_reading(self, state: SamplingState, t: Tensor) -> Tensor:
        """What the reader says of the clips' own paths, of the active rows."""
        return self.reader.read((state.z_ref[state.rows] - state.offset).float(), t)

    def _missing(self, output: Tensor, goal: Goal) -> Tensor:
        """How far the reader's number ``(A,)`` has to rise: value to the nearest edge, or log-odds to the margin."""
        if goal.classification:
            return (self.margin - goal.log_odds(output)).clamp(min=0.0)
        return (goal.low - output).clamp(min=0.0) - (output - goal.high).clamp(min=0.0)

    def _step(self, state: SamplingState, todo: Tensor, gradient: Tensor, missing: Tensor) -> Tensor:
        alpha, sigma = state.backbone.alpha_sigma(state.t[todo])
        spread = sigma.square() / alpha.clamp(min=1e-3)
        moved = expand(spread, gradient) * state.pull_back(state, todo, gradient)
        gain = (gradient * moved).flatten(1).sum(1).clamp(min=0.0) + self.deviation**2
        return bounded(expand(self.factor * missing / gain, moved) * moved, self.largest)
