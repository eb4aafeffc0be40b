"""Shared by all tests: one small simulated set and one tiny model of every kind, made once per session."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest
import torch

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("WANDB_MODE", "offline")

pytest_plugins = ["tests.skips"]


@pytest.fixture(autouse=True, scope="session")
def few_threads() -> None:
    torch.set_num_threads(min(2, int(os.environ.get("OMP_NUM_THREADS", "2"))))


@pytest.fixture(autouse=True)
def seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def echo_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six clips in EchoNet-Dynamic's layout: one TEST, one VAL, four TRAIN.  Read only."""
    from lvcf.phantoms.echo.set import simulate

    root = tmp_path_factory.mktemp("echo") / "set"
    simulate(root, n=6, seed=7)
    return root


@pytest.fixture(scope="session")
def motion_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips in Something-Something V2's layout, one per action: 1 test, 1 validation, 6 train.  Read only."""
    from lvcf.phantoms.motion.set import simulate

    root = tmp_path_factory.mktemp("motion") / "set"
    simulate(root, n=8, seed=7)
    return root


@pytest.fixture(scope="session")
def face_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Eight clips in FERV39K's layout: one test, seven train (one of them validation).  Read only."""
    from lvcf.phantoms.face.set import simulate

    root = tmp_path_factory.mktemp("face") / "set"
    simulate(root, n=8, seed=2)
    return root


@pytest.fixture(scope="session")
def backbone_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LTX backbone with the shape of the phantom's, in the diffusers layout.  Read only."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    from lvcf.models.backbones.ltx import LTXBackbone
    from lvcf.models.backbones.text import small_text_encoder, small_tokenizer
    from tests.tiny_ltx import tiny_denoiser, tiny_vae

    torch.manual_seed(1)
    words = ["apical", "four", "chamber", "echocardiogram", "ejection", "fraction", "percent"]
    tokenizer = small_tokenizer(words, numbers=100, length=12)
    vae = tiny_vae()
    vae.latents_mean.copy_(torch.tensor([0.3, -0.2, 0.1, 0.0]))
    vae.latents_std.copy_(torch.tensor([0.5, 0.8, 1.2, 0.9]))
    transformer = tiny_denoiser()
    folder = tmp_path_factory.mktemp("backbone")
    LTXBackbone(
        vae, transformer, small_text_encoder(tokenizer, 16, 1), tokenizer, FlowMatchEulerDiscreteScheduler()
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def backbone(backbone_folder: Path):
    from lvcf.models.backbones.ltx import LTXBackbone

    return LTXBackbone.from_pretrained(backbone_folder)


@pytest.fixture(scope="session")
def target_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random EF regressor.  Read only."""
    from lvcf.models.targets.ejection_fraction import EchoResNet3D

    torch.manual_seed(2)
    folder = tmp_path_factory.mktemp("target")
    EchoResNet3D(channels=(8, 8, 16)).save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def oracle_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random oracle.  Read only."""
    from lvcf.models.targets.ejection_fraction import EchoFrameTransformer

    torch.manual_seed(3)
    folder = tmp_path_factory.mktemp("oracle")
    EchoFrameTransformer(channels=(8, 8, 16), layers=1).save_pretrained(folder)
    return folder


@pytest.fixture(autouse=True, scope="session")
def quiet_logging_of_closed_streams() -> None:
    """Lightning's log handler keeps the stderr of the test that imported it; pytest closes that stream afterwards."""
    logging.raiseExceptions = False
