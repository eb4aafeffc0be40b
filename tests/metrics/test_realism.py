"""Frechet and kernel distances against published formulas and a double loop; extractors against what they wrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch import nn
from torchmetrics.image.fid import _compute_fid
from torchmetrics.image.kid import poly_mmd

from lvcf.errors import UserError
from lvcf.metrics.features import InceptionFeatures, load_extractor
from lvcf.metrics.realism import frechet_distance, kernel_distance, warn_if_few
from lvcf.metrics.unavailable import UnavailableError
from lvcf.models.targets.ejection_fraction import EchoFrameTransformer
from tests.toys import BrightDark, save_videomae

CLIP = torch.linspace(-1, 1, 3 * 10 * 16 * 16).view(1, 3, 10, 16, 16)


def features(n: int, dimension: int, seed: int) -> torch.Tensor:
    """Correlated, shifted by the seed."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(dimension, dimension, generator=generator)
    return torch.randn(n, dimension, generator=generator) @ mix * 0.3 + 0.1 * seed


@pytest.mark.parametrize(("n", "m", "dimension"), [(200, 150, 16), (40, 30, 8)])
def test_the_frechet_distance_is_the_published_formula(n, m, dimension) -> None:
    """Heusel et al.'s by scipy's matrix root, and torchmetrics' by eigenvalues."""
    x, y = features(n, dimension, 1).double(), features(m, dimension, 2).double()
    means, covariances = [v.mean(0) for v in (x, y)], [torch.cov(v.T) for v in (x, y)]
    root = np.real(sqrtm((covariances[0] @ covariances[1]).numpy()))
    expected = float((means[0] - means[1]).square().sum()) + float(sum(c.trace() for c in covariances))
    expected -= 2 * float(np.trace(root))
    assert frechet_distance(x, y) == pytest.approx(expected, abs=1e-4)
    theirs = float(_compute_fid(means[0], covariances[0], means[1], covariances[1]))
    assert frechet_distance(x, y) == pytest.approx(theirs, abs=1e-4)


