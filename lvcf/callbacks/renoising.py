"""After a last correction: noise it once more, and let the denoiser have the last word.  docs/method.md, 11."""

from __future__ import annotations

import torch

from lvcf.checks import check_number
from lvcf.diffusion.inversion import noised
from lvcf.sampling import SamplingCallback, SamplingState


class Renoising(SamplingCallback):
    """z <- z_ref + [ẑ0(noised z) - ẑ0(noised z_ref)], with one noise: of the edit stays what the denoiser can draw.

    Without an edit the clip stays what it is.  List it behind the last correction, whose steps on the final latent no
    denoiser has seen.

    Args:
        time: how far to noise, 0-1.

    Raises:
        UserError: the time is out of range.
    """

    def __init__(self, time: float = 0.2) -> None:
        check_number("Renoising.time", time, 0.0, 1.0, above=True)
        self.time = time

    def label(self) -> str:
        """See the base class."""
        return "renoising"

    @torch.no_grad()
    def on_sampling_end(self, state: SamplingState) -> None:
        """Replace ``state.z``."""
        everyone = torch.arange(len(state.z), device=state.z.device)
        noise = state.draw(everyone, state.z.shape[1:]).to(state.z)
        t = torch.full((len(state.z),), self.time, device=state.z.device)
        edited, own = (
            state.estimate(noised(z, noise, state.backbone.alpha_sigma(t)), t, state.prompts.sampled, everyone)
            for z in (state.z, state.z_ref)
        )
        state.z = state.held(state.z_ref + edited - own)
