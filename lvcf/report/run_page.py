"""A run's folder, and the page about it as ``run.html.j2`` wants it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from markupsafe import Markup

from lvcf.files import Json, read_cells
from lvcf.measure.names import STATUSES, figure_of
from lvcf.metrics.statistics import share_interval
from lvcf.report.metrics import (
    decimals,
    figures_of,
    measured,
    metric_groups,
    not_measured,
    plain,
    readable,
    short,
    unit_of,
)
from lvcf.report.plots import Outcome, curves_plot, guidance_plot, prediction_plot, target_scatter
from lvcf.runs.folder import Prediction, read_manifest, read_metrics, read_predictions
from lvcf.runs.panel import show_film, show_panel
from lvcf.runs.writer import OTHERS

PROMPTS = {
    "neutral": "neutral: the words do not name the target, so the change comes from the model explained",
    "target": "target: the words name the target, so the video model can reach it without the model explained",
}
EMBEDDED = 50
"""Clips up to which a page holds its videos; it takes about a megabyte for each."""
LARGE = 0.25
"""Share of the whole change of M's reading above which what the reconstruction alone moved is a warning."""
_PROBABLE = (0.5, 1.0)
"""The target band of a classifier: the class is reached at p >= 0.5."""


@dataclass(frozen=True)
class Run:
    """A run folder; ``metrics`` is None before ``lvcf evaluate``, ``table`` is empty without a ``table.csv``.

    ``figures`` are the numbers known of each clip, by id and key: of ``predictions.csv``, and of ``result.json``.
    """

    folder: Path
    manifest: Json
    clips: list[Prediction]
    metrics: Json | None
    table: list[list[str]]
    figures: dict[str, dict[str, float]]


def read_run(folder: Path) -> Run:
    """Read everything but the videos; clips come sorted by id.

    Raises:
        UserError: the folder is missing, ``lvcf predict`` did not write it, or one of its JSON files is damaged.
    """
    manifest, clips = read_manifest(folder), sorted(read_predictions(folder), key=lambda clip: clip.id)
    return Run(
        folder=folder,
        manifest=manifest,
        clips=clips,
        metrics=read_metrics(folder),
        table=read_cells(folder / "table.csv"),
        figures=figures_of(folder, clips),
    )


def run_context(folder: Path) -> Json:
    """What ``run.html.j2`` shows of a run folder; ``clips`` are read one by one as they are asked for, and once.

    Raises:
        UserError: ``folder`` is no run folder, or one of its files is damaged.
    """
    run = read_run(folder)
    asked, linked = len(run.manifest["ids"]), len(run.clips) > EMBEDDED
    unit = unit_of(run.clips)
    counts = {status: sum(clip.status == status for clip in run.clips) for status in STATUSES}
    groups = metric_groups(run.metrics, unit) if run.metrics is not None else []
    return {
        "name": run.folder.resolve().name,
        "manifest": run.manifest,
        "asked": _asked(run.manifest),
        "statuses": STATUSES,
        "counts": counts,
        "pending": asked - len(run.clips),
        "score": _score(counts, len(run.clips)),
        "doubtful": sum(clip.status == "reached" and bool(reconstruction_warning(clip.result)) for clip in run.clips),
        "share": _share(counts),
        "figures": {key: figure_of(key, unit) for key in dict.fromkeys(k for row in run.figures.values() for k in row)},
        "made": len(run.clips),
        "linked": linked,
        "clips": (_card(clip, run.figures.get(clip.id, {}), linked) for clip in run.clips),
        "curves": any(clip.curves for clip in run.clips),
        "scatter": _scatter(run.clips),
        "groups": measured(groups),
        "missing": not_measured(groups),
        "simulated": bool(run.metrics and run.metrics.get("simulated")),
        "evaluated": run.metrics is not None,
        "partial": measured_on(run.metrics["n"] + run.metrics.get("failed", 0), asked) if run.metrics else "",
        "evaluate": f"lvcf evaluate {shlex.quote(str(run.folder))}",
        "summarised": (run.folder / "summary.html").is_file(),
        "table": run.table,
        "numeric": [any(_is_number(cell) for cell in column) for column in zip_longest(*run.table)],
    }


