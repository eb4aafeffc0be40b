"""How much of the share recovered hangs on the speckle, and not on the walls: python benchmarks/speckle_limit.py.

Every row edits a clip inside the voxels that truly change and leaves the rest; targets as in ``make bench``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lvcf.data.simulators.echo import EchoFactors, render
from lvcf.data.simulators.echo_set import frame_times
from lvcf.data.video import clip_indices
from lvcf.metrics.truth import share_recovered

CLIPS, DRAWS, SEED = 64, 4, 200
Gray = NDArray[np.uint8]


def shares(factors: EchoFactors, ef: float, times: NDArray[np.float64]) -> dict[str, float]:
    """Share recovered, smoothed with 2 px, of edits that know the walls of the clip under do(EF = ``ef``)."""
    factual, truth = render(factors, times), render(factors.do(ef=ef), times)
    seeds = [factors.speckle_seed + 1 + k for k in range(DRAWS)]
    anew = [render(replace(factors.do(ef=ef), speckle_seed=seed), times) for seed in seeds]
    near = render(factors.do(ef=ef + (3.0 if ef < factors.ef else -3.0)), times)
    change = np.abs(smooth(truth) - smooth(factual)) > 6.0
    mask = gaussian_filter(change.astype(np.float64), (0.0, 1.0, 1.0)) > 0.3

    def share(edit: NDArray[np.float64] | Gray) -> float:
        return share_recovered(np.where(mask, edit, factual).astype(np.uint8), factual, truth, sigma=2.0)

    return {
        "the truth itself": share(truth),
        "EF 3 points short, the clip's own speckle": share(near),
        "right walls, no speckle (mean of four draws)": share(np.mean(anew, axis=0)),
        "right walls, speckle drawn anew": float(np.mean([share(clip) for clip in anew])),
        "doing nothing": share(factual),
    }


def smooth(clip: Gray) -> NDArray[np.float64]:
    """Frames smoothed with 2 px."""
    smoothed: NDArray[np.float64] = gaussian_filter(clip.astype(np.float64), (0.0, 2.0, 2.0))
    return smoothed


def target(ef: float, generator: np.random.Generator) -> float:
    """Uniform in 15..80, at least 10 points away."""
    while abs((value := float(generator.uniform(15.0, 80.0))) - ef) < 10.0:
        pass
    return value


def main() -> None:
    """Write ``benchmarks/results/speckle_limit.md``."""
    grid = frame_times()
    times = grid[clip_indices(grid, 16, 8.0)]
    rows = []
    for i in range(CLIPS):
        generator = np.random.default_rng([SEED, i])
        factors = EchoFactors.sample(generator, marker=False)
        rows.append(shares(factors, target(factors.ef, generator), times))
    lines = [f"{CLIPS} simulated clips; made by `python benchmarks/speckle_limit.py`", ""]
    lines += ["| inside the voxels that truly change | share recovered, smoothed |", "|---|---|"]
    for name in rows[0]:
        values = np.array([row[name] for row in rows])
        lines.append(f"| {name} | {values.mean():.2f} ± {values.std(ddof=1) / np.sqrt(CLIPS):.2f} |")
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "speckle_limit.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
