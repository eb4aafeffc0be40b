"""Leaps between what M says and the target, without a gradient of M.  docs/method.md, 26."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from lvcf.checks import check_number
from lvcf.diffusion.inversion import ddim_invert
from lvcf.diffusion.steps import ddim_step
from lvcf.errors import UserError
from lvcf.models.backbones.base import Backbone
from lvcf.sampling import SamplingCallback, SamplingState

FIRST = 1e-3
"""Where lifting starts: at 0 there is no noise to tell of."""


class Leap(SamplingCallback):
    """Lift the clip's latent to a share of the noise under what M says, land under the target, until M has moved.

    After LeapFactual (NeurIPS 2025, 2510.14623), whose generator is told M's readings in training; here the words are
    those of the backbone's own training.  M is asked once a leap, and its gradient never.  What sampling made before is
    left, so one step of it will do; give ``prompt: target`` and ``inversion_prompt: factual``.

    Args:
        share: how far a leap lifts, as a time, 0-1.
        leaps: most of them.
        steps: of the denoiser, up and down again, per leap.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, share: float = 0.1, leaps: int = 10, steps: int = 3) -> None:
        check_number("Leap.share", share, FIRST, 1.0, above=True)
        check_number("Leap.leaps", leaps, 1)
        check_number("Leap.steps", steps, 1)
        self.share, self.leaps, self.steps = share, leaps, steps

    def label(self) -> str:
        """See the base class."""
        return f"leaps of {self.share:g}"

    def check(self, backbone: Backbone) -> None:
        """See the base class.

        Raises:
            UserError: the backbone's denoiser is a flow map.
        """
        if backbone.is_flow_map:
            raise UserError("Leap: this backbone's flow map says where a step ends, not the way there; leave it out")

    def on_sampling_start(self, state: SamplingState) -> None:
        """Refuse prompts between which there is nothing to leap.

        Raises:
            UserError: the denoiser is told the same on both ways.
        """
        if torch.equal(state.prompts.sampled.tokens, state.prompts.inversion.tokens):
            raise UserError(
                "Leap: the denoiser is told the same on both ways; give --model.prompt target and "
                "--model.inversion_prompt factual"
            )

    @torch.no_grad()
    def on_sampling_end(self, state: SamplingState) -> None:
        """Replace ``state.z``."""
        state.z = state.z_ref.clone()
        rows = torch.arange(len(state.z), device=state.z.device)
        for leap in range(self.leaps + 1):
            for row in rows.tolist():
                state.notes[row]["leaps"] = leap
            rows = rows[~state.goal[rows].reached(state.read(state.z[rows], rows))]
            if leap == self.leaps or len(rows) == 0:
                return
            state.z[rows] = self._leap(state, rows)

    def _leap(self, state: SamplingState, rows: Tensor) -> Tensor:
        """Up the ODE of the factual prompt, and down that of the target's."""
        rising = torch.linspace(0.0, self.share, self.steps + 1, device=state.z.device).clamp(min=FIRST)
        times, scales = [t.expand(len(rows)) for t in rising], state.backbone.alpha_sigma
        factual, target = state.prompts.inversion[rows], state.prompts.sampled[rows]
        z = ddim_invert(state.z[rows], times, scales, lambda z, t: state.estimate(z, t, factual, rows))
        for now, later in pairwise([*times[:0:-1], torch.zeros_like(times[0])]):
            z = ddim_step(z, state.estimate(z, now, target, rows), scales(now), scales(later))
        return z
