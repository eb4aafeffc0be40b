"""A denoiser whose blocks hold their weights in 8 or 4 bits (LLM.int8 and NF4, Dettmers et al. 2022 and 2023)."""

from __future__ import annotations

from typing import Any, Literal

import torch
from diffusers import ModelMixin
from torch import nn

from lvcf.errors import UserError

Quantized = Literal["none", "int8", "int4"]


def quantise(denoiser: ModelMixin, quantized: Quantized) -> None:
    """Put 8- or 4-bit layers in place of the linear ones of a denoiser's blocks, but those kept in float32.

    Gradients pass through them to what goes in; the weights themselves get none.

    Raises:
        UserError: bitsandbytes is not installed.
    """
    try:
        import bitsandbytes
    except ImportError as error:
        raise UserError(
            f"model.backbone.quantized {quantized}: needs bitsandbytes; pip install lvcf[quantized]"
        ) from error
    kept = set(denoiser._keep_in_fp32_modules or ())
    blocks = [name for name, child in denoiser.named_children() if isinstance(child, nn.ModuleList)]
    for name, layer in list(denoiser.named_modules()):
        places = name.split(".")
        if type(layer) is nn.Linear and places[0] in blocks and not kept & set(places):
            above = denoiser.get_submodule(".".join(places[:-1]))
            setattr(above, places[-1], _quantised(bitsandbytes.nn, layer, quantized))


def _quantised(layers: Any, layer: nn.Linear, quantized: Quantized) -> nn.Module:
    """One layer; its weights are rounded when they are moved to a device, the CPU too."""
    weight = layer.weight.data
    shape: tuple[int, int, bool] = (layer.in_features, layer.out_features, layer.bias is not None)
    with torch.device("meta"):  # its own weights are replaced
        if quantized == "int8":
            made = layers.Linear8bitLt(*shape, has_fp16_weights=False, threshold=6.0)
        else:
            made = layers.Linear4bit(*shape, compute_dtype=weight.dtype, quant_type="nf4")
    if quantized == "int8":
        made.weight = layers.Int8Params(weight, requires_grad=False, has_fp16_weights=False)
    else:
        made.weight = layers.Params4bit(weight, requires_grad=False, quant_type="nf4")
    made.bias = layer.bias
    rounded: nn.Module = made.to("cpu")
    return rounded
