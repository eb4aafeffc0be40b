"""Hugging Face classifiers: logits and preprocessing against transformers' own, on tiny models in its layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional
from transformers import (
    AutoImageProcessor,
    AutoModelForVideoClassification,
    ConvNextConfig,
    ConvNextForImageClassification,
    ConvNextImageProcessor,
    TimesformerConfig,
    TimesformerForVideoClassification,
    VideoMAEForVideoClassification,
    VideoMAEImageProcessor,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessor,
    VivitConfig,
    VivitForVideoClassification,
    VivitImageProcessor,
)

from lvcf.errors import UserError
from lvcf.models.targets.video_classifier import Preprocessing, VideoClassifier, video_classifier
from tests.models.targets.malice import Malice
from tests.toys import IMAGENET, save_videomae

SIZE, FRAMES = 32, 4
LABELS = {0: "Pushing", 1: "Pulling", 2: "Lifting"}
TINY = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Tiny random models, saved as published ones are."""
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("hf")
    shape = {"image_size": SIZE, "patch_size": 16, "id2label": LABELS, "initializer_range": 0.5, **TINY}
    square = {"height": SIZE, "width": SIZE}
    models = {
        "vit": (ViTForImageClassification(ViTConfig(**shape)), ViTImageProcessor(size=square, **IMAGENET)),
        "vivit": (
            VivitForVideoClassification(VivitConfig(num_frames=FRAMES, tubelet_size=[2, 16, 16], **shape)),
            VivitImageProcessor(size={"shortest_edge": SIZE}, crop_size=square),
        ),
        "timesformer": (
            TimesformerForVideoClassification(TimesformerConfig(num_frames=FRAMES, **shape)),
            VideoMAEImageProcessor(size={"shortest_edge": SIZE}, crop_size=square, **IMAGENET),
        ),
        "convnext": (
            ConvNextForImageClassification(ConvNextConfig(depths=[1] * 4, hidden_sizes=[8] * 4, id2label=LABELS)),
            ConvNextImageProcessor(size={"shortest_edge": SIZE}),
        ),
    }
    for name, (model, processor) in models.items():
        model.save_pretrained(root / name)
        processor.save_pretrained(root / name)
    save_videomae(root / "videomae", tuple(LABELS.values()), FRAMES, SIZE)
    return {name: root / name for name in (*models, "videomae")}


def levels(height: int, width: int, frames: int = FRAMES, clips: int = 2) -> Tensor:
    """A smooth clip with noise, 8 bits ``(B, T, 3, H, W)``."""
    smooth = functional.interpolate(torch.rand(clips * frames, 3, 6, 6), size=(height, width), mode="bicubic")
    noisy = smooth + 0.1 * torch.randn(smooth.shape)
    return rearrange((255 * noisy).clamp(0, 255).to(torch.uint8), "(b t) c h w -> b t c h w", b=clips)


def clip(of: Tensor) -> Tensor:
    return rearrange(of, "b t c h w -> b c t h w").float() / 127.5 - 1.0


def published(folder: Path, of: Tensor) -> Tensor:
    """The processor's own pixel values, by its PIL backend."""
    processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
    return torch.stack([processor(list(one.numpy()), return_tensors="pt")["pixel_values"].squeeze(0) for one in of])


