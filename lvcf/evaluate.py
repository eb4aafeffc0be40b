"""``lvcf evaluate RUN``: measure a run's counterfactuals from the written files."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torchmetrics.functional import mean_absolute_error, mean_squared_error, r2_score
from tqdm import tqdm

from lvcf.data.clip import SIMULATED, to_clip
from lvcf.data.simulators.truth import MakeTruth, Truth, phantom_of, read_truths
from lvcf.errors import UserError
from lvcf.files import write_json, write_rows
from lvcf.metrics.fidelity import lpips_metric, lpips_unavailable, psnr, ssim
from lvcf.metrics.truth import l1_levels
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.clip_classifier import clip_frame_transformer
from lvcf.models.targets.ejection_fraction import echo_frame_transformer
from lvcf.run_folder import Prediction, read_manifest, read_predictions

Row = dict[str, Any]
ORACLES: dict[str, tuple[Callable[[str], TargetModel], str]] = {
    "ef": (echo_frame_transformer, "phantom/oracle"),
    "expression": (clip_frame_transformer, "face_motion/face_oracle"),
    "action": (clip_frame_transformer, "face_motion/motion_oracle"),
}
"""Loaders and shipped weights of the model that guidance never saw, by phantom."""


def main(args: list[str]) -> int:
    """Parse the command line, evaluate, print the table; returns 1 if a clip failed."""
    parser = argparse.ArgumentParser(prog="lvcf evaluate", description=__doc__)
    parser.add_argument("run", type=Path, help="folder of an lvcf predict run")
    parser.add_argument("--oracle", help="weights of the model that guidance never saw, instead of the phantom's own")
    options = parser.parse_args(args)
    metrics, rows = evaluate(options.run, options.oracle)
    print_metrics(metrics, options.run)
    return int(any(row["status"] == "failed" for row in rows))


def evaluate(run: Path, oracle: str | None) -> tuple[dict[str, Any], list[Row]]:
    """Write ``predictions.csv`` and ``metrics.json``; returns both."""
    manifest, predictions = read_manifest(run), read_predictions(run)
    if not predictions:
        raise UserError(f"{run}: no finished clip; run lvcf predict first")
    root = Path(manifest["data"])
    truths, (judge, no_judge) = read_truths(root), _judge(root, oracle)
    rows = []
    for prediction in tqdm(predictions, desc="evaluate", unit="clip"):
        row = _facts(prediction)
        if not prediction.failed:
            truth = _truth(truths, prediction)
            row |= measure_clip(prediction, truth, judge) | way_back(prediction, root)
        rows.append(row)
    metrics = summarise(rows)
    metrics |= {
        "method": manifest["method"],
        "prompt": manifest["prompt"],
        "simulated": SIMULATED in manifest["notice"],
    }
    metrics |= {"truth/oracle": no_judge} if no_judge else {}
    metrics["fidelity/lpips"] = metrics.get("fidelity/lpips", lpips_unavailable())
    write_rows(run / "predictions.csv", rows)
    write_json(run / "metrics.json", metrics)
    return metrics, rows


def _judge(root: Path, oracle: str | None) -> tuple[TargetModel | None, str]:
    """The oracle of the phantom that made a set, or None and why; of a real set there is none.

    Raises:
        UserError: an oracle that was asked for does not load.
    """
    if not (phantom := phantom_of(root)):
        return None, ""
    load, weights = ORACLES[phantom]
    try:
        return load(oracle or weights).freeze(), ""
    except UserError as problem:
        if oracle:
            raise
        return None, f"unavailable: {problem}"


def _truth(truths: dict[str, MakeTruth], prediction: Prediction) -> Truth | None:
    """What is true of a clip; None of a real one, or where M's target is none of the phantom's classes."""
    try:
        return truths[prediction.id](prediction.result) if truths else None
    except UserError:
        return None


def _facts(prediction: Prediction) -> Row:
    """The scalar entries of ``result.json``."""
    result = prediction.result
    names = (
        "id",
        "status",
        "task",
        "prediction_before",
        "prediction_reference",
        "prediction_before_correction",
        "prediction_after",
        "said_before",
        "class_before",
        "class_after",
    )
    counts = ("steps", "gradient_evaluations", "queries", "seconds", "peak_memory_bytes", "mask_share")
    row = {name: result[name] for name in (*names, *counts) if name in result}
    if not prediction.failed:
        target = result["target"]
        row |= {"target": target["text"], "target_low": target["low"], "target_high": target["high"]}
    return row


def measure_clip(prediction: Prediction, truth: Truth | None, oracle: TargetModel | None) -> Row:
    """Fidelity of one clip and, where its true counterfactual is known, truth."""
    factual, final = prediction.factual(), prediction.counterfactual()
    x, x_final = (to_clip(frames, frames.shape[1]) for frames in (factual, final))
    row: Row = {"fidelity/ssim": ssim(x_final, x), "fidelity/psnr": psnr(x_final, x)}
    if not lpips_unavailable():
        row["fidelity/lpips"] = lpips_metric()(x_final, x)
    if truth is not None:
        row |= truth.compare(factual, final, prediction.mask())
        row["truth/ssim_of_truth"] = ssim(to_clip(truth.video, truth.video.shape[1]), x)
        write_json(prediction.folder / "curves.json", truth.curves)
    if oracle is not None and truth is not None and oracle.task == prediction.result["task"]:
        row |= _oracle(oracle, x_final, prediction.result["target"])
    return row


def way_back(prediction: Prediction, origin: Path) -> Row:
    """Reversibility: for a run over another run's counterfactuals, the distance to the clip that one began with."""
    folder = origin / "predictions" / prediction.id
    if not (folder / "factual.mkv").exists():
        return {}
    first, final = Prediction(folder, {}).factual(), prediction.counterfactual()
    x, x_final = (to_clip(frames, frames.shape[1]) for frames in (first, final))
    there = l1_levels(prediction.factual(), first)
    levels = l1_levels(final, first)
    return {"reversibility/ssim": ssim(x_final, x), "reversibility/l1_levels": levels, "reversibility/l1_there": there}


