"""A VAE whose latents start as principal components, against the components themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel
from einops import rearrange
from scipy.ndimage import gaussian_filter

from lvcf.errors import UserError
from lvcf.models.backbones.load import load_backbone, load_vae
from lvcf.models.backbones.ltx import LTXBackbone, ltx_backbone, ltx_vae, shortcut_vae
from lvcf.models.backbones.shortcut_vae import KEPT, LinearShortcutVAE

CHANNELS = 6


def smooth_clips(n: int = 6, frames: int = 9, size: int = 32) -> torch.Tensor:
    noise = np.random.default_rng(0).standard_normal((n, 3, frames, size, size))
    smooth = gaussian_filter(noise, (0, 0, 1.0, 2.0, 2.0))
    return torch.from_numpy(smooth / np.abs(smooth).max()).float()


@pytest.fixture
def vae(backbone_folder) -> LinearShortcutVAE:
    made = shortcut_vae(str(backbone_folder / "vae"), CHANNELS).eval()
    made.fit(smooth_clips())
    return made


def test_it_starts_as_the_principal_components_of_the_blocks(vae) -> None:
    clips = smooth_clips()
    doubled = torch.cat([clips[:, :, :1], clips], dim=2)
    blocks = rearrange(doubled, "n c (t q) (h p) (w r) -> (n t h w) (c q p r)", q=2, p=8, r=8).double().numpy()
    values, vectors = np.linalg.eigh(np.cov(blocks.T, bias=True))
    best = vectors[:, ::-1][:, :CHANNELS]
    told = (blocks - blocks.mean(0)) @ best @ best.T

    latent = vae.encode(clips).latent_dist.mode()
    assert latent.shape == (6, CHANNELS, 5, 4, 4)
    deviation = latent.std(dim=(0, 2, 3, 4), correction=0).detach().numpy()
    wanted = values[::-1][:CHANNELS] ** (KEPT / 2)
    assert deviation == pytest.approx(wanted / np.sqrt((wanted**2).mean()), rel=1e-3)
    assert float(latent.detach().square().mean()) == pytest.approx(1.0, rel=1e-3)

    drawn = vae.decode(latent).sample.detach()
    assert drawn.shape == clips.shape
    wanted_blocks = rearrange(
        torch.from_numpy(told), "(n t h w) (c q p r) -> n c (t q) (h p) (w r)", n=6, t=5, h=4, c=3, q=2, p=8
    )
    mean = rearrange(torch.from_numpy(blocks.mean(0)), "(c x) -> c x", c=3).mean(1).view(3, 1, 1, 1)  # a colour's alone
    assert drawn == pytest.approx((wanted_blocks[:, :, 1:] + mean).float(), abs=1e-4)


def test_more_channels_draw_more(backbone_folder) -> None:
    clips, errors = smooth_clips(), []
    for channels in (2, 8, 32):
        vae = shortcut_vae(str(backbone_folder / "vae"), channels).eval()
        assert not vae.is_fitted
        vae.fit(clips)
        assert vae.is_fitted
        errors.append(float((vae.decode(vae.encode(clips).latent_dist.mode()).sample - clips).square().mean()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_its_networks_start_as_the_stored_ones_but_for_the_last_layers(backbone_folder) -> None:
    stored = ltx_vae(str(backbone_folder / "vae")).state_dict()
    made = shortcut_vae(str(backbone_folder / "vae"), CHANNELS).state_dict()
    kept = [name for name in stored if (made[name].shape == stored[name].shape and (made[name] == stored[name]).all())]
    assert {"encoder.conv_in.conv.weight", "decoder.mid_block.resnets.0.conv1.conv.weight"} <= set(kept)
    for last in ("encoder.conv_out.conv.weight", "decoder.conv_out.conv.weight"):
        assert not made[last].any()
    with pytest.raises(UserError, match=r"vae.latent_channels 0"):
        shortcut_vae(str(backbone_folder / "vae"), 0)


def test_it_is_stored_and_found_again(vae, backbone_folder, tmp_path) -> None:
    vae.save_pretrained(tmp_path / "vae")
    assert AutoencoderKLLTXVideo.load_config(tmp_path / "vae")["latent_channels"] == CHANNELS
    clips = smooth_clips(2)
    latent = vae.encode(clips).latent_dist.mode()
    for again in (ltx_vae(str(tmp_path / "vae")), load_vae(str(tmp_path / "vae"))[1]):
        assert isinstance(again, LinearShortcutVAE)
        assert (again.encode(clips).latent_dist.mode() == latent).all()

    stored = LTXBackbone.from_pretrained(backbone_folder)
    sizes = {**stored.transformer.config, "in_channels": 4 * CHANNELS, "out_channels": 4 * CHANNELS}
    denoiser = LTXVideoTransformer3DModel.from_config(sizes)
    backbone = LTXBackbone(vae, denoiser, stored.text_encoder, stored.tokenizer, stored.scheduler)
    backbone.save_pretrained(tmp_path / "whole")
    whole = load_backbone(str(tmp_path / "whole"))
    assert isinstance(whole, LTXBackbone)
    assert (whole.encode(clips) == backbone.encode(clips)).all()
    z = whole.encode(clips)
    assert (whole.decode(z, 9) == backbone.decode(z, 9)).all()
    assert issubclass(load_vae(str(tmp_path / "whole"))[0], LTXBackbone)


def test_a_denoiser_of_other_latents_is_refused(vae, backbone_folder, tmp_path) -> None:
    vae.save_pretrained(tmp_path / "vae")
    with pytest.raises(UserError, match="the VAE makes latents of 24 channels"):
        ltx_backbone(str(backbone_folder), vae=str(tmp_path / "vae"))
