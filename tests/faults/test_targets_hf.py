"""Hugging Face folders: what their heads say, V-JEPA 2, labels, odd processors, code that must not run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import (
    AutoVideoProcessor,
    VideoMAEConfig,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    VJEPA2Config,
    VJEPA2ForVideoClassification,
    VJEPA2VideoProcessor,
)

from lvcf.errors import UserError
from lvcf.models.targets.check import check_target
from lvcf.models.targets.video_classifier import video_classifier
from tests.toys import IMAGENET

SIZE, FRAMES = 32, 4
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
SHAPE = {"image_size": SIZE, "patch_size": 16, "initializer_range": 0.5, **TINY}
SQUARE = {"height": SIZE, "width": SIZE}


def videomae(folder: Path, **head: Any) -> VideoMAEForVideoClassification:
    model = VideoMAEForVideoClassification(VideoMAEConfig(num_frames=FRAMES, **SHAPE, **head)).eval()
    model.save_pretrained(folder)
    VideoMAEImageProcessor(size={"shortest_edge": SIZE}, crop_size=SQUARE, **IMAGENET).save_pretrained(folder)
    return model


def vit(folder: Path, processor: dict[str, Any] | None = None, **head: Any) -> ViTForImageClassification:
    model = ViTForImageClassification(ViTConfig(**SHAPE, **head)).eval()
    model.save_pretrained(folder)
    ViTImageProcessor(size=SQUARE, **{**IMAGENET, **(processor or {})}).save_pretrained(folder)
    return model


def rewrite(folder: Path, name: str, **entries: Any) -> None:
    """Change entries of a JSON file; None takes one out."""
    content = {**json.loads((folder / name).read_text()), **entries}
    (folder / name).write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def clip(clips: int = 1, side: int = SIZE) -> Tensor:
    return torch.randint(0, 256, (clips, FRAMES, 3, side, side), dtype=torch.uint8)


def as_video(levels: Tensor) -> Tensor:
    return levels.transpose(1, 2).float() / 127.5 - 1.0


def pixels(levels: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in IMAGENET.values())
    return (levels / 255.0 - mean) / std


# --- V-JEPA 2 --------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("side", [36, 48])
def test_vjepa2_says_what_transformers_own_pipeline_says(side, tmp_path) -> None:
    config = VJEPA2Config(
        crop_size=SIZE,
        frames_per_clip=FRAMES,
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_pooler_layers=1,
        pred_hidden_size=16,
        pred_num_attention_heads=2,
        pred_num_hidden_layers=1,
        initializer_range=0.5,
        id2label={0: "Pushing", 1: "Pulling", 2: "Lifting"},
    )
    network = VJEPA2ForVideoClassification(config).eval()
    network.save_pretrained(tmp_path)
    VJEPA2VideoProcessor(size={"shortest_edge": 36}, crop_size=SQUARE).save_pretrained(tmp_path)
    model = video_classifier(str(tmp_path)).freeze()
    assert (model.labels, model.frames) == (("Pushing", "Pulling", "Lifting"), FRAMES)
    check_target(model, (FRAMES, side, side))
    levels = clip(2, side)
    processor = AutoVideoProcessor.from_pretrained(tmp_path)
    wanted = torch.cat([network(**processor([one.numpy()], return_tensors="pt")).logits for one in levels])
    spread = float(wanted.max() - wanted.min())
    torch.testing.assert_close(model(as_video(levels)), wanted, atol=0.02 * spread if side != 36 else 1e-4, rtol=0)


# --- heads -----------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("problem", ["regression", None])
def test_a_head_of_one_number_is_a_regressor(problem, tmp_path) -> None:
    network = videomae(tmp_path, num_labels=1, problem_type=problem)
    model = video_classifier(str(tmp_path), scale=12.5, unit="%", bounds=(0.0, 100.0)).freeze()
    assert (model.task, model.unit, model.scale, model.bounds) == ("regression", "%", 12.5, (0.0, 100.0))
    levels = clip(2)
    torch.testing.assert_close(model(as_video(levels)), network(pixels(levels)).logits[:, 0], atol=1e-4, rtol=0)


@torch.no_grad()
def test_an_image_regressor_is_the_mean_over_frames(tmp_path) -> None:
    network = vit(tmp_path, num_labels=1, problem_type="regression")
    model = video_classifier(str(tmp_path), scale=2.0).freeze()
    levels = clip(2)
    wanted = torch.stack([network(one).logits.mean() for one in pixels(levels)])
    torch.testing.assert_close(model(as_video(levels)), wanted, atol=1e-4, rtol=0)


@torch.no_grad()
def test_a_multi_label_head_is_declared_by_its_configuration(tmp_path) -> None:
    names = {0: "a", 1: "b", 2: "c"}
    network = videomae(tmp_path, id2label=names, problem_type="multi_label_classification")
    model = video_classifier(str(tmp_path)).freeze()
    assert (model.task, model.multi_label, model.labels) == ("classification", True, ("a", "b", "c"))
    levels = clip(2)
    torch.testing.assert_close(model(as_video(levels)), network(pixels(levels)).logits, atol=1e-4, rtol=0)


HEADS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "one number, undeclared": ({"num_labels": 1}, {}, "give scale"),
    "a regressor without scale": ({"num_labels": 1, "problem_type": "regression"}, {}, "give scale"),
    "a bad scale": ({"num_labels": 1}, {"scale": 0.0}, "scale 0"),
    "a bad scale, nan": ({"num_labels": 1}, {"scale": float("nan")}, "scale nan"),
    "bounds the wrong way": ({"num_labels": 1}, {"scale": 1.0, "bounds": (5.0, 1.0)}, "bounds"),
    "several values": ({"num_labels": 3, "problem_type": "regression"}, {"scale": 1.0}, "no single value"),
    "a classifier with scale": ({"num_labels": 3}, {"scale": 1.0}, "takes no scale"),
    "two equal names": ({"id2label": {0: "x", 1: "x", 2: "y"}}, {}, "different names"),
}


@pytest.mark.parametrize("case", HEADS)
def test_a_head_that_is_not_clear_is_refused(case, tmp_path) -> None:
    head, options, says = HEADS[case]
    videomae(tmp_path, **head)
    with pytest.raises(UserError, match=says) as caught:
        video_classifier(str(tmp_path), **options)
    assert str(caught.value).startswith(f"{tmp_path}: ")
    assert "\n" not in str(caught.value)


# --- folders ---------------------------------------------------------------------------------------------------------

THREE = {"num_labels": 3}


def from_one(folder: Path) -> None:
    videomae(folder, **THREE)
    rewrite(folder, "config.json", id2label={"1": "one", "2": "two", "3": "three"}, label2id=None)


def nameless(folder: Path) -> None:
    videomae(folder, **THREE)
    rewrite(folder, "config.json", id2label=None, label2id=None)


def shallower(folder: Path) -> None:
    network = VideoMAEConfig(num_frames=FRAMES, **{**SHAPE, "num_hidden_layers": 2}, **THREE)
    VideoMAEForVideoClassification(network).save_pretrained(folder)
    VideoMAEImageProcessor(size={"shortest_edge": SIZE}, crop_size=SQUARE).save_pretrained(folder)
    rewrite(folder, "config.json", num_hidden_layers=1)


def of_timm(folder: Path) -> None:
    vit(folder, **THREE)
    rewrite(folder, "config.json", model_type="timm_wrapper", architecture="resnet18")


def of_code(folder: Path) -> None:
    vit(folder, **THREE)
    rewrite(folder, "config.json", model_type="x", auto_map={"AutoConfig": "m.C"})
    (folder / "m.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")


def processor_of_code(folder: Path) -> None:
    vit(folder, **THREE)
    rewrite(folder, "preprocessor_config.json", image_processor_type="X", auto_map={"AutoImageProcessor": "m.C"})
    (folder / "m.py").write_text(f"open({str(folder / 'ran')!r}, 'w')")


def spoilt(**entries: Any) -> Callable[[Path], None]:
    def make(folder: Path) -> None:
        vit(folder, **THREE)
        rewrite(folder, "preprocessor_config.json", **entries)

    return make


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "id2label from 1": (from_one, "id2label"),
    "no id2label": (nameless, "id2label"),
    "fewer layers than weights": (shallower, "more layers"),
    "timm is not installed": (of_timm, "timm"),
    "its own code": (of_code, "config.json"),
    "a processor of its own code": (processor_of_code, "preprocessor_config.json"),
    "one channel": (spoilt(image_mean=[0.5], image_std=[0.5]), "processor"),
    "a mean of words": (spoilt(image_mean="grey"), "preprocessor_config.json"),
    "a size of no kind": (spoilt(size={"longest_edge": 3}), "processor"),
    "no filter": (spoilt(resample="smooth"), "preprocessor_config.json"),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_an_odd_folder_is_told_in_one_line(case, tmp_path, monkeypatch) -> None:
    questions: list[object] = []
    monkeypatch.setattr("builtins.input", lambda *question: questions.append(question) or "y")
    make, says = FOLDERS[case]
    make(tmp_path)
    with pytest.raises(UserError, match=says) as caught:
        video_classifier(str(tmp_path))
    assert "\n" not in str(caught.value)
    assert not questions
    assert not (tmp_path / "ran").exists()


@torch.no_grad()
@pytest.mark.parametrize("odd", [{"do_resize": False, "resample": None}, {"image_mean": 0.5, "image_std": 0.5}])
def test_odd_processors_that_mean_something_load(odd, tmp_path) -> None:
    network = vit(tmp_path, odd, **THREE)
    levels = clip()
    same = (levels / 255.0 - 0.5) / 0.5 if "image_mean" in odd else pixels(levels)
    wanted = network(same[0]).logits.mean(0, keepdim=True)
    torch.testing.assert_close(video_classifier(str(tmp_path))(as_video(levels)), wanted, atol=1e-4, rtol=0)


def test_a_size_that_the_model_does_not_take_names_the_option(tmp_path) -> None:
    vit(tmp_path, {"do_resize": False, "resample": None}, **THREE)
    with pytest.raises(UserError, match=r"does not run on frames of shape .* correct data\.size"):
        check_target(video_classifier(str(tmp_path)).freeze(), (FRAMES, 40, 40))
