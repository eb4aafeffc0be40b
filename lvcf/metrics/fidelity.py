"""Closeness of a counterfactual to its factual clip: SSIM, PSNR, LPIPS.  Clips are ``(3, T, H, W)`` in [-1, 1]."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from einops import rearrange
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lvcf.errors import UserError
from lvcf.models.targets.checkpoint import read_weights

LpipsNet = Literal["alex", "vgg"]
LPIPS_FILES: dict[LpipsNet, str] = {"alex": "alexnet-owt-7be5be79.pth", "vgg": "vgg16-397923af.pth"}
"""torchvision's ImageNet weights that LPIPS reads images with, by the names under which torch's cache keeps them."""


def ssim(one: Tensor, other: Tensor) -> float:
    """Mean SSIM over frames of two clips (Wang et al. 2004: 11-pixel Gaussian window, data range 2)."""
    return float(ssim_map(one, other).mean())


def ssim_map(one: Tensor, other: Tensor) -> Tensor:
    """SSIM at every pixel, ``(T, 3, H, W)``; frame by frame, which is faster and takes a frame's memory."""
    frames = zip(one.unbind(1), other.unbind(1), strict=True)
    return torch.cat([_ssim_of_frame(a[None], b[None]) for a, b in frames])


def _ssim_of_frame(one: Tensor, other: Tensor) -> Tensor:
    _, places = structural_similarity_index_measure(one, other, data_range=2.0, return_full_image=True)
    assert isinstance(places, Tensor)
    return places


def restored(final: Tensor, factual: Tensor, region: Tensor) -> Tensor:
    """The edit with the factual clip's pixels inside the region: what is left of it is outside."""
    return torch.where(region, factual, final)


def ssim_outside(final: Tensor, factual: Tensor, region: Tensor) -> float:
    """Mean SSIM (Wang et al. 2004) over the pixels outside; NaN if the region covers the clip.

    The region is restored first, so that no window outside sees the change inside.
    """
    if bool(region.all()):
        return float("nan")
    places = ssim_map(restored(final, factual, region), factual)
    return float(places.mean(dim=1)[~region].mean())


def psnr(one: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two clips; infinite for equal ones."""
    return float(10.0 * torch.log10(4.0 / (one - other).square().mean()))


def lpips_unavailable(net: LpipsNet = "alex", folder: Path | None = None) -> str:
    """Why LPIPS cannot be computed; empty if its backbone's weights are in ``folder``, or in torch's cache."""
    path = _weights(net, folder)
    where = str(folder) if folder else "torch's hub cache"
    return "" if path.is_file() else f"unavailable: {path.name} is not in {where}; name its folder, --lpips"


@cache
def lpips_network(net: LpipsNet = "alex", folder: Path | None = None) -> torch.nn.Module:
    """The one LPIPS network of a process: loading it for every clip would cost more than using it.

    Args:
        net: the network that reads the frames.
        folder: where its ImageNet weights lie under torchvision's file name; None for torch's cache.

    Raises:
        UserError: the weights are missing or not this network's.
    """
    import lpips

    path = _weights(net, folder)
    network: Any = lpips.LPIPS(net=net, pnet_rand=True, verbose=False).eval()
    trunk = {f"features.{key.partition('.')[2]}": key for key in network.net.state_dict()}
    found = read_weights(path)
    lacking = [name for name in trunk if name not in found]
    if lacking:
        raise UserError(f"{path}: lacks {lacking[0]}; give torchvision's {LPIPS_FILES[net]}")
    try:
        network.net.load_state_dict({key: found[name] for name, key in trunk.items()})
    except RuntimeError as error:
        raise UserError(f"{path}: its layers have other shapes; give torchvision's {LPIPS_FILES[net]}") from error
    frozen: torch.nn.Module = network.requires_grad_(False)
    return frozen


@torch.no_grad()
def lpips_distance(one: Tensor, other: Tensor, network: torch.nn.Module) -> float:
    """LPIPS (Zhang et al. 2018), mean over frames; ``network`` is :func:`lpips_network`'s."""
    a, b = (rearrange(v, "c t h w -> t c h w") for v in (one, other))
    return float(network(a, b).mean())


def _weights(net: LpipsNet, folder: Path | None) -> Path:
    return (folder or Path(torch.hub.get_dir()) / "checkpoints") / LPIPS_FILES[net]
