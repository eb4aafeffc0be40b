"""After BTTF: only the first noise is optimised, through more and more denoising steps.  docs/method.md, 21."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor

from lvcf.checks import check_number
from lvcf.diffusion.steps import ddim_step
from lvcf.errors import UserError
from lvcf.sampling import SamplingCallback, SamplingState, full_precision

NAME = "NoiseSearch"


class NoiseSearch(SamplingCallback):
    """Adam on the latent that sampling starts from, until M says the target of what is drawn from it; M alone asks.

    At first one step draws the clip, then twice as many, and so on, at last all of the time grid: the sampler then
    walks the same way.  A style term keeps the moments of the latent's channels, frame by frame.  Use it with
    ``model.inversion ddim`` and ``model.prompt neutral``.

    Args:
        iterations: most steps of Adam per stage.
        rate: Adam's learning rate, in units of the noise.
        style: weight of the style term; the target loss has weight 1.

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, iterations: int = 15, rate: float = 0.05, style: float = 10.0) -> None:
        check_number(f"{NAME}.iterations", iterations, 1)
        check_number(f"{NAME}.rate", rate, 0.0, above=True)
        check_number(f"{NAME}.style", style, 0.0)
        self.iterations, self.rate, self.style = iterations, rate, style

    def label(self) -> str:
        """See the base class."""
        return "BTTF"

    def on_sampling_start(self, state: SamplingState) -> None:
        """Put the found latent in place of the inverted one.

        Raises:
            UserError: the prompt names the target.
        """
        if state.prompts.sampled is not state.prompts.inversion:
            raise UserError(f"{NAME}: the target model alone asks; set --model.prompt neutral")
        wanted, steps = style(state.z_ref), len(state.grid) - 1
        stages = [2**k for k in range(steps.bit_length()) if 2**k < steps] + [steps]
        for stage in stages:
            state.z = self._stage(state, state.z, stage, wanted)

    def _stage(self, state: SamplingState, start: Tensor, steps: int, wanted: Tensor) -> Tensor:
        """Adam through ``steps`` denoising steps; a sample that M reads as the target stays as it is."""
        z, rows = start.detach().clone().requires_grad_(True), torch.arange(len(start), device=start.device)
        adam = torch.optim.Adam([z], lr=self.rate)
        for _ in range(self.iterations):
            with torch.enable_grad(), full_precision(z.device):
                drawn = walked(state, z, steps)
                output = state.read(drawn, rows)
                missed = state.goal.loss(output)
                loss = missed + self.style * (style(drawn) - wanted).square().flatten(1).mean(1)
                (gradient,) = torch.autograd.grad(loss.sum(), z)
            state.prediction.copy_(state.goal.reading(output.detach()))
            settled = state.goal.reached(output.detach())
            if bool(settled.all()):
                break
            state.rows = rows[~settled]
            state.t = state.grid[:1].expand(len(state.rows))
            state.keep_step([self.rate] * len(state.rows), missed[~settled].tolist())
            for row in state.rows.tolist():
                state.gradient_evaluations[row] += 1
            before, z.grad = z.detach().clone(), gradient
            adam.step()
            with torch.no_grad():
                z[settled] = before[settled]
        return z.detach()


def walked(state: SamplingState, z: Tensor, steps: int) -> Tensor:
    """The clean latents that DDIM draws from ``z`` in so many steps over the time grid, differentiably."""
    places = torch.linspace(0, len(state.grid) - 1, steps + 1).round().long()
    for now, following in pairwise(state.grid[places]):
        t, s = now.expand(len(z)), following.expand(len(z))
        clean = state.backbone.towards(z, t, s, state.prompts.sampled, state.condition)
        z = ddim_step(z, state.held(clean), state.backbone.alpha_sigma(t), state.backbone.alpha_sigma(s))
    return z


def style(latent: Tensor) -> Tensor:
    """Per frame the mean products of the channels of ``(B, C, F, H, W)``: Gram matrices ``(B, F, C, C)``."""
    return torch.einsum("bcfhw,bdfhw->bfcd", latent, latent) / (latent.shape[3] * latent.shape[4])
