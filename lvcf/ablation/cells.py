"""The cells of an ablation: its cases and its grid, for every prompt and noise, as whole ``predict`` sections."""

from __future__ import annotations

import importlib
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvcf.configuration import callbacks_of, read_section
from lvcf.errors import UserError, nearest
from lvcf.parsing import arguments_of
from lvcf.runs.shards import parse_shard

Plan = dict[str, Any]
"""What :func:`lvcf.ablation.plan.read_plan` gives."""
Cell = tuple[str, dict[str, Any]]
"""A name and a whole ``predict`` section."""

Node = dict[str, Any]
"""A ``class_path`` with its ``init_args``."""

SET_ELSEWHERE = {"model.prompt": "prompts:", "model.output": "output:", "model.noise_seed": "noises:"}

WRITER = "lvcf.callbacks.writer.PredictionWriter"


@dataclass(frozen=True)
class Variant:
    """One cell before it is written out.

    Attributes:
        name: the table's.
        case: the row's name without prompt and noise.
        prompt: neutral or target.
        noise: ``noise_seed`` of a case with several noises.
        changes: the case's entry.
        point: values by dotted key, of a grid's cell.
    """

    name: str
    case: str
    prompt: str
    noise: int | None
    changes: dict[str, Any]
    point: dict[str, Any]


def refuse_unknown(found: Iterable[str], known: Sequence[str], what: str) -> None:
    """Refuse the first of ``found`` that is not known.

    Raises:
        UserError: with the nearest known word, or all of them.
    """
    for word in found:
        if word not in known:
            near = nearest(str(word), known)
            fix = f"did you mean '{near}'?" if near else f"there are {', '.join(known)}"
            raise UserError(f"'{word}' is no {what}; {fix}")


def cases_of(plan: Plan) -> dict[str, dict[str, Any]]:
    """The named rows; there may be none."""
    return plan.get("cases") or {}


def derived_of(plan: Plan) -> dict[str, dict[str, str]]:
    """The rows made from others, by their names; there may be none."""
    return plan.get("derived") or {}


def grid_of(plan: Plan) -> dict[str, list[Any]]:
    """Values by dotted key; there may be none."""
    return plan.get("grid") or {}


def points(plan: Plan) -> Iterator[dict[str, Any]]:
    """Every combination of the grid's values; none without a grid."""
    grid = grid_of(plan)
    if grid:
        for values in itertools.product(*grid.values()):
            yield dict(zip(grid, values, strict=True))


def variants(plan: Plan) -> list[Variant]:
    """Cases, then grid points, each for every prompt it names and every noise."""
    found = []
    rows: list[tuple[str, dict[str, Any], dict[str, Any]]] = [(case, e, {}) for case, e in cases_of(plan).items()]
    rows += [(label(point), {}, point) for point in points(plan)]
    for case, changes, point in rows:
        prompts = changes["prompts"] if "prompts" in changes else plan["prompts"]
        for prompt in prompts:
            for noise in changes.get("noises", [None]):
                name = f"{case}, {prompt}" if len(prompts) > 1 else case
                name += "" if noise is None else f", noise {noise}"
                found.append(Variant(name, case, prompt, noise, changes, point))
    return found


def label(point: dict[str, Any]) -> str:
    """A grid cell's name: ``lambda_max=0.1, alpha=4``; whole keys where two would read the same."""
    short = [key.rpartition(".")[2] for key in point]
    names = list(point) if len(set(short)) < len(short) else short
    values = [value if isinstance(value, str) else json.dumps(value) for value in point.values()]
    return ", ".join(f"{name}={value}" for name, value in zip(names, values, strict=True))


def sources(plan: Plan, derived: str) -> list[str]:
    """The cells a derived row is made from: those of one case, one per noise.

    Raises:
        UserError: there is no such case, or it differs in more than the noise.
    """
    (case,) = derived_of(plan)[derived].values()
    refuse_unknown([case], list(cases_of(plan)), f"case, as derived '{derived}' says")
    found = [variant for variant in variants(plan) if variant.case == case]
    if len({variant.prompt for variant in found}) > 1 or len(found) < 2:
        raise UserError(f"derived '{derived}': give the case '{case}' one prompt and 'noises:', such as [1, 2, 3]")
    return [variant.name for variant in found]


def row_names(plan: Plan) -> list[str]:
    """All rows in the table's order: a derived row follows the cells that it is made from."""
    after: dict[str, list[str]] = {}
    for row in derived_of(plan):
        after.setdefault(sources(plan, row)[-1], []).append(row)
    return [name for variant in variants(plan) for name in (variant.name, *after.get(variant.name, []))]


def reference(plan: Plan) -> str:
    """The row that the others are tested against: the plan's, else the last one of the case ``full``, else the last."""
    named: str | None = plan.get("reference")
    full = [variant.name for variant in variants(plan) if variant.case == "full"]
    return named or [*row_names(plan), *full][-1]


