"""What a published backbone takes in memory, by setting of ``load_backbone``: weights, and activations of one gradient.

    python -m benchmarks.backbone_memory

Networks have the published sizes of ``benchmarks/backbone_families.py`` and stand on the meta device, which holds no
data: bytes of parameters are counted one by one (in half precision without those that diffusers keeps in float32;
rounded ones as bitsandbytes stores them), activations by watching every tensor that is made.  The text encoder is
UMT5-XXL's.
Writes ``benchmarks/results/backbone_memory.{json,md}``.
"""

from __future__ import annotations

from functools import partial
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn
from transformers import UMT5Config, UMT5EncoderModel

from benchmarks.backbone_families import LTX, CogVideoX, Family, Wan, WanI2V, WanTI2V
from benchmarks.backbones import RESULTS
from benchmarks.live_bytes import most_live_bytes
from lvcf.files import write_json
from lvcf.models.backbones.recompute import recompute

WEIGHED: dict[str, tuple[type[Family], int]] = {
    "Wan 2.1 1.3B": (Wan, 1),
    "Wan 2.2 TI2V-5B": (WanTI2V, 1),
    "Wan 2.1 I2V 14B": (WanI2V, 1),
    "two of 14B, as Wan 2.2 A14B": (WanI2V, 2),
}
"""Backbones of one text encoder, and how many denoisers they have."""
DECODED: tuple[type[Family], ...] = (CogVideoX, LTX, Wan, WanTI2V)
"""Latte's tiles have the size that its VAE was trained at, which is not known here."""
CHUNKED = (CogVideoX, Wan)
"""Families whose VAE decodes latent frames in chunks."""
SIZES = (224, 512)
SETTINGS = ("plain", "tiling", "checkpointing", "both")
PRECISIONS = {"float32": 4.0, "bfloat16": 2.0, "int8": 1.0, "int4": 0.5}
"""Bytes of a parameter."""
ROUNDED = {"int8": lambda rows, columns: 4 * rows, "int4": lambda rows, columns: 4 * rows * columns / 64}
"""Bytes of the scales of a matrix: one number a row, or one in 64 weights."""


def umt5_xxl() -> nn.Module:
    """The encoder of google/umt5-xxl."""
    sizes = {"d_model": 4096, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "vocab_size": 256384}
    return UMT5EncoderModel(UMT5Config(**sizes, feed_forward_proj="gated-gelu"))


def weights(network: nn.Module, precision: str) -> dict[str, float]:
    """Bytes of a denoiser's weights: of its largest block, and of all and of what is no block."""
    kept = set(getattr(network, "_keep_in_fp32_modules", None) or ())
    linear = {f"{name}.weight" for name, layer in network.named_modules() if type(layer) is nn.Linear}
    lists = {name for name, child in network.named_children() if isinstance(child, nn.ModuleList)}
    blocks: dict[str, float] = {}
    around = 0.0
    for name, parameter in network.named_parameters():
        places = name.split(".")
        size = bytes_of(parameter, precision, bool(kept & set(places)), name in linear and places[0] in lists)
        if places[0] in lists:
            blocks[".".join(places[:2])] = blocks.get(".".join(places[:2]), 0.0) + size
        else:
            around += size
    return {"all": around + sum(blocks.values()), "around": around, "block": max(blocks.values(), default=0.0)}


def bytes_of(parameter: Tensor, precision: str, kept: bool, rounds: bool) -> float:
    """Of one parameter; what is not rounded beside rounded ones is in bfloat16."""
    if precision == "float32" or kept:
        return 4.0 * parameter.numel()
    if precision in ROUNDED and rounds:
        return PRECISIONS[precision] * parameter.numel() + ROUNDED[precision](*parameter.shape)
    return 2.0 * parameter.numel()


