"""EchoNet regressors: both input conventions by hand, the checkpoints' layouts, and what is refused."""

from __future__ import annotations

import math
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.models.video import mc3_18, r2plus1d_18, r3d_18

from lvcf.errors import UserError
from lvcf.models.targets.checkpoint import load_weights
from lvcf.models.targets.echonet_dynamic import MEAN_LEVEL, STD_LEVEL, EchoNetRegressor, echonet_dynamic
from tests.models.targets.malice import Malice

NETWORKS = {"r2plus1d_18": r2plus1d_18, "r3d_18": r3d_18, "mc3_18": mc3_18}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    torch.manual_seed(0)
    made = r3d_18(weights=None, num_classes=1).eval()
    made.fc.bias.data.fill_(55.6)
    return made


def levels(frames: int = 4, size: int = 112) -> torch.Tensor:
    return torch.randint(0, 256, (2, 3, frames, size, size)).float()


def clip(of: torch.Tensor) -> torch.Tensor:
    return of / 127.5 - 1.0


@torch.no_grad()
def test_the_echonet_convention_standardises_levels(network, tmp_path) -> None:
    torch.save({"state_dict": {f"module.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "best.pt")
    model = echonet_dynamic(tmp_path / "best.pt", "r3d_18").freeze()
    x = levels()
    wanted = (x.double() - torch.tensor(MEAN_LEVEL).view(3, 1, 1, 1)) / torch.tensor(STD_LEVEL).view(3, 1, 1, 1)
    torch.testing.assert_close(model(clip(x)), network(wanted.float())[:, 0], atol=1e-4, rtol=1e-4)
    assert model(clip(x)).shape == (2,)


@torch.no_grad()
def test_the_echodiffusion_convention_divides_by_255(network, tmp_path) -> None:
    torch.save({"state_dict": {f"model.model.{k}": v for k, v in network.state_dict().items()}}, tmp_path / "e.ckpt")
    model = echonet_dynamic(tmp_path / "e.ckpt", "r3d_18", "echodiffusion").freeze()
    x = levels()
    torch.testing.assert_close(model(clip(x)), network(x / 255.0)[:, 0], atol=1e-4, rtol=1e-4)
    other = echonet_dynamic(tmp_path / "e.ckpt", "r3d_18").freeze()
    assert float((model(clip(x)) - other(clip(x))).abs().max()) > 1e-3  # the conventions do differ


@pytest.mark.parametrize("architecture", NETWORKS)
def test_every_architecture_loads_and_gives_a_gradient(architecture, tmp_path) -> None:
    torch.save(NETWORKS[architecture](weights=None, num_classes=1).state_dict(), tmp_path / "plain.pt")
    model = echonet_dynamic(tmp_path / "plain.pt", architecture).freeze()
    video = clip(levels(frames=4, size=64)).requires_grad_(True)  # resized to 112
    model(video).sum().backward()
    assert video.grad is not None
    assert bool(video.grad.isfinite().all() & video.grad.any())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_numbers_of_numpy_beside_the_weights_are_read(network, tmp_path) -> None:
    """echonet/dynamic keeps its epoch, loss and scikit-learn's R2 in the file."""
    content = {"state_dict": network.state_dict(), "r2": np.float64(0.81), "best_loss": math.inf, "epoch": np.int64(3)}
    torch.save(content, tmp_path / "best.pt")
    echonet_dynamic(tmp_path / "best.pt", "r3d_18")
    old = tmp_path / "old.pt"  # as numpy 1 named it
    with zipfile.ZipFile(tmp_path / "best.pt") as new, zipfile.ZipFile(old, "w", zipfile.ZIP_STORED) as made:
        for entry in new.namelist():
            made.writestr(entry, new.read(entry).replace(b"numpy._core", b"numpy.core"))
    assert b"numpy.core.multiarray" in old.read_bytes()
    load_weights(EchoNetRegressor("r3d_18").network, old)


def saved(content, path: Path) -> Path:
    torch.save(content, path)
    return path


def without(weights: dict, *names: str) -> dict:
    return {k: v for k, v in weights.items() if k not in names}


BAD_CHECKPOINTS = {
    "missing file": (lambda w, p: None, ["not found"]),
    "text": (lambda w, p: p.write_text("weights"), ["refused"]),
    "truncated": (lambda w, p: p.write_bytes(saved(w, p).read_bytes()[:5000]), ["no checkpoint"]),
    "no weights": (lambda w, p: saved({"epoch": 3}, p), ["holds no weights", "state_dict"]),
    "a list": (lambda w, p: saved([1, 2], p), ["holds no weights"]),
    "a missing key": (lambda w, p: saved(without(w, "fc.weight"), p), ["(fc.weight missing)"]),
    "a missing key behind a prefix": (
        lambda w, p: saved({"state_dict": {f"module.{k}": v for k, v in without(w, "fc.bias").items()}}, p),
        ["(fc.bias missing)"],
    ),
    "an unexpected key": (lambda w, p: saved({**w, "extra.bias": torch.zeros(1)}, p), ["(extra.bias unexpected)"]),
    "many": (
        lambda w, p: saved({k: v for k, v in w.items() if not k.startswith("layer1")}, p),
        ["layer1.0.conv1.0.weight", "more missing"],
    ),
    "another head": (
        lambda w, p: saved({**w, "fc.weight": torch.zeros(400, 512), "fc.bias": torch.zeros(400)}, p),
        ["fc.weight, fc.bias of another shape"],
    ),
    "another network": (
        lambda w, p: saved(mc3_18(weights=None, num_classes=1).state_dict(), p),
        ["of another shape", "name the network"],
    ),
}


@pytest.mark.parametrize("case", BAD_CHECKPOINTS)
def test_bad_checkpoints(case, network, tmp_path) -> None:
    spoil, says = BAD_CHECKPOINTS[case]
    path = tmp_path / "best.pt"
    spoil(dict(network.state_dict()), path)
    with pytest.raises(UserError) as caught:
        echonet_dynamic(path, "r3d_18")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400
    for text in [str(path), *says]:
        assert text in str(caught.value)


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_malicious_pickle_is_refused_and_not_run(kind, tmp_path) -> None:
    path, marker = tmp_path / "best.pt", tmp_path / "ran"
    if kind == "pickle":
        path.write_bytes(pickle.dumps(Malice(marker)))
    else:
        torch.save({"state_dict": {"fc.bias": torch.zeros(1)}, "callbacks": Malice(marker)}, path)
    with pytest.raises(UserError, match="refused" if kind == "pickle" else r"refused.*(posix|nt)\.system"):
        echonet_dynamic(path, "r3d_18")
    assert not marker.exists()
    torch.load(path, weights_only=False) if kind == "torch" else pickle.loads(path.read_bytes())
    assert marker.exists()  # it would have run
