"""A steering run's folder, and the page about it as ``steering.html.j2`` wants it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lvcf.files import Json, read_lines
from lvcf.measure.names import STATUSES, figure_of
from lvcf.report.metrics import Entry, as_number, metric_row, plain, readable
from lvcf.report.run_page import measured_on
from lvcf.runs.folder import SUFFIXES, Prediction, read_manifest, read_metrics, read_predictions
from lvcf.runs.panel import LAYOUT
from lvcf.steering.answers import in_words
from lvcf.steering.causal_plot import ROLES, causal_plot, roles_of
from lvcf.steering.figures import comparisons, known_of, lines_of, summarise
from lvcf.steering.graph import CausalGraph, said, stored_graph
from lvcf.steering.methods import COLUMNS, METHODS

Line = dict[str, str]
"""A line of ``comparisons.csv``."""


@dataclass(frozen=True)
class SteeringCase:
    """One clip under one intervention: ``asked`` as the configuration says it, ``results`` by method as far as made."""

    clip: str
    asked: dict[str, str]
    results: dict[str, Prediction]

    @property
    def name(self) -> str:
        """The clip and the intervention."""
        return f"{self.clip}, do({said(self.asked)})"

    @property
    def do(self) -> str:
        """The intervention as ``metrics.json`` calls it: by its variables alone."""
        return f"do({', '.join(self.asked)})"

    @property
    def finished(self) -> list[Prediction]:
        """The results that did not fail."""
        return [result for result in self.results.values() if not result.failed]


@dataclass(frozen=True)
class SteeringFolder:
    """A run of ``lvcf steer``.

    ``metrics`` are those of ``metrics.json``, or what the results say where a run ended before it wrote them; ``tests``
    in the same way.  ``figures`` are the numbers known of each result, by id and column.  ``evaluated`` tells whether
    the videos were measured too.
    """

    folder: Path
    manifest: Json
    graph: CausalGraph
    truth: CausalGraph
    cases: list[SteeringCase]
    metrics: Json
    tests: list[Line]
    figures: dict[str, dict[str, float]]
    evaluated: bool

    @property
    def methods(self) -> list[str]:
        """Those that have results, baselines first."""
        return [method for method in METHODS if f"{method}/n" in self.metrics]

    @property
    def interventions(self) -> dict[str, dict[str, str]]:
        """By what ``metrics.json`` calls them, which names variables alone."""
        return {f"do({', '.join(do)})": do for do in self.manifest["interventions"]}


def read_steering(folder: Path) -> SteeringFolder:
    """Read everything but the videos.

    Raises:
        UserError: one of the JSON files is damaged.
    """
    manifest, predictions = read_manifest(folder), read_predictions(folder)
    lines, written = lines_of(folder), read_metrics(folder)
    metrics = summarise(lines) if written is None else written
    return SteeringFolder(
        folder=folder,
        manifest=manifest,
        graph=stored_graph(manifest, "graph"),
        truth=stored_graph(manifest, "evaluation_graph"),
        cases=_cases(manifest, predictions),
        metrics=metrics,
        tests=_tests(lines) if written is None else read_lines(folder / "comparisons.csv"),
        figures={line["id"]: known_of(line) for line in lines if line["status"] != "failed"},
        evaluated=any("fidelity/" in key for key in metrics),
    )


def _tests(lines: list[Json]) -> list[Line]:
    """The paired comparisons as ``comparisons.csv`` would have them."""
    return [{key: str(value) for key, value in test.items()} for test in comparisons(lines)]


def _cases(manifest: Json, predictions: list[Prediction]) -> list[SteeringCase]:
    """The results in the order of the run's plan: by clip, then intervention, then method."""
    done, methods, asked = {p.id: p for p in predictions}, manifest["methods"], manifest["interventions"]
    cases = []
    for start in range(0, len(manifest["ids"]), len(methods)):
        names = zip(methods, manifest["ids"][start : start + len(methods)], strict=True)
        results = {method: done[name] for method, name in names if name in done}
        if results:
            clip = next(iter(results.values())).result["clip"]
            cases.append(SteeringCase(clip, asked[start // len(methods) % len(asked)], results))
    return cases


STOPPED = {
    "realised": "the steering judge found everything right",
    "edits": "its edits were spent",
    "calls": "its calls were spent",
    "stagnation": "no attempt was better than an earlier one",
    "done": "it makes a single edit",
    "no answer": "judge or rewriter did not answer",
}
"""Why a loop ended."""


def steering_context(folder: Path) -> Json:
    """What ``steering.html.j2`` shows of a steering run's folder.

    Raises:
        UserError: a JSON file of the run is damaged.
    """
    run = read_steering(folder)
    results = [result for case in run.cases for result in case.results.values()]
    return {
        "asked": _asked(run),
        "notice_sentences": run.manifest["notice"],
        "score": _score(run),
        "pending": len(run.manifest["ids"]) - len(results),
        "failures": _failures(results),
        "pictures": _pictures(run),
        "evaluated": run.evaluated,
        "partial": measured_on(run.metrics["n"], len(run.manifest["ids"])),
        "evaluate": f"lvcf evaluate {shlex.quote(str(folder))}",
        "replay": f"lvcf steer --replay {shlex.quote(str(folder))}",
        "simulated": run.metrics.get("simulated", False),
        "table": _table(run),
        "unavailable": _unavailable(run),
        "differences": _differences(run.tests),
        "by_intervention": _by_intervention(run),
        "comparison": _comparison(run),
        "methods": METHODS,
        "versions": run.manifest["versions"],
    }


def _asked(run: SteeringFolder) -> list[tuple[str, str]]:
    manifest, budget = run.manifest, run.manifest["budget"]
    judged = f"{run.graph.name}; judged by {run.truth.name}" if run.graph != run.truth else run.graph.name
    rows = [
        ("interventions", ", ".join(run.interventions)),
        ("clips", f"{len({case.clip for case in run.cases})}{manifest['data'] and ', ' + manifest['data']}"),
        ("causal graph", judged),
        *((f"{name} follows, assumed", how) for name, how in run.graph.assumptions.items()),
        ("editor", manifest["editor"]),
        ("steering judge", manifest["judge"]),
        ("rewriter", manifest["rewriter"]),
        ("evaluating judge", manifest["evaluator"]),
        ("budget of a loop", f"{budget['edits']} edits, {budget['calls']} calls, patience {budget['patience']}"),
        ("factual values by", manifest["factual"]),
        ("seed", manifest["seed"]),
    ]
    return [(name, str(value)) for name, value in rows]


def _score(run: SteeringFolder) -> list[str]:
    """Of how many of a method's results the evaluating judge found every attribute right."""
    told = []
    for method in run.methods:
        ids = [case.results[method].id for case in run.cases if method in case.results]
        known = [run.figures[name]["joint"] for name in ids if "joint" in run.figures.get(name, {})]
        if known:
            told.append(f"{method} {sum(known):.0f} of {len(known)}")
    return told


def _failures(results: Sequence[Prediction]) -> dict[str, list[str]]:
    """The results that failed, by the reason."""
    reasons: dict[str, list[str]] = {}
    for result in results:
        if result.failed:
            reasons.setdefault(result.result["hint"], []).append(result.id)
    return reasons


def _pictures(run: SteeringFolder) -> list[tuple[str, Any]]:
    """Captions and pictures of what every intervention does, by the graph that steers and by the one that judges."""
    graphs = {"": run.truth} if run.graph == run.truth else {", as steered": run.graph, ", as judged": run.truth}
    return [
        (f"{name}{whose}", causal_plot(graph, do))
        for name, do in run.interventions.items()
        for whose, graph in graphs.items()
    ]


def _measured(run: SteeringFolder, method: str, do: str = "") -> dict[str, Entry]:
    """A method's figures by column, over all interventions or under one."""
    head, tail = f"{method}/", f"[{do}]" if do else ""
    own = {}
    for key, value in run.metrics.items():
        stem = next((key.removesuffix(end) for end in SUFFIXES if key.endswith(end)), key)
        if stem.startswith(head) and stem.endswith(tail):
            own[stem.removeprefix(head).removesuffix(tail) + key.removeprefix(stem)] = value
    others = tuple(f"[{name}]" for name in run.interventions)
    names = [name for name in own if name not in ("n", "failed") and not name.endswith((*SUFFIXES, *others))]
    return {name: metric_row(own, name) for name in names}


def _table(run: SteeringFolder, do: str = "") -> Json:
    """Methods and those of their figures that any of them has, as the macro ``figures_table`` wants them."""
    measured = {method: _measured(run, method, do) for method in run.methods}
    every = {key: row.figure for rows in measured.values() for key, row in rows.items() if row.number is not None}
    rows = [
        {
            "name": method,
            "status": "done",
            "control": False,
            "n": _count(run, method, do),
            "cells": [(found.get(key), figure) for key, figure in every.items()],
            "numbers": {key: row.number for key, row in found.items() if row.number is not None},
        }
        for method, found in measured.items()
    ]
    return {"rows": rows, "figures": every}


def _count(run: SteeringFolder, method: str, do: str) -> str:
    """A method's results, over all interventions or under one."""
    asked = [case for case in run.cases if do in ("", case.do)]
    made = [case.results[method] for case in asked if method in case.results]
    failed = sum(result.failed for result in made)
    return f"{len(made) - failed}, {failed} failed" if failed else str(len(made))


def _unavailable(run: SteeringFolder) -> dict[str, list[str]]:
    """What no method has, by the reason."""
    measured = [_measured(run, method) for method in run.methods]
    every = {key: row for rows in measured for key, row in rows.items() if row.unavailable}
    lost = [row for key, row in every.items() if all(rows[key].unavailable for rows in measured if key in rows)]
    whole = [metric_row(run.metrics, key) for key in run.metrics if key.partition("/")[0] not in run.methods]
    reasons: dict[str, list[str]] = {}
    for row in [*lost, *(row for row in whole if row.unavailable)]:
        reasons.setdefault(row.value.removeprefix("unavailable: "), []).append(row.figure.label)
    return reasons


def _by_intervention(run: SteeringFolder) -> list[tuple[str, Json]]:
    """A table for every intervention; none where there is one alone, which the table above is about."""
    tables = [(do, _table(run, do)) for do in run.interventions]
    return [(do, table) for do, table in tables if table["figures"]]


def _differences(tests: Sequence[Line]) -> Json:
    """Steered minus each baseline: what the judge says first, all else in ``more``."""
    others = list(dict.fromkeys(test["other"] for test in tests))
    rows = []
    for name in dict.fromkeys(test["metric"] for test in tests):
        found = {test["other"]: test for test in tests if test["metric"] == name}
        cells = [_difference(found[other]) if other in found else None for other in others]
        rows.append({"figure": figure_of(name), "key": name, "cells": cells})
    return {
        "others": others,
        "rows": [row for row in rows if row["key"] in COLUMNS],
        "more": [row for row in rows if row["key"] not in COLUMNS],
    }


def _difference(test: Line) -> Json:
    value, low, high, p = (as_number(test.get(key, "")) for key in ("difference", "ci_low", "ci_high", "p_holm"))
    assert value is not None  # a test without a difference is not written
    ends = "" if low is None or high is None else f"{_signed(low, value)} to {_signed(high, value)}"
    pairs = f"{test['n']} pairs of {test['clips']} clip{'' if test['clips'] == '1' else 's'}"
    return {
        "value": _signed(value, value),
        "ends": ends,
        "p": "" if p is None else f"p = {readable(p)}",
        "pairs": pairs,
    }


def _signed(value: float, like: float) -> str:
    return f"{'+' if value > 0 else ''}{readable(value, like=like)}".replace("-", "−")


def _comparison(run: SteeringFolder) -> Json:
    """Every clip and intervention under every method, for the page's scripts."""
    keys = list(dict.fromkeys(key for known in run.figures.values() for key in known))
    return {
        "layout": LAYOUT,
        "statuses": STATUSES,
        "figures": [figure_of(key).label for key in keys],
        "methods": [{"name": method, "folder": ""} for method in run.methods],
        "chosen": list(range(len(run.methods))),
        "groups": list(run.interventions),
        "clips": [_case(run, case, keys) for case in run.cases],
    }


def _case(run: SteeringFolder, case: SteeringCase, keys: Sequence[str]) -> Json:
    first = case.finished[0].result if case.finished else None
    told = {method: case.results[method] for method in run.methods if method in case.results}
    return {
        "id": case.name,
        "group": case.do,
        "fps": first["fps"] if first else 1.0,
        "source": first["source_prompt"] if first else "",
        "asked": _values(run, case, first) if first else [],
        "methods": [_told(run, told[method], keys) if method in told else None for method in run.methods],
    }


def _values(run: SteeringFolder, case: SteeringCase, first: Json) -> list[Json]:
    """Every attribute: what the clip shows, what is expected, and why; as the evaluating judge was asked if it was."""
    judged = next((r.result["evaluation"] for r in case.finished if isinstance(r.result["evaluation"], list)), [])
    expected = {answer["attribute"]: answer["expected"] for answer in judged}
    return [
        {
            "name": name,
            "role": ROLES[role],
            "before": first["factual"][name],
            "after": expected.get(name, first["target"][name]),
        }
        for name, role in roles_of(run.truth, case.asked).items()
    ]


def _told(run: SteeringFolder, result: Prediction, keys: Sequence[str]) -> Json:
    """One result; ``factual`` tells that all methods began with the same clip."""
    content, known = result.result, run.figures.get(result.id, {})
    told: Json = {"status": result.status, "folder": result.folder.name, "told": content["hint"]}
    told["values"] = [plain(known[key] / figure_of(key).per) if key in known else None for key in keys]
    if result.failed:
        return told | {"factual": ""}
    judged = content["evaluation"]
    answered = isinstance(judged, list)
    return told | {
        "told": content["hint"] or "every attribute right",
        "factual": content["clip"],
        "prompt": content["prompt"],
        "negative": content["negative"],
        "answers": {one["attribute"]: _answer(one) for one in judged} if answered else {},
        "violations": f"{known['violations']:.0f}" if answered else "",
        "stopped": STOPPED[content["stopped"]],
        "cost": _cost(content["cost"]),
        "problems": content["problems"],
        "attempts": [_attempt(one, place == content["best"]) for place, one in enumerate(content["history"])],
        "progression": len(content["history"]) > 1,
    }


def _answer(answer: Json) -> Json:
    return {key: answer[key] for key in ("observed", "realised", "confidence")}


def _attempt(attempt: Json, kept: bool) -> Json:
    """One edit of a loop and what the steering judge said of it."""
    answers = attempt["verdict"] or []
    right = f"{sum(one['realised'] for one in answers)} of {len(answers)}" if answers else "not judged"
    said = [one["criticism"] or in_words(one["attribute"], one["observed"]) for one in answers if not one["realised"]]
    told = [attempt["problem"]] if attempt["problem"] else said
    return {"prompt": attempt["prompt"], "negative": attempt["negative"], "right": right, "said": told, "kept": kept}


def _cost(cost: Json) -> str:
    tokens = "" if cost["tokens"] is None else f", {cost['tokens']} tokens"
    edits, calls = (f"{cost[name]} {name[:-1] if cost[name] == 1 else name}" for name in ("edits", "calls"))
    return f"{edits}, {calls}{tokens}, {readable(float(cost['seconds']))} s"