def test_the_frechet_distance_of_fewer_samples_than_features() -> None:
    """Singular covariances: the trace of the root by the eigenvalues of the positive semidefinite S^1/2 S' S^1/2."""
    x, y = features(6, 12, 3).double().numpy(), features(9, 12, 4).double().numpy()
    one, other = np.cov(x.T), np.cov(y.T)
    values, vectors = np.linalg.eigh(one)
    half = vectors @ np.diag(np.sqrt(values.clip(0))) @ vectors.T
    trace = np.sqrt(np.linalg.eigvalsh(half @ other @ half).clip(0)).sum()
    expected = ((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(one) + np.trace(other) - 2 * trace
    assert frechet_distance(torch.from_numpy(x), torch.from_numpy(y)) == pytest.approx(expected, abs=1e-4)


def test_the_frechet_distance_in_one_dimension() -> None:
    """(mean - mean')^2 + (s - s')^2."""
    x, y = torch.tensor([[0.0], [2.0]]), torch.tensor([[5.0], [11.0]])
    assert frechet_distance(x, y) == pytest.approx(7.0**2 + (math.sqrt(2) - math.sqrt(18)) ** 2)
    assert frechet_distance(x, x) == pytest.approx(0.0, abs=1e-9)


def test_the_kernel_distance_is_the_unbiased_estimator() -> None:
    x, y = features(12, 5, 1).double(), features(9, 5, 2).double()

    def kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(sum(p * q for p, q in zip(a.tolist(), b.tolist(), strict=True)) / 5 + 1) ** 3

    def within(v: torch.Tensor) -> float:
        return sum(kernel(v[i], v[j]) for i in range(len(v)) for j in range(len(v)) if i != j) / len(v) / (len(v) - 1)

    between = sum(kernel(a, b) for a in x for b in y) / (len(x) * len(y))
    assert kernel_distance(x, y) == pytest.approx(within(x) + within(y) - 2 * between, abs=1e-9)
    assert kernel_distance(x[:9], y) == pytest.approx(float(poly_mmd(x[:9], y)), abs=1e-9)


@pytest.mark.parametrize("distance", [frechet_distance, kernel_distance])
@pytest.mark.parametrize("sizes", [(1, 5), (5, 1), (0, 5)])
def test_a_set_of_fewer_than_two_is_refused(distance, sizes) -> None:
    real, fake = (torch.randn(n, 3) for n in sizes)
    with pytest.raises(UserError, match="two or more"):
        distance(real, fake)


def test_fewer_samples_than_features_are_warned_of() -> None:
    with pytest.warns(UserWarning, match="5 samples for 8 features"):
        warn_if_few(5, 8, "realism/fid")


class Mean(nn.Module):
    """A user's own extractor: mean colours."""

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        return video.mean(dim=(2, 3, 4))


class NoModule:
    """Not what is asked for."""


I3D_CALL = """
def forward(self, x: Tensor, rescale: bool = False, resize: bool = False, return_features: bool = False) -> Tensor:
    if rescale:
        x = x * 2.0 / 255.0 - 1.0
    if resize and return_features:
        x = x.mean([2, 3, 4])
    return x
"""
"""Called as the published TorchScript: levels in, features out."""


def test_a_users_own_module_is_named_by_its_class() -> None:
    extractor = load_extractor("module:tests.metrics.test_realism.Mean", None)
    assert (extractor.name, extractor.of_frames) == ("Mean", False)
    assert torch.equal(extractor(CLIP), CLIP.mean(dim=(2, 3, 4)))


def test_i3d_gets_levels_and_returns_features(tmp_path) -> None:
    graph = torch.jit.ScriptModule()
    graph.define(I3D_CALL)
    graph.save(str(tmp_path / "i3d.pt"))
    extractor = load_extractor(f"i3d:{tmp_path / 'i3d.pt'}", None)
    assert torch.allclose(extractor(CLIP), CLIP.mean(dim=(2, 3, 4)), atol=1e-5)
    with pytest.raises(UserError, match="10 frames"):
        extractor(CLIP[:, :, :4])


def test_videomae_gives_the_mean_token_of_its_encoder(tmp_path) -> None:
    save_videomae(tmp_path / "mae", ("a", "b"), frames=4)
    extractor = load_extractor(f"videomae:{tmp_path / 'mae'}", None)
    video = torch.nn.functional.interpolate(CLIP[:, :, :4], size=(4, 32, 32))
    assert (extractor.name, extractor(video).shape) == ("videomae-mae", (1, 16))
    tokens = extractor.network(extractor.preprocessing(video)).last_hidden_state
    assert torch.allclose(extractor(video), tokens.mean(dim=1))
    with pytest.raises(UserError, match="takes 4 frames"):
        extractor(CLIP)


def test_an_oracles_features_are_what_its_last_layer_reads() -> None:
    oracle = EchoFrameTransformer(channels=(8, 8, 16), layers=1, frames=4).eval()
    video = torch.rand(2, 3, 4, 112, 112) * 2 - 1
    clips, frames = (load_extractor(kind, oracle) for kind in ("oracle", "oracle-frames"))
    read = clips(video)
    assert torch.allclose(oracle.head(read), oracle.scores(video), atol=1e-5)
    still = video[:1, :, 2:3].expand(-1, -1, 4, -1, -1)
    assert frames(video).shape == (8, 16)
    assert torch.allclose(frames(video)[2], clips(still)[0], atol=1e-5)
    with pytest.raises(UserError, match="no linear layer"):
        load_extractor("oracle", BrightDark())


def test_the_published_inception_is_read_by_torch_fidelity(tmp_path) -> None:
    """Random weights in its layout: the same features as torch-fidelity's own extractor."""
    package = pytest.importorskip("torch_fidelity.feature_extractor_inceptionv3")
    network = package.FeatureExtractorInceptionV3
    blank = network.__new__(network)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(package, "load_state_dict_from_url", lambda *_, **__: {})
        patch.setattr(network, "load_state_dict", lambda *_: None)
        network.__init__(blank, "inception-v3-compat", ["2048"])
    torch.save(blank.state_dict(), tmp_path / "inception.pth")
    video = CLIP[:, :, :2]
    levels = ((video[0].permute(1, 0, 2, 3) + 1) * 127.5).round().to(torch.uint8)
    ours = InceptionFeatures(tmp_path / "inception.pth")(video)
    assert ours.shape == (2, 2048)
    assert torch.allclose(ours, blank(levels)[0], atol=1e-4)


BAD_EXTRACTORS = {
    "no such form": ("resnet:weights.pth", ["resnet", "videomae:FOLDER"]),
    "no place": ("i3d:", ["i3d:"]),
    "no Inception file": ("inception:/nowhere/inception.pth", ["/nowhere/inception.pth", "not found"]),
    "no I3D file": ("i3d:/nowhere/i3d.pt", ["/nowhere/i3d.pt", "not found"]),
    "no VideoMAE folder": ("videomae:/nowhere/mae", ["/nowhere/mae"]),
    "no package": ("module:nowhere.Net", ["module:nowhere.Net", "PACKAGE.CLASS"]),
    "no class path": ("module:Net", ["module:Net", "PACKAGE.CLASS"]),
    "no module": ("module:tests.metrics.test_realism.NoModule", ["no torch.nn.Module"]),
}


@pytest.mark.parametrize("case", BAD_EXTRACTORS)
def test_bad_extractors(case) -> None:
    text, says = BAD_EXTRACTORS[case]
    with pytest.raises(UserError) as problem:
        load_extractor(text, None)
    assert all(part in str(problem.value) for part in says), problem.value


def test_a_run_without_an_oracle_says_so() -> None:
    with pytest.raises(UnavailableError, match="no oracle"):
        load_extractor("oracle", None)
