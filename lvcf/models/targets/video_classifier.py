"""Video and image classifiers in Hugging Face's layout: VideoMAE and its kin, or an image model frame by frame."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn import functional
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageClassification,
    AutoModelForVideoClassification,
    AutoVideoProcessor,
)

from lvcf.errors import UserError, said
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.outputs import chosen
from lvcf.models.targets.wrapping import Answer, Gives, check_frames

BILINEAR = 2
RESAMPLING = {BILINEAR: "bilinear", 3: "bicubic"}
"""PIL's numbers for the filters that have a differentiable counterpart with PIL's own antialiasing."""
LOGITS = "logits"
"""What the classifiers of transformers call their answer."""
LARGEST_ERROR, MEAN_ERROR = 0.02, 0.006
"""How far the differentiable preprocessing may be from the processor's own, in units of 1 after standardising."""


@dataclass(frozen=True)
class Preprocessing:
    """Resize, centre crop, rescale and standardise, as a processor's configuration says.

    Attributes:
        edge: the shorter side after resizing, or None.
        size: height and width after resizing, or None; with neither, frames keep their size.
        resample: PIL's number of the filter.
        crop: height and width cut out of the centre, or None.
        factor: what levels 0..255 are multiplied by.
        offset: what is subtracted then.
        mean: per channel.
        std: per channel.
    """

    edge: int | None
    size: tuple[int, int] | None
    resample: int
    crop: tuple[int, int] | None
    factor: float
    offset: float
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to pixel values ``(B, T, 3, h, w)``, differentiably."""
        frames = rearrange((video + 1.0) * 127.5, "b c t h w -> (b t) c h w")
        height, width = self._target(*frames.shape[-2:])
        for size in ((frames.shape[-2], width), (height, width)):  # PIL's order: along the width, then the height
            if frames.shape[-2:] != size:
                mode = RESAMPLING[self.resample]
                frames = _levels(functional.interpolate(frames, size=size, mode=mode, antialias=True))
        if self.crop is not None:
            frames = _centre(frames, *self.crop)
        mean, std = (torch.tensor(v, device=video.device).view(-1, 1, 1) for v in (self.mean, self.std))
        pixels = (frames * self.factor - self.offset - mean) / std
        return rearrange(pixels, "(b t) c h w -> b t c h w", b=len(video))

    def _target(self, height: int, width: int) -> tuple[int, int]:
        if self.size is not None or self.edge is None:
            return self.size or (height, width)
        if height < width:
            return self.edge, int(self.edge * width / height)
        return int(self.edge * height / width), self.edge


class VideoClassifier(TargetModel):
    """A network of transformers: a video model takes the clip, an image model every frame (mean of its outputs).

    Args:
        network: the model.
        preprocessing: what its processor does.
        answer: what its head says.
        frames: frames per clip; None for an image model, which takes any.
        output: of a network that returns several, the name of the one that is explained; empty for ``logits``.
    """

    def __init__(
        self, network: nn.Module, preprocessing: Preprocessing, answer: Answer, frames: int | None, output: str = ""
    ) -> None:
        super().__init__()
        self.network, self.preprocessing, self.answer, self.frames = network, preprocessing, answer, frames
        answer.declare(self)
        self.output = output

    def forward(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to logits ``(B, K)``, or a regressor's values ``(B,)``.

        Raises:
            UserError: a video model was made for another number of frames.
        """
        if self.frames is not None:
            check_frames(video, self.frames)
        pixels = self.preprocessing(video)
        if self.frames is not None:
            return self.answer.read(self._output(pixels), len(video))
        each = self._output(rearrange(pixels, "b t c h w -> (b t) c h w")).float()
        return self.answer.read(rearrange(each, "(b t) k -> b t k", b=len(video)).mean(1), len(video))

    def _output(self, pixels: Tensor) -> Tensor:
        return chosen(self.network(pixels), self.output or LOGITS)

    def described(self, clips: Tensor) -> tuple[str, str]:
        """See the base class."""
        shape = tuple(self.preprocessing(clips).shape)
        return f"frames of shape {shape}", "data.size if its processor does not resize, or its config.json"


