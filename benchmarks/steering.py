"""Steering by three causal graphs in one table, from the evaluated runs of ``make steer-demo``.

Rows of one graph differ in the prompt: see ``lvcf.steering.methods``.  All are judged by the ruler in the pixels and by
the phantom's own graph, whichever graph steered.  The other graphs steer fewer clips; so the phantom's has a row of
these alone.  Writes ``benchmarks/results/steering.md``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lvcf.steering.figures import facts, summarise
from lvcf.steering.methods import COLUMNS, METHODS
from lvcf.steering.report import SteeringFolder, read_steering

OURS = "the phantom's"
REACHABLE = "truth/target_is_true"
RUNS = {OURS: "face_steer", "no edge": "face_steer_none", "edges turned round": "face_steer_inverse"}
FIGURES = {
    "joint": "all right",
    "effectiveness": "effectiveness",
    "minimality": "minimality",
    "violations": "violations",
    "truth/l1_levels": "levels to the truth",
    "truth/share_recovered_smooth": "share recovered",
    "edits": "edits",
    "seconds": "s",
}
TESTED = ("joint", "violations", "truth/l1_levels")
RESULTS = Path("benchmarks/results/steering.md")


def cell(metrics: dict[str, Any], key: str) -> str:
    """A figure and its interval; a dash where there is none: ``metrics.json`` says why."""
    value = metrics.get(key)
    if not isinstance(value, int | float):
        return "–"
    digits = 2 if abs(value) < 100 else 1
    ends = [metrics[f"{key}{end}"] for end in (".ci_low", ".ci_high") if f"{key}{end}" in metrics]
    spread = f" ({' to '.join(f'{end:.{digits}f}' for end in ends)})" if ends else ""
    return f"{value:.{digits}f}{spread}"


def rows(graph: str, metrics: dict[str, Any]) -> list[str]:
    """One line per method of a run."""
    methods = [method for method in METHODS if f"{method}/n" in metrics]
    return [
        f"| {graph} | {method.replace('_', ' ')} | {metrics[f'{method}/n']} | "
        + " | ".join(cell(metrics, f"{method}/{name}") for name in FIGURES)
        + " |"
        for method in methods
    ]


def of_clips(run: SteeringFolder, clips: set[str]) -> dict[str, Any]:
    """The steered row of a run on some of its clips, as ``metrics.json`` has it."""
    results = [case.results["steered"] for case in run.cases if case.clip in clips]
    return summarise([facts(result.result) | run.figures[result.id] for result in results])


def tests(run: SteeringFolder) -> list[str]:
    """Steered minus each baseline, paired; no p values: the clips were looked at before their number was settled."""
    lines = ["| figure | steered minus | pairs | difference |", "|---|---|---|---|"]
    for test in run.tests:
        if test["metric"] in TESTED:
            difference, low, high = (f"{float(test[name]):.2f}" for name in ("difference", "ci_low", "ci_high"))
            other = test["other"].replace("_", " ")
            lines.append(f"| {FIGURES[test['metric']]} | {other} | {test['n']} | {difference} ({low} to {high}) |")
    return lines


def main() -> None:
    """Write the table."""
    runs = {graph: read_steering(Path("runs") / name) for graph, name in RUNS.items()}
    ours = runs.pop(OURS)
    shared = {case.clip for run in runs.values() for case in run.cases}
    metrics = {OURS: ours.metrics, f"{OURS}, {len(shared)} clips": of_clips(ours, shared)}
    metrics |= {graph: run.metrics for graph, run in runs.items()}
    lines = [
        "Simulated faces; made by `make steer-demo`.  Mean over clips and interventions, 95 % interval by clip.",
        f"Editor: {ours.manifest['editor']}.",
        "",
        *(f"- **{FIGURES[name]}**: {meaning}" for name, meaning in COLUMNS.items()),
        f"- Of {cell(ours.metrics, f'graph/{REACHABLE}')} of the edits the clip shows what is right; all else hangs on "
        "what no clip shows, so **all right** cannot reach 1.",
        "",
        "| graph | prompt | n | " + " | ".join(FIGURES.values()) + " |",
        "|---" * (3 + len(FIGURES)) + "|",
        *(line for graph, found in metrics.items() for line in rows(graph, found)),
        "",
        "Paired by clip and intervention, the phantom's graph:",
        "",
        *tests(ours),
    ]
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text("\n".join(lines) + "\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
