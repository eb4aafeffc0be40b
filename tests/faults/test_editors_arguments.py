"""What a user gets wrong in the arguments of editors, backbones and MSPR: one line, before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lvcf.callbacks.refinement import MultiScalePerceptualRefinement
from lvcf.cli import main
from lvcf.errors import UserError
from lvcf.models.backbones.load import load_backbone
from lvcf.models.backbones.tiny_decoder import TinyDecoder
from lvcf.steering.editors.flatten import Flatten
from lvcf.steering.editors.latent_video import LatentVideoEditor
from lvcf.steering.editors.pipeline_editor import PipelineEditor
from lvcf.steering.editors.tokenflow import TokenFlow
from lvcf.steering.editors.tune_a_video import TuneAVideo
from lvcf.tasks.counterfactual import CounterfactualTask
from lvcf.tasks.tiny_decoder import TinyDecoderTask
from tests.families import save_family
from tests.helpers import fails
from tests.steering import bands
from tests.steering.editors.tiny import ConstantFlow, moving_clip, save_stable_diffusion
from tests.toys import GaussianBackbone, LinearTarget, make_clips, predict

NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    root: Path = tmp_path_factory.mktemp("arguments")
    (root / "file").write_text("")
    sd, wan = save_stable_diffusion(root / "sd"), save_family("wan_1_3b", root / "wan")
    return {"sd": str(sd), "wan": str(wan), "file": str(root / "file")}


Make = Callable[..., Any]
MAKE: dict[str, Callable[[dict[str, str]], Make]] = {
    "TokenFlow": lambda f: lambda **given: TokenFlow(f["sd"], **{"inversion_steps": 50, "device": "cpu", **given}),
    "Flatten": lambda f: lambda **given: Flatten(f["sd"], flow=ConstantFlow(), **{"device": "cpu", **given}),
    "TuneAVideo": lambda f: lambda **given: TuneAVideo(f["sd"], **{"device": "cpu", **given}),
    "PipelineEditor": lambda f: lambda **given: PipelineEditor(f["wan"], **{"device": "cpu", **given}),
    "LatentVideoEditor": lambda f: lambda **given: LatentVideoEditor(GaussianBackbone(), **given),
    "load_backbone": lambda f: lambda **given: load_backbone(f["wan"], **given),
    "TinyDecoder": lambda f: lambda **given: TinyDecoder(4, **given),
    "TinyDecoderTask": lambda f: lambda **given: TinyDecoderTask(TinyDecoder(4), GaussianBackbone(), Path(), **given),
    "MSPR": lambda f: (
        lambda **given: MultiScalePerceptualRefinement(
            **{"reference": "source", "shares": [0.1, 0.2], "block_weights": [1.0, 1.0], **given}
        )
    ),
}
WRONG: dict[str, dict[str, list[Any]]] = {
    "TokenFlow": {
        "steps": [0, 1000, 2.5, NAN],
        "guidance": [-1.0, NAN, INF],
        "inversion_steps": [0, 60, 2000, NAN],
        "keyframe_every": [0, -1, 2.5, NAN, INF],
        "inject_features": [-0.1, 1.5, NAN],
        "inject_attention": [NAN],
        "device": ["gpu", "cuda:99"],
    },
    "Flatten": {"steps": [0, NAN], "guidance": [NAN, -INF], "inject": [NAN, 2.0], "device": ["nothing"]},
    "TuneAVideo": {
        "steps": [0],
        "guidance": [NAN],
        "tuning_steps": [-1, 0.5, NAN, INF],
        "learning_rate": [0.0, -1e-4, NAN, INF],
    },
    "PipelineEditor": {
        "steps": [0, -3, 2.5, NAN],
        "strength": [0.0, -0.5, 1.5, NAN, INF],
        "guidance": [-1.0, NAN, INF],
        "frame_rate": [0, -8, NAN, INF],
        "dtype": ["float8", "__class__"],
        "device": ["gpu"],
    },
    "LatentVideoEditor": {
        "steps": [0, -1, 1.5, NAN],
        "strength": [0.0, -0.1, 1.1, NAN, INF],
        "guidance_scale": [-1.0, NAN, INF],
        "inversion": ["fresher", ""],
        "decode": ["plane"],
    },
    "load_backbone": {"frame_rate": [0.0, -1.0, NAN, INF], "text_dtype": ["float8", "nn"]},
    "TinyDecoder": {
        "channels": [(0, 8, 8, 8), (8, -1, 8, 8), (8, 8), (8, 8, 2.5, 8)],
        "time": [(1, 0, 2), (1, 2), (1, 2, 1.5)],
        "space": [(2, 0, 2), (2, 2, -2)],
        "patch": [0, -1, 1.5],
    },
    "TinyDecoderTask": {"lr": [0.0, -1.0, NAN, INF], "latent_noise": [-0.1, NAN, INF]},
    "MSPR": {
        "shares": [[], [2.0], [NAN], [0.2, 0.1], [0.2, 0.2], [0.0, 0.1], [-0.1], [1.0], [0.1, INF]],
        "block_weights": [[], [0.0, 0.0], [NAN, 1.0], [-1.0, 1.0], [INF, 1.0]],
        "radius": [-1, 1.5, NAN, INF],
        "feather": [-1.0, NAN, INF],
        "reference": ["sauce"],
    },
}
CASES = [(kind, name, value) for kind, names in WRONG.items() for name, values in names.items() for value in values]


@pytest.mark.parametrize(("kind", "name", "value"), CASES, ids=[f"{k}.{n}={v}" for k, n, v in CASES])
def test_a_value_that_makes_no_sense_is_refused_by_name(kind, name, value, folders) -> None:
    with pytest.raises(UserError, match=name) as refused:
        MAKE[kind](folders)(**{name: value})
    assert "\n" not in str(refused.value)


def test_a_cache_that_is_a_file_is_refused_before_the_inversion(folders) -> None:
    with pytest.raises(UserError, match=r"editor.cache .*file: is a file"):
        TokenFlow(folders["sd"], inversion_steps=50, cache=folders["file"], device="cpu")


@pytest.mark.parametrize("weights", [[1.0], [1.0, 1.0, 1.0]])
def test_as_many_block_weights_as_the_decoder_has_blocks_or_a_line_before_the_first_clip(weights, tmp_path) -> None:
    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), "delta:8", tmp_path, steps=2)
    refinement = MultiScalePerceptualRefinement("source", [0.1], weights)
    with pytest.raises(UserError, match=f"block_weights: {len(weights)} weights, .* has 2 blocks"):
        predict(task, make_clips(1, size=16, frames=8), [refinement])


# --- best of n --------------------------------------------------------------------------------------------------------


def test_an_editor_says_whether_its_seeds_matter(folders) -> None:
    """And it is true."""
    made = {
        "TokenFlow": (MAKE["TokenFlow"](folders)(steps=2, inversion_steps=2, keyframe_every=4), True),
        "every frame a keyframe": (MAKE["TokenFlow"](folders)(steps=2, inversion_steps=2, keyframe_every=1), False),
        "Flatten": (MAKE["Flatten"](folders)(steps=2), False),
        "TuneAVideo": (MAKE["TuneAVideo"](folders)(steps=2, tuning_steps=1), False),
    }
    for name, (editor, draws) in made.items():
        assert editor.draws is draws, name
        state = editor.prepare(moving_clip(4), "a young man")
        first, *others = (editor.edit(state, "a old man", "", seed) for seed in range(3 if draws else 2))
        assert any(not torch.equal(first, other) for other in others) is draws, name
    assert MAKE["PipelineEditor"](folders)(steps=2).draws
    assert LatentVideoEditor(GaussianBackbone()).draws


EQUAL = """
from tests.steering.painted import BandEditor

