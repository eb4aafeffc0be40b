"""What a network that is not lvcf's own declares, the clip it takes and its answer, checked before it is used."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal, get_args

import torch
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from lvcf.checks import check_choice
from lvcf.errors import UserError
from lvcf.models.targets.base import TargetModel, Task
from lvcf.models.targets.check import MisfitError, check_target
from lvcf.models.targets.outputs import chosen, heads

Layout = Literal["BCTHW", "BTCHW", "BTHWC"]
AXES = {"BCTHW": "b c t h w", "BTCHW": "b t c h w", "BTHWC": "b t h w c"}
Gives = Literal["logits", "probabilities", "multi-label"]
Batch = tuple[int, int]
"""The fewest and the most clips that a network takes at once."""
ANY: Batch = (1, sys.maxsize)
ONE: Batch = (1, 1)
OFF_ONE = 0.02
"""How far from 1 a row of probabilities may sum, which may have been rounded."""


@dataclass(frozen=True)
class ClipInput:
    """The clip a network takes.

    Attributes:
        range: what black and white are, before standardising: ``[0, 1]``, ``[0, 255]`` or ``[-1, 1]``.
        size: height and width in pixels, or one number for both; clips of another size are resized (bilinear, with
            antialiasing), a square to a rectangle by stretching.
        frames: frames per clip.
        mean: per channel, in the units of ``range``; subtracted.
        std: per channel; what is divided by.
        layout: order of the axes: batch, channels, time, height, width.

    Raises:
        UserError: a number is out of its range.
    """

    range: tuple[float, float]
    size: int | tuple[int, int] = 112
    frames: int = 16
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    layout: Layout = "BCTHW"

    def __post_init__(self) -> None:
        low, high = self.range
        if not (low < high and isfinite(high - low)):
            raise UserError(f"target_model range [{low:g}, {high:g}]: write black first, then white, e.g. [0, 1]")
        if not all(isfinite(value) for value in self.mean):
            raise UserError(f"target_model mean {list(self.mean)}: every mean must be a number")
        if not all(isfinite(value) and value > 0.0 for value in self.std):
            raise UserError(f"target_model std {list(self.std)}: every deviation must be above 0")
        if min(*self.shape, self.frames) < 1:
            raise UserError(f"target_model size {self.size}, frames {self.frames}: all must be above 0")
        check_choice("target_model layout", self.layout, list(AXES))

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size

    def prepare(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to the network's input, differentiably.

        Raises:
            UserError: the clips have another number of frames.
        """
        check_frames(video, self.frames)
        low, high = self.range
        values = low + (resized(video, *self.shape) + 1.0) * 0.5 * (high - low)
        mean, std = (torch.tensor(v, device=video.device).view(3, 1, 1, 1) for v in (self.mean, self.std))
        return rearrange((values - mean) / std, f"{AXES['BCTHW']} -> {AXES[self.layout]}")


