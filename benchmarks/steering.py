"""Steering by three causal graphs in one table, from the evaluated runs of ``make steer-demo``.

Rows of one graph differ in the prompt: see ``lvcf.steering.methods``.  All are judged by the ruler in the pixels and by
the phantom's own graph, whichever graph steered.  Writes ``benchmarks/results/steering.md``.
"""

from __future__ import annotations

from pathlib import Path

from lvcf.evaluation.steering_tables import cell
from lvcf.report.ablation import read_lines
from lvcf.run_folder import read_json
from lvcf.steering.methods import COLUMNS, METHODS

RUNS = {"the phantom's": "face_steer", "no edge": "face_steer_none", "edges turned round": "face_steer_inverse"}
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


def rows(graph: str, run: Path) -> list[str]:
    """One line per method of a run."""
    metrics = read_json(run / "metrics.json")
    methods = [method for method in METHODS if f"{method}/n" in metrics]
    return [
        f"| {graph} | {method.replace('_', ' ')} | {metrics[f'{method}/n']} | "
        + " | ".join(cell(metrics, f"{method}/{name}") for name in FIGURES)
        + " |"
        for method in methods
    ]


def tests(run: Path) -> list[str]:
    """Steered minus each baseline, paired."""
    lines = ["| figure | steered minus | pairs | difference | p (Holm) |", "|---|---|---|---|---|"]
    for test in read_lines(run / "comparisons.csv"):
        if test["metric"] in TESTED:
            names = ("difference", "ci_low", "ci_high", "p_holm")
            difference, low, high, p = (f"{float(test[name]):.2f}" for name in names)
            other = test["other"].replace("_", " ")
            lines.append(
                f"| {FIGURES[test['metric']]} | {other} | {test['n']} | {difference} ({low} to {high}) | {p} |"
            )
    return lines


def main() -> None:
    """Write the table."""
    ours = Path("runs") / RUNS["the phantom's"]
    manifest = read_json(ours / "manifest.json")
    lines = [
        "Simulated faces; made by `make steer-demo`.  Mean over clips and interventions, 95 % interval by clip.",
        f"Editor: {manifest['editor']}.",
        "",
        *(f"- **{FIGURES[name]}**: {meaning}" for name, meaning in COLUMNS.items()),
        "",
        "| graph | prompt | n | " + " | ".join(FIGURES.values()) + " |",
        "|---" * (3 + len(FIGURES)) + "|",
        *(line for graph, name in RUNS.items() for line in rows(graph, Path("runs") / name)),
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
