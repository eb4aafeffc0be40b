"""Parts of a backbone that stay in the computer's memory and come to the device when they are used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from accelerate.utils import send_to_device
from torch import Tensor, nn
from torch.func import functional_call

Offload = Literal["none", "model", "group"]
HOME = torch.device("cpu")


class OneAtATime(ModelHook):
    """Brings a part to the device when it is called, and takes the others home.

    Under gradients the others stay: a backward pass may still need them.

    Args:
        others: the parts that share the device with this one.
        device: where they compute.
    """

    def __init__(self, others: Sequence[nn.Module], device: torch.device) -> None:
        self.others, self.device = others, device

    def pre_forward(self, module: nn.Module, *args: Any, **kwargs: Any) -> tuple[Any, Any]:
        """Before a part computes; its inputs come along."""
        if not torch.is_grad_enabled():
            for other in self.others:
                other.to(HOME)
        module.to(self.device)
        return send_to_device(args, self.device), send_to_device(kwargs, self.device)


class Borrower(nn.Module):
    """Computes a block, which stays at home, with copies of its weights on a device; they last as long as it does.

    diffusers' group offloading moves the weights themselves, which a backward pass then misses.
    """

    def __init__(self, block: nn.Module, device: torch.device) -> None:
        super().__init__()
        self.block, self.device = block, device

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The block's own."""
        return type(self.block).forward(self.block, *args, **kwargs)

    def compute(self, *args: Any, **kwargs: Any) -> Any:
        """In place of the block's own."""
        copies = {name: tensor.to(self.device) for name, tensor in self.state_dict(keep_vars=True).items()}
        return functional_call(self, copies, args, kwargs)


def one_at_a_time(parts: Sequence[nn.Module], device: torch.device) -> None:
    """Let one part at a time be on a device."""
    for part in parts:
        add_hook_to_module(part, OneAtATime([other for other in parts if other is not part], device))


def move_all_but_blocks(denoiser: nn.Module, move: Callable[[Tensor], Tensor], device: torch.device) -> None:
    """Move what stands around a denoiser's blocks to a device, and let these borrow it."""
    for child in denoiser.children():
        if not isinstance(child, nn.ModuleList):
            child._apply(move)  # type: ignore[no-untyped-call]
            continue
        for block in child:
            block.forward = Borrower(block, device).compute
    denoiser._apply(move, recurse=False)  # type: ignore[no-untyped-call]
