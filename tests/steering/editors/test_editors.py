"""What holds for all three editors: shape and range, still clips stay still, reconstruction, cache, nothing left."""

from __future__ import annotations

import pytest
import torch
from jsonargparse import ArgumentParser

from lvcf.errors import UserError
from lvcf.steering.editors.base import Editor
from lvcf.steering.editors.flatten import Flatten
from lvcf.steering.editors.tokenflow import TokenFlow
from lvcf.steering.editors.tune_a_video import TuneAVideo
from tests.steering.editors.tiny import ConstantFlow, calm, moving_clip, still_clip

EDITORS = {
    "tune_a_video": (TuneAVideo, {"tuning_steps": 2}),
    "tokenflow": (TokenFlow, {"inversion_steps": 4, "keyframe_every": 2}),
    "flatten": (Flatten, {"flow": ConstantFlow(), "inversion_steps": 4}),
}


def make(name, folder, **options):
    kind, own = EDITORS[name]
    return kind(str(folder), **{"steps": 4, "guidance": 3.0, **own, **options})


@pytest.fixture(params=EDITORS)
def name(request):
    return request.param


def everything(unet):
    hooks = [id(hook) for module in unet.modules() for hook in module._forward_hooks.values()]
    return {n: id(p) for n, p in unet.attn_processors.items()}, hooks


@pytest.mark.parametrize("folder", ["sd_folder", "sd_v_folder"])
def test_a_clip_is_edited(name, folder, request):
    editor: Editor = make(name, request.getfixturevalue(folder))
    before, clip = everything(editor.model.unet), moving_clip(5)
    state = editor.prepare(clip, "a young man")
    assert state.path.shape == (5, 5, 4, 8, 8)
    edited = editor.edit(state, "a old man", "young", seed=0)
    assert edited.shape == clip.shape
    assert edited.dtype == torch.float32
    assert edited.abs().max() <= 1
    assert torch.equal(editor.edit(state, "a old man", "young", seed=0), edited)
    assert not torch.equal(editor.edit(state, "a woman", "young", seed=0), edited)
    assert not torch.equal(editor.edit(state, "a old man", "beard", seed=0), edited)
    assert everything(editor.model.unet) == before


def test_nothing_is_left_in_the_model_after_an_error(name, sd_folder, monkeypatch):
    editor = make(name, sd_folder)
    state, before = editor.prepare(moving_clip(), "a man"), everything(editor.model.unet)

    def fail(*arguments):
        raise RuntimeError("on purpose")

    monkeypatch.setattr(editor.model, "move", fail)
    with pytest.raises(RuntimeError, match="on purpose"):
        editor.edit(state, "a old man", "", seed=0)
    assert everything(editor.model.unet) == before


def test_identical_frames_stay_identical(name, sd_folder):
    editor = make(name, sd_folder)
    edited = editor.edit(editor.prepare(still_clip(), "a young man"), "a old man", "", seed=0)
    torch.testing.assert_close(edited, edited[:, :1].expand_as(edited), rtol=0, atol=1e-4)
    assert edited.std() > 0.01  # and are no flat grey


def test_the_source_prompt_without_guidance_reconstructs(name, sd_folder):
    """On a still clip for TokenFlow: its inversion is frame by frame, its sampling is not; others hear none."""
    clip = still_clip() if name == "tokenflow" else moving_clip()
    options = {} if name == "tune_a_video" else {"inversion_steps": 20}
    prompt = "a young man" if name == "tokenflow" else ""
    editor = make(name, sd_folder, steps=20, guidance=1.0, **options)
    calm(editor.model, 0.01)
    state = editor.prepare(clip, "a young man")
    context = editor.model.embed(["a young man", "", prompt])
    with torch.no_grad():
        latents = editor._sample(state, context, seed=0)
    error, way = ((z - state.path[-1]).abs().mean() for z in (latents, state.path[0]))
    assert error < 0.1 * way