def expand(plan: Plan, output: Path, n: int | None) -> list[Cell]:
    """Every cell as a whole ``predict`` section; ``{output}`` stands for the output folder.

    Args:
        plan: what :func:`read_plan` gave.
        output: the cells' folders go below it.
        n: clips per cell instead of all, rounded up to whole batches.

    Raises:
        UserError: two cells would share a folder, or the grid names no argument.
    """
    base = read_section(plan["base"], "predict")
    for key in ("model", "data"):
        if not isinstance(base.get(key), dict) or not isinstance(base[key].get("init_args", {}), dict):
            raise UserError(f"base {plan['base']}: its '{key}:' has no class_path with init_args")
    cells = [(variant.name, _section(base, plan, variant, output, n)) for variant in variants(plan)]
    folders = [slug(name) for name, _ in cells]
    shared = [name for name, _ in cells if folders.count(slug(name)) > 1]
    if shared:
        raise UserError(f"cells '{shared[0]}' and '{shared[1]}' would share the folder {slug(shared[0])}; rename one")
    return cells


def _section(base: dict[str, Any], plan: Plan, variant: Variant, output: Path, n: int | None) -> dict[str, Any]:
    changes, noise = variant.changes, {} if variant.noise is None else {"noise_seed": variant.noise}
    model = {**(base["model"].get("init_args") or {}), **plan.get("model", {}), **changes.get("model", {}), **noise}
    model |= {"prompt": variant.prompt, "output": str(output / slug(variant.name))}
    own = [callback for callback in callbacks_of(plan["base"], base) if callback["class_path"] != WRITER]
    callbacks = [*changes.get("callbacks", own), {"class_path": WRITER}]
    trainer = {**(base.get("trainer") or {}), "callbacks": callbacks}
    data = changes.get("data", plan.get("data", base["data"]))
    if n is not None:
        trainer["limit_predict_batches"] = -(-n // _batch_size(data))
    section = {**base, "model": {**base["model"], "init_args": model}, "data": data, "trainer": trainer}
    copied: dict[str, Any] = json.loads(json.dumps(section).replace("{output}", str(output)))
    for key, value in variant.point.items():
        put(copied, key, value)
    return copied


def _batch_size(data: dict[str, Any]) -> int:
    size = (data.get("init_args") or {}).get("batch_size")
    if not isinstance(size, int) or size < 1:
        raise UserError("--n: needs 'batch_size', a number above 0, of the data that the ablation names")
    return size


def slug(name: str) -> str:
    """A cell's folder name."""
    return "".join(c if c.isalnum() else "_" for c in name.lower()).strip("_")


def shard(cells: list[Cell], text: str) -> list[Cell]:
    """The cells of one job of an array, ``i/n`` with i from 1; a cell that reads another's folder goes where that goes.

    Raises:
        UserError: ``text`` is no such pair.
    """
    i, n = parse_shard(text)
    first = _first_cells(cells)
    order = list(dict.fromkeys(first))
    return [cell for cell, start in zip(cells, first, strict=True) if order.index(start) % n == i - 1]


def _first_cells(cells: list[Cell]) -> list[int]:
    """For every cell the number of the one that its clips come from in the end, which mostly is itself."""
    first: list[int] = []
    folders = [json.dumps(section["model"]["init_args"]["output"]) for _, section in cells]
    for i, (_, section) in enumerate(cells):
        data = json.dumps(section["data"])
        first.append(next((first[j] for j in range(i) if folders[j] in data), i))
    return first


def put(section: Node, key: str, value: Any) -> None:
    """Set one argument in place.

    Args:
        section: a ``predict`` section.
        key: ``model.ARGUMENT``, ``data.ARGUMENT`` or ``CALLBACK.ARGUMENT`` with the callback's class name, such as
            ``GradientGuidance.samples``; an argument that is a class itself is passed through, as in
            ``GradientGuidance.weight.lambda_max``.
        value: what it becomes.

    Raises:
        UserError: the section has no such callback, or the class no such argument.
    """
    first, *names = key.split(".")
    nodes: dict[str, Node] = {c["class_path"].rpartition(".")[2]: c for c in section["trainer"]["callbacks"]}
    nodes |= {"model": section["model"], "data": section["data"]}
    if first not in nodes or not names:
        near = nearest(first, list(nodes))
        hint = (
            f"did you mean '{near}'?" if near and near != first else f"begin with one of {', '.join(nodes)}, then '.'"
        )
        raise UserError(f"grid key '{key}': names no argument of a callback, the model or the data; {hint}")
    if key in SET_ELSEWHERE:
        raise UserError(f"grid key '{key}': is set by '{SET_ELSEWHERE[key]}' of the ablation")
    node = nodes[first]
    for name in names[:-1]:
        _check(node, name, key)
        inner = node.get("init_args", {}).get(name)
        if not isinstance(inner, dict) or "class_path" not in inner:
            raise UserError(f"grid key '{key}': '{name}' is no class with arguments in the base's file")
        node = inner
    _check(node, names[-1], key)
    node.setdefault("init_args", {})[names[-1]] = value


def _check(node: Node, name: str, key: str) -> None:
    """An argument that the file does not mention is looked up in the class, which takes seconds to load."""
    if name in node.get("init_args", {}):
        return
    module, _, class_name = node["class_path"].rpartition(".")
    known = [*arguments_of(getattr(importlib.import_module(module), class_name))]
    if name not in known:
        near = nearest(name, known)
        hint = f"did you mean '{near}'?" if near else f"it has {', '.join(known)}"
        raise UserError(f"grid key '{key}': {class_name} has no argument '{name}'; {hint}")
