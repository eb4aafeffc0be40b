"""Training the VAE: the decoder alone, or both halves with the latents measured anew."""

from __future__ import annotations

import pytest
import torch
from lightning import LightningDataModule, Trainer
from torch.utils.data import DataLoader

from lvcf.models.backbones.ltx import shortcut_vae
from lvcf.tasks.autoencoder import AutoencoderTask


class Clips(LightningDataModule):
    """Four random clips of nine frames."""

    def train_dataloader(self):
        torch.manual_seed(0)
        return DataLoader([{"video": torch.rand(3, 9, 16, 16) * 2 - 1} for _ in range(4)], batch_size=2)


@pytest.mark.parametrize("train_encoder", [True, False])
def test_the_encoder_and_its_statistics_change_only_if_asked(backbone, tmp_path, train_encoder) -> None:
    vae = backbone.vae
    before = {name: value.clone() for name, value in vae.state_dict().items()}
    task = AutoencoderTask(vae, tmp_path / "vae", train_encoder=train_encoder)
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    Trainer(accelerator="cpu", max_steps=2, **options).fit(task, datamodule=Clips())
    after = type(vae).from_pretrained(tmp_path / "vae").state_dict()
    changed = {name.split(".")[0] for name, value in after.items() if not torch.equal(value, before[name])}
    assert changed == {"decoder", *(("encoder", "latents_mean", "latents_std") if train_encoder else ())}


@pytest.mark.parametrize("train_encoder", [True, False])
def test_a_linear_shortcut_is_fitted_once_and_stays(backbone_folder, tmp_path, train_encoder) -> None:
    folder, options = tmp_path / "vae", {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    vae = shortcut_vae(str(backbone_folder / "vae"), 6)
    clips = next(iter(Clips().train_dataloader()))["video"]
    task = AutoencoderTask(vae, folder, train_encoder=train_encoder)
    Trainer(accelerator="cpu", max_steps=2, **options).fit(task, datamodule=Clips())
    first = type(vae).from_pretrained(folder)
    assert first.latents_std.unique().numel() == 1  # the channels' own deviations say which is drawn first
    assert (first.latents_std != 1.0).all()
    latent = first.encode(clips).latent_dist.mode()
    assert torch.equal(latent, first.shortcut_in(torch.cat([clips[:, :, :1], clips], dim=2))) is not train_encoder

    task = AutoencoderTask(type(vae).from_pretrained(folder), folder, train_encoder=train_encoder)
    Trainer(accelerator="cpu", max_steps=2, **options).fit(task, datamodule=Clips())  # goes on from what is there
    again = type(vae).from_pretrained(folder)
    assert (again.shortcut_in.weight == first.shortcut_in.weight).all()
    assert (again.decoder.conv_out.conv.weight != first.decoder.conv_out.conv.weight).any()