def on_device(denoiser: dict[str, float], denoisers: int, others: list[float], offload: str) -> float:
    """The most bytes of weights that are on the device at once, under one setting of ``offload``."""
    if offload == "none":
        return denoisers * denoiser["all"] + sum(others)
    if offload == "model":
        return max(denoiser["all"], *others)
    return denoisers * denoiser["around"] + denoiser["block"] + max(others)


def weighed() -> list[dict[str, Any]]:
    """Rows of the first table; text encoder in bfloat16, VAE in float32."""
    rows = []
    with torch.device("meta"):
        text = sum(2.0 * parameter.numel() for parameter in umt5_xxl().parameters())
        for name, (family, denoisers) in WEIGHED.items():
            made = family()
            others = [text, sum(4.0 * parameter.numel() for parameter in made.vae.parameters())]
            for precision in PRECISIONS:
                denoiser = weights(made.denoiser, precision)
                row = {"backbone": name, "precision": precision, "denoiser": denoisers * denoiser["all"]}
                row |= {"text encoder": text, "VAE": others[1]}
                rounded = precision in ROUNDED  # such a denoiser stays on the device
                for offload in ("none", "model", "group"):
                    beside = denoisers * denoiser["all"] + max(others) if rounded and offload != "none" else None
                    row[offload] = on_device(denoiser, denoisers, others, offload) if beside is None else beside
                rows.append(row)
    return rows


def decoded() -> list[dict[str, Any]]:
    """Rows of the second table: bytes that live at once in one gradient through the VAE's decoder, in float32."""
    rows = []
    for family in DECODED:
        with torch.device("meta"):
            made = family()
        vae = made.vae.eval().requires_grad_(False)
        found: dict[int, dict[str, int]] = {size: {} for size in SIZES}
        for plain, tiles in (("plain", "tiling"), ("checkpointing", "both")):
            if plain == "checkpointing":
                blocks = [vae.decoder.mid_block, *vae.decoder.up_blocks]
                for part in [vae.decoder] if issubclass(family, CHUNKED) else blocks:
                    recompute(part)
            for size in SIZES:
                vae.disable_tiling()
                found[size][plain] = most_live_bytes(partial(gradient, made, size))
                vae.enable_tiling()
                found[size][tiles] = most_live_bytes(partial(gradient, made, size))
        rows += [{"backbone": family.name, "size": size, **settings} for size, settings in found.items()]
    return rows


def gradient(family: Family, size: int) -> None:
    """Of what is read in a decoded clip."""
    z = torch.zeros(family.latent(size), device="meta", requires_grad=True)
    torch.autograd.grad(family.decode(z).square().sum(), z)


def table(weighed: list[dict[str, Any]], decoded: list[dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "Random weights at published sizes, in GB; made by `make bench-backbones`. The text encoder is "
        "in bfloat16, the VAE in float32; *on the device* is the most of them at once, by `offload`.",
        "",
        "| backbone | denoiser in | denoiser | text encoder | VAE | on the device: none | model | group |",
        "|---|---|---|---|---|---|---|---|",
    ]
    shown = ("denoiser", "text encoder", "VAE", "none", "model", "group")
    for row in weighed:
        cells = [row["backbone"], row["precision"], *(f"{row[key] / 1e9:.1f}" for key in shown)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Activations, in GB, of one gradient through the VAE's decoder (one clip of 16 frames, float32).",
        "",
        f"| backbone | clip | {' | '.join(SETTINGS)} |",
        "|" + "---|" * (2 + len(SETTINGS)),
    ]
    for row in decoded:
        cells = [row["backbone"], f"{row['size']}²", *(f"{row[key] / 1e9:.2f}" for key in SETTINGS)]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Count and write both files."""
    rows = {"weights": weighed(), "activations": decoded()}
    versions = {name: version(name) for name in ("torch", "diffusers", "transformers")}
    write_json(RESULTS / "backbone_memory.json", {"versions": versions, **rows})
    made = table(rows["weights"], rows["activations"])
    (RESULTS / "backbone_memory.md").write_text(made)
    print(made)


if __name__ == "__main__":
    main()
