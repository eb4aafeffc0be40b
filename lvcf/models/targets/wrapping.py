"""What a network that is not lvcf's own declares, the clip it takes and its answer, checked before it is used."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from math import isfinite
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from lvcf.errors import UserError
from lvcf.models.targets.base import TargetModel, Task

Layout = Literal["BCTHW", "BTCHW"]


@dataclass(frozen=True)
class ClipInput:
    """The clip a network takes.

    Attributes:
        range: what black and white are, before standardising: ``[0, 1]``, ``[0, 255]`` or ``[-1, 1]``.
        size: height and width in pixels; clips of another size are resized (bilinear, with antialiasing).
        frames: frames per clip.
        mean: per channel, in the units of ``range``; subtracted.
        std: per channel; what is divided by.
        layout: order of the axes: batch, channels, time, height, width.
    """

    range: tuple[float, float]
    size: int = 112
    frames: int = 16
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layout: Layout = "BCTHW"

    def __post_init__(self) -> None:
        low, high = self.range
        if not low < high:
            raise UserError(f"target_model range [{low:g}, {high:g}]: write black first, then white, e.g. [0, 1]")
        if min(self.std) <= 0.0:
            raise UserError(f"target_model std {list(self.std)}: every deviation must be above 0")
        if self.size < 1 or self.frames < 1:
            raise UserError(f"target_model size {self.size}, frames {self.frames}: both must be above 0")

    def prepare(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to the network's input, differentiably.

        Raises:
            UserError: the clips have another number of frames.
        """
        check_frames(video, self.frames)
        low, high = self.range
        values = low + (resized(video, self.size, self.size) + 1.0) * 0.5 * (high - low)
        mean, std = (torch.tensor(v, device=video.device).view(3, 1, 1, 1) for v in (self.mean, self.std))
        standardised = (values - mean) / std
        return standardised if self.layout == "BCTHW" else standardised.transpose(1, 2)


@dataclass(frozen=True)
class Answer:
    """What a network says.

    Attributes:
        task: ``regression`` (one value per clip) or ``classification`` (one logit per label).
        labels: a classifier's class names, in the order of its logits.
        unit: a value's unit.
        scale: the training standard deviation of a value.
        bounds: the values that can be asked for; null for no bound.
    """

    task: Task
    labels: tuple[str, ...] = ()
    unit: str = ""
    scale: float = 1.0
    bounds: tuple[float | None, float | None] = (None, None)

    def __post_init__(self) -> None:
        if self.task == "classification" and (len(self.labels) < 2 or len(set(self.labels)) < len(self.labels)):
            raise UserError(f"target_model labels {list(self.labels)}: a classifier needs two or more different names")
        if self.task == "regression" and self.labels:
            raise UserError(
                f"target_model labels {list(self.labels)}: a regressor has none; write task: classification"
            )
        if not (isfinite(self.scale) and self.scale > 0.0):
            raise UserError(f"target_model scale {self.scale:g}: give the training standard deviation of the value")

    def read(self, output: Tensor, clips: int) -> Tensor:
        """Values ``(B,)`` or logits ``(B, K)`` of ``clips`` clips, in float32.

        Raises:
            UserError: the network's output has another shape.
        """
        if self.task == "regression" and output.shape in ((clips,), (clips, 1)):
            return output.reshape(clips).float()
        if self.task == "classification" and output.shape == (clips, len(self.labels)):
            return output.float()
        wanted = f"({clips}, {len(self.labels)})" if self.task == "classification" else f"({clips},) or ({clips}, 1)"
        raise UserError(
            f"the target model's output has shape {tuple(output.shape)}, a {self.task} answer {wanted}; correct the "
            "declared task and labels"
        )


class WrappedTarget(TargetModel):
    """A network behind a declared input and answer.

    Args:
        source: what messages call it: a file, an address, a class.
        takes: the clip it takes.
        answer: what it says.
    """

    def __init__(self, source: str, takes: ClipInput, answer: Answer) -> None:
        super().__init__()
        self.source, self.takes, self.answer = source, takes, answer
        self.task, self.labels, self.unit, self.scale = answer.task, answer.labels, answer.unit, answer.scale
        low, high = answer.bounds
        self.bounds = (float("-inf") if low is None else low, float("inf") if high is None else high)

    @abstractmethod
    def run(self, prepared: Tensor) -> Tensor:
        """The network itself, on its own input."""

    def forward(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to values ``(B,)`` or logits ``(B, K)``."""
        return self.answer.read(self.run(self.takes.prepare(video)), len(video))

    def check(self, clips: int = 2) -> None:
        """Run on plain clips of the declared size: whatever does not fit is told before any clip is edited.

        Raises:
            UserError: the network does not take the declared clip, or its answer is not the declared one.
        """
        shades = torch.linspace(-0.5, 0.5, clips).view(-1, 1, 1, 1, 1)
        plain = shades.repeat(1, 3, self.takes.frames, self.takes.size, self.takes.size)
        try:
            with torch.no_grad():
                self.eval()(plain)
        except UserError as error:
            raise UserError(f"{self.source}: {error}") from error
        except Exception as error:  # a foreign network may raise anything
            shape = tuple(self.takes.prepare(plain).shape)
            reason = " ".join(str(error).split())[:240]
            raise UserError(
                f"{self.source}: does not run on a {self.takes.layout} input of shape {shape} ({reason}); correct the "
                "declared layout, size and frames"
            ) from error


def check_frames(video: Tensor, frames: int) -> None:
    """Refuse clips of another length than the network was made for.

    Raises:
        UserError: ``video`` ``(B, 3, T, H, W)`` has not ``frames`` frames.
    """
    if video.shape[2] != frames:
        raise UserError(f"the target model takes {frames} frames, the clips have {video.shape[2]}; set data.frames")


def resized(video: Tensor, height: int, width: int) -> Tensor:
    """Clips ``(B, C, T, H, W)`` frame by frame to a size, bilinear with antialiasing; as they are if it is theirs."""
    if video.shape[-2:] == (height, width):
        return video
    frames = rearrange(video, "b c t h w -> (b t) c h w")
    frames = functional.interpolate(frames, size=(height, width), mode="bilinear", antialias=True)
    return rearrange(frames, "(b t) c h w -> b c t h w", b=len(video))
