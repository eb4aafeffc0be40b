"""From one written clip to one row: what ``result.json`` says, and what the files show."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from lvcf.data.clip import to_clip
from lvcf.data.video import Frames
from lvcf.errors import UserError
from lvcf.files import damaged, write_json
from lvcf.guidance.goal import make_goal
from lvcf.measure.names import ORACLE_MOVED
from lvcf.measure.table import Line
from lvcf.metrics import change
from lvcf.metrics.fidelity import LPIPS_FILES, lpips_distance, lpips_network, lpips_unavailable, psnr, ssim
from lvcf.metrics.motion import warping_error
from lvcf.metrics.region import Region, region_iou, region_precision
from lvcf.metrics.truth import l1_levels
from lvcf.models.targets.base import TargetModel
from lvcf.runs.folder import Prediction, diversity, off_target

FACTS = (
    "id",
    "status",
    "task",
    "label",
    "prediction_before",
    "prediction_reference",
    "prediction_before_correction",
    "prediction_after",
    "said_before",
    "class_before",
    "class_after",
    "steps",
    "gradient_evaluations",
    "queries",
    "seconds",
    "peak_memory_bytes",
    "mask_share",
)
"""The entries of ``result.json`` that a row takes over."""
MASK_SUFFIXES = (".png", ".npz")


class Truth(Protocol):
    """The true counterfactual of one clip, and comparisons with it.

    Attributes:
        ruled: the figures of ``compare`` that only clips of the phantom's own size have: rulers measure in its pixels.
        curves: what ``compare`` measured per frame: ``what``, ``unit``, ``factual``, ``counterfactual``, ``truth``;
            empty if nothing was.
    """

    ruled: tuple[str, ...]
    curves: dict[str, Any]

    @property
    def video(self) -> Frames:
        """The clip under the intervention, read back from the set's codec, at its size ``(T, 112, 112, 3)``."""

    def compare(self, factual: Frames, final: Frames, mask: NDArray[np.bool_]) -> dict[str, float]:
        """Truth metrics of a final clip ``(T, H, W, 3)`` of any size with its mask ``(T, H, W)``; fills ``curves``.

        The true clip is compared at that size, resized as the data sets resize.
        """


def facts(prediction: Prediction) -> Line:
    """The scalar entries of ``result.json``, and what it tells of several counterfactuals."""
    result = prediction.result
    row = {name: result[name] for name in FACTS if name in result}
    if not prediction.failed:
        target = result["target"]
        row |= {"target": target["text"], "target_low": target["low"], "target_high": target["high"]}
        row |= diversity(result)
    return row


def clips_of(prediction: Prediction) -> tuple[Tensor, Tensor]:
    """The counterfactual and the factual clip ``(3, T, H, W)`` in [-1, 1]."""
    final, factual = (to_clip(f, f.shape[1]) for f in (prediction.counterfactual(), prediction.factual()))
    return final, factual


def measure_clip(
    prediction: Prediction, truth: Truth | None, oracle: TargetModel | None, lpips: Path | None = None
) -> Line:
    """Fidelity, proximity and steadiness of one clip and, where its true counterfactual is known, truth."""
    factual, final, mask = prediction.factual(), prediction.counterfactual(), prediction.mask()
    if not factual.shape == final.shape == (*mask.shape, 3):
        raise damaged(prediction.folder, "factual, counterfactual and mask have different sizes")
    x, x_final = (to_clip(frames, frames.shape[1]) for frames in (factual, final))
    row: Line = {"fidelity/ssim": ssim(x_final, x), "fidelity/psnr": psnr(x_final, x)}
    for net in LPIPS_FILES:
        if not lpips_unavailable(net, lpips):
            row[lpips_key(net)] = lpips_distance(x_final, x, lpips_network(net, lpips))
    row |= {
        "proximity/l1_levels": change.l1(x_final, x),
        f"proximity/changed_over_{change.CHANGED_OVER:g}_levels": change.changed_share(x_final, x),
        "temporal/flicker_levels": change.flicker(x_final, x),
        "temporal/warping_levels": warping_error(x_final),
        "temporal/warping_levels_of_factual": warping_error(x),
    }
    if truth is not None:
        row |= truth.compare(factual, final, mask)
        row["truth/ssim_of_truth"] = ssim(to_clip(truth.video, x.shape[-1]), x)
        if truth.curves:
            write_json(prediction.folder / "curves.json", truth.curves)
    if oracle is not None and truth is not None and oracle.task == prediction.result["task"]:
        row |= _oracle(oracle, x_final, x, prediction.result)
    return row


def lpips_key(net: str) -> str:
    """AlexNet's is the usual LPIPS."""
    return "fidelity/lpips" if net == "alex" else f"fidelity/lpips_{net}"


