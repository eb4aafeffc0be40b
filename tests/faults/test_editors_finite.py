"""An edit that is not finite is a failed edit that says when: never black frames that go to a judge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from lvcf.errors import UserError
from lvcf.models.backbones.load import load_backbone
from lvcf.steering.editors.base import Editor
from lvcf.steering.editors.flatten import Flatten
from lvcf.steering.editors.latent_video import LatentVideoEditor
from lvcf.steering.editors.pipeline_editor import PipelineEditor
from lvcf.steering.editors.tokenflow import TokenFlow
from lvcf.steering.editors.tune_a_video import TuneAVideo
from tests.families import save_family
from tests.steering.editors.tiny import ConstantFlow, moving_clip, save_stable_diffusion


@pytest.fixture(scope="module")
def sd(tmp_path_factory) -> str:
    return str(save_stable_diffusion(tmp_path_factory.mktemp("sd") / "tiny"))


def unet_editor(kind: str, weights: str) -> Any:
    if kind == "TokenFlow":
        return TokenFlow(weights, steps=4, guidance=3.0, inversion_steps=4, keyframe_every=2, device="cpu")
    if kind == "FLATTEN":
        return Flatten(weights, steps=4, guidance=3.0, flow=ConstantFlow(), device="cpu")
    return TuneAVideo(weights, steps=4, guidance=3.0, tuning_steps=1, device="cpu")


KINDS = pytest.mark.parametrize("kind", ["TokenFlow", "FLATTEN", "Tune-A-Video"])


class FailsAt:
    """A hook that spoils what a module puts out from its n-th call on."""

    def __init__(self, module: nn.Module, call: int, value: float = float("nan")) -> None:
        self.left, self.value = call, value
        self.handle = module.register_forward_hook(self)

    def __call__(self, module: nn.Module, arguments: Any, output: Tensor) -> Tensor:
        self.left -= 1
        return output + self.value if self.left <= 0 else output


def refusal(editor: Editor, state: Any) -> str:
    with pytest.raises(UserError) as refused:
        editor.edit(state, "a old man", "", 0)
    assert "\n" not in str(refused.value)
    return str(refused.value)


@KINDS
def test_a_u_net_that_fails_while_sampling(kind, sd) -> None:
    editor = unet_editor(kind, sd)
    state = editor.prepare(moving_clip(4), "a young man")
    passes = {"TokenFlow": 2, "FLATTEN": 1, "Tune-A-Video": 1}[kind]  # per step: keyframes, then the others
    FailsAt(editor.model.unet.conv_out, 2 * passes + 1, float("inf" if kind == "FLATTEN" else "nan"))
    assert "the edit is not finite from step 3 on" in refusal(editor, state)


@KINDS
def test_a_u_net_that_fails_from_the_first_step_on(kind, sd) -> None:
    editor = unet_editor(kind, sd)
    state = editor.prepare(moving_clip(4), "a young man")
    editor.model.unet.conv_out.bias.data[0] = float("nan")
    assert "the edit is not finite from step 1 on" in refusal(editor, state)


@KINDS
def test_a_u_net_that_fails_while_preparing_leaves_no_cache(kind, sd, tmp_path) -> None:
    editor = unet_editor(kind, sd)
    editor.cache = str(tmp_path / "cache")
    FailsAt(editor.model.unet.conv_out, 1)
    with pytest.raises(UserError, match=r"the (inversion|tuning) is not finite from step 1 on"):
        editor.prepare(moving_clip(4), "a young man")
    assert not list(tmp_path.rglob("*.safetensors"))


@KINDS
def test_a_vae_that_fails_is_told_as_decoding(kind, sd) -> None:
    editor = unet_editor(kind, sd)
    state = editor.prepare(moving_clip(4), "a young man")
    editor.model.vae.decoder.conv_out.bias.data[0] = float("nan")
    with pytest.raises(UserError, match=r"not finite from step 4 \(decoding\) on"):
        editor.edit(state, "a old man", "", 0)


@pytest.mark.parametrize("inversion", ["sdedit", "fresh"])
def test_a_backbone_that_fails(inversion, backbone_folder) -> None:
    editor = LatentVideoEditor(load_backbone(str(backbone_folder)), steps=4, inversion=inversion)
    state, untouched = (editor.prepare(torch.zeros(3, 16, 32, 32), "ejection fraction") for _ in range(2))
    hook = FailsAt(editor.backbone.transformer.proj_out, 3)
    assert "the edit is not finite from step 3 on" in refusal(editor, state)
    hook.handle.remove()
    again, first = (editor.edit(one, "ejection fraction 10", "", 0) for one in (state, untouched))
    assert torch.equal(again, first)  # nothing of the edit that failed is kept
    editor.backbone.vae.decoder.conv_out.conv.bias.data[0] = float("nan")
    state = LatentVideoEditor.prepare(editor, torch.zeros(3, 16, 32, 32), "ejection fraction")
    assert "not finite from step 4 (decoding) on" in refusal(editor, state)


@pytest.mark.parametrize("name", ["cogvideox_2b", "ltx_2b", "wan_1_3b"])
def test_a_stock_pipeline_that_fails(name, tmp_path) -> None:
    folder: Path = save_family(name, tmp_path / name)
    editor = PipelineEditor(str(folder), steps=4, strength=1.0, guidance=1.0, dtype="float32", device="cpu")
    state = editor.prepare(moving_clip(9, 64), "")
    editor.edit(state, "four chamber", "", 0)
    FailsAt(editor.pipeline.transformer.proj_out, 3)
    assert "the edit is not finite from step 3 on" in refusal(editor, state)
