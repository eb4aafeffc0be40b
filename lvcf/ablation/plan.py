"""An ablation's file, on top of the one that it extends."""

from __future__ import annotations

import math
from types import NoneType
from typing import Any

from lvcf.ablation.cells import Plan, cases_of, derived_of, grid_of, refuse_unknown, row_names, sources, variants
from lvcf.configuration import read_section
from lvcf.errors import UserError
from lvcf.measure.columns import COLUMNS

ENTRIES = (
    "base",
    "output",
    "prompts",
    "model",
    "data",
    "cases",
    "grid",
    "derived",
    "controls",
    "reference",
    "evaluate",
    "paper",
)
CASE_ENTRIES = ("prompts", "model", "data", "callbacks", "noises")
PROMPTS = ("neutral", "target")
MERGED = ("model", "derived")
"""Entries of which a file that extends another says only what differs."""
DERIVED = ("mean_of", "best_of")
SHAPES: dict[str, tuple[type, ...]] = {
    "base": (str,),
    "output": (str,),
    "prompts": (list,),
    "model": (dict,),
    "data": (dict,),
    "cases": (dict, NoneType),
    "grid": (dict, NoneType),
    "derived": (dict, NoneType),
    "controls": (list,),
    "reference": (str,),
    "evaluate": (list, NoneType),
    "paper": (dict, NoneType),
    "extends": (str,),
    "keep": (list,),
    "callbacks": (list,),
    "noises": (list,),
}
"""What an entry of a plan, or of a case, is in YAML."""
WORDS = {"str": "text", "list": "list", "dict": "mapping"}
MOST_CELLS = 10_000
"""A grid with more is a slip of the pen: a cell takes minutes."""


def read_plan(name: str) -> Plan:
    """The ``ablate`` section of a file, on top of the one it ``extends``.

    Of the extended file's cases those in ``keep`` are taken, in that order, else all; one of the same name says what
    differs, new ones come first.  ``model`` and ``derived`` are merged, any other entry is replaced; what the extended
    file says of rows that are not kept is left out.

    Raises:
        UserError: a file or an entry is missing, or an entry is none of the plan's.
    """
    return _read(name, ())


def _read(name: str, extending: tuple[str, ...]) -> Plan:
    plan = read_section(name, "ablate")
    try:
        _check_shapes(plan)
    except UserError as mistake:
        raise UserError(f"{name}: {mistake}") from mistake
    if "extends" in plan:
        if plan["extends"] in (*extending, name):
            raise UserError(f"{name}: extends itself by way of {plan['extends']}; take one 'extends:' out")
        under = _read(plan["extends"], (*extending, name))
    try:
        if "extends" in plan:
            plan = _on_top(plan, under)
        _check(plan)
    except UserError as mistake:
        raise UserError(f"{name}: {mistake}") from mistake
    return plan


def _on_top(own: Plan, under: Plan) -> Plan:
    cases, inherited = cases_of(own), cases_of(under)
    kept = own.get("keep", list(inherited))
    refuse_unknown(kept, list(inherited), f"case of {own['extends']}, as 'keep:' says")
    names = [*(case for case in cases if case not in kept), *kept]
    plan = under | own | {key: under.get(key, {}) | own.get(key, {}) for key in MERGED}
    plan["cases"] = {case: inherited.get(case, {}) | cases.get(case, {}) for case in names}
    dropped = [row for row, rule in derived_of(under).items() if not {*rule.values()} <= {*names}]
    plan["derived"] = {row: rule for row, rule in derived_of(plan).items() if row not in dropped}
    if "controls" not in own:
        plan["controls"] = [case for case in plan.get("controls", []) if case in (*names, *plan["derived"])]
    if "reference" not in own and plan.get("reference") not in [variant.name for variant in variants(plan)]:
        plan.pop("reference", None)
    return {key: value for key, value in plan.items() if key not in ("extends", "keep")}