def measured_on(known: int, asked: int) -> str:
    """Of how few of a run's clips its figures tell; empty if of all."""
    return f"{known} of {asked} clips" if known < asked else ""


def _score(counts: Mapping[str, int], made: int) -> str:
    """How many clips became what."""
    ends = {"not_reached": "did not", "not_drawable": "not drawable", "failed": "failed"}
    others = "".join(f", {counts[status]} {end}" for status, end in ends.items() if counts[status])
    return f"{counts['reached']} of {made} clip{'' if made == 1 else 's'} reached the target{others}."


def _share(counts: Mapping[str, int]) -> str:
    """The share of finished clips that reached their target, with its interval; empty for a single one."""
    missed = counts["not_reached"] + counts["not_drawable"]
    hits = np.repeat([1.0, 0.0], [counts["reached"], missed])
    if len(hits) < 2:
        return ""
    found = share_interval(hits)
    of = " of those that did not fail" if counts["failed"] else ""
    return f"{100 * hits.mean():.0f} %{of}, 95 % interval {100 * found.low:.0f} to {100 * found.high:.0f} %"


def _asked(manifest: Json) -> list[tuple[str, str]]:
    rows = [
        ("target", manifest["target"]),
        ("model explained", manifest["target_model"]),
        ("video model", manifest["backbone"]),
        ("method", manifest["method"]),
        ("prompt", PROMPTS.get(manifest["prompt"], manifest["prompt"])),
        ("seed", manifest["seed"]),
    ]
    return [(name, str(value)) for name, value in rows]


def _card(clip: Prediction, figures: Mapping[str, float], linked: bool) -> Json:
    """What the template shows of one clip; a failed clip has a hint and nothing else."""
    numbers = {key: plain(value) for key, value in figures.items()}
    card: Json = {"id": clip.id, "status": clip.status, "hint": clip.result["hint"], "finished": False}
    card["numbers"] = numbers
    if clip.status == "failed":
        return card
    result = clip.result
    return card | {
        "finished": True,
        "classifier": result["task"] == "classification",
        "unit": result["unit"],
        "target": target_text(result),
        "unsure": result["status"] == "not_reached" and result.get("class_after", "") == result["target"]["text"],
        "warning": "" if clip.status == "not_drawable" else reconstruction_warning(result),
        "classes": [result.get("class_before", ""), result.get("class_after", "")],
        "before": readable(result["prediction_before"]),
        "reference": readable(result["prediction_reference"]),
        "after": readable(result["prediction_after"]),
        "corrected": readable(corrected)
        if (corrected := result.get("prediction_before_correction")) is not None
        else "",
        "panel": show_panel(clip.folder, linked),
        "several": _several(clip, linked) if "counterfactuals" in result else None,
        "output": result.get("output", ""),
        "others": _other_outputs(result),
        "fps": result["fps"],
        "trajectory": result["trajectory"],
        "plots": _plots(clip),
        "cost": _cost(result),
    }


def _several(clip: Prediction, linked: bool) -> Json:
    """A clip's counterfactuals side by side, M's reading of each, and how far it is from the others."""
    told, levels = clip.result["counterfactuals"], clip.result["pairwise_levels"]
    rows = [
        {
            "number": number,
            "reading": readable(each["prediction_after"]),
            "class": each["class_after"],
            "status": STATUSES[each["status"]],
            "levels": [readable(level) for level in row],
        }
        for number, (each, row) in enumerate(zip(told, levels, strict=True), start=1)
    ]
    return {"video": show_film(clip.folder, OTHERS, linked), "rows": rows}


def _other_outputs(result: Json) -> list[Json]:
    """What the outputs of M that are not explained said before and after."""
    rows = result.get("other_outputs", {}).items()
    return [
        {
            "name": name,
            "reading": "value" if told["numbers"] == 1 else f"largest of {told['numbers']}, its place",
            **{key: "no number" if told[key] is None else readable(told[key]) for key in ("before", "after", "moved")},
        }
        for name, told in rows
    ]


