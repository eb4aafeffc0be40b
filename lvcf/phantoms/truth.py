"""What is true of the clips of a simulated set, whichever phantom made it: of the set's, and of a run's."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lvcf.data.clip import SIMULATED
from lvcf.errors import UserError
from lvcf.files import Json
from lvcf.measure.clip import Truth
from lvcf.metrics.unavailable import unavailable
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.clip_classifier import clip_frame_transformer
from lvcf.models.targets.ejection_fraction import echo_frame_transformer
from lvcf.phantoms.echo import set as echo
from lvcf.phantoms.echo.truth import EchoTruth
from lvcf.phantoms.face import set as face
from lvcf.phantoms.face.truth import FaceTruth
from lvcf.phantoms.motion import set as motion
from lvcf.phantoms.motion.truth import MotionTruth
from lvcf.phantoms.resized import fits_ruler, no_ruler
from lvcf.phantoms.set_folder import read_rows
from lvcf.runs.folder import Prediction

MakeTruth = Callable[[dict[str, Any]], Truth]
"""From a clip's ``result.json`` to what is true of it."""
PHANTOMS: dict[str, tuple[Callable[[Path], Mapping[str, Any]], Callable[..., Truth]]] = {
    "ef": (echo.read_factors, EchoTruth),
    "expression": (face.read_factors, FaceTruth),
    "action": (motion.read_factors, MotionTruth),
}
"""Readers of factors and makers of truth, by the factor that only this phantom has."""
ORACLES: dict[str, tuple[Callable[[str], TargetModel], str]] = {
    "ef": (echo_frame_transformer, "phantom/oracle"),
    "expression": (clip_frame_transformer, "face_motion/face_oracle"),
    "action": (clip_frame_transformer, "face_motion/motion_oracle"),
}
"""Loaders and weights of the model that guidance never saw, by phantom; the echo phantom's are shipped."""
FIGURES = (
    "truth/share_recovered_smooth",
    "truth/share_recovered_raw",
    "truth/l1_levels",
    "truth/ssim_of_truth",
    "truth/mask_iou",
    "truth/mask_precision",
)
"""What is told of every simulated set."""


def phantom_of(root: Path) -> str:
    """Which of ``PHANTOMS`` made a set; empty for a real one."""
    return next((column for row in read_rows(root)[:1] for column in row if column in PHANTOMS), "")


def read_truths(root: Path) -> dict[str, MakeTruth]:
    """Makers of truth by clip; empty for a real set."""
    if not (phantom := phantom_of(root)):
        return {}
    read, truth = PHANTOMS[phantom]
    return {name: partial(truth, factors) for name, factors in read(root).items()}


@dataclass
class Truths:
    """What is known of a simulated set.

    Attributes:
        of_clip: what is true of each clip, by its name.
        missing: the reasons of what is not known, by the key in ``metrics.json``.
        phantom: which of :data:`ORACLES` made the set; empty of a real one, or where that is not known.
        shape: frames, height and width of the run's clips.
    """

    of_clip: dict[str, Truth] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)
    phantom: str = ""
    shape: tuple[int, ...] = ()


def find_truths(manifest: Json, predictions: list[Prediction]) -> Truths:
    """The truths of a run's finished clips; nothing of a real set."""
    root, found = Path(manifest["data"]), Truths()
    of_a_run = (root / "manifest.json").is_file()  # the way back begins with counterfactuals, which have no truth
    if not predictions or SIMULATED not in manifest["notice"] or of_a_run:
        return found
    problems = []
    try:
        found.phantom, makers = read_set(root)
        for prediction in predictions:
            try:
                found.of_clip[prediction.id] = _truth(makers, prediction)
            except UserError as problem:
                problems.append(problem)
    except UserError as problem:
        problems.append(problem)
    if problems:
        found.missing |= dict.fromkeys(FIGURES, unavailable(problems[0]))
    factual = predictions[0].factual()
    found.shape = factual.shape[:3]
    if found.of_clip and not fits_ruler(factual):
        found.missing |= dict.fromkeys(next(iter(found.of_clip.values())).ruled, no_ruler(factual))
    return found


def read_set(root: Path) -> tuple[str, Mapping[str, Callable[[Json], Truth]]]:
    """The phantom that made a set, and the makers of its clips' truths.

    Raises:
        UserError: the set was moved or damaged; no path and no clip is named, since figures' reasons are logged.
    """
    if not (root / "Factors.csv").is_file():
        raise UserError("the simulated set is not where the run read it (no Factors.csv); put it back")
    try:
        phantom, makers = phantom_of(root), read_truths(root)
    except (KeyError, TypeError, ValueError, csv.Error) as problem:  # a column lacks, or a cell is no number
        raise UserError(f"the set's Factors.csv is damaged ({problem!r}); simulate the set again") from problem
    if not phantom:
        raise UserError("the set's Factors.csv is of no phantom of this lvcf; simulate the set again")
    return phantom, makers


def _truth(makers: Mapping[str, Callable[[Json], Truth]], prediction: Prediction) -> Truth:
    if prediction.id not in makers:
        raise UserError("the set's Factors.csv lacks a clip of the run; put back the set that the run read")
    return makers[prediction.id](prediction.result)


def find_oracle(truths: Truths, weights: str | None) -> tuple[TargetModel | None, dict[str, str]]:
    """The oracle of the phantom that made a set, or None and why; of a real set there is none.

    Args:
        truths: of the set.
        weights: instead of the phantom's own.

    Raises:
        UserError: an oracle that was asked for does not load.
    """
    if not truths.phantom:
        return None, {"truth/oracle": unavailable("the truth of the data set is not known")} if weights else {}
    load, own = ORACLES[truths.phantom]
    try:
        oracle = load(weights or own).freeze()
    except UserError as problem:
        if weights:
            raise
        return None, {"truth/oracle": unavailable(problem)}
    if not _takes(oracle, truths.shape):
        frames, height, width = truths.shape
        return None, {"truth/oracle": unavailable(f"the oracle takes no clip of {frames} frames of {height}x{width}")}
    return oracle, {}


@torch.no_grad()
def _takes(model: TargetModel, shape: tuple[int, ...]) -> bool:
    """Whether a network was made for clips of this shape; tried, since it does not tell."""
    try:
        model(torch.zeros(1, 3, *shape))
    except RuntimeError:  # what torch raises where shapes do not fit
        return False
    return True
