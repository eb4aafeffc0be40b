"""Saving a target model that was trained here, as safetensors, and the option that takes it again."""

from __future__ import annotations

import shlex
from pathlib import Path

from huggingface_hub import PyTorchModelHubMixin
from safetensors.torch import save_file

from lvcf.errors import UserError
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.exported import ModuleTarget

FILE = "model.safetensors"


def check_trainable(model: TargetModel) -> None:
    """Refuse what cannot be trained, or not be saved.

    Raises:
        UserError: M has no gradient, no parameters, or is of a kind that :func:`save_target` does not know.
    """
    name = type(model).__name__
    if not model.differentiable:
        raise UserError(f"model.network {name}: has no gradient, so it cannot be trained; name the network itself")
    if not isinstance(model, PyTorchModelHubMixin | ModuleTarget):
        raise UserError(
            f"model.network {name}: is of a kind that lvcf reads and does not save; name its nn.Module by "
            "lvcf.models.targets.exported.ModuleTarget"
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError(
            f"model.network {name}: has no parameters to train; name another model, or set their requires_grad"
        )


def save_target(model: TargetModel, folder: Path) -> None:
    """Write the weights below ``folder``: a network of lvcf's own with its sizes, of a user's the tensors alone."""
    if isinstance(model, PyTorchModelHubMixin):
        model.save_pretrained(folder)
    elif isinstance(model, ModuleTarget):
        folder.mkdir(parents=True, exist_ok=True)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
        save_file(tensors, folder / FILE)


def option_of(model: TargetModel, folder: Path) -> str:
    """The option of ``lvcf predict`` that takes what :func:`save_target` wrote."""
    if isinstance(model, ModuleTarget):
        return f"--model.target_model.file {shlex.quote(str(folder / FILE))}"
    return f"--model.target_model.weights {shlex.quote(str(folder))}"
