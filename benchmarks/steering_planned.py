"""What came out of ``benchmarks/plans/steering.md``: the one look at the run of ``make bench-steering``.

    python -m benchmarks.steering_planned

Writes ``benchmarks/results/steering_planned.md``; before there is a run, that there is none.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.steering_plan import (
    BUDGET,
    CLIPS,
    INTERVENTIONS,
    METHODS,
    PLAN,
    RUN,
    RUN_SEED,
    SET,
    SET_SEED,
)
from lvcf.errors import UserError
from lvcf.metrics.power import sign_test
from lvcf.metrics.statistics import holm, mean_interval
from lvcf.phantoms.face.set import draw_factors, read_factors
from lvcf.runs.folder import read_manifest, read_predictions
from lvcf.steering.graph import read_graph

OURS, PRIMARY, SECONDARY = "steered", "initial", ("graph", "best_of_n")
GRAPHS = ("graph", "evaluation_graph")
RESULTS = Path("benchmarks/results/steering_planned.md")
HEAD = (
    "Simulated faces; made by `make bench-steering`, fixed in advance in `benchmarks/plans/steering.md` (sha256 "
    "{digest}...): {clips} clips, {interventions} interventions each."
)
Counts = dict[str, np.ndarray[Any, np.dtype[np.float64]]]
"""By method, of every clip in order, under how many interventions all is right ``(n,)``."""


def check(run: Path) -> None:
    """Refuse a run that is not the planned one, or a part of it.

    Raises:
        UserError: a setting differs, the clips are others, or counterfactuals are missing.
    """
    manifest = read_manifest(run)
    planned = {"seed": RUN_SEED, "methods": METHODS, "interventions": INTERVENTIONS, "budget": BUDGET}
    planned |= {"factual": "data", "data": str(SET), "evaluator": f"ruler {SET}"}
    planned |= {name: read_graph("steering/graphs/face.yaml").model_dump(mode="json") for name in GRAPHS}
    for name, value in planned.items():
        if manifest[name] != value:
            raise UserError(f"{run}: {name} is {manifest[name]}, planned is {value}; run make bench-steering")
    if list(read_factors(SET).values()) != draw_factors(CLIPS, SET_SEED):
        raise UserError(f"{SET}: not the planned clips; remove it and run make bench-steering")
    wanted, made = CLIPS * len(INTERVENTIONS) * len(METHODS), len(read_predictions(run))
    if (len(manifest["ids"]), made) != (wanted, wanted):
        raise UserError(f"{run}: {made} of {wanted} counterfactuals; there is one look, when all are made")


def counted(results: list[dict[str, Any]]) -> Counts:
    """Results by method and clip; what failed, or was not evaluated, is not right."""
    clips = sorted({result["clip"] for result in results})
    counts: Counts = {method: np.zeros(len(clips)) for method in METHODS}
    for result in results:
        right = result.get("measured", {}).get("joint") == 1.0
        counts[result["method"]][clips.index(result["clip"])] += right
    return counts


def compared(counts: Counts, other: str) -> tuple[int, int, int, float]:
    """Clips of which steering does better, worse and alike, and the sign test's p."""
    difference = counts[OURS] - counts[other]
    better, worse = int((difference > 0).sum()), int((difference < 0).sum())
    return better, worse, len(difference) - better - worse, sign_test(better, worse)


def line(counts: Counts, other: str, p: str) -> str:
    """A row of the table."""
    better, worse, alike, _ = compared(counts, other)
    shares = [counts[name] / len(INTERVENTIONS) for name in (OURS, other)]
    gain = shares[0] - shares[1]
    ends = mean_interval(gain)
    assert ends is not None  # of more than one clip
    means = " | ".join(f"{share.mean():.3f}" for share in shares)
    told = f"{gain.mean():+.3f} ({ends.low:+.3f} to {ends.high:+.3f})"
    return f"| {other.replace('_', ' ')} | {better} | {worse} | {alike} | {means} | {told} | {p} |"


def table(counts: Counts) -> str:
    """The primary comparison, then the secondary ones."""
    corrected = holm([compared(counts, other)[3] for other in SECONDARY])
    lines = [
        "| steered against | clips better | worse | alike | all right, steered | the other | difference (95 %) | p |",
        "|---" * 8 + "|",
        line(counts, PRIMARY, f"{compared(counts, PRIMARY)[3]:.4f}, primary"),
        *(line(counts, other, f"{p:.4f}, Holm") for other, p in zip(SECONDARY, corrected, strict=True)),
    ]
    return "\n".join(lines)


def page(run: Path) -> str:
    """The result, or that there is none."""
    digest = hashlib.sha256(PLAN.read_bytes()).hexdigest()[:12]
    head = HEAD.format(digest=digest, clips=CLIPS, interventions=len(INTERVENTIONS))
    if not run.is_dir():
        return f"{head} Not run yet.\n"
    check(run)
    counts = counted([prediction.result for prediction in read_predictions(run)])
    return f"{head} One look; exact sign tests over clips, two-sided.\n\n{table(counts)}\n"


if __name__ == "__main__":
    RESULTS.write_text(page(RUN))
    print(RESULTS.read_text())