def test_without_resizing_preprocessing_is_the_published_one(folders) -> None:
    x = levels(SIZE, SIZE)
    model = video_classifier(str(folders["videomae"]))
    torch.testing.assert_close(model.preprocessing(clip(x)), published(folders["videomae"], x), atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", ["videomae", "vit", "vivit"])
@pytest.mark.parametrize("size", [(112, 112), (90, 120), (120, 90), (24, 40)])
def test_with_resizing_preprocessing_is_near_the_published_one(folders, name, size) -> None:
    x = levels(*size)
    got = video_classifier(str(folders[name])).preprocessing(clip(x))
    off = (got - published(folders[name], x)).abs()
    assert float(off.max()) <= 0.02
    assert float(off.mean()) <= 0.006


@pytest.mark.parametrize("size", [(112, 112), (240, 320), (340, 256)])
def test_at_videomaes_own_size(size, tmp_path) -> None:
    processor = VideoMAEImageProcessor(size={"shortest_edge": 224}, crop_size={"height": 224, "width": 224}, **IMAGENET)
    processor.save_pretrained(tmp_path)
    x = levels(*size, clips=1)
    mean, std = (tuple(v) for v in IMAGENET.values())
    off = (Preprocessing(224, None, 2, (224, 224), 1 / 255, 0.0, mean, std)(clip(x)) - published(tmp_path, x)).abs()
    assert float(off.max()) <= 0.02
    assert float(off.mean()) <= 0.006


@torch.no_grad()
@pytest.mark.parametrize("name", ["videomae", "timesformer"])
def test_a_video_models_logits_are_its_own(folders, name) -> None:
    x = levels(SIZE, SIZE)
    model = video_classifier(str(folders[name])).freeze()
    own = AutoModelForVideoClassification.from_pretrained(folders[name]).eval()
    torch.testing.assert_close(model(clip(x)), own(published(folders[name], x)).logits, atol=1e-4, rtol=1e-4)
    assert model.labels == ("Pushing", "Pulling", "Lifting")
    assert model.task == "classification"


@torch.no_grad()
def test_an_image_models_logits_are_the_mean_over_frames(folders) -> None:
    x = levels(SIZE, SIZE, frames=5)
    model = video_classifier(str(folders["vit"])).freeze()
    own = ViTForImageClassification.from_pretrained(folders["vit"]).eval()
    each = torch.stack([own(published(folders["vit"], x)[:, t]).logits for t in range(5)])
    torch.testing.assert_close(model(clip(x)), each.mean(0), atol=1e-4, rtol=1e-4)
    assert float(each.std(0).min()) > 1e-4  # the frames do differ


@pytest.mark.parametrize("name", ["videomae", "vit", "vivit"])
def test_the_gradient_is_that_of_plain_interpolation(folders, name) -> None:
    """Rounding to levels passes gradients through: their sum over the clip is that without rounding."""
    model: VideoClassifier = video_classifier(str(folders[name])).freeze()
    video = clip(levels(40, 40)).requires_grad_(True)
    weight = torch.randn(2, FRAMES, 3, SIZE, SIZE)
    (model.preprocessing(video) * weight).sum().backward()
    got, video.grad = video.grad, None
    made = model.preprocessing
    std = torch.tensor(made.std).view(3, 1, 1)
    frames = rearrange(video, "b c t h w -> (b t) c h w")
    pixels = functional.interpolate(frames, size=(SIZE, SIZE), mode="bilinear", antialias=True)
    (127.5 * made.factor * rearrange(pixels, "(b t) c h w -> b t c h w", b=2) / std * weight).sum().backward()
    torch.testing.assert_close(got, video.grad, atol=1e-4, rtol=1e-4)
    logits = model(video)
    logits[:, 1].sum().backward()
    assert bool(video.grad.any())


def rewritten(folder: Path, file: str, **changes) -> None:
    content = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**content, **changes}))


def malicious(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    torch.save({"classifier.weight": Malice(folder / "ran")}, folder / "pytorch_model.bin")


BAD_FOLDERS = {
    "no folder": ("videomae", lambda f: f.rename(f.with_name("away")), ["no folder or hub id"]),
    "no config": ("videomae", lambda f: (f / "config.json").unlink(), ["config.json"]),
    "no weights": ("videomae", lambda f: (f / "model.safetensors").unlink(), ["no video classifier loads"]),
    "truncated weights": (
        "vit",
        lambda f: (f / "model.safetensors").write_bytes((f / "model.safetensors").read_bytes()[:900]),
        ["no image classifier loads"],
    ),
    "no processor": ("videomae", lambda f: (f / "preprocessor_config.json").unlink(), ["preprocessor_config.json"]),
    "a head that is not there": (
        "videomae",
        lambda f: VideoMAEForVideoClassification.from_pretrained(f).videomae.save_pretrained(f),
        ["lack", "classifier.weight", "fine-tuned"],
    ),
    "another filter": (
        "videomae",
        lambda f: rewritten(f, "preprocessor_config.json", resample=1),
        ["filter 1", "bilinear"],
    ),
    "a processor of its own kind": (
        "convnext",
        lambda f: None,
        ["ConvNextImageProcessor", "does more than", "ModuleTarget"],
    ),
    "a malicious pickle": ("videomae", malicious, ["no video classifier loads"]),
}


@pytest.mark.parametrize("case", BAD_FOLDERS)
def test_bad_folders(case, folders, tmp_path) -> None:
    import shutil

    name, spoil, says = BAD_FOLDERS[case]
    folder = tmp_path / "model"
    shutil.copytree(folders[name], folder)
    spoil(folder)
    with pytest.raises(UserError) as caught:
        video_classifier(str(folder))
    assert "\n" not in str(caught.value)
    for text in [str(folder), *says]:
        assert text in str(caught.value)
    assert not (folder / "ran").exists()


def test_another_number_of_frames_is_told(folders) -> None:
    model = video_classifier(str(folders["videomae"]))
    with pytest.raises(UserError, match=r"takes 4 frames, the clips have 16; set data\.frames"):
        model(torch.zeros(1, 3, 16, SIZE, SIZE))
