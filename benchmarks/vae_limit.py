"""What a VAE keeps of faces and motions, and what a linear code of as many numbers keeps.

    lvcf simulate face --out runs/data/face_val --n 12 --seed 700
    lvcf simulate motion --out runs/data/motion_val --n 12 --seed 700
    lvcf fit --config face_motion/shortcut_autoencoder.yaml
    python benchmarks/vae_limit.py

Needs the data of ``face_motion/autoencoder.yaml``, to whose clips the linear codes are fitted.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo
from torch import Tensor

from lvcf.data.clip import ClipDataset
from lvcf.datamodules.ferv39k import FERV39KDataModule
from lvcf.datamodules.ssv2 import SSv2DataModule
from lvcf.models.backbones.ltx import ltx_vae, pad_frames, shortcut_vae

FITTED, CLIPS = 80, 12
STOCK, TRAINED = "face_motion/backbone/vae", "runs/weights/face_motion/shortcut_vae"
DATA = {"face": FERV39KDataModule, "motion": SSv2DataModule}


def clips(domain: str, split: str, n: int) -> Tensor:
    """The first clips of a simulated set, padded for the VAEs."""
    found: ClipDataset = DATA[domain](root=f"runs/data/{domain}_{split}", predict_split="all").make_dataset("predict")
    return pad_frames(torch.stack([found[i]["video"] for i in range(n)]), 2)


@torch.no_grad()
def restored(vae: AutoencoderKLLTXVideo, video: Tensor) -> str:
    """PSNR of 16 frames a clip in dB, peak to peak 2, mean and standard error; and the edges that are left."""
    drawn = vae.decode(vae.encode(video).latent_dist.mode()).sample.clamp(-1, 1)
    video, drawn = video[:, :, :16], drawn[:, :, :16]
    psnr = 10 * torch.log10(4.0 / (drawn - video).square().mean(dim=(1, 2, 3, 4)))
    edges = edge_strength(drawn) / edge_strength(video)
    return f"{float(psnr.mean()):.1f} ± {float(psnr.std()) / len(psnr) ** 0.5:.1f} | {float(edges.mean()):.2f}"


def edge_strength(video: Tensor) -> Tensor:
    """Mean absolute difference of neighbouring pixels, per clip."""
    return sum((video.diff(dim=dim).abs().mean(dim=(1, 2, 3, 4)) for dim in (3, 4)), torch.zeros(len(video)))


def main() -> None:
    """Write ``benchmarks/results/vae_limit.md``."""
    fitted = torch.cat([clips(domain, "train", FITTED) for domain in DATA])
    unseen = [clips(domain, "val", CLIPS) for domain in DATA]
    vaes = {"the shipped VAE, 8 channels": ltx_vae(STOCK)}
    for channels in (8, 16, 24, 32):
        vaes[f"{channels} principal components"] = shortcut_vae(STOCK, channels).eval()
        vaes[f"{channels} principal components"].fit(fitted)
    vaes["24 channels, with a linear shortcut, trained"] = ltx_vae(TRAINED)
    lines = [f"{CLIPS} simulated faces and {CLIPS} motions of seed 700; made by `python benchmarks/vae_limit.py`.", ""]
    lines += ["| latent | faces, PSNR in dB | edges left | motions, PSNR in dB | edges left |", "|---|---|---|---|---|"]
    lines += [f"| {name} | {' | '.join(restored(vae, video) for video in unseen)} |" for name, vae in vaes.items()]
    Path("benchmarks/results/vae_limit.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
