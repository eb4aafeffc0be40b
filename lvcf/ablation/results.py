"""What an ablation has so far: one result per row, measured, derived, failed or quoted from a paper."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from lvcf.ablation.cells import Plan, derived_of, row_names, slug, sources, variants
from lvcf.ablation.columns import COLUMNS, ClipRow, Judge, figure_of
from lvcf.ablation.derived import Table, best_metrics, best_of, mean_metrics
from lvcf.files import read_record
from lvcf.runs.folder import read_metrics, read_table

Clip = tuple[str, float, float]
"""A clip's id with the edges of its target: the same question."""


@dataclass(frozen=True)
class Result:
    """One row of the table.

    Attributes:
        method: its name.
        metrics: flat, as in ``metrics.json``; empty if it failed.
        tables: its clips' lines; several tables of a row that averages noises.
        control: shown for orientation; never best.
        problem: why there are no figures.
        paper: a published row's source, such as ``Table 1``; empty of a measured row.
        note: on a published row, what does not cohere in it.
    """

    method: str
    metrics: dict[str, Any]
    tables: list[Table] = field(default_factory=list)
    control: bool = False
    problem: str = ""
    paper: str = ""
    note: str = ""

    @property
    def kind(self) -> str:
        """paper, failed, control or method."""
        if self.paper or self.problem:
            return "paper" if self.paper else "failed"
        return "control" if self.control else "method"

    def values(self, judge: Judge) -> dict[Clip, float]:
        """What is compared of every clip that has it, averaged over noises."""
        found: dict[Clip, list[float]] = {}
        for row in (row for table in self.tables for row in table if row["status"] != "failed"):
            found.setdefault(_clip(row), []).append(judge.value(row))
        whole = {clip: float(np.mean(values)) for clip, values in found.items() if len(values) == len(self.tables)}
        return {clip: value for clip, value in whole.items() if np.isfinite(value)}


def _clip(row: ClipRow) -> Clip:
    return row["id"], row["target_low"], row["target_high"]


def gather(plan: Plan, output: Path) -> list[Result]:
    """Every row that is done or failed, in the plan's order, with the paper's rows after those of their case."""
    cells = {variant.name: variant.case for variant in variants(plan)}
    controls, last = set(plan.get("controls") or []), _last_rows(plan)
    quoted, found = paper_results(plan), []
    for name in row_names(plan):
        case = cells.get(name, name)
        result = _cell(name, output, case in controls) if name in cells else _derived(plan, name, output)
        found += [result] if result else []
        found += [paper for of, paper in quoted if last.get(of) == name]
    return found + [paper for of, paper in quoted if of not in last]


def _last_rows(plan: Plan) -> dict[str, str]:
    """By case, and by derived row, the name of its last row."""
    return {v.case: v.name for v in variants(plan)} | {name: name for name in derived_of(plan)}


def _cell(name: str, output: Path, control: bool) -> Result | None:
    """A cell's result; None if it has not ended."""
    folder = output / slug(name)
    metrics = read_metrics(folder)
    if metrics is not None:
        lines = folder / "predictions.csv"
        return Result(name, metrics, [read_table(lines)] if lines.is_file() else [], control)
    if not (folder / "failed.json").is_file():
        return None
    code = read_record(folder / "failed.json")["exit_code"]
    return Result(name, {}, control=control, problem=f"failed (exit code {code}), see {folder / 'log.txt'}")


def _derived(plan: Plan, name: str, output: Path) -> Result | None:
    """A row over several noises; None until all of them have ended."""
    (rule,) = derived_of(plan)[name]
    parts = [_cell(source, output, False) for source in sources(plan, name)]
    if any(part is None for part in parts):
        return None
    done = [part for part in parts if part and not part.problem]
    if len(done) < len(parts):
        failed = next(part.method for part in parts if part and part.problem)
        return Result(name, {}, problem=f"not made: '{failed}' failed")
    tables = [table for part in done for table in part.tables]
    control = name in (plan.get("controls") or [])
    if rule == "mean_of":
        return Result(name, mean_metrics(tables), tables, control)
    chosen = best_of(tables)
    return Result(name, best_metrics(chosen), [chosen], control)


def paper_results(plan: Plan) -> list[tuple[str, Result]]:
    """The published rows, each with the case or derived row that it stands beside."""
    paper, found = plan.get("paper") or {}, []
    for name, entry in paper.get("rows", {}).items():
        metrics = {COLUMNS[heading]: float(value) for heading, value in entry.items() if heading != "note"}
        found.append((name, Result(f"{name} (paper)", metrics, paper=paper["table"], note=entry.get("note", ""))))
    return found


def table_row(result: Result, headings: dict[str, str]) -> dict[str, Any]:
    """A line of ``table.csv``: every figure with standard error and interval under the table's headings."""
    row: dict[str, Any] = {"method": result.method, "kind": result.kind, "n": result.metrics.get("n", "")}
    row |= {"failed clips": result.metrics.get("failed", ""), "problem": result.problem}
    for heading, key in headings.items():
        row[heading] = figure_of(result.metrics, key)
        for name, suffix in (("se", ".se"), ("low", ".ci_low"), ("high", ".ci_high")):
            row[f"{heading} {name}"] = figure_of(result.metrics, key, suffix)
    return row
