"""The flat ``metrics.json`` as grouped, readable rows.  A missing metric stays visible, with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvcf.files import Json
from lvcf.measure.names import ABOUT, Figure, figure_of
from lvcf.runs.folder import SUFFIXES, Prediction, diversity, off_target, read_table

GENERAL = "measured on"
UNAVAILABLE = "unavailable: "


@dataclass(frozen=True)
class Entry:
    """One metric: what it is, its ``key`` in metrics.json, and as text value, 95 % interval and standard error.

    ``clips`` is how many are behind it where these are not all; ``number`` and ``ends`` are what is plotted and sorted.
    """

    figure: Figure
    key: str
    value: str
    interval: str
    error: str
    clips: str
    number: float | None
    ends: tuple[float, float] | None

    @property
    def unavailable(self) -> bool:
        """Whether there is a reason in place of the value."""
        return self.value.startswith(UNAVAILABLE)


@dataclass(frozen=True)
class Group:
    """Metrics that answer one question."""

    name: str
    about: str
    rows: list[Entry]


def metric_groups(metrics: Mapping[str, Any], unit: str = "") -> list[Group]:
    """Group keys by the part before the slash, in the order of :data:`ABOUT`; keys without one come last.

    Args:
        metrics: of ``metrics.json``; what :data:`lvcf.runs.folder.SUFFIXES` tells joins its metric's row.
        unit: of the explained model's reading.
    """
    groups: dict[str, list[Entry]] = {}
    for key in metrics:
        if not (key.endswith(SUFFIXES) and key.rpartition(".")[0] in metrics):
            group = key.partition("/")[0] if "/" in key else GENERAL
            groups.setdefault(group, []).append(metric_row(metrics, key, unit))
    order = [*ABOUT, *(name for name in groups if name not in ABOUT and name != GENERAL), GENERAL]
    return [Group(name, ABOUT.get(name, ""), groups[name]) for name in order if name in groups]


def measured(groups: Sequence[Group]) -> list[Group]:
    """The figures that there are, without what they were measured on."""
    kept = {group.name: [row for row in group.rows if not row.unavailable] for group in groups if group.name != GENERAL}
    return [Group(name, ABOUT.get(name, ""), rows) for name, rows in kept.items() if rows]


def not_measured(groups: Sequence[Group]) -> dict[str, list[str]]:
    """The figures that there are not, by the reason."""
    reasons: dict[str, list[str]] = {}
    for row in (row for group in groups for row in group.rows if row.unavailable):
        reasons.setdefault(row.value.removeprefix(UNAVAILABLE), []).append(row.figure.label)
    return reasons


def metric_row(metrics: Mapping[str, Any], key: str, unit: str = "") -> Entry:
    """One metric with all that ``metrics.json`` tells of it."""
    figure, value = figure_of(key, unit), metrics[key]
    clips = str(metrics.get(f"{key}.n", ""))
    if not isinstance(value, float):
        return Entry(figure, key, readable(value), "", "", clips, None, None)
    low, high, error = (
        end / figure.per if isinstance(end := metrics.get(f"{key}{suffix}"), float) else None
        for suffix in (".ci_low", ".ci_high", ".se")
    )
    number, alone = value / figure.per, metrics.get(f"{key}.n", metrics.get("n")) == 1
    ends = None if low is None or high is None or alone else (low, high)
    digits = _digits(number, ends, error)
    between = "" if ends is None or low == high else " to ".join(_text(end, number, digits) for end in ends)
    spread = "" if error is None else _text(error, number, digits)
    return Entry(figure, key, _text(number, number, digits), between, spread, clips, number, ends)


def readable(value: object, like: float | None = None) -> str:
    """Numbers with about three significant digits, booleans as yes or no, text as it is.

    Args:
        value: what is shown.
        like: a number whose decimals it takes over, such as the mean that an interval is about.
    """
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    number = value if like is None else like
    return _text(value, number, decimals(number))


def short(value: float) -> str:
    """As :func:`readable`, without zeros that say nothing: what was asked for, such as a target."""
    text = readable(float(value))
    return text.rstrip("0").rstrip(".") if "." in text and "e" not in text else text


def _text(value: float, like: float, digits: int) -> str:
    return f"{value:.2e}" if 0 < abs(like) < 0.001 or abs(like) >= 1e6 else f"{value:.{digits}f}"


def decimals(number: float) -> int:
    """Decimals of a number alone."""
    size = abs(number)
    return 0 if size >= 1000 else 1 if size >= 10 else 2 if size > 1 else 3


def _digits(number: float, ends: tuple[float, float] | None, error: float | None) -> int:
    """Decimals of a figure: none of what was counted, one less than alone where its interval is wide."""
    if all(float(value).is_integer() for value in (number, *(ends or ()), error or 0.0)):
        return 0
    usual = decimals(number)
    return usual - 1 if usual and ends and ends[1] - ends[0] >= 4.0 * 10.0 ** (1 - usual) else usual


def as_number(text: str) -> float | None:
    """What a cell of a CSV file says, or None where it is no number."""
    try:
        return float(text)
    except ValueError:
        return None


def plain(value: float) -> float:
    """Four significant digits: what a table of many clips shows and sorts by."""
    return float(f"{value:.4g}")


def unit_of(clips: list[Prediction]) -> str:
    """The unit of the explained model's reading."""
    return next((str(clip.result["unit"]) for clip in clips if not clip.failed), "")


def figures_of(folder: Path, clips: list[Prediction]) -> dict[str, dict[str, float]]:
    """The numbers known of each finished clip: of ``result.json``, and of ``predictions.csv`` if it was evaluated."""
    lines = folder / "predictions.csv"
    rows = read_table(lines) if lines.is_file() else []
    measured = {row["id"]: {k: v for k, v in row.items() if "/" in k and math.isfinite(v)} for row in rows}
    return {clip.id: _known_of(clip.result) | measured.get(clip.id, {}) for clip in clips if not clip.failed}


def _known_of(result: Json) -> dict[str, float]:
    """What ``result.json`` tells of a finished clip before it is evaluated."""
    after, target = float(result["prediction_after"]), result["target"]
    if result["task"] == "classification":
        reading = {"adherence/confidence": after}
    else:
        reading = {"adherence/error": off_target(after, target["low"], target["high"])}
    costs = ("mask_share", "steps", "gradient_evaluations", "queries", "seconds")
    return reading | diversity(result) | {f"cost/{name}": float(result[name]) for name in costs if name in result}
