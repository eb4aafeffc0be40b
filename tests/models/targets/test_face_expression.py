"""The face expression network: the original's own answers, gradients, the face's box, files that are refused."""

from __future__ import annotations

import json
import runpy
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from benchmarks import carphone
from lvcf.configuration import find_weights
from lvcf.data.video import clip_indices, read_video
from lvcf.errors import UserError
from lvcf.models.targets.face_expression import LABELS, MANIFEST, FaceExpression, convert, face_expression
from tests.helpers import parse
from tests.models.targets.malice import Malice

DATA = Path(__file__).parent / "data" / "face_expression"
BINARY = "face_expression_model.bin"
WEIGHTS = find_weights("face_expression")
REFERENCE = json.loads((DATA / "reference.json").read_text())["answers"]


@pytest.fixture(scope="module")
def model() -> FaceExpression:
    return face_expression("face_expression").freeze()


def clip(*frames: np.ndarray) -> Tensor:
    """Frames ``(H, W, 3)`` of 8 bits to one clip."""
    return torch.from_numpy(np.stack(frames)).permute(3, 0, 1, 2)[None].float() / 127.5 - 1.0


def image(name: str) -> np.ndarray:
    return np.array(Image.open(DATA / "inputs" / f"{name}.ppm"))


@torch.no_grad()
def agrees(model: FaceExpression, video: Tensor, answer: dict) -> None:
    logits = model(video)[0]
    torch.testing.assert_close(logits, torch.tensor(answer["logits"]), atol=1e-4, rtol=0)
    said = dict(zip(LABELS, logits.softmax(-1).tolist(), strict=True))
    assert said == pytest.approx(answer["probabilities"], abs=1e-5)


@pytest.mark.parametrize("name", REFERENCE)
def test_images_get_the_originals_answer(name, model) -> None:
    """At its own size, enlarged, reduced, and padded in either direction by even and odd numbers of pixels."""
    agrees(model, clip(image(name)), REFERENCE[name])


def test_the_references_tell_networks_apart() -> None:
    logits = np.array([answer["logits"] for answer in REFERENCE.values()])
    assert {LABELS[i] for i in logits.argmax(1)} == {"happy", "neutral", "surprised"}
    assert float(np.ptp(logits, axis=0).min()) > 1.9
    assert all(tuple(answer["probabilities"]) == LABELS for answer in REFERENCE.values())


def test_a_real_clip_gets_the_originals_answer(model) -> None:
    chosen = clip_indices(read_video(carphone.source()).times, 16, 8.0)
    frames = carphone.stored_frames(carphone.source())[chosen]  # the original was given them as they are stored
    answers = json.loads((DATA / "carphone.json").read_text())["answers"]
    assert len(frames) == len(answers)
    for frame, answer in zip(frames, answers.values(), strict=True):
        agrees(model, clip(frame), answer)


