"""Asking the explained model again: which voxels change its mind (COUT), and whether its answer survives."""

from __future__ import annotations

import math
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from torch import Tensor

from lvcf.data.clip import round_to_8_bits, to_clip
from lvcf.data.video import Frames, read_video, write_preview
from lvcf.errors import UserError, cause_of
from lvcf.files import Json, damaged, write_json
from lvcf.guidance.goal import Goal, make_goal
from lvcf.measure.clip import clips_of
from lvcf.measure.summary import TRANSITION, VALIDITY
from lvcf.measure.table import Line
from lvcf.metrics.transition import Read, area, cout, follow, progress
from lvcf.models.targets.base import TargetModel
from lvcf.noise import sample_generator
from lvcf.runs.folder import Prediction, read_configuration


def load_target_model(run: Path) -> TargetModel:
    """The model that a run explains, from its ``config.yaml``.

    Raises:
        UserError: the run kept no configuration, or the model does not load.
    """
    path = run / "config.yaml"
    content = read_configuration(run)
    if not content:
        raise UserError(f"{path}: not there or empty; --with-model needs the configuration that lvcf predict keeps")
    try:
        asked = content["model"]["init_args"]["target_model"]
    except (LookupError, TypeError) as error:
        raise damaged(path, "no model.init_args.target_model") from error
    sys.path.append(str(Path.cwd()))  # a user's own model lies where the command is typed
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--target_model", type=TargetModel)
    try:
        parsed = parser.parse_object({"target_model": asked})
        model: TargetModel = parser.instantiate(parsed).target_model
    except Exception as error:  # the parser's, or a user's own class's, which may raise anything
        cause = cause_of(error)
        if isinstance(cause, UserError):
            raise cause from error
        raise UserError(f"{path}: its target_model does not load ({' '.join(str(error).split())[:300]})") from error
    return model.freeze()


@torch.no_grad()
def ask_again(prediction: Prediction, model: TargetModel, tolerance: float) -> Line:
    """COUT, insertion and deletion of one clip, and whether it stays valid; writes ``transition.json``.

    NaN of a clip that M read as its target from the start (nothing to turn), or that missed it (nothing to keep).
    """
    result = prediction.result
    goal = make_goal([(result["target"]["low"], result["target"]["high"])], model, tolerance)
    return _transition(prediction, model, goal) | _validity(prediction, model, goal)


def _transition(prediction: Prediction, model: TargetModel, goal: Goal) -> Line:
    result, (final, factual) = prediction.result, clips_of(prediction)
    before = goal.reading(model(factual[None]))
    if _there_already(result, before, goal):
        return dict.fromkeys(TRANSITION, math.nan)
    curves = follow(factual, final, reader(model, goal, result, float(before)))
    told = {"insertion": curves.target, "insertion_original": curves.original, "deletion": curves.deleted}
    write_json(prediction.folder / "transition.json", {name: curve.tolist() for name, curve in told.items()})
    values = (cout(curves.target, curves.original), area(curves.target), area(curves.deleted))
    return dict(zip(TRANSITION, values, strict=True))


def _there_already(result: Json, before: Tensor, goal: Goal) -> bool:
    """Whether M's first reading was the target."""
    if goal.classification:
        return bool(result["class_before"] == result["target"]["text"])
    return bool(goal.loss(before)[0] == 0.0)


def reader(model: TargetModel, goal: Goal, result: Json, before: float) -> Read:
    """How much M says the target, and how much what it said before, both in [0, 1]; see :mod:`lvcf.metrics.transition`.

    Args:
        model: M.
        goal: of one clip.
        result: its ``result.json``.
        before: a regressor's reading of the factual clip.
    """

    def of_class(video: Tensor) -> tuple[Tensor, Tensor]:
        probabilities = goal.probabilities(model(video))
        places = int(goal.low), model.labels.index(result["class_before"])
        return probabilities[:, places[0]], probabilities[:, places[1]]

    def of_value(video: Tensor) -> tuple[Tensor, Tensor]:
        come = progress(model(video), before, float(goal.low), float(goal.high))
        return come, 1.0 - come

    return of_class if goal.classification else of_value


def _validity(prediction: Prediction, model: TargetModel, goal: Goal) -> Line:
    if prediction.status != "reached":
        return dict.fromkeys(VALIDITY, math.nan)
    frames = prediction.counterfactual()
    size = frames.shape[1]
    noise = sample_generator(int(prediction.result["seed"]), f"robustness:{prediction.id}")
    changed: tuple[Any, ...] = (
        to_clip(reencoded(frames, prediction.result["fps"]), size),
        perturbed(to_clip(frames, size), noise),
    )
    return {name: float(goal.reached(model(video[None]))[0]) for name, video in zip(VALIDITY, changed, strict=True)}


NOISE_LEVELS = 2.0
"""Standard deviation of the perturbation, in levels of 255: below what is seen."""


def reencoded(frames: Frames, fps: float) -> Frames:
    """Frames ``(T, H, W, 3)`` through H.264 in 4:2:0 at constant quality 16: good, and not lossless."""
    height, width = frames.shape[1:3]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.mp4"
        write_preview(path, frames, fps)
        return read_video(path).frames[:, :height, :width]


def perturbed(video: Tensor, generator: torch.Generator) -> Tensor:
    """A clip in [-1, 1] with Gaussian noise of :data:`NOISE_LEVELS`, on 8-bit levels again."""
    noise = torch.randn(video.shape, generator=generator, dtype=video.dtype)
    return round_to_8_bits(video + noise * (NOISE_LEVELS / 127.5))
