"""The flat ``metrics.json`` as grouped, readable rows.  A missing metric stays visible, with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lvcf.report.names import Figure, figure_of
from lvcf.run_folder import SUFFIXES

ABOUT = {
    "adherence": "Does the model now say what was asked?",
    "truth": "How close is it to the simulator's true counterfactual?",
    "fidelity": "Does the clip still look like a real one, and like the factual?",
    "proximity": "How little was changed?",
    "minimality": "Is it nearer to its clip than real clips of the target are?",
    "temporal": "Is the change steady from frame to frame?",
    "realism": "Do the counterfactuals look like real clips, as a set?",
    "explanation": "Is the change what turns the model?",
    "region": "Is the change where the user said it belongs?",
    "composition": "Does asking for nothing change nothing?",
    "reversibility": "Does the way back lead to the factual?",
    "leakage": "Did anything change that should not have?",
    "outside": "Did anything change outside the region that should?",
    "clip": "Is it steady, and does it show what the words say, by CLIP?",
    "captions": "Is all else described as before?",
    "quality": "Does it look good, by DOVER?",
    "cost": "What did it take?",
}
"""The question a group of metrics answers, by the part of its keys before the slash."""
GENERAL = "measured on"


@dataclass(frozen=True)
class Row:
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
        return self.value.startswith("unavailable")


@dataclass(frozen=True)
class Group:
    """Metrics that answer one question."""

    name: str
    about: str
    rows: list[Row]


def metric_groups(metrics: Mapping[str, Any], unit: str = "") -> list[Group]:
    """Group keys by the part before the slash, in the order of the file; keys without one come last.

    Args:
        metrics: of ``metrics.json``; what :data:`lvcf.run_folder.SUFFIXES` tells joins its metric's row.
        unit: of the explained model's reading.
    """
    groups: dict[str, list[Row]] = {}
    for key in metrics:
        if not (key.endswith(SUFFIXES) and key.rpartition(".")[0] in metrics):
            group = key.partition("/")[0] if "/" in key else GENERAL
            groups.setdefault(group, []).append(metric_row(metrics, key, unit))
    named = [Group(name, ABOUT.get(name, ""), rows) for name, rows in groups.items() if name != GENERAL]
    general = [Group(GENERAL, "", groups[GENERAL])] if GENERAL in groups else []
    return named + general


def metric_row(metrics: Mapping[str, Any], key: str, unit: str = "") -> Row:
    """One metric with all that ``metrics.json`` tells of it."""
    figure, value = figure_of(key, unit), metrics[key]
    clips = str(metrics.get(f"{key}.n", ""))
    if not isinstance(value, float):
        return Row(figure, key, readable(value), "", "", clips, None, None)
    low, high, error = (
        end / figure.per if isinstance(end := metrics.get(f"{key}{suffix}"), float) else None
        for suffix in (".ci_low", ".ci_high", ".se")
    )
    number = value / figure.per
    ends = None if low is None or high is None else (low, high)
    between = "" if ends is None else " to ".join(readable(end, like=number) for end in ends)
    spread = "" if error is None else readable(error, like=number)
    return Row(figure, key, readable(number), between, spread, clips, number, ends)


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
    size = abs(value if like is None else like)
    if 0 < size < 0.001 or size >= 1e6:
        return f"{value:.2e}"
    return f"{value:.{1 if size >= 10 else 2 if size >= 1 else 3}f}"


def as_number(text: str) -> float | None:
    """What a cell of a CSV file says, or None where it is no number."""
    try:
        return float(text)
    except ValueError:
        return None


def plain(value: float) -> float:
    """Four significant digits: what a table of many clips shows and sorts by."""
    return float(f"{value:.4g}")
