"""Denoisers whose blocks torch compiles: one compilation, which all blocks of a kind share."""

from __future__ import annotations

from diffusers import ModelMixin
from torch import nn


def compile_blocks(denoiser: ModelMixin) -> None:
    """Let torch compile a denoiser's blocks when they are first called (``torch.compile``, inductor).

    What stands around the blocks is not worth its compilation.
    """
    for child in denoiser.children():
        if isinstance(child, nn.ModuleList):
            for block in child:
                block.compile()
