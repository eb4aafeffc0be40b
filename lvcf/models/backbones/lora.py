"""LoRA (Hu et al. 2022): low-rank changes of the denoiser's layers, W + (alpha / r) B A, in diffusers' layout.

With ``use_rslora`` (Kalajdzievski 2023) the factor is alpha / sqrt(r).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import ModelMixin
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lvcf.errors import UserError

FILE = "pytorch_lora_weights.safetensors"
PREFIX = "transformer."
LAYERS = ["to_q", "to_k", "to_v", "to_out.0"]
"""The attention's projections, which every family names so."""
SOUND = r".*audio.*"
"""Those of LTX-2 that draw no pixel."""
PEFT_FILE, PEFT_SETTINGS, PEFT_PREFIX = "adapter_model.safetensors", "adapter_config.json", "base_model.model."
LOADERS = {
    "AnyFlowTransformer3DModel": "WanLoraLoaderMixin",
    "LTX2VideoTransformer3DModel": "LTX2LoraLoaderMixin",
    "LTXVideoTransformer3DModel": "LTXVideoLoraLoaderMixin",
    "WanTransformer3DModel": "WanLoraLoaderMixin",
    "WanVACETransformer3DModel": "WanLoraLoaderMixin",
}
"""Diffusers' classes that know a denoiser's other layouts; the rest have none."""
DEFAULT = 8
"""PEFT's own r and alpha, which its settings may leave out."""
READ = {"r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora"}
HARMLESS = {
    *("peft_type", "task_type", "peft_version", "auto_mapping", "base_model_name_or_path", "revision"),
    *("inference_mode", "lora_dropout", "runtime_config", "megatron_core", "qalora_group_size", "loftq_config"),
    *("target_modules", "exclude_modules", "layers_to_transform", "layers_pattern"),
}
"""Settings of training, or of which layers there are: the tensors' names say that."""
PLAIN = {"bias": ("none",), "init_lora_weights": (True, False, "gaussian", "orthogonal")}
"""Values of other settings, beside empty ones, under which B A is all of the change."""


def add_lora(transformer: ModelMixin, rank: int) -> None:
    """Freeze a denoiser and put trainable low-rank layers beside its attention's projections; alpha is the rank.

    Raises:
        UserError: peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise UserError(f"model.lora_rank {rank}: LoRA needs peft; pip install lvcf[backbones]") from error
    transformer.requires_grad_(False)
    left = SOUND if any(re.fullmatch(SOUND, name) for name, _ in transformer.named_modules()) else None
    settings = LoraConfig(r=rank, lora_alpha=rank, target_modules=LAYERS, exclude_modules=left)
    inject_adapter_in_model(settings, transformer)
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()  # small steps vanish in the half precision of the frozen ones


def save_lora(transformer: ModelMixin, folder: Path) -> None:
    """Write the low-rank layers as ``load_lora_weights`` of a stock pipeline wants them."""
    from diffusers.loaders import CogVideoXLoraLoaderMixin
    from peft import get_peft_model_state_dict

    (settings,) = transformer.peft_config.values()
    # the layout is the same for every pipeline; Latte's has no method of its own
    CogVideoXLoraLoaderMixin.save_lora_weights(
        folder,
        transformer_lora_layers=get_peft_model_state_dict(transformer),
        transformer_lora_adapter_metadata=settings.to_dict(),
    )


def save_loras(denoisers: Mapping[str, ModelMixin], folder: Path) -> None:
    """Those of a backbone: the first one's in the folder itself, another's in a folder of its name within."""
    for place, (name, denoiser) in enumerate(denoisers.items()):
        save_lora(denoiser, folder / name if place else folder)


def merge_loras(denoisers: Mapping[str, ModelMixin], path: Path) -> None:
    """Add what :func:`save_loras` wrote, or a file for the first denoiser alone.

    Raises:
        UserError: see :func:`merge_lora`.
    """
    for place, (name, denoiser) in enumerate(denoisers.items()):
        if not place or (path / name).is_dir():
            merge_lora(denoiser, path / name if place else path)


@torch.no_grad()
def merge_lora(transformer: ModelMixin, path: Path) -> None:
    """Add the low-rank changes in a file, or in a folder that diffusers or PEFT saved, to the weights.

    Stock diffusers' ``load_lora_weights`` and ``fuse_lora`` make the same weights of the same file.

    Args:
        transformer: the denoiser, changed in place.
        path: a file in diffusers', PEFT's or the denoiser's original layout, or a folder with one.

    Raises:
        UserError: there is none, it was made for another denoiser, or it holds more than low-rank changes.
    """
    file = _file(path)
    tensors, settings = _read(file)
    check_settings(settings, file)
    factors = _factors(_as_diffusers(tensors, transformer, file), file)
    for name, (down, up) in factors.items():
        try:
            weight = transformer.get_submodule(name).weight
        except AttributeError as error:
            raise UserError(f"{file}: was made for another denoiser; this one has no layer {name}") from error
        if weight.shape != (len(up), down.shape[1]):
            raise UserError(f"{file}: was made for another denoiser; {name} is {tuple(weight.shape)} in this one")
        weight += _scale(settings, name, len(down), file) * (up @ down).to(weight)


def check_settings(settings: Mapping[str, Any], file: Path) -> None:
    """Refuse what would be another change of the weights than (alpha / r) B A, or is no setting at all.

    Args:
        settings: PEFT's ``LoraConfig``, as saved.
        file: where they come from.

    Raises:
        UserError: so it is; it names the setting.
    """
    for key, value in settings.items():
        if key not in READ | HARMLESS and value and value not in PLAIN.get(key, ()):
            raise UserError(
                f"{file}: its settings say {key}: {value}, and only plain LoRA is read; fuse it with diffusers, "
                "save the whole backbone and give that as weights"
            )
    numbers: dict[str, Any] = {key: settings[key] for key in ("r", "lora_alpha") if key in settings}
    for key in ("rank_pattern", "alpha_pattern"):
        pattern = settings.get(key) or {}
        if not isinstance(pattern, dict):
            raise UserError(f"{file}: its settings say {key}: {pattern}, which is no mapping; save it again")
        numbers |= {f"{key} {layer}": value for layer, value in pattern.items()}
        for layer in pattern:
            try:
                re.compile(layer)
            except re.error as error:
                raise UserError(f"{file}: its {key} has the key {layer}, no expression ({error})") from error
    for key, value in numbers.items():
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            raise UserError(f"{file}: its settings say {key}: {value}, which is no number; save it again")


def _file(path: Path) -> Path:
    if not path.is_dir():
        return path
    peft = path / PEFT_FILE
    return peft if peft.is_file() and not (path / FILE).is_file() else path / FILE


def _read(file: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All tensors, and the settings saved with them or, by PEFT, beside them."""
    beside = file.with_name(PEFT_SETTINGS)
    try:
        with safe_open(file, framework="pt") as stored:
            tensors = {name: stored.get_tensor(name).float() for name in stored.keys()}  # noqa: SIM118  # no mapping
            settings = _mapping((stored.metadata() or {}).get("lora_adapter_metadata", "{}"), "lora_adapter_metadata")
        if any(name.startswith(PEFT_PREFIX) for name in tensors) and beside.is_file():
            return tensors, _mapping(beside.read_text(), PEFT_SETTINGS)
    except FileNotFoundError as error:
        raise UserError(f"{file}: no such LoRA weights; give the folder that lvcf fit saved with lora_rank") from error
    except (OSError, ValueError, SafetensorError) as error:
        raise UserError(f"{file}: damaged ({error}); copy it again") from error
    return tensors, {key.removeprefix(PREFIX): value for key, value in settings.items() if key.startswith(PREFIX)}


