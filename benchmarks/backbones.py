"""What one guided step costs on published backbones: full backpropagation against the gradient at the clean estimate.

    python benchmarks/backbones.py

Full: one forward and one backward pass through denoiser, VAE decoder and target model.  Ours: the denoiser forward
only, then one forward and one backward pass through a tiny decoder and the target model.  One clip, one prompt, one
gradient; parameters are frozen, so a backward pass makes gradients of activations only.  (GradientGuidance reads M once
more, without a gradient, before it perturbs: a forward pass of decoder and target.)  Weights are random: cost does not
depend on them.  FLOPs and parameters are counted on the meta device, which holds no data; milliseconds and peak
memory are measured, in bfloat16, where a CUDA GPU is found.  Writes ``benchmarks/results/backbones.{json,md}``.

Sizes.  The denoisers' and VAEs' arguments below are all that differs from the diffusers class defaults:

- CogVideoX-2b: the class defaults, equal to transformer/config.json and vae/config.json of THUDM/CogVideoX-2b as quoted
  in public notes (30 layers, 30 heads of 64, text 226 x 4096; VAE 128-256-256-512, 16 latent channels).
- LTX-Video 2B (0.9.0): the class defaults, equal to the configuration table in Lightricks' own loader
  (28 layers, 32 heads of 64; VAE 128-256-512-512, 128 latent channels) and in diffusers' convert_ltx_to_diffusers.py.
  Image to video is the same denoiser, told a time per token.
- Wan 2.1 T2V 1.3B: diffusers' convert_wan_to_diffusers.py, entry Wan-T2V-1.3B; the VAE is the class default.
- Wan 2.2 TI2V-5B: the same script's entry Wan-TI2V-5B and its configuration of the VAE of 48 channels.
- Wan 2.1 I2V 14B: entry Wan-I2V-14B-480p; 257 tokens of CLIP ViT-H.  I2V-A14B has two such denoisers without CLIP's
  tokens, of which each step passes one.
- Latte-1: 28 spatial and 28 temporal blocks (``num_layers`` counts pairs), 16 heads of 72, captions of 120 tokens and
  4096 channels: the shapes noted in models/latte_t2v.py of Vchitect/Latte, diffusers' LattePipeline, and the arguments
  of a public training script that loads maxin-cn/Latte-1 by shape; its config.json itself could not be read.  The VAE
  is Stable Diffusion's (128-256-512-512, two layers per block), frame by frame.
- Tiny decoders: TAEHV's published widths, 256-128-64-64 (taecvx, taew2_1, taew2_2; for LTX the layout of taeltx_2); for
  Latte 64-64-64-64, the width of TAESD.
- Targets: torchvision's r2plus1d_18 at 112 x 112 and transformers' VideoMAE-Base (the class defaults) at 224 x 224.
"""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLCogVideoX,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    CogVideoXTransformer3DModel,
    LatteTransformer3DModel,
    LTXVideoTransformer3DModel,
    WanTransformer3DModel,
)
from einops import rearrange
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.video import r2plus1d_18
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from lvcf.files import write_json
from lvcf.guidance.goal import Goal
from lvcf.guidance.gradient import target_gradient
from lvcf.models.backbones.tiny_decoder import TinyDecoder
from lvcf.models.targets.wrapping import resized

RESULTS = Path(__file__).parent / "results"
FRAMES = 16
REPEATS = 5
SAMPLES = 4
"""Gradients that the shipped guidance averages (SmoothGrad).  Full backpropagation perturbs z_t and repeats everything;
ours perturbs the clean estimate and shares one pass of the denoiser."""
BYTES = 2
"""Of a parameter in bfloat16."""


