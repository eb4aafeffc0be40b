"""MSPR: where the edit is, from the decoder's features, and blending it into a reference.  docs/method.md, 9."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

Reference = Literal["reconstruction", "source", "residual"]


def difference_map(edited: list[Tensor], reference: list[Tensor], weights: list[float], size: torch.Size) -> Tensor:
    """Sum over decoder blocks of the weighted channel norm of the feature difference, ``(B, 1, T, H, W)``.

    Args:
        edited: features ``(B, C_k, T, H_k, W_k)`` when decoding the edited latent, for each frame of the clip.
        reference: the same for the reference latent.
        weights: one per block.
        size: (T, H, W) of the clip; each block's map is scaled to mean 1 per sample and interpolated in space.
    """
    total = torch.zeros(())
    for weight, one, other in zip(weights, edited, reference, strict=True):
        norm = (one - other).float().norm(dim=1, keepdim=True)
        norm = norm / (norm.mean(dim=(1, 2, 3, 4), keepdim=True) + 1e-12)
        # as long in time as the clip: interpolated in space alone
        total = total + weight * functional.interpolate(norm, size=size, mode="trilinear", align_corners=False)
    return total


def nested_masks(difference: Tensor, shares: list[float], radius: int = 1, feather: float = 1.0) -> list[Tensor]:
    """Masks in [0, 1] of growing size: the ``shares`` of voxels with the largest difference.

    Thresholding, opening, closing and feathering all keep inclusion, so a mask contains every smaller one.

    Args:
        difference: ``(B, 1, T, H, W)``.
        shares: rising shares of voxels, each below 1.
        radius: of the opening and closing in space and time, in voxels.
        feather: standard deviation of the soft edge in pixels; 0 leaves the mask binary.
    """
    flat = difference.flatten(1)
    masks = []
    for share in shares:
        keep = max(round(share * flat.shape[1]), 1)
        threshold = flat.kthvalue(flat.shape[1] - keep + 1, dim=1).values
        mask = (difference >= threshold.view(-1, 1, 1, 1, 1)).float()
        masks.append(_feathered(_closed(_opened(mask, radius), radius), feather))
    return masks


def blend(edited: Tensor, reconstruction: Tensor, source: Tensor, mask: Tensor, reference: Reference) -> Tensor:
    """The refined clip, clamped to [-1, 1].

    Args:
        edited: d_cf, the decoded edited latent.
        reconstruction: d_ref, the decoded reference latent.
        source: x.
        mask: m in [0, 1].
        reference: ``reconstruction`` d_ref + m (d_cf - d_ref); ``source`` x + m (d_cf - x);
            ``residual`` x + m (d_cf - d_ref).
    """
    base = reconstruction if reference == "reconstruction" else source
    subtracted = source if reference == "source" else reconstruction
    return (base + mask * (edited - subtracted)).clamp(-1.0, 1.0)


def _dilated(mask: Tensor, radius: int) -> Tensor:
    return functional.max_pool3d(mask, 2 * radius + 1, stride=1, padding=radius)


def _eroded(mask: Tensor, radius: int) -> Tensor:
    return 1.0 - _dilated(1.0 - mask, radius)


def _opened(mask: Tensor, radius: int) -> Tensor:
    return _dilated(_eroded(mask, radius), radius)


def _closed(mask: Tensor, radius: int) -> Tensor:
    return _eroded(_dilated(mask, radius), radius)


def _feathered(mask: Tensor, sigma: float) -> Tensor:
    if sigma == 0.0:
        return mask
    reach = int(3 * sigma + 0.5)
    kernel = torch.exp(-0.5 * (torch.arange(-reach, reach + 1, device=mask.device) / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(mask, (reach, reach, reach, reach, 0, 0), mode="replicate")
    rows = functional.conv3d(padded, kernel.view(1, 1, 1, -1, 1))
    return functional.conv3d(rows, kernel.view(1, 1, 1, 1, -1)).clamp(0.0, 1.0)
