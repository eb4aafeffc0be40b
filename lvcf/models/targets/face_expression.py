"""The seven-class face expression network of npm's ``@vladmandic/face-api`` (MIT), read from its published weights.

Four blocks of four convolutions with sums in between, all but the first depthwise separable; the classifier reads the
mean over the last 7 x 7 places.  The weights are TensorFlow.js files: a manifest (names, shapes, the scale and offset
of what is stored in 8 bits) and the numbers.  ``python -m lvcf.models.targets.face_expression FROM TO`` turns them
into one safetensors file.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from lvcf.configuration import find_weights
from lvcf.errors import UserError
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.checkpoint import fill

LABELS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
SIZE = 112
MEAN_LEVEL = (122.782, 117.001, 104.298)
"""Of red, green and blue in 0..255; subtracted before dividing by 255."""
Box = tuple[float, float, float, float]
WHOLE: Box = (0.0, 0.0, 1.0, 1.0)
WIDTHS = (32, 64, 128, 256)
MANIFEST = "face_expression_model-weights_manifest.json"
PUBLISHED = "the model/ folder of npm's @vladmandic/face-api"
STORED: dict[str, np.dtype[Any]] = {"uint8": np.dtype("u1"), "float32": np.dtype("<f4")}
KINDS: dict[str, tuple[str, tuple[int, ...]]] = {
    "filters": ("weight", (3, 2, 0, 1)),
    "depthwise_filter": ("depthwise.weight", (2, 3, 0, 1)),
    "pointwise_filter": ("pointwise.weight", (3, 2, 0, 1)),
    "weights": ("weight", (1, 0)),
    "bias": ("bias", (0,)),
}
"""What TensorFlow.js calls a tensor, what it is called here, and its axes in PyTorch's order."""


class Convolution(nn.Conv2d):
    """3 x 3 with TensorFlow's ``same`` padding: at stride 2 an even side is padded behind only."""

    def __init__(self, channels_in: int, channels_out: int, stride: int, groups: int = 1, bias: bool = True) -> None:
        super().__init__(channels_in, channels_out, 3, stride, groups=groups, bias=bias)
        self.edges = (0, 1, 0, 1) if stride == 2 else (1, 1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D, H / stride, W / stride)``."""
        result: Tensor = super().forward(functional.pad(x, self.edges))
        return result


class Separable(nn.Module):
    """Every channel by itself, then across the channels."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.depthwise = Convolution(channels_in, channels_in, stride, groups=channels_in, bias=False)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D, H / stride, W / stride)``."""
        result: Tensor = self.pointwise(self.depthwise(x)) + self.bias.view(-1, 1, 1)
        return result


class Block(nn.Module):
    """Halves the side; each later convolution reads, rectified, the sum of all results before it."""

    def __init__(self, channels_in: int, channels_out: int, first: bool) -> None:
        super().__init__()
        self.conv0: nn.Module = (Convolution if first else Separable)(channels_in, channels_out, 2)
        self.conv1 = Separable(channels_out, channels_out, 1)
        self.conv2 = Separable(channels_out, channels_out, 1)
        self.conv3 = Separable(channels_out, channels_out, 1)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, D, H / 2, W / 2)``."""
        total: Tensor = self.conv0(x).relu()
        for convolution in (self.conv1, self.conv2, self.conv3):
            total = total + convolution(total.relu())
        return total.relu()


class FaceExpressionNetwork(nn.Module):
    """Standardised faces ``(B, 3, 112, 112)`` to logits ``(B, 7)``."""

    def __init__(self) -> None:
        super().__init__()
        self.dense0 = Block(3, WIDTHS[0], first=True)
        self.dense1 = Block(WIDTHS[0], WIDTHS[1], first=False)
        self.dense2 = Block(WIDTHS[1], WIDTHS[2], first=False)
        self.dense3 = Block(WIDTHS[2], WIDTHS[3], first=False)
        self.fc = nn.Linear(WIDTHS[3], len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        places = self.dense3(self.dense2(self.dense1(self.dense0(x))))
        logits: Tensor = self.fc(places.mean((2, 3)))
        return logits


class FaceExpression(TargetModel):
    """The network on every frame of clips of one face; the clip's logits are the mean over its frames.

    The face's box is cut out, padded with black to a square and resized without antialiasing, as face-api does with
    tensors.  face-api looks for the box in every frame; here it is given, and stays where it is.

    Args:
        box: left, top, right and bottom of the face as shares of the clip's width and height.

    Raises:
        UserError: that is no box inside the clip.
    """

    task = "classification"
    labels = LABELS
    mean: Tensor

    def __init__(self, box: Box = WHOLE) -> None:
        super().__init__()
        self.box = checked(box, "target_model box")
        self.network = FaceExpressionNetwork()
        self.register_buffer("mean", torch.tensor(MEAN_LEVEL).view(3, 1, 1), False)

    def forward(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1], any T and size, to logits ``(B, 7)``."""
        each: Tensor = self.network(standardised(video, self.box, self.mean))
        return rearrange(each.to(video), "(b t) k -> b t k", b=len(video)).mean(1)


def checked(box: Box, what: str) -> Box:
    """A box, if it is one.

    Raises:
        UserError: it does not lie inside the clip.
    """
    left, top, right, bottom = box
    if not (0.0 <= left < right <= 1.0 and 0.0 <= top < bottom <= 1.0):
        raise UserError(f"{what} {list(box)}: write left, top, right, bottom as shares, e.g. {list(WHOLE)}")
    return box