def video_classifier(
    weights: str,
    scale: float | None = None,
    unit: str = "",
    bounds: tuple[float | None, float | None] = (None, None),
    output: str = "",
) -> VideoClassifier:
    """Load a folder or hub id with a video or image classifier, or a regressor, and its processor.

    Args:
        weights: the folder or id; its ``problem_type`` says whether classes exclude each other.
        scale: of a regressor (one output), the training standard deviation of its value.
        unit: of a regressor's value.
        bounds: the values a regressor can be asked for; null for no bound.
        output: of a network that returns several, such as DeiT's ``cls_logits``, the name of the one that is explained;
            empty for ``logits``.

    Raises:
        UserError: it does not load, reads neither videos nor images, its head is not clear, or its processor does more
            than resize, crop and standardise.
    """
    try:
        config = AutoConfig.from_pretrained(weights, trust_remote_code=False)
    except Exception as error:  # transformers, safetensors, pickle and timm raise their own, here and below
        raise UserError(f"{weights}: no folder or hub id with a config.json that loads ({said(error)})") from error
    answer = _answer(weights, config, scale, unit, bounds)
    frames = getattr(config, "num_frames", None) or getattr(config, "frames_per_clip", None)
    loader: Any = AutoModelForVideoClassification if frames else AutoModelForImageClassification
    try:
        network, info = loader.from_pretrained(
            weights,
            output_loading_info=True,
            dtype=torch.float32,
            ignore_mismatched_sizes=True,  # told below
            trust_remote_code=False,
        )
    except Exception as error:
        raise UserError(f"{weights}: no {'video' if frames else 'image'} classifier loads ({said(error)})") from error
    lacking = sorted(info["missing_keys"])
    if lacking:
        raise UserError(f"{weights}: its weights lack {', '.join(lacking[:3])}; was it fine-tuned as a classifier?")
    for name, stored, wanted in info["mismatched_keys"]:
        raise UserError(
            f"{weights}: {name} is {tuple(stored)} in its weights, config.json asks for {tuple(wanted)}; correct it "
            "(of the last layer: name every class in id2label)"
        )
    known = {_numberless(name) for name in network.state_dict()}
    for name in sorted(info["unexpected_keys"]):
        if _numberless(name) in known:
            raise UserError(f"{weights}: has {name} in its weights, more layers than config.json asks for; correct it")
    processor = _processor(weights)
    preprocessing = _preprocessing(weights, processor)
    _check(weights, processor, preprocessing, frames or 2)
    return VideoClassifier(network, preprocessing, answer, frames, output)


def preprocessing_of(weights: str) -> Preprocessing:
    """What the processor beside a model does.

    Raises:
        UserError: there is none, or it resizes with a filter that has no differentiable counterpart.
    """
    return _preprocessing(weights, _processor(weights))


def _answer(
    weights: str, config: Any, scale: float | None, unit: str, bounds: tuple[float | None, float | None]
) -> Answer:
    """What the head says, by ``problem_type``, ``id2label`` and what is declared."""
    names, problem = dict(config.id2label), config.problem_type
    value = len(names) == 1 and problem in (None, "regression")
    if value and scale is None:
        raise UserError(
            f"{weights}: its head says one number; give scale, the training standard deviation of that value (a yes or "
            "no needs two logits: wrap it in an nn.Module, lvcf.models.targets.exported.ModuleTarget)"
        )
    if not value and (scale is not None or problem == "regression" or len(names) < 2):
        raise UserError(
            f"{weights}: problem_type {problem} with {len(names)} outputs is no single value and takes no scale; a "
            "classifier has two or more classes (wrap another head: lvcf.models.targets.exported.ModuleTarget)"
        )
    try:
        if value:
            return Answer("regression", unit=unit, scale=1.0 if scale is None else scale, bounds=bounds)
        if sorted(names) != list(range(len(names))):
            raise UserError(f"id2label numbers its classes {sorted(names)[:3]}, not 0, 1, 2 as the logits; correct it")
        gives: Gives = "multi-label" if problem == "multi_label_classification" else "logits"
        return Answer("classification", tuple(str(names[place]) for place in range(len(names))), gives=gives)
    except UserError as error:
        raise UserError(f"{weights}: {error}") from error


