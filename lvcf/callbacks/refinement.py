"""MSPR as a callback: the edit is kept only where the decoder's features say something changed."""

from __future__ import annotations

import torch
from torch import Tensor

from lvcf.callbacks.sampling import SamplingCallback, SamplingState, full_precision
from lvcf.data.clip import round_to_8_bits
from lvcf.guidance.goal import Goal
from lvcf.models.backbones.base import Backbone
from lvcf.models.targets.base import TargetModel
from lvcf.refinement.mask import Reference, blend, difference_map, nested_masks


class MultiScalePerceptualRefinement(SamplingCallback):
    """The smallest of a nested family of masks that keeps M within tolerance on the 8-bit clip.

    Where no mask does, the whole edit stays: m = 1.

    Args:
        reference: what the clip is outside the mask.
        shares: rising shares of voxels to try.
        block_weights: one weight per decoder block, coarse to fine.
        radius: of the mask's opening and closing, in voxels.
        feather: standard deviation of the mask's soft edge, in pixels.
    """

    def __init__(
        self,
        reference: Reference,
        shares: list[float],
        block_weights: list[float],
        radius: int = 1,
        feather: float = 1.0,
    ) -> None:
        self.reference, self.shares, self.block_weights = reference, shares, block_weights
        self.radius, self.feather = radius, feather

    def on_decoded(self, state: SamplingState) -> None:
        """Replace ``state.decoded`` and set ``state.mask``."""
        refined, state.mask = self.refine(state.backbone, state.model, state.goal, state.z, state.z_ref, state.video)
        whole = (state.mask == 1.0).flatten(1).all(1)
        state.decoded[~whole] = refined[~whole]

    @torch.no_grad()
    def refine(
        self, backbone: Backbone, model: TargetModel, goal: Goal, z: Tensor, z_ref: Tensor, video: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The refined clips ``(B, 3, T, H, W)`` and their masks ``(B, 1, T, H, W)``, in full precision."""
        with full_precision(z.device):
            edited, edited_features = decode_with_features(backbone, z, video.shape[2])
            plain, plain_features = decode_with_features(backbone, z_ref, video.shape[2])
            difference = difference_map(edited_features, plain_features, self.block_weights, video.shape[2:])
            result, chosen = edited.clamp(-1.0, 1.0), torch.ones_like(difference)
            undecided = torch.ones(len(z), dtype=torch.bool, device=z.device)
            for mask in nested_masks(difference, self.shares, self.radius, self.feather):
                refined = blend(edited, plain, video, mask, self.reference)
                kept = undecided & goal.reached(model(round_to_8_bits(refined)))
                result[kept], chosen[kept] = refined[kept], mask[kept]
                undecided &= ~kept
        return result, chosen


def decode_with_features(backbone: Backbone, latent: Tensor, frames: int) -> tuple[Tensor, list[Tensor]]:
    """Decode, and the activations after every decoder block."""
    features: list[Tensor] = []

    def keep(_module: torch.nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        features.append(output)

    handles = [block.register_forward_hook(keep) for block in backbone.decoder_blocks()]
    try:
        return backbone.decode(latent, frames), features
    finally:
        for handle in handles:
            handle.remove()
