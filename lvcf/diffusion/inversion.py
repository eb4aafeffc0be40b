"""From a clip's latent to where sampling starts, and what keeps sampling on the clip.  docs/method.md, 10.

Recorded noise (edit-friendly inversion, Huberman-Spiegelglas et al. 2024): the reference's own noised
latents z_t^rec = alpha z_ref + sigma eps are kept, and every step adds what the denoiser's step misses on them,
z_s = step(z_t) + [z_s^rec - step(z_t^rec)], for the stride actually taken.  With guidance off this returns z_ref.

Fresh noise, the default, does the same and draws eps anew after every step, on both paths alike, as FlowEdit does
(Kulikov et al. 2025): what differs between the paths then owes less to one draw.

Annealed noise goes from fresh to recorded on the way down, as DynaEdit's (2603.17989): early draws differ, so that none
decides the layout, and late ones do not, so that nothing flickers.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from torch import Tensor

from lvcf.diffusion.parameterization import expand
from lvcf.diffusion.steps import Scales, ddim_step


def noised(z_ref: Tensor, noise: Tensor, scales: Scales) -> Tensor:
    """alpha z_ref + sigma eps: the start of SDEdit (Meng et al. 2022) and any point of the recorded path."""
    return expand(scales[0], z_ref) * z_ref + expand(scales[1], z_ref) * noise


def kept_share(t: Tensor) -> Tensor:
    """How much of its variance annealed noise keeps on the way to ``t``: 0 at 1, rising linearly to 1 at 0.25."""
    return ((1.0 - t) / 0.75).clamp(0.0, 1.0)


def recorded_residual(stepped: Tensor, z_ref: Tensor, noise: Tensor, following: Scales) -> Tensor:
    """z_s^rec - step(z_t^rec)."""
    return noised(z_ref, noise, following) - stepped


def ddim_invert(
    z_ref: Tensor, times: list[Tensor], scales: Callable[[Tensor], Scales], clean: Callable[[Tensor, Tensor], Tensor]
) -> Tensor:
    """Run DDIM upwards from z_ref along rising ``times`` (each ``(B,)``; the first near 0); returns the last z_t.

    Args:
        z_ref: clean latents.
        times: rising times; ``clean`` is asked at each but the last.
        scales: alpha and sigma at a time.
        clean: the denoiser's clean estimate of (z_t, t).
    """
    z = z_ref
    for now, later in pairwise(times):
        z = ddim_step(z, clean(z, now), scales(now), scales(later))
    return z
