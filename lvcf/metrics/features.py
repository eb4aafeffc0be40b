"""What FID, KID and FVD compare clips by: a network's features, of frames or of whole clips."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from einops import rearrange, repeat
from torch import Tensor, nn
from torchmetrics.image.fid import NoTrainInceptionV3
from transformers import VideoMAEModel

from lvcf.errors import UserError
from lvcf.metrics.unavailable import UnavailableError
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.checkpoint import read_weights
from lvcf.models.targets.graphs import load_graph
from lvcf.models.targets.video_classifier import preprocessing_of

FORMS = "inception:FILE, i3d:FILE, videomae:FOLDER, module:PACKAGE.CLASS, oracle or oracle-frames"


class FeatureExtractor(Protocol):
    """Any ``nn.Module`` with a name.

    Attributes:
        name: what keys of metrics call it; tells the weights apart from others of the same build.
        of_frames: whether it has features of every frame (FID, KID), or of a whole clip (FVD).
    """

    name: str
    of_frames: bool

    def __call__(self, video: Tensor, /) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to ``(B * T, D)``, or of whole clips ``(B, D)``."""


class InceptionFeatures(nn.Module):
    """The 2048 pooled features of FID's own Inception v3 (weights and resizing of 2015), by torch-fidelity.

    Args:
        path: ``weights-inception-2015-12-05-6726825d.pth``.

    Raises:
        UnavailableError: torch-fidelity is not installed.
        UserError: the file is missing or holds other weights.
    """

    name = "inception2015"
    of_frames = True

    def __init__(self, path: Path) -> None:
        super().__init__()
        read_weights(path)  # torch-fidelity would unpickle anything
        try:
            self.network = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(path), antialias=False)
        except ModuleNotFoundError as error:
            raise UnavailableError("Inception needs torch-fidelity: pip install 'lvcf[fid]'") from error
        except RuntimeError as error:
            raise UserError(f"{path}: no weights of FID's Inception v3; give torch-fidelity's own file") from error

    def forward(self, video: Tensor) -> Tensor:
        """``(B * T, 2048)``."""
        levels = ((video.clamp(-1, 1) + 1.0) * 127.5).round().to(torch.uint8)
        features: Tensor = self.network(rearrange(levels, "b c t h w -> (b t) c h w"))
        return features


class I3DFeatures(nn.Module):
    """The 400 logits of the I3D that FVD (Unterthiner et al. 2018) is published with, as TorchScript.

    Args:
        path: ``i3d_torchscript.pt``; called with ``rescale``, ``resize`` and ``return_features``.

    Raises:
        UserError: the file is missing or no such graph.
    """

    name = "i3d"
    of_frames = False
    fewest = 10
    """Frames below which its temporal strides leave nothing."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path, self.graph = path, load_graph(path)

    def forward(self, video: Tensor) -> Tensor:
        """``(B, 400)``.

        Raises:
            UserError: the clips are too short, or the graph takes no such call.
        """
        if video.shape[2] < self.fewest:
            raise UserError(f"{self.path}: I3D needs {self.fewest} frames, the clips have {video.shape[2]}")
        try:
            features: Tensor = self.graph((video + 1.0) * 127.5, rescale=True, resize=True, return_features=True)
        except RuntimeError as error:
            raise UserError(f"{self.path}: is not called as FVD's i3d_torchscript.pt; wrap it: module:") from error
        return features


class VideoMAEFeatures(nn.Module):
    """The mean token of a VideoMAE encoder's last layer (Tong et al. 2022).

    Args:
        folder: of a model and its processor, or a hub id.

    Raises:
        UserError: it does not load.
    """

    of_frames = False

    def __init__(self, folder: str) -> None:
        super().__init__()
        self.preprocessing = preprocessing_of(folder)
        try:
            self.network = VideoMAEModel.from_pretrained(folder)
        except Exception as error:  # transformers, safetensors and pickle raise their own
            raise UserError(f"{folder}: no VideoMAE loads ({' '.join(str(error).split())[:200]})") from error
        self.name, self.frames = f"videomae-{Path(folder).name}", int(self.network.config.num_frames)

    def forward(self, video: Tensor) -> Tensor:
        """``(B, D)``.

        Raises:
            UserError: the clips have another number of frames.
        """
        if video.shape[2] != self.frames:
            raise UserError(f"{self.name}: takes {self.frames} frames, the clips have {video.shape[2]}")
        features: Tensor = self.network(self.preprocessing(video)).last_hidden_state.mean(dim=1)
        return features


class LastLayerInput(nn.Module):
    """What the last linear layer of a model reads: its features, one row per clip.

    Args:
        model: any target model or oracle.
        name: for keys.
        of_frames: give every frame, as a clip that stands still.
    """

    def __init__(self, model: TargetModel, name: str, of_frames: bool) -> None:
        super().__init__()
        linear = [module for module in model.modules() if isinstance(module, nn.Linear)]
        if not linear:
            raise UserError(f"{name}: has no linear layer whose input could be its features; use module:")
        self.model, self.name, self.of_frames = model, name, of_frames
        self.read: list[Tensor] = []
        linear[-1].register_forward_pre_hook(lambda _, inputs: self.read.append(inputs[0]))

    def forward(self, video: Tensor) -> Tensor:
        """``(B, D)``, or ``(B * T, D)``."""
        if self.of_frames:
            video = repeat(video, "b c t h w -> (b t) c n h w", n=video.shape[2])
        self.read.clear()
        self.model(video)
        return self.read.pop().flatten(1)


def load_extractor(text: str, oracle: TargetModel | None) -> FeatureExtractor:
    """An extractor from what the command line names it by.

    Args:
        text: one of :data:`FORMS`.
        oracle: what ``oracle`` stands for.

    Raises:
        UserError: no such form, or it does not load.
        UnavailableError: it needs something that is not there.
    """
    kind, _, where = text.partition(":")
    if kind in ("oracle", "oracle-frames"):
        if oracle is None:
            raise UnavailableError("the run has no oracle")
        return _frozen(LastLayerInput(oracle, f"{type(oracle).__name__}-{kind}", kind == "oracle-frames"))
    if kind not in ("inception", "i3d", "videomae", "module") or not where:
        raise UserError(f"--features {text}: write {FORMS}")
    if kind == "module":
        return _frozen(_module(where))
    if kind == "videomae":
        return _frozen(VideoMAEFeatures(where))
    return _frozen(InceptionFeatures(Path(where)) if kind == "inception" else I3DFeatures(Path(where)))


def _module(class_path: str) -> nn.Module:
    """An ``nn.Module`` of the user's own, made without arguments; of whole clips unless it says ``of_frames``."""
    package, _, name = class_path.rpartition(".")
    sys.path.append(str(Path.cwd()))  # a user's own module lies where the command is typed
    try:
        made = getattr(importlib.import_module(package), name)()
    except Exception as error:  # a user's own code may raise anything
        told = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        raise UserError(f"--features module:{class_path}: does not load ({told}); give PACKAGE.CLASS") from error
    if not isinstance(made, nn.Module):
        raise UserError(f"--features module:{class_path}: is no torch.nn.Module")
    extractor: Any = made
    extractor.name, extractor.of_frames = getattr(made, "name", name), getattr(made, "of_frames", False)
    return made


def _frozen(module: nn.Module) -> FeatureExtractor:
    return cast(FeatureExtractor, module.eval().requires_grad_(False))