def composition(row: Line, tolerance: float) -> Line:
    """What asking for nothing changes (Monteiro et al. 2023); NaN of a clip that was asked for something.

    Args:
        row: the clip's facts and measures.
        tolerance: how far from the target M's first reading counts as the target.
    """
    if row["task"] == "classification":
        asked = row["class_before"] != row["target"]
    else:
        low, high = row["target_low"], row["target_high"]
        asked = off_target(row["prediction_before"], low, high) > tolerance
    names = {"composition/l1_levels": "proximity/l1_levels", "composition/ssim": "fidelity/ssim"}
    return {name: math.nan if asked else row[source] for name, source in names.items()}


def way_back(prediction: Prediction, origin: Path) -> Line:
    """Reversibility: for a run over another run's counterfactuals, the distance to the clip that one began with."""
    folder = origin / "predictions" / prediction.file_name
    if not (folder / "factual.mkv").exists():
        return {}
    first, final = Prediction(folder, {}).factual(), prediction.counterfactual()
    x, x_final = (to_clip(frames, frames.shape[1]) for frames in (first, final))
    there = l1_levels(prediction.factual(), first)
    levels = l1_levels(final, first)
    return {"reversibility/ssim": ssim(x_final, x), "reversibility/l1_levels": levels, "reversibility/l1_there": there}


def in_region(prediction: Prediction, region: Region) -> Line:
    """The clip's mask, and what changed outside, against a region that the user marked."""
    mask, (x_final, x) = prediction.mask(), clips_of(prediction)
    if region.shape != mask.shape:
        raise UserError(
            f"--region: of {prediction.id} has shape {region.shape}, the clip {mask.shape}; mark its pixels"
        )
    return {
        "region/mask_precision": region_precision(mask, region),
        "region/mask_iou": region_iou(mask, region),
        "region/change_outside_levels": change.change_outside(x_final, x, torch.from_numpy(region)),
    }


def read_region(place: Path, prediction: Prediction) -> Region:
    """The user's region of a clip, ``(T, H, W)``.

    Args:
        place: one file for all clips, or a folder with one per clip under its id: a PNG (above half brightness is
            inside, in every frame), or an NPZ whose ``mask`` is ``(T, H, W)``.
        prediction: the clip.

    Raises:
        UserError: there is no such file, or it is no mask.
    """
    choices = [place / f"{prediction.file_name}{suffix}" for suffix in MASK_SUFFIXES] if place.is_dir() else [place]
    path = next((choice for choice in choices if choice.is_file()), None)
    if path is None:
        missing = " or ".join(choice.name for choice in choices)
        raise UserError(f"--region {place}: {missing} not found; give a mask, or a folder with one per clip")
    try:
        if path.suffix == ".npz":
            stored = np.load(path)["mask"]
            return np.asarray(stored > (0 if stored.dtype == np.bool_ else 127))
        still = np.asarray(Image.open(path).convert("L")) > 127
    except (OSError, KeyError, ValueError, UnidentifiedImageError) as error:
        raise UserError(f"{path}: is no mask; save a PNG, or an NPZ with (T, H, W) under the name mask") from error
    return np.repeat(still[None], int(prediction.result["frames"]), axis=0)


@torch.no_grad()
def _oracle(oracle: TargetModel, video: Tensor, factual: Tensor, result: dict[str, Any]) -> Line:
    """What the oracle sees: the target's class, or how far its reading is from the target; and whether M agrees."""
    output, target = oracle(video[None])[0], result["target"]
    both = moved(oracle, output, oracle(factual[None])[0], target["text"])
    if oracle.task == "classification":
        seen = oracle.class_of(output).lower()
        agrees = float(seen == result["class_after"].lower())
        return {
            "truth/oracle_class": float(seen == target["text"].lower()),
            "explanation/oracle_agrees": agrees,
        } | both
    reading = float(output)
    away = off_target(reading, target["low"], target["high"])
    gap = abs(reading - result["prediction_after"])
    return {"truth/oracle_ef": reading, "truth/oracle_ef_error": away, "explanation/oracle_gap": gap} | both


def moved(oracle: TargetModel, after: Tensor, before: Tensor, target: str) -> Line:
    """By how much the oracle's reading moved, of a classifier its probability of the target; nothing if it knows none.

    Args:
        oracle: the model.
        after: its output of the counterfactual, of one clip.
        before: of the factual.
        target: what was asked, in words.
    """
    place, labels = 0, [label.lower() for label in oracle.labels]
    if oracle.task == "classification":
        if target.lower() not in labels:
            return {}
        place = labels.index(target.lower())
    goal = make_goal([(place, place)], oracle, 0.0)
    return {ORACLE_MOVED: float(goal.reading(after[None]) - goal.reading(before[None]))}
