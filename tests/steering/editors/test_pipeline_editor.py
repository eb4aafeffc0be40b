"""Diffusers' video-to-video pipelines as editors, on a tiny random folder of every family."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLCogVideoX, LucyEditPipeline
from einops import rearrange
from jsonargparse import ArgumentParser
from PIL import Image

from lvcf.data.clip import to_frames
from lvcf.errors import UserError
from lvcf.models.backbones.load import load_backbone
from lvcf.steering.editors.base import Editor
from lvcf.steering.editors.pipeline_editor import VIDEO_TO_VIDEO, PipelineEditor
from tests.families import CHANNELS, SIZES, lucy_edit, save_family, wan_vace, wan_words
from tests.steering.editors.tiny import moving_clip

NOISING = ("cogvideox_2b", "ltx_2b", "wan_1_3b")
"""Families whose pipelines start from the noised clip."""
FRAMES = 6  # no 4k + 1 and no 8k + 1


def certain_posterior(folder: Path) -> None:
    """Give a VAE the small variance of a trained one: CogVideoX's pipeline samples its posterior."""
    vae = AutoencoderKLCogVideoX.from_pretrained(folder / "vae")
    vae.encoder.conv_out.conv.bias.data[CHANNELS:] = -30.0
    vae.save_pretrained(folder / "vae")


def save(pipeline: Callable[[], Any], folder: Path) -> Path:
    torch.manual_seed(6)
    pipeline().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    saved = {name: save_family(name, root / name) for name in (*NOISING, "latte")}
    certain_posterior(saved["cogvideox_2b"])
    others = {"wan_vace": wan_vace, "lucy_edit": lucy_edit}
    return saved | {name: save(pipeline, root / name) for name, pipeline in others.items()}


def size(name: str) -> int:
    return SIZES.get(name, 64 if name == "lucy_edit" else 32)


def make(folder: Path, **options: Any) -> PipelineEditor:
    return PipelineEditor(str(folder), **{"steps": 4, "dtype": "float32", "device": "cpu", **options})


@pytest.mark.parametrize("name", [*NOISING, "wan_vace", "lucy_edit"])
def test_a_clip_is_edited(name, folders) -> None:
    editor, clip = make(folders[name]), moving_clip(FRAMES, size(name))
    state = editor.prepare(clip, "apical")
    edited = editor.edit(state, "four chamber", "", seed=0)
    assert edited.shape == clip.shape
    assert edited.dtype == torch.float32
    assert edited.abs().max() <= 1
    assert edited.std() > 0.01  # no flat grey
    assert torch.equal(editor.edit(state, "four chamber", "", seed=0), edited)
    assert not torch.equal(editor.edit(state, "four chamber", "", seed=1), edited)
    assert not torch.equal(editor.edit(state, "percent", "", seed=0), edited)
    assert not torch.equal(editor.edit(state, "four chamber", "percent", seed=0), edited)
    other = editor.edit(editor.prepare(-clip, "apical"), "four chamber", "", seed=0)
    assert not torch.allclose(other, edited, atol=1e-3)  # the clip is heard
    assert type(editor.pipeline).__name__ in editor.identity


@pytest.mark.parametrize("name", NOISING)
def test_little_strength_keeps_the_vaes_reconstruction(name, folders) -> None:
    """One step of a thousand, against all of four."""
    clip, backbone = moving_clip(FRAMES, size(name)), load_backbone(str(folders[name]))
    with torch.no_grad():
        reference = backbone.decode(backbone.encode(clip[None]), FRAMES)[0].clamp(-1.0, 1.0)
    distances = {}
    for steps, strength in ((1000, 0.001), (4, 1.0)):
        editor = make(folders[name], steps=steps, strength=strength, guidance=1.0)
        edited = editor.edit(editor.prepare(clip, ""), "apical", "", seed=0)
        distances[strength] = float((edited - reference).abs().mean())
    assert distances[0.001] < 0.2 * distances[1.0], distances


@pytest.mark.parametrize("name", NOISING)
def test_frames_that_the_vae_wants_are_added_at_the_end_and_taken_off(name, folders) -> None:
    """A clip and the same with its last frame repeated are one clip to the pipeline."""
    editor, clip = make(folders[name]), moving_clip(FRAMES, size(name))
    longer = torch.cat([clip, clip[:, -1:].expand(-1, 3, -1, -1)], dim=1)  # 9 frames are 4k + 1 and 8k + 1
    short, long = (editor.edit(editor.prepare(c, ""), "apical", "", seed=0) for c in (clip, longer))
    assert long.shape[1] == 9
    assert torch.equal(long[:, :FRAMES], short)