@torch.no_grad()
def _oracle(oracle: TargetModel, video: Tensor, target: dict[str, Any]) -> Row:
    """Whether the oracle sees the target's class, or how far its reading is from the target."""
    output = oracle(video[None])[0]
    if oracle.task == "classification":
        return {"truth/oracle_class": float(oracle.class_of(output).lower() == target["text"].lower())}
    away = max(target["low"] - float(output), float(output) - target["high"], 0.0)
    return {"truth/oracle_ef": float(output), "truth/oracle_ef_error": away}


def summarise(rows: list[Row]) -> dict[str, Any]:
    """Means over the clips that did not fail, each with its standard error; adherence over all of them together."""
    done = [row for row in rows if row["status"] != "failed"]
    metrics: dict[str, Any] = {"n": len(done), "failed": len(rows) - len(done)}
    if not done:
        return metrics
    metrics |= adherence(done)
    single = ("id", "status", "task", "prediction_", "class_", "said_", "target")
    for name in [k for k in dict.fromkeys(k for row in done for k in row) if not k.startswith(single)]:
        key = name if "/" in name else f"cost/{name}"
        if any(name not in row for row in done):
            metrics[key] = "unavailable: not known of every clip (is the target one of the phantom's classes?)"
            continue
        values = np.array([row[name] for row in done], dtype=np.float64)
        if name.startswith("truth/share_"):  # NaN where the target is what the clip shows already: nothing to recover
            values = values[~np.isnan(values)]
        if len(values) and np.isfinite(values).all():
            metrics[key], metrics[f"{key}.se"] = float(values.mean()), standard_error(values)
        else:
            metrics[key] = "unavailable: not finite on every clip (a PSNR of equal clips is infinite)"
    if "truth/pixel_ef" in done[0]:
        ours, true = (np.array([row[f"truth/pixel_ef{end}"] for row in done]) for end in ("", "_of_truth"))
        metrics["truth/pixel_ef_r"] = float(np.corrcoef(ours, true)[0, 1]) if len(done) > 1 else "unavailable: one clip"
    return metrics


def adherence(rows: list[Row]) -> dict[str, Any]:
    """R2, MAE, RMSE against the target's nearest edge and the share within tolerance; of a classifier the flip rate.

    A clip flips if M says the target's class and did not before; within tolerance, M is also sure of it.
    """
    reached = float(np.mean([row["status"] == "reached" for row in rows]))
    if rows[0]["task"] == "classification":
        asked = [row for row in rows if row["class_before"] != row["target"]]
        flips = np.array([row["class_after"] == row["target"] for row in asked], dtype=np.float64)
        if not asked:
            rate: dict[str, Any] = {"adherence/flip_rate": "unavailable: M said every target before"}
        else:
            rate = {"adherence/flip_rate": float(flips.mean()), "adherence/flip_rate.se": standard_error(flips)}
        return {"adherence/within_tolerance": reached, **rate}
    after = torch.tensor([row["prediction_after"] for row in rows], dtype=torch.float64)
    low, high = (torch.tensor([row[f"target_{edge}"] for row in rows], dtype=torch.float64) for edge in ("low", "high"))
    target = torch.minimum(torch.maximum(after, low), high)
    error = (after - target).abs().numpy()
    result = {
        "adherence/mae": float(mean_absolute_error(after, target)),
        "adherence/mae.se": standard_error(error),
        "adherence/rmse": float(mean_squared_error(after, target, squared=False)),
        "adherence/within_tolerance": reached,
        "adherence/r2": "unavailable: needs two clips with different targets",
    }
    if len(rows) > 1 and bool((target != target[0]).any()):
        result["adherence/r2"] = float(r2_score(after, target))
    return result


def standard_error(values: np.ndarray[Any, np.dtype[np.float64]]) -> float:
    """Of the mean; NaN is written as 0 width only for a single value."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else 0.0


def print_metrics(metrics: dict[str, Any], run: Path) -> None:
    """The result table on the terminal."""
    label = "simulated clips" if metrics["simulated"] else "clips"
    table = Table(title=f"{run}: {metrics['method']}, prompt {metrics['prompt']}, {metrics['n']} {label}")
    table.add_column("measure")
    table.add_column("mean", justify="right")
    table.add_column("standard error", justify="right")
    for name, value in metrics.items():
        if "/" in name and not name.endswith(".se"):
            error = metrics.get(f"{name}.se")
            shown = value if isinstance(value, str) else f"{value:.3f}"
            table.add_row(name, shown, "" if error is None else f"{error:.3f}")
    Console(width=110).print(table)
