"""A run folder's clips as W&B tables: panel video, mask, readings and status; what guidance did at every step."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from lvcf.runs.folder import Prediction
from lvcf.wandb_runs.names import Place

if TYPE_CHECKING:
    import wandb

READINGS = {"before": "before", "before correction": "before_correction", "after": "after"}
"""M's readings by the table's heading, and what ``result.json`` calls them behind ``prediction_``."""
COLUMNS: list[str | int] = ["id", "panel", "mask", "target", *READINGS, "SSIM", "status"]
STEPS: list[str | int] = ["id", "step", "t", "weight", "loss", "prediction"]
REGION = {0: "kept", 1: "edited"}


def log_clips(
    run: wandb.Run, predictions: list[Prediction], place: Place, similarity: Mapping[str, float] | None = None
) -> None:
    """Log the tables ``predictions`` and ``trajectories_table`` and the curves ``trajectories``.

    Args:
        run: an open W&B run.
        predictions: the run folder's clips; of a failed one only the status is known.  Why it failed is not logged:
            the reason names files.
        place: what the clips are called.
        similarity: SSIM by clip name, if the run folder was evaluated.
    """
    import wandb

    known = similarity or {}
    rows: list[Iterable[Any]] = [_row(prediction, place, known.get(prediction.id)) for prediction in predictions]
    steps: list[Iterable[Any]] = [
        [place.call(prediction.id), *(entry[name] for name in STEPS[1:])]
        for prediction in predictions
        for entry in prediction.result.get("trajectory", [])
    ]
    run.log({"predictions": wandb.Table(columns=COLUMNS, data=rows)})
    if steps:
        table = wandb.Table(columns=STEPS, data=steps)
        run.log({"trajectories": wandb.plot.line(table, "step", "prediction", stroke="id", title="prediction by step")})


def log_metrics(run: wandb.Run, metrics: Mapping[str, Any]) -> None:
    """Log a ``metrics.json``: numbers as metrics, the reasons of unavailable figures in the run's summary."""
    run.log({key: value for key, value in metrics.items() if isinstance(value, int | float)})
    run.summary.update({key: value for key, value in metrics.items() if isinstance(value, str)})


def _row(prediction: Prediction, place: Place, ssim: float | None) -> list[Any]:
    import wandb

    result, name = prediction.result, place.call(prediction.id)
    if prediction.failed:
        return [name, *(None for _ in COLUMNS[2:]), prediction.status]
    panel = wandb.Video(prediction.folder / "panel.mp4", format="mp4")
    readings = [result.get(f"prediction_{reading}") for reading in READINGS.values()]
    return [name, panel, _mask(prediction), result["target"]["text"], *readings, ssim, prediction.status]


def _mask(prediction: Prediction) -> wandb.Image:
    """The counterfactual's frame with the largest mask, and the mask over it."""
    import wandb

    mask = prediction.mask()
    frame = int(mask.sum(axis=(1, 2)).argmax())
    return wandb.Image(
        prediction.counterfactual()[frame],
        masks={"edit": {"mask_data": mask[frame].astype("uint8"), "class_labels": REGION}},
        classes=[{"id": key, "name": name} for key, name in REGION.items()],
    )
