"""V-JEPA 2 classifiers against transformers' own processor and model, and explained from end to end."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoVideoProcessor, VJEPA2ForVideoClassification, VJEPA2VideoProcessor

import lvcf
from lvcf.cli import main
from lvcf.data.clip import round_to_8_bits, to_frames
from lvcf.errors import UserError
from lvcf.models.targets.check import check_target
from lvcf.models.targets.video_classifier import Preprocessing, video_classifier
from tests.helpers import fails, predict_arguments, results, subset
from tests.toys import IMAGENET, GaussianBackbone, save_vjepa2

LABELS = ("Pushing something", "Pulling something", "Lifting something")
SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    made = tmp_path_factory.mktemp("vjepa2")
    save_vjepa2(made, LABELS, 16, SIZE)
    return made


def smooth(height: int, width: int, frames: int = 16, seed: int = 0) -> Tensor:
    """A moving clip on 8-bit levels ``(3, T, H, W)`` in [-1, 1]."""
    coarse = torch.rand(1, 3, 3, 5, 5, generator=torch.Generator().manual_seed(seed))
    return round_to_8_bits(functional.interpolate(coarse, (frames, height, width), mode="trilinear")[0] * 2 - 1)


def processed(processor: VJEPA2VideoProcessor, clip: Tensor) -> Tensor:
    """What the model's own processor makes of a clip, ``(1, T, 3, h, w)``."""
    return processor(list(to_frames(clip)), return_tensors="pt")["pixel_values_videos"]


@torch.no_grad()
@pytest.mark.parametrize("size", [(36, 36), (112, 112), (90, 120)])
def test_logits_are_those_of_its_own_processor_and_model(size, folder) -> None:
    model = video_classifier(str(folder)).freeze()
    own = VJEPA2ForVideoClassification.from_pretrained(folder).eval()
    clip = smooth(*size)
    wanted = own(processed(AutoVideoProcessor.from_pretrained(folder), clip)).logits
    torch.testing.assert_close(model(clip[None]), wanted, atol=2e-3, rtol=1e-3)
    assert float((wanted - model(smooth(*size, seed=1)[None])).abs().max()) > 0.05  # another clip, another answer
    assert (model.task, model.labels, model.frames) == ("classification", LABELS, 16)