@dataclass(frozen=True)
class Answer:
    """What a network says.

    Attributes:
        task: ``regression`` (one value per clip) or ``classification`` (one number per label).
        labels: a classifier's class names, in the order of its output.
        unit: a value's unit.
        scale: the training standard deviation of a value.
        bounds: the values that can be asked for; null for no bound.
        gives: a classifier's numbers: ``logits`` of classes that exclude each other, their ``probabilities``, or
            ``multi-label``, logits of labels that do not.
        output: of a model that returns several, the name of the one that is explained: a key, a field, or the place in
            a tuple.

    Raises:
        UserError: these contradict each other, or a number is out of its range.
    """

    task: Task
    labels: tuple[str, ...] = ()
    unit: str = ""
    scale: float = 1.0
    bounds: tuple[float | None, float | None] = (None, None)
    gives: Gives = "logits"
    output: str = ""

    def __post_init__(self) -> None:
        if self.task not in get_args(Task) or self.gives not in get_args(Gives):
            known = ", ".join((*get_args(Task), *get_args(Gives)))
            raise UserError(f"target_model answer task {self.task}, gives {self.gives}: choose of {known}")
        if self.task == "classification" and (len(self.labels) < 2 or len(set(self.labels)) < len(self.labels)):
            raise UserError(f"target_model labels {list(self.labels)}: a classifier needs two or more different names")
        if self.task == "regression" and self.labels:
            raise UserError(
                f"target_model labels {list(self.labels)}: a regressor has none; write task: classification"
            )
        if self.task == "regression" and self.gives != "logits":
            raise UserError(f"target_model gives {self.gives}: a regressor gives its value; leave gives out")
        if not (isfinite(self.scale) and self.scale > 0.0):
            raise UserError(f"target_model scale {self.scale:g}: give the training standard deviation of the value")
        if not self.edges[0] < self.edges[1]:
            raise UserError(f"target_model bounds {list(self.bounds)}: write the lower one first, null for no bound")

    @property
    def edges(self) -> tuple[float, float]:
        """The bounds as numbers."""
        low, high = self.bounds
        return (float("-inf") if low is None else low, float("inf") if high is None else high)

    def declare(self, model: TargetModel) -> None:
        """Tell a model what it says."""
        model.task, model.labels, model.unit, model.scale = self.task, self.labels, self.unit, self.scale
        model.bounds, model.multi_label = self.edges, self.gives == "multi-label"
        model.output = self.output

    def read(self, returned: object, clips: int) -> Tensor:
        """Values ``(B,)`` or logits ``(B, K)`` of ``clips`` clips, in float32; probabilities become their logarithms.

        Raises:
            UserError: what the network returned is of another kind, has another shape, or no output of that name.
        """
        output = chosen(returned, self.output)
        if self.task == "regression" and output.shape in ((clips,), (clips, 1)):
            return output.reshape(clips).float()
        if self.task == "classification" and output.shape == (clips, len(self.labels)):
            return self._logarithms(output.float()) if self.gives == "probabilities" else output.float()
        wanted, fix = f"({clips},) or ({clips}, 1)", "correct the declared task and labels"
        if self.task == "classification":
            wanted = f"({clips}, {len(self.labels)})"
            if output.numel() == clips:
                fix = "declare task: regression, or return two logits, 0 and this one, if it is the logit of yes or no"
        which = f"output {self.output}" if self.output else "output"
        raise MisfitError(
            f"the target model's {which} has shape {tuple(output.shape)}, a {self.task} answer {wanted}; {fix}"
        )

    def _logarithms(self, rows: Tensor) -> Tensor:
        """Their softmax is the probabilities themselves."""
        off = torch.maximum((rows.sum(1) - 1.0).abs(), -rows.amin(1)).max().detach()
        if float(off) > OFF_ONE:
            raise MisfitError(
                f"declared probabilities, but a row sums to {float(rows.detach().sum(1)[0]):.4g} or has a number below "
                "0; declare answer.gives: logits or multi-label"
            )
        return rows.clamp(min=torch.finfo(rows.dtype).tiny).log()


class WrappedTarget(TargetModel):
    """A network behind a declared input and answer.

    Args:
        source: what messages call it: a file, an address, a class.
        takes: the clip it takes.
        answer: what it says.
        batches: how many clips it may take at once; the first that works is used.
    """

    def __init__(self, source: str, takes: ClipInput, answer: Answer, batches: Sequence[Batch] = (ANY, ONE)) -> None:
        super().__init__()
        self.source, self.takes, self.answer = source, takes, answer
        self.batches, self.batch = tuple(batches), batches[0]
        answer.declare(self)

    @abstractmethod
    def run(self, prepared: Tensor) -> object:
        """What the network itself returns for as many inputs as it takes at once: a tensor, or several by name."""

    def forward(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to values ``(B,)`` or logits ``(B, K)``."""
        return self.read(self.takes.prepare(video))

    def read(self, prepared: Tensor) -> Tensor:
        """The answers to inputs, asked for in batches that the network takes."""
        return torch.cat([self.answer.read(returned, clips)[:kept] for returned, clips, kept in self._parts(prepared)])

    def _parts(self, prepared: Tensor) -> Iterator[tuple[object, int, int]]:
        """What the network returns for a part, of how many clips, and how many of them count: the rest are copies."""
        least, most = self.batch
        for part in torch.split(prepared, most):
            lack = max(least - len(part), 0)
            filled = torch.cat([part, part[-1:].expand(lack, *part.shape[1:])]) if lack else part
            yield self.run(filled), len(filled), len(part)

    def other_outputs(self, video: Tensor) -> dict[str, Tensor]:
        """See the base class."""
        if not (self.answer.output and self.differentiable):
            return {}
        found = [
            {name: head[:kept].float() for name, head in heads(returned, clips).items() if name != self.answer.output}
            for returned, clips, kept in self._parts(self.takes.prepare(video))
        ]
        return {name: torch.cat([part[name] for part in found]) for name in found[0]}

    def described(self, clips: Tensor) -> tuple[str, str]:
        """See the base class."""
        fix = "the declared layout, size and frames, or export it for any number of clips"
        return f"a {self.takes.layout} input of shape {tuple(self.takes.prepare(clips).shape)}", fix

    def check(self) -> None:
        """Run on made-up clips of the declared size: whatever does not fit is told before any clip is edited.

        Raises:
            UserError: see :func:`lvcf.models.targets.check.check_target`.
        """
        problem: MisfitError | None = None
        for batch in self.batches:
            self.batch = batch
            try:
                return check_target(self.eval(), (self.takes.frames, *self.takes.shape))
            except MisfitError as error:
                problem = problem or error
        if problem is not None:
            raise problem


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