class Family(ABC):
    """A denoiser, a VAE and a tiny decoder of one published backbone; ``factor`` is the VAE's compression in space."""

    name: str
    factor: int
    channels: int
    latent_frames: int
    tokens: int

    def __init__(self) -> None:
        self.denoiser, self.vae, self.tiny = self.build()

    @abstractmethod
    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        """The networks, at their published sizes."""

    @abstractmethod
    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """The denoiser's prediction, shaped as ``z``."""

    def decode(self, z: Tensor) -> Tensor:
        video: Tensor = self.vae.decode(z).sample
        return video[:, :, :FRAMES]

    def clean(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """An estimate that depends on ``z`` through the denoiser; the scales cost nothing and are left out."""
        return z - self.denoise(z, t, text)

    def latent(self, size: int) -> tuple[int, ...]:
        return 1, self.channels, self.latent_frames, size // self.factor, size // self.factor


class CogVideoX(Family):
    name, factor, channels, latent_frames, tokens = "CogVideoX-2b", 8, 16, 5, 226

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        return CogVideoXTransformer3DModel(), AutoencoderKLCogVideoX(), TinyDecoder(16)

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        return self.denoiser(z.transpose(1, 2), text, t, return_dict=False)[0].transpose(1, 2)


class LTX(Family):
    name, factor, channels, latent_frames, tokens = "LTX-Video 2B", 32, 128, 3, 128

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        tiny = TinyDecoder(128, time=(2, 2, 2), patch=4)
        return LTXVideoTransformer3DModel(), AutoencoderKLLTXVideo(), tiny

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        frames, height, width = z.shape[2:]
        mask = torch.ones(text.shape[:2], device=z.device, dtype=z.dtype)
        tokens = rearrange(z, "b c f h w -> b (f h w) c")
        flow = self.denoiser(tokens, text, t, mask, frames, height, width, return_dict=False)[0]
        return rearrange(flow, "b (f h w) c -> b c f h w", f=frames, h=height)


class Wan(Family):
    name, factor, channels, latent_frames, tokens = "Wan 2.1 1.3B", 8, 16, 5, 512

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        denoiser = WanTransformer3DModel(num_attention_heads=12, ffn_dim=8960, num_layers=30)
        return denoiser, AutoencoderKLWan(), TinyDecoder(16)

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        flow: Tensor = self.denoiser(z, t, text, return_dict=False)[0]
        return flow


class WanTI2V(Wan):
    name, factor, channels = "Wan 2.2 TI2V-5B", 16, 48

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        denoiser = WanTransformer3DModel(
            num_attention_heads=24, in_channels=48, out_channels=48, ffn_dim=14336, num_layers=30
        )
        vae = AutoencoderKLWan(
            base_dim=160,
            decoder_base_dim=256,
            z_dim=48,
            is_residual=True,
            in_channels=12,
            out_channels=12,
            patch_size=2,
            scale_factor_spatial=16,
            latents_mean=[0.0] * 48,
            latents_std=[1.0] * 48,
        )
        return denoiser, vae, TinyDecoder(48, patch=2)


class WanI2V(Wan):
    name, shown, seen = "Wan 2.1 I2V 14B", 20, (257, 1280)

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        return (
            WanTransformer3DModel(in_channels=36, image_dim=1280, added_kv_proj_dim=5120),
            AutoencoderKLWan(),
            TinyDecoder(16),
        )

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        """Beside a mask and the first frame's latent, and what CLIP sees in it."""
        shown = torch.cat([z, z.new_zeros(1, self.shown, *z.shape[2:])], dim=1)
        flow: Tensor = self.denoiser(shown, t, text, z.new_zeros(1, *self.seen), return_dict=False)[0]
        return flow


class Latte(Family):
    name, factor, channels, latent_frames, tokens = "Latte-1", 8, 4, FRAMES, 120

    def build(self) -> tuple[nn.Module, nn.Module, TinyDecoder]:
        denoiser = LatteTransformer3DModel(
            num_attention_heads=16,
            attention_head_dim=72,
            in_channels=4,
            out_channels=8,
            num_layers=28,
            cross_attention_dim=1152,
            attention_bias=True,
            sample_size=64,
            patch_size=2,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
            caption_channels=4096,
            video_length=FRAMES,
        )
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(128, 256, 512, 512),
            layers_per_block=2,
        )
        return denoiser, vae, TinyDecoder(4, channels=(64,) * 4, time=(1, 1, 1))

    def denoise(self, z: Tensor, t: Tensor, text: Tensor) -> Tensor:
        both: Tensor = self.denoiser(z, t, text, return_dict=False)[0]
        return both[:, : self.channels]  # the rest are learned variances

    def decode(self, z: Tensor) -> Tensor:
        video = self.vae.decode(rearrange(z, "b c f h w -> (b f) c h w")).sample
        return rearrange(video, "(b f) c h w -> b c f h w", f=FRAMES)


