"""A region, frozen frames, and three counterfactuals of a clip, on simulated clips: is it kept, is it reached?

    make bench-what-may-change

makes the runs that this reads and writes ``benchmarks/results/what_may_change.md``.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lvcf.metrics.statistics import standard_error
from lvcf.runs.folder import Prediction, diversity, read_predictions

RUNS, RESULTS = Path("runs"), Path("benchmarks/results/what_may_change.md")
PARTS = ("echo", "face", "motion")
LEFT, TOP, RIGHT, BOTTOM = 24, 16, 88, 96
FROZEN = 3
"""The first frames, which the runs freeze."""


def outside(prediction: Prediction, what: str) -> int:
    """The largest difference in levels where nothing may change."""
    levels = np.abs(prediction.counterfactual().astype(int) - prediction.factual().astype(int))
    if what == "frozen":
        return int(levels[:FROZEN].max())
    levels[:, TOP:BOTTOM, LEFT:RIGHT] = 0
    return int(levels.max())


def kept_row(part: str, what: str) -> str:
    """Markdown of one run with something kept."""
    predictions = read_predictions(RUNS / f"kept_{part}_{what}")
    clips = [each for each in predictions if not each.failed]
    reached = sum(each.status == "reached" for each in clips)
    hints = sorted({each.result["hint"] for each in predictions if each.status != "reached"})
    most = max(outside(each, what) for each in clips)
    return f"| {part} | {what} | {len(predictions)} | {most} | {reached} | {'; '.join(hints) or '–'} |"


def several_row(part: str) -> str:
    """Markdown of one run with three counterfactuals of every clip."""
    found = [diversity(each.result) for each in read_predictions(RUNS / f"kept_{part}_three") if not each.failed]
    apart = np.array([each["diversity/l1_levels"] for each in found])
    reached = float(np.mean([each["diversity/reached"] for each in found]))
    told = f"{apart.mean():.2f} ± {standard_error(apart):.2f}"
    return f"| {part} | {len(found)} | {reached:.2f} | {told} | {apart.min():.2f} |"


def main() -> None:
    """Write the page."""
    kept = [kept_row(part, what) for part in PARTS for what in ("region", "frozen")]
    lines = [
        "Simulated clips of seed 4200, under the target's words; made by `make bench-what-may-change`.",
        "",
        f"Only the box from ({LEFT}, {TOP}) to ({RIGHT}, {BOTTOM}) may change, or all but the first {FROZEN} frames. "
        "*Outside* is the largest difference in levels of any kept pixel of any clip.",
        "",
        "| clips | kept | n | outside | reached | of the others |",
        "|---|---|---|---|---|---|",
        *kept,
        "",
        "Three counterfactuals of each clip; *apart* is the mean absolute difference of two of them in levels, "
        "averaged over the clip's pairs, ± its standard error over clips.",
        "",
        "| clips | n | reached, of three | apart | least of a clip |",
        "|---|---|---|---|---|",
        *(several_row(part) for part in PARTS),
    ]
    RESULTS.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
