"""The flat ``metrics.json`` as grouped, readable rows.  A missing metric stays visible, with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    "cost": "What did it take?",
}
"""The question a group of metrics answers, by the part of its keys before the slash."""
GENERAL = "measured on"
_SHORT = {w.lower(): w for w in ("MAE", "RMSE", "EF", "LPIPS", "FID", "FVD", "SSIM", "PSNR", "IoU", "ED", "ES", "CI")}


@dataclass(frozen=True)
class Row:
    """One metric: its ``name`` in words, its ``key`` in metrics.json, its ``value`` and standard error as text."""

    name: str
    key: str
    value: str
    error: str
    unavailable: bool


@dataclass(frozen=True)
class Group:
    """Metrics that answer one question."""

    name: str
    about: str
    rows: list[Row]


def metric_groups(metrics: Mapping[str, Any]) -> list[Group]:
    """Group keys by the part before the slash, in the order of the file; keys without one come last.

    A ``<key>.se`` joins its metric's row as the standard error; the interval stays in ``metrics.json``.
    """
    groups: dict[str, list[Row]] = {}
    for key, value in metrics.items():
        if key.endswith(SUFFIXES) and key.rpartition(".")[0] in metrics:
            continue
        group, _, name = key.rpartition("/")
        spread = metrics.get(f"{key}.se")
        error = f"{spread:.{_digits(value)}f}" if isinstance(spread, float) and isinstance(value, float) else ""
        missing = isinstance(value, str) and value.startswith("unavailable")
        row = Row(_words(name), key, readable(value), error, missing)
        groups.setdefault(group or GENERAL, []).append(row)
    named = [Group(name, ABOUT.get(name, ""), rows) for name, rows in groups.items() if name != GENERAL]
    general = [Group(GENERAL, "", groups[GENERAL])] if GENERAL in groups else []
    return named + general


def readable(value: object) -> str:
    """Numbers with about three significant digits, booleans as yes or no, text as it is."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    size = abs(value)
    if 0 < size < 0.001 or size >= 1e6:
        return f"{value:.2e}"
    return f"{value:.{_digits(value)}f}"


def _digits(value: float) -> int:
    return 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3


def _words(name: str) -> str:
    return " ".join(_SHORT.get(word.lower(), word) for word in name.replace("_", " ").replace(".", " · ").split(" "))
