"""Target-gradient guidance: RG, SG, SGA, fixed guidance and AGG, by estimator and weight."""

from __future__ import annotations

import torch

from lvcf.callbacks.sampling import SamplingCallback, SamplingState
from lvcf.diffusion.parameterization import expand
from lvcf.guidance.gradient import attention_mask, normalised, smooth_gradient
from lvcf.guidance.weight import GuidanceWeight


class GradientGuidance(SamplingCallback):
    """z0 <- z0 - lambda(t) g / rms(g) while M, reading the decoded clean estimate, is outside tolerance.

    AG-LDM-CE, Eq. 2 with its sign corrected; RG is ``samples: 1``, SG ``samples: n``, SGA adds ``attention: true``, all
    with a ConstantWeight; AGG is SG with an AdaptiveWeight.

    Args:
        weight: lambda(t).
        samples: perturbed gradients that are averaged.
        noise: standard deviation of the perturbations, in units of the latent's own deviation.
        attention: keep the gradient only where it is strong.
        through_denoiser: differentiate through the denoiser too: its Jacobian at z_t is, up to a factor, the covariance
            of z_0 given z_t (Tweedie), so the edit follows what the backbone thinks can change together, and directions
            that only fool M vanish.  Costs one more pass of the denoiser, forwards and backwards.
    """

    def __init__(
        self,
        weight: GuidanceWeight,
        samples: int = 4,
        noise: float = 0.1,
        attention: bool = False,
        through_denoiser: bool = False,
    ) -> None:
        self.weight, self.samples, self.noise = weight, samples, noise
        self.attention, self.through_denoiser = attention, through_denoiser

    def on_clean_estimate(self, state: SamplingState) -> None:
        """One guided edit of every active sample that is outside tolerance."""
        goal = state.goal[state.rows]
        seen = state.clean + state.offset
        with torch.no_grad():
            output = state.read(seen, state.rows)
        loss, reached = goal.loss(output), goal.reached(output)
        state.prediction[state.rows], state.reached[state.rows] = goal.reading(output), reached
        weight = torch.where(reached, torch.zeros_like(loss), self.weight(loss, state.t))
        todo = (~reached).nonzero()[:, 0]
        if len(todo):
            state.clean[todo] -= expand(weight[todo], seen) * self._direction(state, todo)
        for place, row in enumerate(state.rows.tolist()):
            reading = float(state.prediction[row])
            entry = {"t": float(state.t[place]), "weight": float(weight[place]), "loss": float(loss[place])}
            state.trajectory[row].append({"step": len(state.trajectory[row]), **entry, "prediction": reading})

    def _direction(self, state: SamplingState, todo: torch.Tensor) -> torch.Tensor:
        """The normalised gradient of the active rows ``todo``."""
        rows = state.rows[todo]
        seen = (state.clean + state.offset)[todo]
        shape = torch.Size([self.samples, *seen.shape[1:]])
        perturbations = self.noise * state.draw(rows, shape).transpose(0, 1)
        gradient = smooth_gradient(state.reader(rows.repeat(self.samples)), seen, state.goal[rows], perturbations)
        if self.through_denoiser:
            gradient = state.pull_back(state, todo, gradient)
        if self.attention:
            gradient = gradient * attention_mask(gradient)
        for row in rows.tolist():
            state.gradient_evaluations[row] += self.samples
        return normalised(gradient)
