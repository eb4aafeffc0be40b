"""W&B runs of evaluate and ablate, which are no Lightning verbs."""

from __future__ import annotations

import copy
import html
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from lvcf.runs.folder import read_configuration, read_manifest, read_predictions
from lvcf.wandb_runs.clips import log_clips, log_metrics
from lvcf.wandb_runs.names import Place, recall, remember
from lvcf.wandb_runs.start import default_project, start

LOGGER = "lvcf.tracking.wandb_logger"
Cell = tuple[str, dict[str, Any]]


def log_evaluation(folder: Path, metrics: dict[str, Any], rows: Sequence[dict[str, Any]], hash_ids: bool) -> None:
    """A run of job type ``evaluate`` in the group of the run folder: configuration, metrics, clips with their SSIM.

    A run of its own and not predict's resumed: offline that would be two records, which only a sync of both makes one.
    """
    name = folder.resolve().name
    place = recall(folder) or Place(default_project(), name, name, hash_ids, "")
    place = remember(folder, replace(place, hash_ids=hash_ids))
    predictions = read_predictions(folder)
    asked = read_configuration(folder)
    configuration = place.configuration(asked, (p.id for p in predictions))
    similarity = {row["id"]: row["fidelity/ssim"] for row in rows if "fidelity/ssim" in row}
    with start(place, "evaluate", folder, configuration) as run:
        log_metrics(run, metrics)
        log_clips(run, predictions, place, similarity)


def with_logger(cells: Sequence[Cell], output: Path, hash_ids: bool) -> list[Cell]:
    """An ablation's cells, each logging to W&B in the ablation's group; all call a clip by the same name."""
    group = output.resolve().name
    shared = remember(output, Place(default_project(), group, group, hash_ids, ""))
    logged = []
    for name, section in copy.deepcopy(list(cells)):
        place = remember(Path(section["model"]["init_args"]["output"]), replace(shared, name=name))
        arguments = {"project": place.project, "group": group, "name": name, "hash_ids": hash_ids}
        section["trainer"]["logger"] = {"class_path": LOGGER, "init_args": arguments}
        logged.append((name, section))
    return logged


def evaluate_options(section: dict[str, Any]) -> list[str]:
    """What ``lvcf evaluate`` needs to be told about a cell's logger."""
    logger = section["trainer"].get("logger")
    if not isinstance(logger, dict) or logger["class_path"] != LOGGER:
        return []
    return ["--logger", "wandb", *([] if logger["init_args"]["hash_ids"] else ["--log-ids"])]


def log_comparison(rows: Sequence[dict[str, Any]], output: Path, plan: dict[str, Any]) -> None:
    """A run of job type ``ablate`` in the ablation's group: the plan, and its table as a W&B table and as text.

    Args:
        rows: one per cell, under the table's headings; entries that a row lacks are empty.
        output: the ablation's folder, with ``table.md``.
        plan: the ablation's configuration.
    """
    import wandb

    place = recall(output)
    if place is None or not rows:
        return
    clips = {name for path in output.glob("*/manifest.json") for name in read_manifest(path.parent)["ids"]}
    columns: list[str | int] = list(dict.fromkeys(key for row in rows for key in row))
    # a figure may be a number in one row and the reason why there is none in the next
    table = wandb.Table(
        columns=columns, data=[[row.get(str(key)) for key in columns] for row in rows], allow_mixed_types=True
    )
    text = html.escape((output / "table.md").read_text(encoding="utf-8"))
    with start(place, "ablate", output, place.configuration(plan, clips)) as run:
        run.log({"comparison": table, "table": wandb.Html(f"<pre>{text}</pre>", inject=False, data_is_not_path=True)})
