"""LoRA weights change a denoiser as the stock pipeline's own fused weights do, whatever the file's settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline
from peft import LoraConfig, get_peft_model_state_dict, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor

from lvcf.errors import UserError
from lvcf.models.backbones.lora import LAYERS, merge_lora
from tests.families import FAMILIES

SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {"r": 4, "lora_alpha": 4},
    "alpha": {"r": 4, "lora_alpha": 16},
    "rslora": {"r": 4, "lora_alpha": 16, "use_rslora": True},
    "alpha_pattern": {"r": 4, "lora_alpha": 4, "alpha_pattern": {"attn1.to_q": 32, r"\w+\.0\.attn1\.to_k": 2}},
    "rank_pattern": {"r": 4, "lora_alpha": 8, "rank_pattern": {"attn1.to_q": 16}},
    "all of them": {
        "r": 2,
        "lora_alpha": 3,
        "use_rslora": True,
        "rank_pattern": {"to_v": 4},
        "alpha_pattern": {"attn1.to_v": 5},
    },
}
STOCK = [name for name in FAMILIES if name not in ("latte", "hunyuan_video_1_5_t2v")]
"""Latte's and HunyuanVideo's stock pipelines load no LoRA; there PEFT's own merge is right."""


@pytest.fixture(scope="module")
def pipelines() -> dict[str, DiffusionPipeline]:
    torch.manual_seed(5)
    return {name: make() for name, make in FAMILIES.items()}


def copy_of(transformer: torch.nn.Module) -> torch.nn.Module:
    twin = type(transformer).from_config(transformer.config)
    twin.load_state_dict(transformer.state_dict())
    return twin


def trained(transformer: torch.nn.Module, config: LoraConfig) -> torch.nn.Module:
    """A denoiser with low-rank layers that are not zero."""
    twin = inject_adapter_in_model(config, copy_of(transformer))
    for name, parameter in twin.named_parameters():
        if "lora_" in name:
            parameter.data = 0.1 * torch.randn_like(parameter)
    return twin


def saved(folder: Path, twin: torch.nn.Module, metadata: dict[str, Any] | None) -> Path:
    from diffusers.loaders import CogVideoXLoraLoaderMixin

    layers = get_peft_model_state_dict(twin)
    CogVideoXLoraLoaderMixin.save_lora_weights(
        folder, transformer_lora_layers=layers, transformer_lora_adapter_metadata=metadata
    )
    return folder


def fused(pipe: DiffusionPipeline, path: Path) -> dict[str, Tensor]:
    """The stock pipeline's weights with the LoRA in."""
    before = {key: value.clone() for key, value in pipe.transformer.state_dict().items()}
    (file,) = path.glob("*.safetensors") if path.is_dir() else (path,)
    pipe.load_lora_weights(file.parent, weight_name=file.name)  # by its name: offline, older releases of diffusers ask
    pipe.fuse_lora(components=["transformer"])
    pipe.unload_lora_weights()
    state = {key: value.clone() for key, value in pipe.transformer.state_dict().items()}
    pipe.transformer.load_state_dict(before)
    return state


def merged(transformer: torch.nn.Module, path: Path) -> dict[str, Tensor]:
    twin = copy_of(transformer)
    merge_lora(twin, path)
    return twin.state_dict()


