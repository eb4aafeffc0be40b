"""MSPR as a callback: the edit is kept only where the decoder's features say something changed.  docs/method.md, 9."""

from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any, get_args

import torch
from torch import Tensor

from lvcf.checks import check_choice, check_number
from lvcf.data.clip import round_to_8_bits
from lvcf.errors import UserError
from lvcf.models.backbones.base import Backbone
from lvcf.refinement.mask import Reference, blend, difference_map, nested_masks
from lvcf.sampling import SamplingCallback, SamplingState, full_precision, read_masked

NAME = "MultiScalePerceptualRefinement"


class MultiScalePerceptualRefinement(SamplingCallback):
    """The smallest of a nested family of masks that keeps M within tolerance on the 8-bit clip; m = 1 where none does.

    The masks stand when sampling ends, and M then reads clips through the largest: a last correction listed after this
    callback corrects the clip that refinement will leave.

    Args:
        reference: what the clip is outside the mask.
        shares: rising shares of voxels to try.
        block_weights: one weight per decoder block, coarse to fine.
        radius: of the mask's opening and closing, in voxels.
        feather: standard deviation of the mask's soft edge, in pixels.

    Raises:
        UserError: shares do not rise between 0 and 1, weights are all zero, or a number is out of range.
    """

    def __init__(
        self,
        reference: Reference,
        shares: list[float],
        block_weights: list[float],
        radius: int = 1,
        feather: float = 1.0,
    ) -> None:
        check_choice(f"{NAME}.reference", reference, get_args(Reference))
        if not shares or not all(low < high for low, high in pairwise([0.0, *shares, 1.0])):
            raise UserError(f"{NAME}.shares {shares}: give at least one, rising, each above 0 and below 1")
        for weight in block_weights:
            check_number(f"{NAME}.block_weights", weight, 0.0)
        if not any(block_weights):
            raise UserError(f"{NAME}.block_weights {block_weights}: at least one has to be above 0")
        if not (isinstance(radius, int) and radius >= 0):
            raise UserError(f"{NAME}.radius {radius}: choose a whole number of voxels, 0 or more")
        check_number(f"{NAME}.feather", feather, 0.0)
        self.reference, self.shares, self.block_weights = reference, shares, block_weights
        self.radius, self.feather = radius, feather

    def label(self) -> str:
        """See the base class."""
        return "MSPR"

    def check(self, backbone: Backbone) -> None:
        """There is a weight for each of the decoder's blocks.

        Raises:
            UserError: there is not.
        """
        wanted, given = len(backbone.decoder_blocks()), len(self.block_weights)
        if given != wanted:
            raise UserError(
                f"{NAME}.block_weights: {given} weights, and this backbone's decoder has {wanted} blocks; give one each"
            )

    @torch.no_grad()
    def on_sampling_end(self, state: SamplingState) -> None:
        """Make the masks, and let M read through the largest."""
        size = state.video.shape[2:]
        with full_precision(state.z.device):
            _, edited = decode_with_features(state.backbone, state.z, size[0])
            _, plain = decode_with_features(state.backbone, state.z_ref, size[0])
            difference = difference_map(edited, plain, self.block_weights, size)
            state.masks = nested_masks(difference, self.shares, self.radius, self.feather)
        state.read = read_masked(state, state.masks[-1], self.reference)

    @torch.no_grad()
    def on_decoded(self, state: SamplingState) -> None:
        """Replace ``state.decoded`` and set ``state.mask``."""
        with full_precision(state.z.device):
            edited = state.decode(state.z, torch.arange(len(state.z)))
            state.mask = torch.ones_like(state.masks[-1])
            undecided = torch.ones(len(state.z), dtype=torch.bool, device=state.z.device)
            for mask in state.masks:
                refined = blend(edited, state.reconstruction, state.video, mask, self.reference)
                refined = state.kept.put_back(refined)
                kept = undecided & state.goal.reached(state.model(round_to_8_bits(refined)))
                state.decoded[kept], state.mask[kept] = refined[kept], mask[kept]
                undecided &= ~kept


def decode_with_features(backbone: Backbone, latent: Tensor, frames: int) -> tuple[Tensor, list[Tensor]]:
    """Decode, and the activations after every decoder block, for each frame of the clip: ``(B, C, frames, H, W)``."""
    blocks = backbone.decoder_blocks()
    outputs: list[list[Any]] = [[] for _ in blocks]  # a decoder may call a block more than once

    def keep(into: list[Any], _module: torch.nn.Module, _inputs: tuple[Tensor, ...], output: Any) -> None:
        into.append(output)

    handles = [block.register_forward_hook(partial(keep, into)) for block, into in zip(blocks, outputs, strict=True)]
    try:
        video = backbone.decode(latent, frames)
        features = [backbone.features(of_block, len(latent)) for of_block in outputs]
        return video, [backbone.at_frames(feature, latent.shape[2], frames) for feature in features]
    finally:
        for handle in handles:
            handle.remove()
