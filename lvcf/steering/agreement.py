"""Where two judges differ: what the steering judge saw in edits beside what the evaluating judge saw in the same."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from lvcf.files import Json, write_rows
from lvcf.measure.table import Line

CHOSEN = ("best_of_n", "steered")
"""Methods whose result is the edit that the steering judge liked best, often because it erred."""


def confusion(results: Iterable[Json]) -> list[Line]:
    """How often one judge saw a value where the other saw this or another.

    Args:
        results: ``result.json`` of a run.  Left out are edits that a judge chose, and those that the evaluating judge
            did not answer about; an edit that several methods made counts once.

    Returns:
        One line per attribute and pair of values: attribute, evaluator, judge, n.
    """
    edits = {}
    for result in results:
        if result["status"] != "failed" and result["method"] not in CHOSEN and isinstance(result["evaluation"], list):
            (attempt,) = result["history"]
            edits[result["clip"], attempt["prompt"], attempt["seed"]] = result["evaluation"], attempt["verdict"]
    counts = Counter(
        (one["attribute"], one["observed"], other["observed"])
        for evaluation, verdict in edits.values()
        for one, other in zip(evaluation, verdict, strict=True)
    )
    return [
        {"attribute": attribute, "evaluator": evaluator, "judge": judge, "n": n}
        for (attribute, evaluator, judge), n in counts.items()
    ]


def write_confusion(run: Path, results: Iterable[Json]) -> None:
    """Write :func:`confusion` to ``judges.csv``; nothing where no edit was made that no judge chose."""
    if lines := confusion(results):
        write_rows(run / "judges.csv", lines)