class Target(nn.Module):
    """A published classifier on clips of any size; ``clip`` is the size that is generated for it."""

    def __init__(self, name: str, network: nn.Module, size: int, clip: int) -> None:
        super().__init__()
        self.name, self.network, self.size, self.clip = name, network, size, clip

    def forward(self, video: Tensor) -> Tensor:
        video = resized(video, self.size, self.size)
        if isinstance(self.network, VideoMAEForVideoClassification):
            return self.network(video.transpose(1, 2)).logits
        return self.network(video)


def r2plus1d() -> Target:
    return Target("r2plus1d_18 at 112²", r2plus1d_18(), size=112, clip=128)


def videomae() -> Target:
    network = VideoMAEForVideoClassification(VideoMAEConfig())
    return Target("VideoMAE-Base at 224²", network, size=224, clip=224)


FAMILIES: tuple[type[Family], ...] = (CogVideoX, LTX, Wan, WanTI2V, WanI2V, Latte)
TARGETS: tuple[Callable[[], Target], ...] = (r2plus1d, videomae)
Step = Callable[[], Any]


class Bench:
    """One backbone with one target model on one device; latents are cloned as the FLOP counter refuses leaves."""

    def __init__(self, family: Family, target: Target, dtype: torch.dtype, device: torch.device) -> None:
        self.family, self.target = family, target
        for network in (family.denoiser, family.vae, family.tiny, target):
            network.to(device, dtype).eval().requires_grad_(False)
        new = partial(torch.randn, device=device, dtype=dtype)
        self.z, self.text = new(family.latent(target.clip)), new((1, family.tokens, 4096))
        self.t = torch.full((1,), 500, device=device)
        self.goal = Goal(torch.zeros(1, device=device), torch.zeros(1, device=device), 1.0, 0.0, classification=True)

    def full(self) -> None:
        """The gradient of the target loss at z_t, through everything."""
        target_gradient(lambda z: self.target(self.family.decode(self._clean(z.clone()))), self.z, self.goal)

    def ours(self) -> None:
        """The gradient of the target loss at the clean estimate, through the tiny decoder."""
        with torch.no_grad():
            clean = self._clean(self.z)
        target_gradient(lambda z: self.target(self.family.tiny(z.clone(), FRAMES)), clean, self.goal)

    def _clean(self, z: Tensor) -> Tensor:
        return self.family.clean(z, self.t, self.text)

    def parts(self) -> dict[str, tuple[nn.Module, Step]]:
        """Every network with its forward pass."""
        family, video = self.family, torch.zeros(1, 3, FRAMES, *(self.target.clip,) * 2).to(self.z)
        decoder = family.vae.decoder
        return {
            "denoiser": (family.denoiser, lambda: self._clean(self.z)),
            "VAE decoder": (decoder, lambda: family.decode(self.z)),
            "tiny decoder": (family.tiny, lambda: family.tiny(self.z, FRAMES)),
            "target": (self.target, lambda: self.target(video)),
        }


def flops(step: Step) -> int:
    """Floating-point operations of matrix products, convolutions and attention; one multiply-add is two."""
    with FlopCounterMode(display=False) as counter:
        step()
    return int(counter.get_total_flops())


def counted(bench: Bench) -> dict[str, Any]:
    """FLOPs of both steps and of every part's forward pass; bytes of the parameters."""
    row: dict[str, Any] = {"full": {"flops": flops(bench.full)}, "ours": {"flops": flops(bench.ours)}, "parts": {}}
    for name, (network, forward) in bench.parts().items():
        size = sum(parameter.numel() for parameter in network.parameters())
        with torch.no_grad():
            row["parts"][name] = {"forward_flops": flops(forward), "parameter_bytes": BYTES * size}
    for step, decoder in (("full", "VAE decoder"), ("ours", "tiny decoder")):
        used = ("denoiser", decoder, "target")
        row[step]["parameter_bytes"] = sum(row["parts"][part]["parameter_bytes"] for part in used)
    return row | ratios(row)


def ratios(row: dict[str, Any]) -> dict[str, float]:
    """Full over ours, for one gradient and for the mean of ``SAMPLES``."""
    full, ours, shared = row["full"]["flops"], row["ours"]["flops"], row["parts"]["denoiser"]["forward_flops"]
    return {
        "flops_ratio": full / ours,
        "flops_ratio_smoothgrad": SAMPLES * full / (shared + SAMPLES * (ours - shared)),
    }