def test_a_prepared_clip_is_read_from_the_cache(name, sd_folder, tmp_path, monkeypatch):
    editor = make(name, sd_folder, cache=str(tmp_path / "cache"))
    state = editor.prepare(moving_clip(), "a young man")
    again = make(name, sd_folder, cache=str(tmp_path / "cache"), guidance=9.0)
    monkeypatch.setattr(again.model, "invert", None)  # would fail
    cached = again.prepare(moving_clip(), "a young man")
    assert torch.equal(cached.path, state.path)
    assert cached.source_prompt == "a young man"
    assert cached.tensors.keys() == state.tensors.keys()
    assert all(torch.equal(cached.tensors[key], tensor) for key, tensor in state.tensors.items())
    assert len(list((tmp_path / "cache").iterdir())) == 1


def test_another_clip_prompt_setting_or_model_is_prepared_anew(sd_folder, tmp_path):
    cache = str(tmp_path / "cache")
    for steps, clip, prompt in (
        (2, moving_clip(), "a man"),
        (2, moving_clip().flip(1), "a man"),
        (2, moving_clip(), "a woman"),
        (4, moving_clip(), "a man"),
    ):
        make("flatten", sd_folder, steps=steps, inversion_steps=steps, cache=cache).prepare(clip, prompt)
    make("flatten", sd_folder, steps=2, inversion_steps=2, cache=cache, flow=ConstantFlow(right=8.0)).prepare(
        moving_clip(), "a man"
    )
    retrained = make("flatten", sd_folder, steps=2, inversion_steps=2, cache=cache)
    retrained.model.unet.conv_in.weight.data += 0.01
    retrained.prepare(moving_clip(), "a man")
    assert len(list((tmp_path / "cache").iterdir())) == 6


def test_a_damaged_cache_file_is_named(sd_folder, tmp_path):
    editor = make("tokenflow", sd_folder, cache=str(tmp_path))
    editor.prepare(moving_clip(), "a man")
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(UserError, match=f"{file.name}: a damaged cache file .* remove it"):
        editor.prepare(moving_clip(), "a man")


LONG = "a old man with dark beard face"
BAD_INPUT = {
    "one frame": (lambda e: e.prepare(moving_clip(1), "a man"), "one frame"),
    "no multiple of 8": (lambda e: e.prepare(moving_clip()[..., :63], "a man"), "64x63 .* resize to 64x56"),
    "a long source prompt": (lambda e: e.prepare(moving_clip(), LONG), "9 tokens"),
    "a long prompt": (lambda e: e.edit(e.prepare(moving_clip(), "a man"), LONG, "", 0), "9 tokens"),
    "a long negative prompt": (lambda e: e.edit(e.prepare(moving_clip(), "a man"), "", LONG, 0), "9 tokens"),
}


@pytest.mark.parametrize("case", BAD_INPUT)
def test_bad_input(case, name, sd_folder):
    use, says = BAD_INPUT[case]
    with pytest.raises(UserError, match=says):
        use(make(name, sd_folder, steps=2, **({"inversion_steps": 2} if name == "tokenflow" else {})))


def test_the_default_flow_is_opencvs(sd_folder):
    pytest.importorskip("cv2")
    editor = Flatten(str(sd_folder), steps=2)
    assert editor.edit(editor.prepare(moving_clip(), "a man"), "a woman", "", seed=0).shape == (3, 4, 64, 64)


def test_a_configuration_names_an_editor_and_its_flow_by_class_path(sd_folder):
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--editor", type=Editor)
    flow = {"class_path": "lvcf.steering.editors.flow.DISFlow"}
    arguments = {"weights": str(sd_folder), "steps": 4, "flow": flow}
    section = {"class_path": "lvcf.steering.editors.flatten.Flatten", "init_args": arguments}
    editor = parser.instantiate(parser.parse_object({"editor": section})).editor
    assert isinstance(editor, Flatten)
    assert (editor.steps, editor.injected_steps, editor.flow.name) == (4, 3, "OpenCV DIS medium")
