"""Explaining a model from Python: a model, a backbone, a method; clips and targets in, explanations out."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.plugins.precision import MixedPrecision, Precision
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import default_collate

from lvcf.callbacks.progress import StepProgress
from lvcf.checks import check_choice
from lvcf.configuration import read_section
from lvcf.data.clip import Batch, Clip, to_clip, to_frames
from lvcf.data.video import Frames
from lvcf.data.video_folder import VideoFolderDataset
from lvcf.edits import Edit, make_edits
from lvcf.errors import UserError
from lvcf.explanation import Explanation, explained, failure
from lvcf.models.backbones.base import Backbone
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.wrapping import Answer, ClipInput
from lvcf.presets import DOMAINS, callbacks_of, method_label
from lvcf.sampler import Sampler, ask
from lvcf.sampling import SamplingCallback
from lvcf.settings import Settings
from lvcf.targets import parse_target

Model = TargetModel | nn.Module | Callable[[Tensor], Tensor] | str | Path
Video = NDArray[Any] | Tensor | str | Path
"""``(T, H, W, 3)`` uint8; ``(3, T, H, W)`` float in [-1, 1]; a video file, a DICOM file, a folder of pictures."""


@dataclass(frozen=True)
class Reading:
    """A clip, and what M says of it.

    Attributes:
        clip: as it is explained, ``(T, H, W, 3)`` uint8.
        says: a classifier's probabilities by class; a regressor's value by its unit.
    """

    clip: Frames
    says: dict[str, float]


class Explainer:
    """Makes counterfactual videos for a frozen model.

    ``explain`` gives the bits that ``lvcf predict`` gives with the same settings, clips, names and threads.

    Args:
        model: M: a :class:`~lvcf.models.targets.base.TargetModel`; a module or function of clips, or a file
            (``.pt2``, TorchScript, ONNX), of which ``takes`` and ``answer`` say what it reads and says; or the folder
            of a Hugging Face classifier.
        backbone: ``phantom``, ``face`` or ``motion`` (shipped weights with their configuration's settings), a
            backbone, or the folder, shipped name or hub id of one.
        method: one of :func:`lvcf.presets.methods`, or callbacks in the order in which they take part.
        takes: the clip that a module, function or file takes.
        answer: what it says.
        metadata: what the clips show, without what M reads; the neutral prompt.
        frames: of a clip that is read from a file.
        fps: frames per second at which a file is sampled; of arrays, what they have.
        size: height and width of the clip in pixels: the centre square, resized.
        precision: of the denoiser's passes, as Lightning names it: ``bf16-mixed`` or ``32-true``.
        device: where to compute; a GPU if there is one.
        progress: show the denoising steps.
        settings: of :class:`~lvcf.settings.Settings`; ``prompt`` is ``neutral`` if not given: M alone asks.

    Raises:
        UserError: a part does not load or contradicts another, or a setting is none.
    """

    def __init__(
        self,
        model: Model,
        backbone: str | Path | Backbone = "phantom",
        method: str | Iterable[SamplingCallback] = "full, n = 1",
        takes: ClipInput | None = None,
        answer: Answer | None = None,
        *,
        metadata: str = "",
        frames: int = 16,
        fps: float = 8.0,
        size: int = 112,
        precision: str = "bf16-mixed",
        device: str | torch.device | None = None,
        progress: bool = True,
        **settings: Any,
    ) -> None:
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        domain = backbone if isinstance(backbone, str) and backbone in DOMAINS else DOMAINS[0]
        shipped = read_section(f"{domain}.yaml", "predict")["model"]["init_args"]
        self.model = load_model(model, takes, answer).to(self.device)
        self.callbacks, changes = callbacks_of(method, domain)
        weights = {**shipped, **changes}["backbone"]["init_args"]
        self.backbone = _load_backbone(backbone, weights).to(self.device)
        changes = {name: value for name, value in changes.items() if name != "backbone"}
        self.settings = _settings(shipped, {"prompt": "neutral"} | changes | settings)
        self.metadata, self.frames, self.fps, self.size, self.progress = metadata, frames, fps, size, progress
        self.precision = _precision(precision, self.device)

    @property
    def method(self) -> str:
        """What the method is called: after what takes part in it."""
        return method_label(self.callbacks, self.settings.prompt)

    def read(self, clip: Video) -> Reading:
        """What M says of a clip before anything is asked.

        Raises:
            UserError: it is no clip, or M says no finite number.
        """
        batch = self._batch([clip], None, None)
        if batch["error"][0]:
            raise UserError(batch["error"][0])
        model = self.model.freeze()
        with torch.no_grad():
            output = ask(model, batch["video"])
        if not bool(output.isfinite().all()):
            raise UserError(f"{batch['id'][0]}: the target model's output is not a finite number; check its weights")
        return Reading(to_frames(batch["video"][0]), _says(model, output[0]))

    def explain(
        self,
        clip: Video | Sequence[Video],
        target: str | float,
        names: str | Sequence[str] | None = None,
        labels: Sequence[float] | None = None,
    ) -> Any:
        """What would have to be different for M to say ``target``.

        Args:
            clip: a clip, or a list of them, which are explained in one batch.
            target: ``30``, ``"delta:-10"``, ``"20..30"``, ``"other"``, a class's name ...
            names: the clips', on which their noise hangs; by default a file's name, or ``clip``, ``clip_1`` ...
            labels: the clips' own values or class indices, for ``target="label"``.

        Returns:
            An :class:`~lvcf.explanation.Explanation`, or a list of them.

        Raises:
            UserError: the target is none that M can say, or a clip is none.
        """
        alone = not isinstance(clip, list | tuple)
        batch = self._batch([clip] if alone else clip, [names] if isinstance(names, str) else names, labels)  # type: ignore[list-item,arg-type]
        sampler = Sampler(self.backbone, self.model, parse_target(_text(target), self.model), self.settings)
        sampler.use([*self.callbacks, *([StepProgress()] if self.progress else [])])
        with self.precision.predict_step_context():
            edits = {edit.id: edit for edit in make_edits(sampler, batch, {})}
        found = [
            self._explanation(batch, row, edits.get(name), sampler.request.text) for row, name in enumerate(batch["id"])
        ]
        return found[0] if alone else found

    def _explanation(self, batch: Batch, row: int, edit: Edit | None, asked: str) -> Explanation:
        if edit is None:
            found = failure(batch["id"][row], batch["error"][row], seed=self.settings.seed)
        else:
            known = {"fps": float(batch["fps"][row]), "label": float(batch["label"][row])}
            factual = to_frames(batch["video"][row])
            found = explained(edit, factual, self.model, self.method, seed=self.settings.seed, **known)
        return replace(found, run=self._run(asked))

    def _run(self, asked: str) -> dict[str, Any]:
        """What is the same for every clip of a run, for its manifest."""
        return {
            "seed": self.settings.seed,
            "target": asked,
            "tolerance": self.settings.tolerance,
            "prompt": self.settings.prompt,
            "method": self.method,
            "settings": self.settings.recorded(),
            "target_model": type(self.model).__name__,
            "backbone": type(self.backbone).__name__,
            "notice": [text for text in (self.backbone.notice,) if text],
        }

    def _batch(self, clips: Sequence[Video], names: Sequence[str] | None, labels: Sequence[float] | None) -> Batch:
        """Clips as a data loader would give them.

        Raises:
            UserError: there is none, names repeat, or there are not as many names or labels as clips.
        """
        for given, what in ((names, "names"), (labels, "labels")):
            if given is not None and len(given) != len(clips):
                raise UserError(f"{what}: {len(given)} for {len(clips)} clips; give one each")
        read = [self._clip(video, number) for number, video in enumerate(clips)]
        for number, clip in enumerate(read):
            clip["id"] = names[number] if names is not None else clip["id"]
            clip["label"] = labels[number] if labels is not None else clip["label"]
        ids = [clip["id"] for clip in read]
        if not ids or len({*ids}) < len(ids):
            raise UserError(f"clips {', '.join(ids) or '[]'}: give at least one, and each a name of its own")
        shapes = sorted({tuple(clip["video"].shape) for clip in read})
        if len(shapes) > 1:
            raise UserError(f"clips of shapes {' and '.join(map(str, shapes))}: explain them one by one")
        batch: Batch = default_collate(read)
        batch["video"] = batch["video"].to(self.device)
        return batch

    def _clip(self, video: Video, number: int) -> Clip:
        if isinstance(video, str | Path):
            read = VideoFolderDataset(
                Path(video), self.metadata, self.frames, self.fps, self.size, frame_folder_fps=self.fps
            )
            return read[0]
        return {
            "video": _as_clip(video, self.size),
            "id": f"clip_{number}" if number else "clip",
            "label": math.nan,
            "prompt": self.metadata,
            "neutral_prompt": self.metadata,
            "fps": self.fps,
            "error": "",
            "treatment": "",
        }


class FunctionModel(nn.Module):
    """A function of clips as a module."""

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, clips: Tensor) -> Tensor:
        """What the function says of them."""
        return self.function(clips)


def load_model(model: Model, takes: ClipInput | None, answer: Answer | None) -> TargetModel:
    """The model to explain, whatever it is given as; see :class:`Explainer`.

    Raises:
        UserError: it does not load, or ``takes`` and ``answer`` are missing.
    """
    if isinstance(model, TargetModel):
        return model
    if isinstance(model, str | Path) and Path(model).is_dir():
        from lvcf.models.targets.video_classifier import video_classifier  # transformers takes seconds to load

        return video_classifier(str(model))
    if takes is None or answer is None:
        raise UserError(
            "takes, answer: missing; a module, function or file does not say what it reads and says: "
            'lvcf.ClipInput(range=(0, 1)), lvcf.Answer("classification", labels=("a", "b"))'
        )
    if isinstance(model, str | Path):
        return _from_file(Path(model), takes, answer)
    from lvcf.models.targets.exported import ModuleTarget

    return ModuleTarget(model if isinstance(model, nn.Module) else FunctionModel(model), takes, answer)


def _from_file(path: Path, takes: ClipInput, answer: Answer) -> TargetModel:
    if path.suffix == ".onnx":
        from lvcf.models.targets.black_box import OnnxTarget  # asks for the extra onnx

        return OnnxTarget(path, takes, answer)
    from lvcf.models.targets.exported import ExportedTarget

    return ExportedTarget(path, takes, answer)


def _load_backbone(backbone: str | Path | Backbone, shipped: dict[str, str]) -> Backbone:
    """A domain's own weights, a folder of the small ones, or any family's."""
    if isinstance(backbone, Backbone):
        return backbone
    from lvcf.models.backbones.load import load_backbone
    from lvcf.models.backbones.ltx import ltx_backbone

    if backbone in DOMAINS:
        return ltx_backbone(**shipped)  # type: ignore[arg-type]  # a table of words is in no shipped configuration
    return load_backbone(str(backbone))


def _settings(shipped: dict[str, Any], changes: dict[str, Any]) -> Settings:
    """A configuration's settings, changed.

    Raises:
        UserError: there is no such setting.
    """
    known = Settings.__dataclass_fields__
    for name in changes:
        if name not in known:
            raise UserError(f"{name}: no setting of Explainer; choose of {', '.join(known)}")
    return Settings(**{name: value for name, value in (shipped | changes).items() if name in known})


def _precision(name: str, device: torch.device) -> Precision:
    """Lightning's own plugin, so that bits are those of ``lvcf predict``.

    Raises:
        UserError: it is neither of the two.
    """
    check_choice("precision", name, ("bf16-mixed", "32-true"))
    return MixedPrecision("bf16-mixed", device.type) if name == "bf16-mixed" else Precision()


def _says(model: TargetModel, output: Tensor) -> dict[str, float]:
    """One clip's output in words and numbers."""
    if model.task == "regression":
        return {model.unit: float(output)}
    shares = output.sigmoid() if model.multi_label else output.softmax(0)
    return dict(zip(model.labels, shares.tolist(), strict=True))


def _text(target: str | float) -> str:
    return target if isinstance(target, str) else f"{target:.12g}"


def _as_clip(video: NDArray[Any] | Tensor, size: int) -> Tensor:
    """An array as a clip.

    Raises:
        UserError: its shape, type or range is none of a clip's.
    """
    values = torch.as_tensor(np.asarray(video)) if not isinstance(video, Tensor) else video.detach().cpu()
    shape = tuple(values.shape)
    if values.dtype == torch.uint8 and values.dim() == 4 and shape[-1] == 3:
        return to_clip(values.numpy(), size)
    if values.is_floating_point() and values.dim() == 4 and shape[0] == 3:
        if not bool((values.abs() <= 1.0).all()):
            raise UserError("clip: floats outside [-1, 1]; scale them: black is -1, white is 1")
        if shape[2:] != (size, size):
            raise UserError(f"clip: frames of {shape[3]}x{shape[2]}, not {size}x{size}; resize them, or set size")
        return values.float()
    raise UserError(
        f"clip: {values.dtype} of shape {shape}; give uint8 (T, H, W, 3), floats (3, T, H, W) in [-1, 1], or a path"
    )