def target_text(result: Json) -> str:
    """What was asked of a clip: a class, or a value or range without needless decimals."""
    low, high = result["target"]["low"], result["target"]["high"]
    if result["task"] == "classification" or not math.isfinite(high - low):
        return str(result["target"]["text"])
    return short(low) if low == high else f"{short(low)} to {short(high)}"


def moved_line(result: Json) -> str:
    """What M said of a clip, and says of its counterfactual."""
    if result["task"] == "classification":
        return f"{result['class_before']} → {result['class_after']}"
    before, after = (readable(result[f"prediction_{when}"]) for when in ("before", "after"))
    return f"{before} → {after} {result['unit']}"


def reading_line(result: Json) -> str:
    """What M said of a clip, says of its counterfactual, and was asked to say."""
    if result["task"] == "classification":
        return f"{moved_line(result)}, target {result['target']['text']}"
    return f"{moved_line(result)}, target {target_text(result)} {result['unit']}"


def reconstruction_warning(result: Json) -> str:
    """A warning where the reconstruction alone moved M by a large part of the whole change; else nothing."""
    before, reference, after = (result[f"prediction_{name}"] for name in ("before", "reference", "after"))
    first, whole = reference - before, after - before
    if abs(first) <= LARGE * abs(whole):
        return ""
    what = "target's probability" if result["task"] == "classification" else "reading"
    unit = {"%": " points", "probability": ""}.get(result["unit"], f" {result['unit']}")
    if first * whole > 0 and abs(first) < abs(whole):
        part, total = readable(abs(first), like=whole), f"{readable(abs(whole))}{unit}"
        which = f" by which the {what} moved" if result["task"] == "classification" else ""
        return f"{part} of the {total}{which} are the backbone's reconstruction, before any guidance."
    moved, changed = (f"{value:+.{decimals(whole)}f}".replace("-", "−") for value in (first, whole))
    return f"The backbone's reconstruction alone moves the {what} by {moved}{unit}; the whole change is {changed}."


def _plots(clip: Prediction) -> list[tuple[str, Markup]]:
    """Captions and plots of one clip; a run without guidance has no trajectory."""
    result, plots = clip.result, []
    if clip.curves is not None:
        caption = f"{clip.curves['what'].capitalize()}, measured in the pixels"
        plots.append((caption, curves_plot(clip.curves, result["fps"])))
    if result["trajectory"]:
        reading = prediction_plot(result["trajectory"], *_band(result), result["unit"])
        plots.append(("The model's reading while guided", reading))
        plots.append(("Loss and guidance weight", guidance_plot(result["trajectory"])))
    return plots


def _band(result: Json) -> tuple[float, float]:
    if result["task"] == "classification":
        return _PROBABLE
    return float(result["target"]["low"]), float(result["target"]["high"])


def _cost(result: Json) -> list[tuple[str, str]]:
    return [
        ("clip changed (mask)", f"{100 * result['mask_share']:.0f} %"),
        ("denoising steps", str(result["steps"])),
        ("gradient evaluations", str(result["gradient_evaluations"])),
        *([("queries", f"{result['queries']:.0f}")] if "queries" in result else []),
        ("time", f"{result['seconds']:.1f} s"),
        *([("peak memory", f"{memory / 2**20:,.0f} MiB")] if (memory := result.get("peak_memory_bytes")) else []),
    ]


def _scatter(clips: Sequence[Prediction]) -> Markup | None:
    results = [c.result for c in clips if c.status != "failed" and c.result["task"] == "regression"]
    outcomes = [
        Outcome(r["id"], r["status"], *_band(r), r["prediction_before"], r["prediction_after"]) for r in results
    ]
    return target_scatter(outcomes, results[0]["unit"]) if len(outcomes) > 1 else None


def _is_number(cell: str | None) -> bool:
    try:
        float((cell or "").split("±")[0])
    except ValueError:
        return False
    return True
