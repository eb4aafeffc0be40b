"""A model that was trained here is saved as safetensors and loads again by the option that is told."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from lvcf.errors import UserError
from lvcf.models.targets.clip_classifier import ClipResNet3D, clip_resnet_3d
from lvcf.models.targets.exported import ModuleTarget
from lvcf.models.targets.saving import check_trainable, option_of, save_target
from lvcf.models.targets.wrapping import Answer, ClipInput
from tests.toys import LinearTarget

TAKES, ANSWER = ClipInput(range=(0, 1), size=16, frames=4), Answer("classification", labels=("a", "b"))
CLIPS = torch.linspace(-1, 1, 2 * 3 * 4 * 16 * 16).view(2, 3, 4, 16, 16)


def users(file: Path | None = None) -> ModuleTarget:
    network = nn.Sequential(nn.AdaptiveAvgPool3d(2), nn.Flatten(), nn.Linear(24, 2))
    return ModuleTarget(network, TAKES, ANSWER, file)


def test_a_users_network_comes_back_by_its_file(tmp_path) -> None:
    model = users()
    save_target(model, tmp_path / "a b")
    assert option_of(model, tmp_path / "a b") == f"--model.target_model.file '{tmp_path}/a b/model.safetensors'"
    assert torch.equal(users(tmp_path / "a b" / "model.safetensors")(CLIPS), model(CLIPS))


def test_a_network_of_lvcf_comes_back_by_its_folder(tmp_path) -> None:
    model = ClipResNet3D(("a", "b"), channels=(8, 8, 16)).eval()
    save_target(model, tmp_path)
    assert option_of(model, tmp_path) == f"--model.target_model.weights {tmp_path}"
    clip = torch.zeros(1, 3, 4, 32, 32)
    assert torch.equal(clip_resnet_3d(str(tmp_path))(clip), model(clip))


def test_a_damaged_file_of_safetensors_is_told(tmp_path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0nonsense")
    with pytest.raises(UserError, match=r"model\.safetensors: no checkpoint"):
        users(tmp_path / "model.safetensors")


def test_what_cannot_be_trained_or_saved_is_refused() -> None:
    asked_by_queries, frozen = LinearTarget(), users().requires_grad_(False)
    asked_by_queries.differentiable = False
    for model, reason in (
        (asked_by_queries, "has no gradient"),
        (LinearTarget(), "does not save"),
        (frozen, "no parameters to train"),
    ):
        with pytest.raises(UserError, match=reason):
            check_trainable(model)
    check_trainable(users())