def standardised(video: Tensor, box: Box, mean: Tensor) -> Tensor:
    """Every frame's face as face-api's networks read it: ``(B, 3, T, H, W)`` to ``(B * T, 3, 112, 112)``."""
    left, top, right, bottom = box
    height, width = video.shape[-2:]
    rows = slice(math.floor(top * height), math.ceil(bottom * height))
    cut = video[..., rows, math.floor(left * width) : math.ceil(right * width)]
    return (fitted(rearrange((cut + 1.0) * 127.5, "b c t h w -> (b t) c h w")) - mean) / 255.0


def fitted(frames: Tensor) -> Tensor:
    """Frames ``(B, 3, H, W)`` of levels 0..255 to ``(B, 3, 112, 112)``: padded to a square with 0, then resized."""
    height, width = frames.shape[-2:]
    side = max(height, width)
    down, across = side - height, side - width
    edges = (across // 2, across - across // 2, down // 2, down - down // 2)
    square = functional.pad(frames, edges)
    if side == SIZE:
        return square
    rows = _interpolation(side).to(square)
    resized: Tensor = rows @ square @ rows.T
    return resized


def face_expression(weights: str, box: Box = WHOLE) -> FaceExpression:
    """Load the published files from their folder, or a safetensors file made of them.

    Raises:
        UserError: files are missing or damaged, or hold another network's weights; the box is none.
    """
    model, path = FaceExpression(box), Path(weights)
    if path.suffix == ".safetensors":
        fill(model.network, _read_safetensors(path), path)
        return model
    try:
        manifest = find_weights(weights) / MANIFEST
    except UserError as error:
        raise UserError(f"{weights}: neither a folder nor a .safetensors file; give {PUBLISHED}") from error
    fill(model.network, read_published(manifest, "the expression network"), manifest)
    return model


def convert(source: str, destination: Path) -> None:
    """Write the published weights as one safetensors file in float32.

    Raises:
        UserError: see :func:`face_expression`, or the destination has another suffix.
    """
    if destination.suffix != ".safetensors":
        raise UserError(f"{destination}: the converted weights are a safetensors file; end its name with .safetensors")
    weights = face_expression(source).network.state_dict()
    destination.parent.mkdir(parents=True, exist_ok=True)
    save_file(weights, destination, metadata={"format": "pt", "origin": "npm @vladmandic/face-api, MIT licence"})


def _interpolation(side: int) -> Tensor:
    """Linear interpolation as a matrix ``(112, side)``: pixel i is read at i side / 112, the corners being pixel 0."""
    place = torch.arange(SIZE, dtype=torch.float64) * side / SIZE
    low = place.long()
    rows, share = torch.arange(SIZE), place - low
    matrix = torch.zeros(SIZE, side, dtype=torch.float64)
    matrix[rows, low] = 1.0 - share
    matrix[rows, (low + 1).clamp(max=side - 1)] += share
    return matrix


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except FileNotFoundError as error:
        raise UserError(
            f"{path}: not found; make it from {PUBLISHED} with python -m lvcf.models.targets.face_expression"
        ) from error
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path}: no safetensors file ({' '.join(str(error).split())}); copy it again") from error


def read_published(manifest: Path, network: str) -> dict[str, Tensor]:
    """The tensors that a TensorFlow.js manifest names, in float32, under their names and in their shapes here.

    Raises:
        UserError: files are missing or damaged, or are no ``network``'s.
    """
    try:
        groups = json.loads(manifest.read_text())
        entries = [entry for group in groups for entry in group["weights"]]
        files = [manifest.with_name(name) for group in groups for name in group["paths"]]
        sizes = [math.prod(entry["shape"]) * _stored(entry).itemsize for entry in entries]
        content = b"".join(file.read_bytes() for file in files)
        if len(content) != sum(sizes):
            names = ", ".join(str(file) for file in files)
            raise UserError(f"{names}: {len(content)} bytes, the manifest asks for {sum(sizes)}; copy both files again")
        ends = np.cumsum(sizes)
        return dict(_tensor(e, content[end - size : end]) for e, size, end in zip(entries, sizes, ends, strict=True))
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: not found; give {PUBLISHED}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{manifest}: no manifest of {network} ({reason}); give {PUBLISHED}") from error


def _tensor(entry: dict[str, Any], content: bytes) -> tuple[str, Tensor]:
    """One tensor's name and values."""
    name, _, kind = entry["name"].rpartition("/")
    ending, axes = KINDS[kind]
    levels = entry.get("quantization", {"scale": 1.0, "min": 0.0})
    values = np.frombuffer(content, _stored(entry)).astype(np.float64) * levels["scale"] + levels["min"]
    array = np.ascontiguousarray(values.astype(np.float32).reshape(entry["shape"]).transpose(axes))
    return f"{name.replace('/', '.')}.{ending}", torch.from_numpy(array)


def _stored(entry: dict[str, Any]) -> np.dtype[Any]:
    return STORED[entry.get("quantization", entry)["dtype"]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m lvcf.models.targets.face_expression")
    parser.add_argument("source", metavar="FROM", help=PUBLISHED)
    parser.add_argument("destination", metavar="TO", type=Path, help="the .safetensors file to write")
    arguments = parser.parse_args()
    try:
        convert(arguments.source, arguments.destination)
    except UserError as error:
        sys.exit(f"face_expression: {error}")