def _check_shapes(plan: Plan) -> None:
    """Every entry is the kind of YAML that it has to be, before two files are merged.

    Raises:
        UserError: one is not.
    """
    _check_entries("", plan)
    for case, entry in cases_of(plan).items():
        if not isinstance(case, str) or not isinstance(entry, dict):
            raise UserError(f"case '{case}': its name is a text and its entry a mapping, {{}} if nothing differs")
        _check_entries(f"case '{case}': ", entry)
    for row, rule in derived_of(plan).items():
        if not isinstance(rule, dict) or not all(isinstance(case, str) for case in rule.values()):
            raise UserError(f"derived '{row}': write {{mean_of: CASE}} or {{best_of: CASE}}")
    for key, values in grid_of(plan).items():
        if not isinstance(key, str) or not isinstance(values, list) or not values:
            raise UserError(f"grid {key}: is no list of values, such as [1, 2]")
    cells = math.prod(len(values) for values in grid_of(plan).values())
    if cells > MOST_CELLS:
        raise UserError(f"grid: makes {cells} cells; at most {MOST_CELLS} can be run")


def _check_entries(where: str, entries: dict[str, Any]) -> None:
    for key, value in entries.items():
        shapes = SHAPES.get(key)
        if shapes and not isinstance(value, shapes):
            raise UserError(f"{where}{key}: '{value}' is no {WORDS[shapes[0].__name__]}; correct it")
    for key in ("prompts", "noises"):
        if entries.get(key) == []:
            raise UserError(f"{where}{key}: is empty; give one or leave it out")
    for key in ("prompts", "controls", "keep"):
        wrong = [value for value in entries.get(key, []) if not isinstance(value, str)]
        if wrong:
            raise UserError(f"{where}{key}: '{wrong[0]}' is no text; correct it")
    for node in entries.get("callbacks", []):
        if not isinstance(node, dict) or not isinstance(node.get("class_path"), str):
            raise UserError(f"{where}callbacks: '{node}' is no class; write '- class_path: MODULE.CLASS'")
    if not entries.get("output", "here"):
        raise UserError(f"{where}output: names no folder; give one")


def _check(plan: Plan) -> None:
    for key in ("base", "output", "prompts"):
        if key not in plan:
            raise UserError(f"the ablation lacks '{key}:'; see configs/ablations/phantom.yaml for the entries")
    if not (cases_of(plan) or grid_of(plan)):
        raise UserError("the ablation lacks 'cases:' and 'grid:'; give one, as configs/ablations/phantom.yaml does")
    refuse_unknown(plan, ENTRIES, "entry of 'ablate:'")
    refuse_unknown(plan["prompts"], PROMPTS, "prompt")
    for case, entry in cases_of(plan).items():
        refuse_unknown(entry, CASE_ENTRIES, f"entry of the case '{case}'")
        refuse_unknown(entry.get("prompts", []), PROMPTS, f"prompt, as the case '{case}' says")
    _check_rows(plan)
    _check_paper(plan.get("paper") or {"table": "none"})


def _check_rows(plan: Plan) -> None:
    """What is said of rows names rows."""
    cells = [variant.name for variant in variants(plan)]
    for row, rule in derived_of(plan).items():
        if len(rule) != 1 or not {*rule} <= {*DERIVED}:
            raise UserError(f"derived '{row}': write {{mean_of: CASE}} or {{best_of: CASE}}")
        if row in cells:
            raise UserError(f"derived '{row}': a cell is called so too; rename one")
        sources(plan, row)
    refuse_unknown(plan.get("controls", []), [*cases_of(plan), *derived_of(plan)], "case, as 'controls:' says")
    if "reference" in plan:
        refuse_unknown([plan["reference"]], row_names(plan), "row, as 'reference:' says")


def _check_paper(paper: dict[str, Any]) -> None:
    """Published values have a source, and columns of ours."""
    refuse_unknown(paper, ("table", "rows"), "entry of 'paper:'")
    if "table" not in paper:
        raise UserError("paper: say where the values are from, such as 'table: Table 1'")
    if not isinstance(paper.get("rows", {}), dict):
        raise UserError(f"paper: rows: '{paper['rows']}' is no mapping; write 'ROW: {{R2: 0.5}}'")
    for name, entry in paper.get("rows", {}).items():
        if not isinstance(entry, dict):
            raise UserError(f"paper '{name}': write the columns' values, such as {{R2: 0.5, MAE: 2.0}}")
        values = {heading: value for heading, value in entry.items() if heading != "note"}
        refuse_unknown(values, list(COLUMNS), f"column, as the paper's row '{name}' says")
        for heading, value in values.items():
            if not isinstance(value, int | float):
                raise UserError(f"paper '{name}', {heading}: '{value}' is no number")