def _mapping(text: str, what: str) -> dict[str, Any]:
    try:
        settings = json.loads(text)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error
    if not isinstance(settings, dict):
        raise ValueError(f"{what} is no mapping")
    return settings


def _as_diffusers(tensors: dict[str, Tensor], transformer: ModelMixin, file: Path) -> dict[str, Tensor]:
    """By layer and factor: ``blocks.0.attn1.to_q.lora_A.weight``."""
    if left := sorted(name for name in tensors if "dora_scale" in name):  # stock diffusers would leave them out
        raise UserError(f"{file}: holds {left[0]}, and DoRA is not read; fuse it with diffusers and give the backbone")
    from diffusers import loaders

    loader = getattr(loaders, LOADERS.get(type(transformer).__name__, "CogVideoXLoraLoaderMixin"))
    try:
        converted = loader.lora_state_dict(tensors)
    except (ValueError, KeyError) as error:
        raise UserError(f"{file}: its layout does not convert ({' '.join(str(error).split())[:200]})") from error
    return {name.removeprefix(PREFIX).removeprefix(PEFT_PREFIX): tensor for name, tensor in converted.items()}


def _factors(tensors: dict[str, Tensor], file: Path) -> dict[str, tuple[Tensor, Tensor]]:
    """A and B of every changed layer."""
    names = {name.removesuffix(".lora_A.weight") for name in tensors if name.endswith(".lora_A.weight")}
    pairs = {name: (f"{name}.lora_A.weight", f"{name}.lora_B.weight") for name in sorted(names)}
    known = {key for pair in pairs.values() for key in pair}
    if not names or known != set(tensors):
        odd = min(known ^ set(tensors), default="nothing")
        raise UserError(
            f"{file}: is no LoRA in diffusers' layout (transformer.*.lora_A.weight, .lora_B.weight) alone; see {odd}"
        )
    return {name: (tensors[a], tensors[b]) for name, (a, b) in pairs.items()}


def _scale(settings: Mapping[str, Any], name: str, rank: int, file: Path) -> float:
    """What B A counts; in full where a file has no settings.

    Raises:
        UserError: the settings speak of another rank than the tensors have.
    """
    if not settings:
        return 1.0
    said = _of_layer(settings.get("rank_pattern"), name, settings.get("r", DEFAULT))
    if said != rank:
        raise UserError(f"{file}: its settings say rank {said:g} of {name}, its tensors have {rank}; save it again")
    alpha = _of_layer(settings.get("alpha_pattern"), name, settings.get("lora_alpha", DEFAULT))
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def _of_layer(pattern: Mapping[str, float] | None, name: str, otherwise: float) -> float:
    """A layer's own value: of the first expression that its name, or the end of it, matches, as PEFT has it."""
    matching = (value for layer, value in (pattern or {}).items() if re.match(rf"(.*\.)?({layer})$", name))
    return float(next(matching, otherwise))