def assert_same(ours: dict[str, Tensor], stock: dict[str, Tensor], before: dict[str, Tensor]) -> None:
    assert sum(not torch.equal(stock[key], before[key]) for key in before) >= 4
    assert ours.keys() == stock.keys()
    for key in stock:
        torch.testing.assert_close(ours[key], stock[key], atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", STOCK)
def test_the_change_is_the_stock_pipelines(name, setting, pipelines, tmp_path) -> None:
    pipe, config = pipelines[name], LoraConfig(target_modules=LAYERS, **SETTINGS[setting])
    saved(tmp_path, trained(pipe.transformer, config), config.to_dict())
    before = copy_of(pipe.transformer).state_dict()
    assert_same(merged(pipe.transformer, tmp_path), fused(pipe, tmp_path), before)


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_change_of_latte_is_pefts_own(setting, pipelines, tmp_path) -> None:
    transformer, config = pipelines["latte"].transformer, LoraConfig(target_modules=LAYERS, **SETTINGS[setting])
    twin = trained(transformer, config)
    saved(tmp_path, twin, config.to_dict())
    right = {}
    for name, module in twin.named_modules():
        if isinstance(module, LoraLayer):
            module.merge()
            right[f"{name}.weight"] = module.base_layer.weight
    before = copy_of(transformer).state_dict()
    assert_same(merged(transformer, tmp_path), {**before, **right}, before)


@pytest.mark.parametrize("name", STOCK)
def test_without_settings_every_layer_counts_in_full(name, pipelines, tmp_path) -> None:
    """Also where ranks differ: by hand, since releases of diffusers differ in it."""
    transformer = pipelines[name].transformer
    config = LoraConfig(r=4, lora_alpha=4, rank_pattern={"to_q": 2}, target_modules=LAYERS)
    twin = trained(transformer, config)
    right = copy_of(transformer).state_dict()
    for layer, module in twin.named_modules():
        if isinstance(module, LoraLayer):
            right[f"{layer}.weight"] += module.lora_B["default"].weight @ module.lora_A["default"].weight
    saved(tmp_path, twin, None)
    assert_same(merged(transformer, tmp_path), right, transformer.state_dict())


ORIGINAL_WAN = {"attn1": "self_attn", "attn2": "cross_attn", "to_out.0": "o", "to_q": "q", "to_k": "k", "to_v": "v"}


def original_name(key: str) -> str:
    for ours, theirs in ORIGINAL_WAN.items():
        key = key.replace(ours, theirs)
    return f"diffusion_model.{key}"


@pytest.mark.parametrize("layout", ["original", "original with alphas", "ltx original"])
def test_layouts_that_stock_diffusers_converts(layout, pipelines, tmp_path) -> None:
    pipe = pipelines["ltx_2b" if "ltx" in layout else "wan_1_3b"]
    twin = trained(pipe.transformer, LoraConfig(r=4, lora_alpha=4, target_modules=LAYERS))
    layers = get_peft_model_state_dict(twin)
    tensors = {f"diffusion_model.{k}" if "ltx" in layout else original_name(k): v for k, v in layers.items()}
    if "alphas" in layout:
        tensors = {k.replace("lora_A", "lora_down").replace("lora_B", "lora_up"): v for k, v in tensors.items()}
        downs = [k for k in tensors if "lora_down" in k]
        tensors |= {k.replace("lora_down.weight", "alpha"): torch.tensor(12.0) for k in downs}
    save_file({k: v.contiguous() for k, v in tensors.items()}, tmp_path / "theirs.safetensors")
    before = copy_of(pipe.transformer).state_dict()
    path = tmp_path / "theirs.safetensors"
    assert_same(merged(pipe.transformer, path), fused(pipe, path), before)


@pytest.mark.parametrize("config_beside", [True, False])
def test_pefts_own_files_with_the_settings_beside_them(config_beside, pipelines, tmp_path) -> None:
    pipe = pipelines["wan_1_3b"]
    config = LoraConfig(r=4, lora_alpha=16, use_rslora=True, target_modules=LAYERS)
    twin = trained(pipe.transformer, config)
    layers = get_peft_model_state_dict(twin)
    peft, ours = tmp_path / "peft", tmp_path / "ours"
    peft.mkdir()
    file = peft / "adapter_model.safetensors"
    save_file({f"base_model.model.{k}": v.contiguous() for k, v in layers.items()}, file)
    if config_beside:
        config.save_pretrained(peft)
    saved(ours, twin, config.to_dict() if config_beside else None)
    before, stock = copy_of(pipe.transformer).state_dict(), fused(pipe, ours)
    assert_same(merged(pipe.transformer, peft), stock, before)
    assert_same(merged(pipe.transformer, file.rename(peft / "another_name.safetensors")), stock, before)


CHANGED = {
    "use_dora": True,
    "lora_bias": True,
    "bias": "all",
    "modules_to_save": ["proj_out"],
    "fan_in_fan_out": True,
    "init_lora_weights": "pissa",
    "use_qalora": True,
    "layer_replication": [[0, 1]],
    "something_new": 3,
}


@pytest.mark.parametrize("setting", CHANGED)
def test_a_setting_that_means_another_change_is_refused_by_name(setting, pipelines, tmp_path) -> None:
    transformer = pipelines["wan_1_3b"].transformer
    config = LoraConfig(r=4, lora_alpha=4, target_modules=LAYERS)
    saved(tmp_path, trained(transformer, config), {**config.to_dict(), setting: CHANGED[setting]})
    with pytest.raises(UserError, match=f"pytorch_lora_weights.safetensors: .*{setting}") as refused:
        merge_lora(copy_of(transformer), tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ('{"transformer.r": 8, "transformer.lora_alpha": 8}', "rank"),
        ('{"transformer.r": 4, "transformer.lora_alpha": "much"}', "lora_alpha"),
        ('{"transformer.r": 4, "transformer.lora_alpha": NaN}', "lora_alpha"),
        ('{"transformer.r": 4, "transformer.alpha_pattern": 3}', "alpha_pattern"),
        ('{"transformer.r": 4, "transformer.alpha_pattern": {"(": 3}}', "alpha_pattern"),
        ("[1]", "lora_adapter_metadata"),
        ("{", "lora_adapter_metadata"),
    ],
)
def test_settings_that_cannot_be(settings, said, pipelines, tmp_path) -> None:
    transformer = pipelines["wan_1_3b"].transformer
    layers = get_peft_model_state_dict(trained(transformer, LoraConfig(r=4, target_modules=LAYERS)))
    file = tmp_path / "x.safetensors"
    tensors = {f"transformer.{k}": v.contiguous() for k, v in layers.items()}
    save_file(tensors, file, {"format": "pt", "lora_adapter_metadata": settings})
    with pytest.raises(UserError, match=f"x.safetensors: .*{said}"):
        merge_lora(copy_of(transformer), file)


@pytest.mark.parametrize("extra", ["lora_B.bias", "lora_magnitude_vector", "dora_scale", "alpha"])
def test_tensors_that_would_be_left_out_are_refused(extra, pipelines, tmp_path) -> None:
    transformer = pipelines["wan_1_3b"].transformer
    layers = get_peft_model_state_dict(trained(transformer, LoraConfig(r=4, target_modules=LAYERS)))
    tensors = {f"transformer.{k}": v.contiguous() for k, v in layers.items()}
    tensors["transformer.blocks.0.attn1.to_q." + extra] = torch.ones(1)
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(UserError, match=rf"x.safetensors: .*{extra.split('.')[-1]}"):
        merge_lora(copy_of(transformer), tmp_path / "x.safetensors")


def test_what_peft_writes_is_known(tmp_path) -> None:
    """Nothing in the settings of a plain LoRA is taken for another change."""
    config = LoraConfig(r=4, lora_alpha=4, target_modules=LAYERS)
    config.save_pretrained(tmp_path)
    from lvcf.models.backbones.lora import check_settings

    check_settings(json.loads((tmp_path / "adapter_config.json").read_text()), tmp_path)
    check_settings(json.loads(json.dumps(config.to_dict(), default=list)), tmp_path)