@torch.no_grad()
def test_a_clips_logits_are_the_mean_over_its_frames(model) -> None:
    face = image("face_surprise")
    frames = [face, face[:, ::-1], face // 2, 255 - face]
    each = torch.cat([model(clip(frame)) for frame in frames])
    torch.testing.assert_close(model(clip(*frames)), each.mean(0, keepdim=True), atol=1e-4, rtol=1e-4)
    both = torch.cat([clip(*frames), clip(*frames[::-1]).roll(1, 3)])
    torch.testing.assert_close(model(both)[:1], each.mean(0, keepdim=True), atol=1e-4, rtol=1e-4)
    assert float(each.std(0).min()) > 0.1  # the frames do differ


@pytest.mark.parametrize("name", ["face_surprise", "face_happy_tall", "gradient_tall"])
def test_the_gradient_is_the_slope(name) -> None:
    model = face_expression("face_expression").double().freeze()
    video = clip(image(name)).double().requires_grad_(True)
    weight = torch.linspace(-1.0, 1.0, len(LABELS), dtype=torch.float64)
    (model(video) @ weight).sum().backward()
    direction = torch.randn(video.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = 1e-7  # the network has many kinks
    with torch.no_grad():
        ahead, behind = (float(model(video + sign * step * direction) @ weight) for sign in (1, -1))
    assert (ahead - behind) / (2.0 * step) == pytest.approx(float((video.grad * direction).sum()), rel=1e-4)
    assert all(parameter.grad is None for parameter in model.parameters())


@pytest.fixture(scope="module")
def boxed() -> FaceExpression:
    return face_expression("face_expression", (0.25, 0.125, 0.75, 0.875)).freeze()


def test_only_the_box_is_read(boxed) -> None:
    face = image("face_happy_tall")
    around = np.random.RandomState(1).randint(0, 256, (96, 96, 3)).astype(np.uint8)
    around[12:84, 24:72] = face
    video = clip(around).requires_grad_(True)
    agrees(boxed, video, REFERENCE["face_happy_tall"])
    boxed(video)[:, 1].sum().backward()
    inside = torch.zeros(96, 96, dtype=torch.bool)
    inside[12:84, 24:72] = True
    assert not bool(video.grad[..., ~inside].any())
    assert float((video.grad[..., inside] != 0).float().mean()) > 0.99


@torch.no_grad()
def test_a_box_between_pixels_grows_outwards(model) -> None:
    """Down to a box thinner than a pixel."""
    frame = image("face_surprise")
    thin = face_expression("face_expression", (0.501, 0.2, 0.502, 0.81)).freeze()
    torch.testing.assert_close(thin(clip(frame)), model(clip(frame[22:91, 56:57])), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    "box",
    [(0.5, 0.0, 0.5, 1.0), (0.0, 0.7, 1.0, 0.2), (-0.1, 0.0, 1.0, 1.0), (0.0, 0.0, 30.0, 40.0), (0, 0, 1, np.nan)],
)
def test_bad_boxes(box) -> None:
    with pytest.raises(UserError, match=r"target_model box .*left, top, right, bottom as shares") as caught:
        FaceExpression(box)
    assert "\n" not in str(caught.value)


def test_the_command_line_knows_it() -> None:
    name = "lvcf.models.targets.face_expression.face_expression"
    options = [f"--model.target_model={name}", "--model.target_model.weights=face_expression"]
    more = ["--model.target_model.box=[0.2,0.2,0.8,0.8]", "--model.target=neutral"]
    found = parse(["predict", "--config", "phantom.yaml", *options, *more]).model.init_args
    assert found.target_model.class_path == name
    assert tuple(found.target_model.init_args.box) == (0.2, 0.2, 0.8, 0.8)


@torch.no_grad()
def test_converted_weights_are_the_published_ones(model, tmp_path, monkeypatch) -> None:
    to = tmp_path / "made" / "face.safetensors"
    monkeypatch.setattr(sys, "argv", ["face_expression", "face_expression", str(to)])
    monkeypatch.delitem(sys.modules, "lvcf.models.targets.face_expression")
    runpy.run_module("lvcf.models.targets.face_expression", run_name="__main__")
    converted = face_expression(str(to)).freeze()
    assert all(torch.equal(a, b) for a, b in zip(converted.parameters(), model.parameters(), strict=True))
    video = clip(image("face_surprise"))
    assert torch.equal(converted(video), model(video))


def test_the_converter_tells_mistakes_in_one_line(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["face_expression", str(tmp_path), str(tmp_path / "face.safetensors")])
    monkeypatch.delitem(sys.modules, "lvcf.models.targets.face_expression")
    with pytest.raises(SystemExit, match=f"face_expression: {tmp_path / MANIFEST}: not found; give the model/ folder"):
        runpy.run_module("lvcf.models.targets.face_expression", run_name="__main__")
    with pytest.raises(UserError, match=r"face\.bin: .*end its name with \.safetensors"):
        convert("face_expression", tmp_path / "face.bin")


def edited(folder: Path, change) -> None:
    groups = json.loads((folder / MANIFEST).read_text())
    change(groups[0])
    (folder / MANIFEST).write_text(json.dumps(groups))


def renamed(group: dict) -> None:
    for entry in group["weights"]:
        entry["name"] = entry["name"].replace("dense3", "dense4")


def landmarks(group: dict) -> None:
    """As face-api's landmark network: the same blocks before another last layer."""
    group["weights"][-2].update(shape=[128, 14])
    group["weights"][-1].update(shape=[7, 1])


BAD_FOLDERS = {
    "no folder": (shutil.rmtree, "model", ["neither a folder nor a .safetensors file", "@vladmandic/face-api"]),
    "a file": (lambda f: None, f"model/{BINARY}", ["neither a folder nor a .safetensors file"]),
    "no manifest": (lambda f: (f / MANIFEST).unlink(), "model", [MANIFEST, "not found"]),
    "no numbers": (lambda f: (f / BINARY).unlink(), "model", [BINARY, "not found"]),
    "numbers cut short": (
        lambda f: (f / BINARY).write_bytes((f / BINARY).read_bytes()[:-5]),
        "model",
        [BINARY, "329463 bytes, the manifest asks for 329468"],
    ),
    "numbers of another file": (
        lambda f: (f / BINARY).write_bytes(bytes(400_000)),
        "model",
        [BINARY, "400000 bytes, the manifest asks for 329468"],
    ),
    "a manifest cut short": (
        lambda f: (f / MANIFEST).write_text((f / MANIFEST).read_text()[:900]),
        "model",
        [MANIFEST, "no manifest of the expression network"],
    ),
    "a manifest that is none": (
        lambda f: (f / MANIFEST).write_text('{"weights": 3}'),
        "model",
        [MANIFEST, "no manifest of the expression network"],
    ),
    "binary in the manifest": (
        lambda f: (f / MANIFEST).write_bytes(bytes(range(256))),
        "model",
        [MANIFEST, "no manifest of the expression network"],
    ),
    "an unknown number format": (
        lambda f: edited(f, lambda group: group["weights"][0]["quantization"].update(dtype="uint4")),
        "model",
        [MANIFEST, "uint4"],
    ),
    "no scale": (
        lambda f: edited(f, lambda group: group["weights"][0]["quantization"].pop("scale")),
        "model",
        [MANIFEST, "scale"],
    ),
    "an unknown kind of tensor": (
        lambda f: edited(f, lambda group: group["weights"][0].update(name="dense0/conv0/gamma")),
        "model",
        [MANIFEST, "gamma"],
    ),
    "other names": (lambda f: edited(f, renamed), "model", ["dense3.conv0.bias", "missing", "dense4", "unexpected"]),
    "another last layer": (lambda f: edited(f, landmarks), "model", [MANIFEST, "no manifest"]),
    "a tensor less": (
        lambda f: edited(f, lambda group: group["weights"].pop()),
        "model",
        [BINARY, "the manifest asks for 329440"],
    ),
    "no safetensors": (lambda f: None, "model/face.safetensors", ["face.safetensors: not found", "python -m"]),
    "safetensors that are none": (
        lambda f: torch.save({"fc.bias": Malice(f / "ran")}, f / "face.safetensors"),
        "model/face.safetensors",
        ["face.safetensors: no safetensors file"],
    ),
    "safetensors of another network": (
        lambda f: save_file({"fc.bias": torch.zeros(7)}, f / "face.safetensors"),
        "model/face.safetensors",
        ["no weights of FaceExpressionNetwork", "missing"],
    ),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_weights(case, tmp_path) -> None:
    spoil, given, says = BAD_FOLDERS[case]
    folder = tmp_path / "model"
    folder.mkdir()
    for name in (MANIFEST, BINARY):
        shutil.copy(WEIGHTS / name, folder)
    spoil(folder)
    with pytest.raises(UserError) as caught:
        face_expression(str(tmp_path / given))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500
    for text in [str(folder), *says]:
        assert text in str(caught.value)
    assert not (folder / "ran").exists()