class Equal(BandEditor):
    @property
    def draws(self):
        return False
"""


def steer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, methods: list[str] | None) -> list[str]:
    (tmp_path / "equal_editor.py").write_text(EQUAL)
    monkeypatch.syspath_prepend(str(tmp_path))
    section = bands.section(tmp_path)
    section["editor"] = {"class_path": "equal_editor.Equal"}
    section.pop("methods", None)
    if methods:
        section["methods"] = methods
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"steer": section}))
    return ["steer", "--config", str(tmp_path / "mine.yaml")]


def test_best_of_n_equal_edits_is_refused_before_anything_is_paid(tmp_path, capfd, monkeypatch) -> None:
    line = fails(capfd, steer(tmp_path, monkeypatch, ["graph", "best_of_n"]))
    assert "methods: best_of_n" in line
    assert "leave best_of_n out" in line
    assert not (tmp_path / "run").exists()


def test_where_nobody_names_methods_best_of_n_is_left_out_for_such_an_editor(tmp_path, monkeypatch) -> None:
    assert main(steer(tmp_path, monkeypatch, None)) == 0
    made = {folder.name.rpartition(".")[2] for folder in (tmp_path / "run" / "predictions").iterdir()}
    assert made == {"initial", "paraphrase", "graph", "steered"}
