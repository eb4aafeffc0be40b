"""MaskDiME's dual mask: guidance edits where M's gradient is strongest, the clip's own path goes on elsewhere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.checks import check_number
from lvcf.diffusion.inversion import noised
from lvcf.guidance.weight import GuidanceWeight
from lvcf.refinement.mask import blend
from lvcf.region import in_pixels
from lvcf.sampling import Read, SamplingState, full_precision, read_masked

NAME = "DualMask"


class DualMask(GradientGuidance):
    """z_s <- M_z z_s + (1 - M_z) z_s^rec after every guided step; M reads D(M_x z0 + (1 - M_x) z_ref).

    After MaskDiME (CVPR 2026, arXiv 2602.18792; ``get_MaskDiME_sampling_CelebA`` of its authors' code), which works on
    pixels: M_z are the ``top`` share of places by the channel mean of |g|, g the target gradient where M read, M_x the
    ``inner`` share of those, both dilated.  docs/method.md, 24.  In place of its raw gradient times the variance and a
    scale stands the weight of :class:`~lvcf.callbacks.guidance.GradientGuidance`.  It stands alone: without refinement.

    Args:
        weight: lambda(t).
        top: share of the latent's places in M_z, in (0, 1].
        inner: share of those in M_x, in (0, 1].
        radius: of the dilation in space, in places of the latent; the source's 5x5 pixels are 2.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(self, weight: GuidanceWeight, top: float = 0.05, inner: float = 0.5, radius: int = 1) -> None:
        check_number(f"{NAME}.top", top, 0.0, 1.0, above=True)
        check_number(f"{NAME}.inner", inner, 0.0, 1.0, above=True)
        check_number(f"{NAME}.radius", radius, 0)
        super().__init__(weight, samples=1, noise=0.0)
        self.top, self.inner, self.radius = top, inner, radius
        self.edited = self.inside = torch.zeros(0)  # M_z and M_x of the batch

    def label(self) -> str:
        """See the base class."""
        return "MaskDiME"

    def on_sampling_start(self, state: SamplingState) -> None:
        """Nothing may change before the first gradient: M reads the clip's own latents."""
        self.edited = torch.zeros_like(state.z_ref[:, :1], dtype=torch.bool)
        self.inside = self.edited.clone()

    def _seen(self, state: SamplingState, places: Tensor) -> Tensor:
        rows = state.rows[places]
        return torch.where(self.inside[rows], super()._seen(state, places), state.z_ref[rows])

    def _direction(self, state: SamplingState, todo: Tensor, read: Read) -> Tensor:
        direction, rows = super()._direction(state, todo, read), state.rows[todo]
        self.edited[rows], self.inside[rows] = dual_mask(direction, self.top, self.inner, self.radius)
        return direction

    def on_step_end(self, state: SamplingState) -> None:
        """Put the clip's own noised path outside M_z."""
        rows = state.rows
        scales = state.backbone.alpha_sigma(state.grid[state.index[rows]])
        own = noised(state.z_ref[rows], state.noise[rows], scales)
        state.z[rows] = state.held(torch.where(self.edited[rows], state.z[rows], own), rows)

    def on_sampling_end(self, state: SamplingState) -> None:
        """From here M reads the clip that will be left."""
        state.mask = in_pixels(self.edited, state.backbone, state.video.shape[2:]).float()
        state.read = read_masked(state, state.mask, "source")

    @torch.no_grad()
    def on_decoded(self, state: SamplingState) -> None:
        """Leave the clip's own pixels outside M_z."""
        assert state.mask is not None  # from the end of sampling
        with full_precision(state.z.device):
            drawn = state.decode(state.z, torch.arange(len(state.z))).float()
        state.decoded = blend(drawn, state.reconstruction, state.video, state.mask, "source")


def dual_mask(gradient: Tensor, top: float, inner: float, radius: int) -> tuple[Tensor, Tensor]:
    """M_z and M_x ``(N, 1, F, h, w)``, bool, M_x within M_z, by a gradient ``(N, C, F, h, w)``."""
    strength = gradient.abs().mean(dim=1, keepdim=True)
    outer = max(1, int(top * strength[0].numel()))
    order = strength.flatten(1).argsort(dim=1, descending=True, stable=True)
    masks = []
    for places in (outer, max(1, int(inner * outer))):
        flat = torch.zeros_like(strength.flatten(1)).scatter(1, order[:, :places], 1.0)
        masks.append(_dilated(flat.view_as(strength), radius).bool())
    return masks[0], masks[1]


def _dilated(mask: Tensor, radius: int) -> Tensor:
    """Frame by frame."""
    side = 2 * radius + 1
    return functional.max_pool3d(mask, (1, side, side), stride=1, padding=(0, radius, radius))