def _processor(weights: str) -> Any:
    """Its own, with PIL's resizing where there is a choice: what published models were evaluated with."""
    problems = list[Exception]()
    for kind, options in ((AutoImageProcessor, {"backend": "pil"}), (AutoVideoProcessor, {})):
        try:
            return kind.from_pretrained(weights, trust_remote_code=False, **options)
        except Exception as error:
            problems.append(error)
    raise UserError(
        f"{weights}: no preprocessor_config.json that loads ({said(problems[0])}); save the model's processor beside it"
    )


def _preprocessing(weights: str, processor: Any) -> Preprocessing:
    try:
        size = processor.size if processor.do_resize else {}
        crop = processor.crop_size if getattr(processor, "do_center_crop", False) else None
        standard = getattr(processor, "do_normalize", False)
        resample = int(processor.resample) if processor.do_resize else BILINEAR
        if resample not in RESAMPLING:
            raise UserError(f"{weights}: its processor resizes with filter {resample}; bilinear or bicubic works")
        return Preprocessing(
            edge=size.get("shortest_edge"),
            size=(size["height"], size["width"]) if "height" in size else None,
            resample=resample,
            crop=(crop["height"], crop["width"]) if crop else None,
            factor=processor.rescale_factor if processor.do_rescale else 1.0,
            offset=float(getattr(processor, "offset", False)),
            mean=_channels(processor.image_mean) if standard else (0.0,) * 3,
            std=_channels(processor.image_std) if standard else (1.0,) * 3,
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{weights}: {type(processor).__name__} says nothing usable of size, filter, mean or std ({said(error)}); "
            "correct preprocessor_config.json"
        ) from error


def _channels(value: float | Sequence[float]) -> tuple[float, ...]:
    """A number per channel."""
    return (float(value),) * 3 if isinstance(value, int | float) else tuple(float(number) for number in value)


def _check(weights: str, processor: Any, preprocessing: Preprocessing, frames: int) -> None:
    """The differentiable preprocessing against the processor itself, on noise in an uneven frame."""
    levels = torch.randint(0, 256, (frames, 3, 90, 120), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    try:
        made = processor(list(levels.numpy()), return_tensors="pt")
        wanted = made["pixel_values_videos" if "pixel_values_videos" in made else "pixel_values"]
        got = preprocessing(rearrange(levels, "t c h w -> 1 c t h w") / 127.5 - 1.0)
    except Exception as error:
        raise UserError(f"{weights}: its processor does not take frames ({said(error)})") from error
    wanted = wanted.reshape(-1, *wanted.shape[-3:])
    same = wanted.shape == got[0].shape
    off = (wanted - got[0]).abs() if same else torch.full((1,), float("inf"))
    if float(off.max()) > LARGEST_ERROR or float(off.mean()) > MEAN_ERROR:
        raise UserError(
            f"{weights}: {type(processor).__name__} does more than resize, centre crop and standardise (off by "
            f"{float(off.max()):.3g}); wrap the model with its preprocessing in an nn.Module: "
            "lvcf.models.targets.exported.ModuleTarget"
        )


def _levels(frames: Tensor) -> Tensor:
    """Whole levels 0..255, as PIL keeps them after every pass; the gradient is that of the values before."""
    return frames + ((frames + 0.5001).floor().clamp(0.0, 255.0) - frames).detach()


def _centre(frames: Tensor, height: int, width: int) -> Tensor:
    """The centre; what is missing is black."""
    lack_y, lack_x = max(height - frames.shape[-2], 0), max(width - frames.shape[-1], 0)
    frames = functional.pad(frames, (lack_x // 2, lack_x - lack_x // 2, lack_y // 2, lack_y - lack_y // 2))
    top, left = (frames.shape[-2] - height) // 2, (frames.shape[-1] - width) // 2
    return frames[..., top : top + height, left : left + width]


def _numberless(name: str) -> str:
    return re.sub(r"\d+", "", name)