def test_lucy_edit_is_told_what_should_be_seen_as_an_instruction(folders) -> None:
    """The stock pipeline, told so, draws the same clip; prompts longer than a word and its negative are heard."""
    editor, clip = make(folders["lucy_edit"], guidance=3.0), moving_clip(5, 64)
    edited = editor.edit(editor.prepare(clip, ""), "apical", "percent", seed=3)
    pipe = LucyEditPipeline.from_pretrained(folders["lucy_edit"])
    words = {"prompt_embeds": "Change the video so that it shows apical", "negative_prompt_embeds": "percent"}
    stock = pipe(
        video=[Image.fromarray(frame) for frame in to_frames(clip)],
        **{name: wan_words(pipe, text) for name, text in words.items()},
        num_frames=5,
        height=64,
        width=64,
        num_inference_steps=4,
        guidance_scale=3.0,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).frames[0]
    assert torch.allclose(edited, rearrange(stock, "t c h w -> c t h w") * 2 - 1, atol=1e-5)
    assert "strength" not in editor.identity
    half = make(folders["lucy_edit"], dtype="bfloat16")
    assert half.pipeline.vae.dtype == torch.float32
    assert half.edit(half.prepare(clip, ""), "apical", "", seed=0).isfinite().all()


def test_guidance_steps_and_strength_arrive(folders) -> None:
    editor, asked = make(folders["cogvideox_2b"], guidance=3.5, strength=0.5), []
    stock = type(editor.pipeline).__call__

    class Recording(type(editor.pipeline)):
        def __call__(self, **arguments: Any) -> Any:
            asked.append(arguments)
            return stock(self, **arguments)

    editor.pipeline.__class__ = Recording
    editor.edit(editor.prepare(moving_clip(FRAMES, 32), ""), "apical", "percent", seed=0)
    (arguments,) = asked
    given = {"num_inference_steps": 4, "strength": 0.5, "guidance_scale": 3.5, "negative_prompt": "percent"}
    assert {name: arguments[name] for name in given} == given
    assert [frame.size for frame in arguments["video"]] == [(32, 32)] * 9


def test_what_a_pipeline_does_not_take_is_no_part_of_its_name(folders) -> None:
    vace, ltx = make(folders["wan_vace"]), make(folders["ltx_2b"])
    assert "strength" not in vace.identity
    assert "'denoise_strength': 0.8" in ltx.identity
    assert "'frame_rate': 8" in ltx.identity


def edit_index(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "model_index.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))

    return change


BROKEN: dict[str, tuple[str, Callable[[Path], Any], list[str]]] = {
    "a pipeline that takes no clip": ("latte", lambda f: None, ["a LattePipeline takes no clip", *VIDEO_TO_VIDEO]),
    "a pipeline of images": (
        "wan_1_3b",
        edit_index(_class_name="StableDiffusionPipeline"),
        ["a StableDiffusionPipeline takes no clip"],
    ),
    "a small backbone": (
        "ltx_2b",
        edit_index(text_encoder=["transformers", "CLIPTextModel"]),
        ["a small backbone of this project", "LatentVideoEditor"],
    ),
    "no index": ("wan_1_3b", lambda f: (f / "model_index.json").unlink(), ["no model_index.json"]),
    "no VAE": ("wan_1_3b", lambda f: shutil.rmtree(f / "vae"), ["does not load"]),
    "damaged weights": (
        "wan_1_3b",
        lambda f: (f / "transformer" / "diffusion_pytorch_model.safetensors").write_bytes(b"x"),
        ["does not load"],
    ),
    "no such thing": ("wan_1_3b", shutil.rmtree, ["no such weights folder"]),
}


@pytest.mark.parametrize("case", BROKEN)
def test_folders_that_will_not_do(case, folders, tmp_path) -> None:
    name, spoil, says = BROKEN[case]
    folder = shutil.copytree(folders[name], tmp_path / "spoiled")
    spoil(folder)
    with pytest.raises(UserError) as error:
        make(folder)
    for text in [str(folder), *says]:
        assert text in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"steps": 0}, "editor.steps 0"),
        ({"strength": 1.5}, "strength 1.5: of 4 steps it takes 6; choose 1/4 to 1"),
        ({"strength": 0.2}, "strength 0.2: of 4 steps it takes 0"),
    ],
)
def test_numbers_that_make_no_sense(options, says, folders) -> None:
    with pytest.raises(UserError, match=says):
        make(folders["wan_1_3b"], **options)


@pytest.mark.parametrize(
    ("name", "multiple"), [("cogvideox_2b", 16), ("ltx_2b", 32), ("wan_1_3b", 16), ("wan_vace", 16), ("lucy_edit", 32)]
)
def test_a_size_that_makes_no_whole_tokens(name, multiple, folders) -> None:
    with pytest.raises(
        UserError, match=f"64x56 and .*Pipeline takes multiples of {multiple}; choose another data.size"
    ):
        make(folders[name]).prepare(moving_clip(FRAMES)[..., :56], "")


def test_a_configuration_names_it_by_class_path(folders) -> None:
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--editor", type=Editor)
    arguments = {"weights": str(folders["wan_1_3b"]), "steps": 3, "dtype": "float32"}
    section = {"class_path": "lvcf.steering.editors.pipeline_editor.PipelineEditor", "init_args": arguments}
    editor = parser.instantiate(parser.parse_object({"editor": section})).editor
    assert editor.settings == {"num_inference_steps": 3, "strength": 0.8}
