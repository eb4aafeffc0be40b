"""Finding and loading a backbone or a VAE of any family, by folder, by shipped name or by hub id."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

from diffusers import ModelMixin
from huggingface_hub import snapshot_download

from lvcf.checks import check_choice, check_number
from lvcf.configuration import find_weights
from lvcf.errors import UserError
from lvcf.models.backbones.anyflow import AnyFlowBackbone
from lvcf.models.backbones.cogvideox import CogVideoXBackbone
from lvcf.models.backbones.compiled import compile_blocks
from lvcf.models.backbones.hunyuan_video import HunyuanVideoBackbone
from lvcf.models.backbones.latte import LatteBackbone
from lvcf.models.backbones.lora import merge_loras
from lvcf.models.backbones.ltx import LTXBackbone
from lvcf.models.backbones.ltx_2 import LTX2Backbone
from lvcf.models.backbones.ltx_video import LTXVideoBackbone
from lvcf.models.backbones.offload import Offload
from lvcf.models.backbones.parts import MORE_PARTS, NOT_LOADED, PARTS, class_name, load_part, read_index
from lvcf.models.backbones.pipeline import PipelineBackbone, TextDtype, WeightsDtype
from lvcf.models.backbones.quantise import Quantized
from lvcf.models.backbones.recompute import recompute
from lvcf.models.backbones.wan import WanBackbone
from lvcf.models.backbones.wan_vace import WanVACEBackbone

Family = type[PipelineBackbone]
FAMILIES: dict[str, Family] = {
    name: family
    for family in (
        CogVideoXBackbone,
        LTXVideoBackbone,
        LTX2Backbone,
        WanBackbone,
        WanVACEBackbone,
        AnyFlowBackbone,
        HunyuanVideoBackbone,
        LatteBackbone,
    )
    for name in (family.pipeline_name, *family.other_pipelines)
}
"""By ``_class_name`` of ``model_index.json``."""
NOT_READ = {
    "AnyFlowFARPipeline": "it draws a clip chunk by chunk, and here a clip is drawn at once; use an AnyFlowPipeline",
}
"""Pipelines near to these, and why they are none of them."""
FILES = [
    "model_index.json",
    *(
        f"{part}/*.{kind}"
        for part in (*PARTS, *MORE_PARTS, *NOT_LOADED)
        for kind in ("json", "safetensors", "model", "txt", "jinja")
    ),
]
"""What is downloaded of a hub id: no pickled weights, no code; a jinja file is how a tokenizer words a conversation."""


def load_backbone(
    weights: str,
    lora: str = "",
    text_dtype: TextDtype = "float32",
    weights_dtype: WeightsDtype = "float32",
    quantized: Quantized = "none",
    tiling: bool = False,
    slicing: bool = False,
    checkpointing: bool = False,
    offload: Offload = "none",
    compiled: bool = False,
    frame_rate: float = 8.0,
) -> PipelineBackbone:
    """Load a backbone of whatever family it is.

    Args:
        weights: a folder in the diffusers layout, shipped weights by name (``phantom/backbone``), or an id of the hub.
        lora: LoRA weights to add to the denoiser's, as ``lvcf fit`` with ``lora_rank`` or diffusers saves them;
            empty for none.
        text_dtype: of the text encoder's weights; a published T5 takes 19 GB in float32, half of it in bfloat16.
        weights_dtype: of the denoiser's weights: half of the memory in bfloat16 or float16.  Such a denoiser computes
            in it whatever the trainer's precision; norms and time embeddings that diffusers keeps in float32 stay so.
        quantized: round the weights of the denoiser's blocks to 8 bits (``int8``) or 4 (``int4``), after ``lora`` was
            added; the rest is in ``weights_dtype``.  Needs the extra ``quantized``; such a denoiser stays on the
            device, and is neither trained nor saved.
        tiling: decode and encode large frames in overlapping tiles, in less memory; not together with MSPR.
        slicing: decode and encode clip by clip, in less memory.
        checkpointing: compute the VAE decoder's activations again in guidance's backward pass, chunk by chunk, instead
            of keeping them: the same gradient in less memory, for one more pass of the decoder.
        offload: ``model``: VAE, text encoder and denoiser stay in the computer's memory, and one of them at a time
            comes to the device, when it is used; ``group``: of the denoiser, block by block, in the least memory.
        compiled: compile the denoiser's blocks when they are first called, which takes a minute or so and a C++
            compiler, and again for clips of another size; not together with ``offload: group``.
        frame_rate: frames per second of the clips, which LTX-Video is told.

    Raises:
        UserError: nothing is there, it is of no known family, a part of it does not load, or an option cannot be.
    """
    check_number("model.backbone.frame_rate", frame_rate, 0.0, above=True)
    check_choice("model.backbone.text_dtype", text_dtype, get_args(TextDtype))
    check_choice("model.backbone.weights_dtype", weights_dtype, get_args(WeightsDtype))
    check_choice("model.backbone.quantized", quantized, get_args(Quantized))
    check_choice("model.backbone.offload", offload, get_args(Offload))
    if compiled and offload == "group":
        raise UserError("model.backbone.compiled: not with offload: group, whose blocks are other ones at every call")
    folder = find_backbone(weights)
    backbone = family_of(folder).from_pretrained(folder, text_dtype, weights_dtype)
    backbone.frame_rate = frame_rate
    if lora:
        merge_loras(backbone.denoisers(), Path(lora))
    if quantized != "none":
        backbone.quantise(quantized)
    if offload != "none":
        backbone.take_home(offload)
    if compiled:
        for denoiser in backbone.denoisers().values():
            compile_blocks(denoiser)
    if tiling:
        backbone.vae.enable_tiling()
    if checkpointing:
        for part in backbone.chunks():
            recompute(part)
    if slicing:
        backbone.vae.enable_slicing()
    return backbone


def family_of(folder: Path) -> Family:
    """The family of a backbone's folder.

    Raises:
        UserError: none that is known.
    """
    index = read_index(folder)
    name = index["_class_name"]
    if name in NOT_READ:
        raise UserError(f"{folder}: holds a {name}, which is not read: {NOT_READ[name]}")
    if name not in FAMILIES:
        raise UserError(f"{folder}: holds a {name}; the known families are {', '.join(FAMILIES)}")
    # the small backbones of this project are LTX pipelines with a CLIP text encoder and patches of their own
    small = name == "LTXPipeline" and index.get("text_encoder", [None, None])[1] == "CLIPTextModel"
    return LTXBackbone if small else FAMILIES[name]


def find_backbone(weights: str) -> Path:
    """A folder here or among the shipped ones; an id that is neither is downloaded (or found in the hub's cache).

    Raises:
        UserError: it is none of these.
    """
    try:
        return find_weights(weights)
    except UserError as error:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", weights):
            raise
        try:
            folder = Path(snapshot_download(weights, allow_patterns=FILES, ignore_patterns=["*.fp16.*"]))
            if lacking := [part.parent.name for part in folder.glob("*/config.json") if not _weighs(part.parent)]:
                halves = [pattern for pattern in FILES if pattern.partition("/")[0] in lacking]
                snapshot_download(weights, allow_patterns=halves)  # there are no others
            return folder
        except (OSError, ValueError) as absent:
            cause = " ".join(str(absent).split())[:200]
            raise UserError(f"{error}; as an id of the hub it does not load either ({cause})") from absent


def _weighs(part: Path) -> bool:
    return any(part.glob("*.safetensors"))


def load_vae(weights: str) -> tuple[Family, ModelMixin]:
    """A VAE in float32 and the family that knows its scaling, from a VAE's folder, a backbone's folder or a hub id.

    Raises:
        UserError: it is missing, does not load, or is no VAE of a known family.
    """
    found = find_backbone(weights)
    folder = found / "vae" if (found / "model_index.json").is_file() else found
    families = {family.vae_kind(folder).__name__: family for family in FAMILIES.values()}
    name = class_name(folder)
    if name not in families:
        raise UserError(f"{folder}: holds a {name}; the known VAEs are {', '.join(families)}")
    vae = load_part(families[name].vae_kind(folder), folder)
    return families[name], vae.requires_grad_(False)
