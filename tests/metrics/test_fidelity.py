"""SSIM and PSNR against formulas written out here."""

from __future__ import annotations

import math

import lpips
import numpy as np
import pytest
import torch
import torchvision
from scipy.ndimage import gaussian_filter

from lvcf.errors import UserError
from lvcf.metrics.fidelity import LPIPS_FILES, lpips_distance, lpips_network, lpips_unavailable, psnr, ssim


def clips() -> tuple[torch.Tensor, torch.Tensor]:
    one = torch.from_numpy(gaussian_filter(np.random.default_rng(0).standard_normal((3, 2, 40, 40)), (0, 0, 2, 2)))
    one = (one / one.abs().max()).float()
    return one, (0.8 * one + 0.05 * torch.randn_like(one)).clamp(-1, 1)


def test_ssim_is_the_formula_of_wang_et_al() -> None:
    """Gaussian window of 11 pixels, sigma 1.5, data range 2, borders mirrored, mean over all pixels."""
    one, other = (v.double().numpy() for v in clips())

    def smooth(a: np.ndarray) -> np.ndarray:
        return gaussian_filter(a, (0, 0, 1.5, 1.5), truncate=5 / 1.5, mode="mirror")

    c1, c2 = (0.01 * 2) ** 2, (0.03 * 2) ** 2
    m1, m2 = smooth(one), smooth(other)
    v1, v2, cov = smooth(one**2) - m1**2, smooth(other**2) - m2**2, smooth(one * other) - m1 * m2
    index = (2 * m1 * m2 + c1) * (2 * cov + c2) / ((m1**2 + m2**2 + c1) * (v1 + v2 + c2))
    assert ssim(*clips_of(one, other)) == pytest.approx(index.mean(), abs=2e-4)


def clips_of(*arrays: np.ndarray) -> list[torch.Tensor]:
    return [torch.from_numpy(a).float() for a in arrays]


def test_equal_clips_have_ssim_one_and_infinite_psnr() -> None:
    one, _ = clips()
    assert ssim(one, one) == pytest.approx(1.0)
    assert math.isinf(psnr(one, one))


@pytest.mark.parametrize("offset", [0.1, 0.5])
def test_psnr_of_a_constant_offset(offset) -> None:
    one = torch.zeros(3, 2, 16, 16)
    assert psnr(one, one + offset) == pytest.approx(20 * math.log10(2 / offset), abs=1e-4)


def test_lpips_is_unavailable_with_its_reason_or_there(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    assert lpips_unavailable().startswith("unavailable: ")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "alexnet-owt-7be5be79.pth").touch()
    assert lpips_unavailable() == ""


@pytest.mark.parametrize("net", ["alex", pytest.param("vgg", marks=pytest.mark.slow)])
def test_lpips_reads_torchvisions_weights_from_a_folder(net, tmp_path) -> None:
    """The same figure as the lpips package's own loading, which asks torchvision's constructor for the weights."""
    trunk = {"alex": torchvision.models.alexnet, "vgg": torchvision.models.vgg16}[net](weights=None)
    weights = {k: v for k, v in trunk.state_dict().items() if k.startswith("features.")}
    torch.save(weights, tmp_path / LPIPS_FILES[net])
    one, other = (torch.nn.functional.interpolate(clip, size=(64, 64)) for clip in clips())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torchvision.models, f"{trunk_name(net)}", lambda **_: trunk)
        theirs = lpips.LPIPS(net=net, verbose=False)(*(v.permute(1, 0, 2, 3) for v in (one, other))).mean()
    ours = lpips_distance(one, other, lpips_network(net, tmp_path))
    assert ours == pytest.approx(float(theirs), rel=1e-5)
    assert lpips_unavailable(net, tmp_path) == ""


def trunk_name(net: str) -> str:
    return {"alex": "alexnet", "vgg": "vgg16"}[net]


@pytest.mark.parametrize(
    ("weights", "says"), [({"other": torch.zeros(1)}, "lacks features.0"), ({}, "holds no weights")]
)
def test_lpips_refuses_other_weights(weights, says, tmp_path) -> None:
    torch.save(weights, tmp_path / LPIPS_FILES["alex"])
    with pytest.raises(UserError, match=says):
        lpips_network("alex", tmp_path)