def timed(step: Step) -> dict[str, float]:
    """Median milliseconds and peak bytes on the GPU."""
    step()
    torch.cuda.reset_peak_memory_stats()
    milliseconds = []
    for _ in range(REPEATS):
        torch.cuda.synchronize()
        started = time.perf_counter()
        step()
        torch.cuda.synchronize()
        milliseconds.append(1000.0 * (time.perf_counter() - started))
    return {"milliseconds": statistics.median(milliseconds), "peak_bytes": torch.cuda.max_memory_allocated()}


def build(family: type[Family], target: Callable[[], Target], dtype: torch.dtype, device: torch.device) -> Bench:
    with torch.device(device):
        return Bench(family(), target(), dtype, device)


def measure(family: type[Family], target: Callable[[], Target]) -> dict[str, Any]:
    """One row; its time and memory too where there is a GPU."""
    bench = build(family, target, torch.float32, torch.device("meta"))
    row = {"backbone": family.name, "target": bench.target.name, "clip": f"{FRAMES} x {bench.target.clip}²"}
    row |= counted(bench)
    if torch.cuda.is_available():
        bench = build(family, target, torch.bfloat16, torch.device("cuda"))
        row["full"] |= timed(bench.full)
        row["ours"] |= timed(bench.ours)
    return row


def table(rows: list[dict[str, Any]], device: str) -> str:
    """Markdown."""
    measured = "milliseconds" in rows[0]["full"]
    headings = ["backbone", "target", "clip", *rows[0]["parts"], "full", "ours", "ratio", f"ratio, {SAMPLES} gradients"]
    headings += ["full, ms", "ours, ms", "ratio", "full, GB", "ours, GB"] if measured else []
    lines = [
        "One guided step: full backpropagation (denoiser, VAE decoder, target model) against the gradient at the clean "
        "estimate through a tiny decoder. Random weights at published sizes; made by `make bench-backbones`.",
        "Ours holds the VAE's decoder besides for the last steps and the result.",
        f"TFLOP; the four networks' columns are one forward pass each. Time and memory: {device}.",
        "",
        "| " + " | ".join(headings) + " |",
        "|" + "---|" * len(headings),
    ]
    for row in rows:
        full, ours = row["full"], row["ours"]
        cells = [row["backbone"], row["target"], row["clip"]]
        cells += [f"{part['forward_flops'] / 1e12:.3f}" for part in row["parts"].values()]
        cells += [f"{full['flops'] / 1e12:.2f}", f"{ours['flops'] / 1e12:.2f}", f"{row['flops_ratio']:.1f}x"]
        cells.append(f"{row['flops_ratio_smoothgrad']:.1f}x")
        if measured:
            cells += [f"{full['milliseconds']:.1f}", f"{ours['milliseconds']:.1f}"]
            cells += [f"{full['milliseconds'] / ours['milliseconds']:.1f}x"]
            cells += [f"{full['peak_bytes'] / 1e9:.2f}", f"{ours['peak_bytes'] / 1e9:.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| parameters, MB in bfloat16 | " + " | ".join(rows[0]["parts"]) + " | full | ours |"]
    lines.append("|" + "---|" * (3 + len(rows[0]["parts"])))
    for row in rows:
        cells = [*row["parts"].values(), row["full"], row["ours"]]
        sizes = " | ".join(f"{cell['parameter_bytes'] / 1e6:.0f}" for cell in cells)
        lines.append(f"| {row['backbone']} + {row['target']} | {sizes} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure every pair and write both files."""
    gpu = torch.cuda.is_available()
    device = torch.cuda.get_device_name() if gpu else "unavailable: no CUDA GPU found"
    rows = [measure(family, target) for family in FAMILIES for target in TARGETS]
    RESULTS.mkdir(exist_ok=True)
    versions = {name: version(name) for name in ("torch", "torchvision", "diffusers", "transformers")}
    write_json(RESULTS / "backbones.json", {"device": device, "versions": versions, "rows": rows})
    (RESULTS / "backbones.md").write_text(table(rows, device))
    print(table(rows, device))


if __name__ == "__main__":
    main()
