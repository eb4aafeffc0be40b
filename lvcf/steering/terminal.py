"""A steering run's figures on the terminal: methods side by side."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Table

from lvcf.errors import line
from lvcf.files import read_lines
from lvcf.measure.names import figure_of
from lvcf.measure.table import Line
from lvcf.metrics.statistics import LEVEL
from lvcf.report.metrics import Entry, metric_row
from lvcf.report.terminal import ARROWS, console, print_missing
from lvcf.runs.folder import SUFFIXES
from lvcf.steering.figures import COSTS, OURS, comparisons, methods_of
from lvcf.steering.methods import COLUMNS

HINT = 2000
"""Characters of a reason at most: a record may hold anything."""
FIRST = (*COLUMNS, "edits", "calls", "seconds", "peak_memory_bytes")
"""What is told of every method first."""


def print_methods(run: Path, metrics: dict[str, Any], rows: list[Line]) -> None:
    """What the evaluating judge says of every method and what it cost, and which clips failed."""
    clips, methods = len({row["clip"] for row in rows}), methods_of(rows)
    simulated = "simulated " if metrics["simulated"] else ""
    print(f"{run}: mean and {LEVEL:.0%} interval over {clips} {simulated}clips' interventions")
    table = _table("measure", methods)
    for name in ("n", "failed"):
        table.add_row(_label(name), *(str(metrics[f"{method}/{name}"]) for method in methods))
    _add_figures(table, metrics, methods, FIRST)
    console().print(table)
    if "unfinished" in metrics:
        print(f"  {metrics['unfinished']}")
    print("\n  ".join(["by the evaluating judge", *(f"{name}: {meaning}" for name, meaning in COLUMNS.items())]))
    for row in rows:
        if row["status"] == "failed":
            print(f"  {row['id']}: failed: {line(row['hint'], most=HINT)}")


def print_details(metrics: dict[str, Any], rows: list[Line]) -> None:
    """Every other figure, methods side by side; the comparisons; by the reason, what was not measured."""
    methods = methods_of(rows)
    shown = {*COLUMNS, *COSTS, "n", "failed"}
    names = dict.fromkeys(
        name
        for key in metrics
        for method, _, name in [key.partition("/")]
        if method in methods and name not in shown and not name.endswith(SUFFIXES)
    )
    print("\nby attribute and intervention, and in the files")
    table = _table("measure", methods)
    _add_figures(table, metrics, methods, [name for name in names if _is_known(metrics, methods, name)])
    console().print(table)
    _print_comparisons(comparisons(rows))
    lost = {name: metrics.get(f"{methods[0]}/{name}") for name in names if not _is_known(metrics, methods, name)}
    lost |= {key: value for key, value in metrics.items() if key.partition("/")[0] not in methods}
    print_missing(lost)


def _is_known(metrics: dict[str, Any], methods: list[str], name: str) -> bool:
    return any(isinstance(metrics.get(f"{method}/{name}"), int | float) for method in methods)


def _add_figures(table: Table, metrics: dict[str, Any], methods: list[str], names: Iterable[str]) -> None:
    for name in names:
        found = [_measured(metrics, method, name) for method in methods]
        largest = max((abs(row.number) for row in found if row and row.number is not None), default=0.0)
        digits = 0 if largest >= 100 else 1 if largest >= 10 else 2
        table.add_row(escape(_label(name)), *(_cell(row, digits) for row in found))


def _measured(metrics: dict[str, Any], method: str, name: str) -> Entry | None:
    own = {key.removeprefix(f"{method}/"): value for key, value in metrics.items() if key.startswith(f"{method}/")}
    return metric_row(own, name) if name in own else None


def _cell(row: Entry | None, digits: int) -> str:
    """A figure with its interval on a line of its own: five methods fit a narrow terminal."""
    if row is None or row.number is None:
        return "–"
    ends = "" if row.ends is None else "\n" + "..".join(f"{end:.{digits}f}" for end in row.ends)
    return f"{row.number:.{digits}f}{ends}"


def _label(name: str) -> str:
    """A figure in words, with what stands in brackets behind it and the better direction."""
    key, *settings = name.replace("]", "").split("[")
    figure = figure_of(key)
    return f"{ARROWS[figure.better]}{', '.join([figure.title, *settings])}"


def print_judges(run: Path) -> None:
    """What the steering judge saw where the evaluating judge saw each value, in edits that no judge chose."""
    lines = read_lines(run / "judges.csv")
    if not lines:
        return
    print("\nedits that no judge chose, by what the two judges saw in them (judges.csv)")
    table = _table("attribute", ["evaluating judge", "steering judge", "edits"])
    for one in lines:
        table.add_row(*(escape(one[name]) for name in ("attribute", "evaluator", "judge", "n")))
    console().print(table)


def _print_comparisons(tests: list[Line]) -> None:
    if not tests:
        return
    print(f"\n{OURS} minus a baseline on the same clips and interventions")
    table = _table("measure", ["against", "pairs", "difference", "p", "p (Holm)"])
    for test in tests:
        ends = (f" ({test['ci_low']:.3f}..{test['ci_high']:.3f})") if "ci_low" in test else ""
        p_values = (f"{test[name]:.3f}" if name in test else "one clip" for name in ("p_permutation", "p_holm"))
        figures = (test["other"], str(test["n"]), f"{test['difference']:.3f}{ends}", *p_values)
        table.add_row(escape(_label(test["metric"])), *figures)
    console().print(table)


def _table(first: str, others: list[str]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1), collapse_padding=True)
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right", overflow="fold")
    return table
