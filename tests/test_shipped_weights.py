"""The weights that travel with the package: size, format, licence card, and what they can do."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lvcf
from lvcf.data.echonet import EchoNetDataset
from lvcf.models.backbones.ltx import ltx_backbone
from lvcf.models.latent_reader import latent_reader
from lvcf.models.pack import SHIPPED
from lvcf.models.targets.ejection_fraction import echo_frame_transformer, echo_resnet_3d
from lvcf.phantoms.echo.set import simulate

FOLDER = Path(lvcf.__file__).parent / "weights"


DOMAINS = {"phantom": 1, "face_motion": 2}
"""Domains that a folder serves; each may have 24 MB."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> tuple[torch.Tensor, list[float]]:
    """Eight clips of a seed that no training used, through the sets' own video codec."""
    root = tmp_path_factory.mktemp("unseen")
    simulate(root, n=8, seed=90210)
    dataset = EchoNetDataset(root, "all")
    return torch.stack([clip["video"] for clip in dataset]), [clip["label"] for clip in dataset]


@pytest.mark.parametrize("name", SHIPPED)
def test_they_are_small_safe_and_described(name) -> None:
    files = [p for p in (FOLDER / name).rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in files) <= 24_000_000 * DOMAINS[name]
    assert not [p for p in files if p.suffix in (".bin", ".pt", ".pth", ".ckpt", ".pkl")]
    assert [p for p in files if p.suffix == ".safetensors"]
    assert "simulated" in (FOLDER / name / "README.md").read_text()


@pytest.mark.parametrize(
    ("load", "name", "mae"),
    [(echo_resnet_3d, "target", 3.0), (echo_resnet_3d, "target_right", 4.0), (echo_frame_transformer, "oracle", 5.0)],
)
@torch.no_grad()
def test_the_regressors_read_unseen_clips(clips, load, name, mae) -> None:
    video, ef = clips
    error = load(f"phantom/{name}").freeze()(video) - torch.tensor(ef)
    assert float(error.abs().mean()) < mae


@torch.no_grad()
def test_the_right_regressor_does_not_read_the_codec(clips, tmp_path) -> None:
    simulate(tmp_path, n=8, seed=90210, exact=True)
    exact = torch.stack([clip["video"] for clip in EchoNetDataset(tmp_path, "all")])
    right, brittle = (echo_resnet_3d(f"phantom/{name}").freeze() for name in ("target_right", "target"))
    moved = [float((model(exact) - model(clips[0])).abs().mean()) for model in (right, brittle)]
    assert moved[0] < 1.5 < 3.0 < moved[1]


@torch.no_grad()
def test_reconstruction_keeps_the_targets_reading(clips) -> None:
    video, _ = clips
    backbone, model = ltx_backbone("phantom/backbone").eval(), echo_resnet_3d("phantom/target").freeze()
    restored = backbone.decode(backbone.encode(video), 16).clamp(-1, 1)
    assert restored.shape == video.shape
    assert float((model(restored) - model(video)).abs().mean()) < 1.5
    assert 10 * float(torch.log10(4 / (restored - video).square().mean())) > 22


@torch.no_grad()
def test_the_detail_decoder_brings_speckle_back(clips) -> None:
    """Of the frames that are not shown: nearer to the clip than the VAE, and edges nearly as strong as its own."""
    video, backbone = clips[0], ltx_backbone("phantom/backbone").eval()
    drawn = backbone.decode(backbone.encode(video), 16)
    shown, others = [0, 4, 8, 12], [t for t in range(16) if t % 4]
    restored = backbone.detail(drawn[:, :, others], video[:, :, shown], drawn[:, :, shown])
    wanted, before = video[:, :, others], drawn[:, :, others]
    assert float((restored - wanted).square().mean()) < 0.9 * float((before - wanted).square().mean())
    edges = [float(clip.diff(dim=-1).abs().mean() / wanted.diff(dim=-1).abs().mean()) for clip in (before, restored)]
    assert edges[0] < 0.85 < edges[1] < 1.1


@torch.no_grad()
def test_the_latent_reader_says_what_its_model_says_of_unseen_clips(clips) -> None:
    video, _ = clips
    z, model = ltx_backbone("phantom/backbone").eval().encode(video), echo_resnet_3d("phantom/target").freeze()
    said = latent_reader("phantom/reader").eval().read(z, torch.full((len(z),), 0.05))
    assert float((said - model(video)).abs().mean()) < 4.0


@torch.no_grad()
def test_latents_have_unit_scale(clips) -> None:
    z = ltx_backbone("phantom/backbone").eval().encode(clips[0])
    assert float(z.mean().abs()) < 0.3
    assert float(z.std()) == pytest.approx(1.0, abs=0.3)


def test_every_prompt_word_is_known() -> None:
    from lvcf.data.echonet import VIEW, ef_prompt

    tokenizer = ltx_backbone("phantom/backbone").tokenizer
    for prompt in (VIEW, *(ef_prompt(ef) for ef in range(101))):
        assert tokenizer.unk_token_id not in tokenizer(prompt).input_ids
