"""What one guided step costs on published backbones: full backpropagation against the gradient at the clean estimate.

    python -m benchmarks.backbones

Full: one forward and one backward pass through denoiser, VAE decoder and target model.  Ours: the denoiser forward
only, then one forward and one backward pass through a tiny decoder and the target model.  One clip, one prompt, one
gradient; parameters are frozen, so a backward pass makes gradients of activations only.  (GradientGuidance reads M once
more, without a gradient, before it perturbs: a forward pass of decoder and target.)  Weights are random: cost does not
depend on them.  FLOPs and parameters are counted on the meta device, which holds no data; milliseconds and peak
memory are measured, in bfloat16, where a CUDA GPU is found.  Writes ``benchmarks/results/backbones.{json,md}``.

Sizes of backbones: see ``benchmarks/backbone_families.py``.  Targets: torchvision's r2plus1d_18 at 112 x 112 and
transformers' VideoMAE-Base (the class defaults) at 224 x 224.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models.video import r2plus1d_18
from transformers import VideoMAEConfig, VideoMAEForVideoClassification

from benchmarks.backbone_families import FAMILIES, FRAMES, Family
from lvcf.files import write_json
from lvcf.guidance.goal import Goal
from lvcf.guidance.gradient import target_gradient
from lvcf.models.targets.wrapping import resized

RESULTS = Path(__file__).parent / "results"
REPEATS = 5
SAMPLES = 4
"""Gradients that the shipped guidance averages (SmoothGrad).  Full backpropagation perturbs z_t and repeats everything;
ours perturbs the clean estimate and shares one pass of the denoiser."""
BYTES = 2
"""Of a parameter in bfloat16."""


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


TARGETS: tuple[Callable[[], Target], ...] = (r2plus1d, videomae)
Step = Callable[[], Any]


class Bench:
    """One backbone with one target model on one device; latents are cloned as the FLOP counter refuses leaves."""

    def __init__(self, family: Family, target: Target, dtype: torch.dtype, device: torch.device) -> None:
        self.family, self.target = family, target
        for network in (family.denoiser, family.vae, family.tiny, target):
            network.to(device, dtype).eval().requires_grad_(False)
        new = partial(torch.randn, device=device, dtype=dtype)
        self.z, self.text = new(family.latent(target.clip)), new((1, family.tokens, family.words))
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
