"""The figures of one or several runs as one table on the terminal, as wide as that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.markup import escape  # to rich, the brackets of a key are a style
from rich.table import Table

from lvcf.files import Json
from lvcf.measure.names import STATUSES, Figure
from lvcf.report.metrics import Entry, measured, metric_groups, not_measured

NARROWEST = 80
"""Columns below which a table is not squeezed."""
WIDE = 118
"""Columns from which a run's table also tells standard errors and the keys of ``metrics.json``."""
ARROWS = {"higher": "↑ ", "lower": "↓ ", "": "  "}
"""Before a figure's name: the better direction."""


@dataclass(frozen=True)
class Evaluated:
    """A run with its ``metrics.json``, the statuses of its clips, and the unit of the explained model's reading."""

    folder: Path
    metrics: Json
    statuses: list[str]
    unit: str


def console() -> Console:
    """The terminal, taken for no narrower than :data:`NARROWEST`."""
    return Console(width=max(Console().width, NARROWEST), highlight=False)


def print_runs(runs: Sequence[Evaluated]) -> None:
    """What the runs are, their figures side by side, and by the reason what was not measured."""
    terminal = console()
    for run in runs:
        terminal.print(_about(run), markup=False)
        if "unfinished" in run.metrics:
            terminal.print(f"  {run.metrics['unfinished']}", markup=False)
    wide = len(runs) == 1 and terminal.width >= WIDE
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    table.add_column("measure", overflow="fold")
    for heading in _headings(runs, wide):
        table.add_column(escape(heading), justify="right", overflow="fold")
    if wide:
        table.add_column("key in metrics.json", overflow="fold")
    rows = [_rows(run) for run in runs]
    figures = {key: row.figure for known in rows for key, row in known.items()}
    group = ""
    for key in _in_order(figures):
        if key.partition("/")[0] != group:
            group = key.partition("/")[0]
            table.add_section()
            table.add_row(f"[bold]{group}{' (simulated)' if group == 'truth' else ''}[/]")
        found = [known.get(key) for known in rows]
        cells = _cells(found[0], wide) if len(runs) == 1 else [_beside(row) for row in found]
        table.add_row(escape(_name(figures[key], found)), *cells, *([escape(key)] if wide else []))
    terminal.print(table)
    brackets = "in brackets: the 95 % interval over clips" if len(runs) > 1 else "intervals are over clips"
    terminal.print(f"↑ higher is better, ↓ lower is better; {brackets}")
    print_missing({key: value for run in runs for key, value in run.metrics.items() if key not in figures})


def _about(run: Evaluated) -> str:
    metrics, counts, number = run.metrics, Counter(run.statuses), len(run.statuses)
    clips = f"{number} {'simulated ' if metrics['simulated'] else ''}clip{'' if number == 1 else 's'}"
    told = ", ".join(f"{counts[status]} {label}" for status, label in STATUSES.items() if counts[status])
    return f"{run.folder}: {metrics['method']}, prompt {metrics['prompt']}, {clips}: {told}"


def _headings(runs: Sequence[Evaluated], wide: bool) -> list[str]:
    if len(runs) == 1:
        return ["value", "95 % interval", *(["± s.e."] if wide else [])]
    names = [run.folder.resolve().name for run in runs]
    return names if len({*names}) == len(names) else [str(run.folder) for run in runs]


def _rows(run: Evaluated) -> dict[str, Entry]:
    """What was measured, by key."""
    return {row.key: row for group in measured(metric_groups(run.metrics, run.unit)) for row in group.rows}


def _in_order(figures: dict[str, Figure]) -> list[str]:
    """Keys of several runs in the order of their groups."""
    groups = metric_groups(dict.fromkeys(figures, 0.0))
    return [row.key for group in groups for row in group.rows]


def _name(figure: Figure, found: Sequence[Entry | None]) -> str:
    """The better direction, the figure in words with its unit, and its clips where these are not all."""
    clips = dict.fromkeys(row.clips for row in found if row and row.clips)
    behind = f" ({' and '.join(clips)} clips)" if clips else ""
    return f"{ARROWS[figure.better]}{figure.label}{behind}"


def _cells(row: Entry | None, wide: bool) -> list[str]:
    return [row.value, row.interval, *([row.error] if wide else [])] if row else []


def _beside(row: Entry | None) -> str:
    if row is None:
        return "–"
    return f"{row.value} ({row.interval.replace(' to ', '..')})" if row.interval else row.value


def print_missing(lost: Json) -> None:
    """By the reason, the figures of a ``metrics.json`` that were not measured."""
    for reason, names in not_measured(metric_groups(lost)).items():
        console().print(f"not measured: {', '.join(names)} ({reason})", markup=False)
