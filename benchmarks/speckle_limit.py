"""How much of the share recovered hangs on the speckle, and not on the walls: python benchmarks/speckle_limit.py.

Every row edits a clip inside the voxels that truly change and leaves the rest; targets as in ``make bench``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lvcf.data.video import clip_indices
from lvcf.metrics.recovered import pooled_share
from lvcf.metrics.truth import missed_and_asked
from lvcf.phantoms.echo.set import frame_times
from lvcf.phantoms.echo.simulate import SIZE, EchoFactors, render

CLIPS, DRAWS, SEED = 64, 4, 200
NOTHING = "doing nothing"
Gray = NDArray[np.uint8]


def levels(factors: EchoFactors, ef: float, times: NDArray[np.float64]) -> dict[str, float]:
    """What edits miss (smoothed with 2 px) that know the walls of the clip under do(EF = ``ef``)."""
    factual, truth = render(factors, times), render(factors.do(ef=ef), times)
    seeds = [factors.speckle_seed + 1 + k for k in range(DRAWS)]
    anew = [render(replace(factors.do(ef=ef), speckle_seed=seed), times) for seed in seeds]
    near = render(factors.do(ef=ef + (3.0 if ef < factors.ef else -3.0)), times)
    change = np.abs(smooth(truth) - smooth(factual)) > 6.0
    mask = gaussian_filter(change.astype(np.float64), (0.0, 1.0, 1.0)) > 0.3

    def missed(edit: NDArray[np.float64] | Gray) -> float:
        return missed_and_asked(np.where(mask, edit, factual).astype(np.uint8), factual, truth, sigma=2.0)[0]

    return {
        "the truth itself": missed(truth),
        "EF 3 points short, the clip's own speckle": missed(near),
        "right walls, no speckle (mean of four draws)": missed(np.mean(anew, axis=0)),
        "right walls, speckle drawn anew": float(np.mean([missed(clip) for clip in anew])),
        NOTHING: missed(factual),
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
        factors = EchoFactors.sample(generator)
        rows.append(levels(factors, target(factors.ef, generator), times))
    lines = [f"{CLIPS} simulated clips; made by `python benchmarks/speckle_limit.py`", ""]
    lines += ["| inside the voxels that truly change | share recovered, smoothed |", "|---|---|"]
    for name in rows[0]:
        left, asked = (np.array([row[key] for row in rows]) / times.size / SIZE**2 for key in (name, NOTHING))
        found = pooled_share(name, left, asked)
        lines.append(f"| {name} | {found[name]:.2f} ± {found[f'{name}.se']:.2f} |")
    text = "\n".join(lines) + "\n"
    (Path(__file__).parent / "results" / "speckle_limit.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