@pytest.mark.parametrize("size", [(112, 112), (240, 320)])
def test_at_its_published_size_the_frames_are_its_processors(size) -> None:
    processor = VJEPA2VideoProcessor(crop_size=256)
    mean, std = (tuple(values) for values in IMAGENET.values())
    made = Preprocessing(292, None, 2, (256, 256), 1 / 255, 0.0, mean, std)
    clip = smooth(*size, frames=2)
    torch.testing.assert_close(made(clip[None]), processed(processor, clip), atol=1e-5, rtol=0)
    noise = round_to_8_bits(torch.rand(3, 2, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1)
    off = (made(noise[None]) - processed(processor, noise)).abs()
    assert float(off.max()) < 0.018  # one level, by the smallest deviation
    assert float((off > 1e-4).float().mean()) < 0.01


def test_the_gradient_is_the_networks_and_stops_where_its_processor_crops(folder) -> None:
    model = video_classifier(str(folder)).freeze()
    clip = smooth(36, 36).requires_grad_(True)  # no resizing: the processor's own pixels can be differentiated
    (got,) = torch.autograd.grad(model(clip[None])[0, 1], clip)
    pixels = processed(AutoVideoProcessor.from_pretrained(folder), clip.detach()).requires_grad_(True)
    own = VJEPA2ForVideoClassification.from_pretrained(folder).eval()
    (inner,) = torch.autograd.grad(own(pixels).logits[0, 1], pixels)
    std = torch.tensor(IMAGENET["image_std"]).view(3, 1, 1)
    wanted = (inner[0] * 127.5 / 255 / std).transpose(0, 1)
    torch.testing.assert_close(got[..., 2:-2, 2:-2], wanted, atol=1e-5, rtol=1e-3)
    assert float(wanted.abs().max()) > 1e-3
    assert not bool(got[..., :2, :].any() or got[..., :, -2:].any())
    check_target(model, (16, 36, 36))


def test_one_of_64_frames_takes_64_and_no_16(tmp_path) -> None:
    torch.manual_seed(1)
    save_vjepa2(tmp_path, LABELS, 64, SIZE)
    model = video_classifier(str(tmp_path)).freeze()
    with torch.no_grad():
        wanted = VJEPA2ForVideoClassification.from_pretrained(tmp_path).eval()
        pixels = processed(AutoVideoProcessor.from_pretrained(tmp_path), smooth(36, 36, 64))
        torch.testing.assert_close(model(smooth(36, 36, 64)[None]), wanted(pixels).logits, atol=1e-4, rtol=1e-3)
    with pytest.raises(UserError, match=r"takes 64 frames, the clips have 16; set data\.frames"):
        model(smooth(36, 36)[None])


def arguments(folder: Path, echo_root: Path, backbone_folder: Path, tmp_path: Path, *more: str) -> list[str]:
    data = subset(echo_root, tmp_path / "data", 2)
    given = predict_arguments(data, backbone_folder, folder, tmp_path / "run", "--model.prompt=neutral", *more)
    name = "--model.target_model=lvcf.models.targets.video_classifier.video_classifier"
    return [*given[:3], name, *given[3:]]


def test_predict_explains_it(folder, echo_root, backbone_folder, tmp_path) -> None:
    assert main(arguments(folder, echo_root, backbone_folder, tmp_path, "--model.target=other")) == 0
    written = results(tmp_path / "run")
    assert len(written) == 2
    for result in written.values():
        assert result["status"] in ("reached", "not_reached", "not_drawable")
        assert {result["class_before"], result["target"]["text"]} < set(LABELS)
        assert result["class_before"] != result["target"]["text"]
        assert any(step["loss"] > 0.0 for step in result["trajectory"])
        assert result["gradient_evaluations"] > 0


def test_the_explainer_explains_it(folder) -> None:
    given = {"backbone": GaussianBackbone(), "size": 36, "progress": False, "steps": 8, "precision": "32-true"}
    explainer = lvcf.Explainer(folder, method="RG", **given)
    clip = smooth(36, 36)
    with torch.no_grad():
        order = explainer.model(clip[None])[0].argsort(descending=True)
    explanation = explainer.explain(clip, LABELS[int(order[1])])
    assert explanation.facts["class_before"] == LABELS[int(order[0])]
    assert explanation.after > explanation.before + 0.01  # the gradient leads to the class asked for


def changed(file: str, **entries: object) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        content = json.loads((folder / file).read_text())
        (folder / file).write_text(json.dumps({**content, **entries}))

    return spoil


def without_head(folder: Path) -> None:
    VJEPA2ForVideoClassification.from_pretrained(folder).vjepa2.save_pretrained(folder)


BAD: dict[str, tuple[Callable[[Path], None], list[str]]] = {
    "no processor": (lambda f: (f / "video_preprocessor_config.json").unlink(), ["preprocessor_config.json"]),
    "no head": (without_head, ["lack", "fine-tuned"]),
    "another number of classes": (changed("config.json", id2label={"0": "a", "1": "b"}), ["classifier", "id2label"]),
    "one class": (changed("config.json", id2label={"0": "a"}), ["scale"]),
    "a filter without a counterpart": (changed("video_preprocessor_config.json", resample=1), ["filter 1", "bilinear"]),
    "another layer": (changed("config.json", num_hidden_layers=1), ["more layers than config.json"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_folders_are_told_in_one_line(case, folder, tmp_path) -> None:
    spoil, says = BAD[case]
    copy = Path(shutil.copytree(folder, tmp_path / "model"))
    spoil(copy)
    with pytest.raises(UserError) as caught:
        video_classifier(str(copy))
    for text in [str(copy), *says]:
        assert text in str(caught.value)
    assert "\n" not in str(caught.value)


def test_clips_of_another_length_are_told_before_anything_is_edited(
    capfd, folder, echo_root, backbone_folder, tmp_path
):
    line = fails(
        capfd, arguments(folder, echo_root, backbone_folder, tmp_path, "--data.frames=8", "--model.target=other")
    )
    assert "takes 16 frames, the clips have 8; set data.frames" in line
    assert results(tmp_path / "run") == {}
