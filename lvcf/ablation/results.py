"""What an ablation has so far: one result per row, measured, derived, failed or quoted from a paper."""

from __future__ import annotations

from pathlib import Path

from lvcf.ablation.cells import Plan, derived_of, row_names, slug, sources, variants
from lvcf.files import read_record
from lvcf.measure.columns import COLUMNS, Result
from lvcf.measure.noises import best_of, mean_of, summarise_means
from lvcf.measure.summary import summarise
from lvcf.measure.table import Line, tidy
from lvcf.runs.folder import read_metrics, read_table


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
        measured = (folder / "predictions.csv").is_file()
        return Result(name, metrics, tidy(_lines(name, output), name) if measured else None, control)
    if not (folder / "failed.json").is_file():
        return None
    code = read_record(folder / "failed.json")["exit_code"]
    return Result(name, {}, control=control, problem=f"failed (exit code {code}), see {folder / 'log.txt'}")


def _lines(name: str, output: Path) -> list[Line]:
    return read_table(output / slug(name) / "predictions.csv")


def _derived(plan: Plan, name: str, output: Path) -> Result | None:
    """A row over several noises; None until all of them have ended."""
    (rule,) = derived_of(plan)[name]
    parts = [_cell(source, output, False) for source in sources(plan, name)]
    if any(part is None for part in parts):
        return None
    failed = next((part.method for part in parts if part and part.problem), "")
    if failed:
        return Result(name, {}, problem=f"not made: '{failed}' failed")
    noises = [_lines(part.method, output) for part in parts if part and part.table is not None]
    control = name in (plan.get("controls") or [])
    if rule == "mean_of":
        means = mean_of(noises, name)
        return Result(name, summarise_means(means), means, control)
    chosen = best_of(noises)
    return Result(name, summarise(chosen), tidy(chosen, name), control)


def paper_results(plan: Plan) -> list[tuple[str, Result]]:
    """The published rows, each with the case or derived row that it stands beside."""
    paper, found = plan.get("paper") or {}, []
    for name, entry in paper.get("rows", {}).items():
        metrics = {COLUMNS[heading]: float(value) for heading, value in entry.items() if heading != "note"}
        found.append((name, Result(f"{name} (paper)", metrics, paper=paper["table"], note=entry.get("note", ""))))
    return found
