"""How often the face phantom's ruler names the attributes rightly when all that the words leave open is drawn anew.

    python benchmarks/face_ruler.py

The ruler judges edits, and an edit may draw any face that the words describe: another grey, other wrinkles, another age
or baldness of the same name.  So true clips are painted like that.  Writes ``benchmarks/results/face_ruler.md``.
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lvcf.data.face_attributes import ATTRIBUTES
from lvcf.data.video import Frames
from lvcf.phantoms.face.attributes import BALD, OLD, measure_attributes
from lvcf.phantoms.face.factors import FaceFactors
from lvcf.phantoms.face.set import draw_factors, through_codec
from lvcf.phantoms.face.simulate import render

N, SEED = 60, 77
TIMES = np.array([0.0, 1.0])
SOFTNESS = 1.0
"""Blur in pixels, as a decoder's clips have it."""
Ranges = dict[str, tuple[float, float]]
DRAWN: dict[str, Ranges] = {
    "clear of the thresholds": {"young": (18.0, 42.0), "old": (58.0, 80.0), "no": (0.0, 0.2), "yes": (0.5, 1.0)},
    "up to the thresholds": {"young": (18.0, OLD), "old": (OLD, 80.0), "no": (0.0, BALD), "yes": (BALD, 1.0)},
}
"""Years and baldness that a value stands for."""
RESULTS = Path("benchmarks/results/face_ruler.md")


def described(factors: FaceFactors, values: dict[str, str], ranges: Ranges, rng: np.random.Generator) -> FaceFactors:
    """The same person under these values, all that they leave open drawn anew."""
    noise = {"grey_noise": float(rng.uniform()), "wrinkle_noise": float(rng.uniform())}
    moved = factors.do(age=float(rng.uniform(*ranges[values["age"]])), gender=values["gender"], **noise)
    return moved.do(beard=values["beard"] == "yes", baldness=float(rng.uniform(*ranges[values["baldness"]])))


def softened(
    factors: FaceFactors,
    values: dict[str, str],
    ranges: Ranges,
    rng: np.random.Generator,
    times: NDArray[np.float64],
) -> Frames:
    """Frames of the same person under these values, as blurred as a decoder's."""
    frames = through_codec(render(described(factors, values, ranges, rng), times)).astype(float)
    return np.round(gaussian_filter(frames, (0.0, SOFTNESS, SOFTNESS, 0.0))).astype(np.uint8)


def read_one(i: int, factors: FaceFactors, ranges: Ranges) -> list[bool]:
    """Which attributes of clip ``i``, of this person, the ruler names rightly."""
    rng = np.random.default_rng([SEED, i])
    values = {name: str(rng.choice(domain)) for name, domain in ATTRIBUTES.items()}
    read = measure_attributes(softened(factors, values, ranges, rng, TIMES), factors, TIMES).values
    return [read[name] == values[name] for name in ATTRIBUTES]


def main() -> None:
    """Read the clips and write the table."""
    lines = [
        f"Simulated faces, {N} a row, softened by {SOFTNESS:g} pixel; made by `python benchmarks/face_ruler.py`.",
        "",
        f"| age and baldness drawn | {' | '.join(ATTRIBUTES)} | all right |",
        "|---|" + "---|" * (len(ATTRIBUTES) + 1),
    ]
    with ProcessPoolExecutor() as processes:
        for name, ranges in DRAWN.items():
            right = np.array(list(processes.map(partial(read_one, ranges=ranges), range(N), draw_factors(N, SEED))))
            shares = [*right.mean(0), right.all(1).mean()]
            lines.append(f"| {name} | " + " | ".join(f"{share:.2f}" for share in shares) + " |")
    RESULTS.write_text("\n".join(lines) + "\n")
    print(RESULTS.read_text(), end="")


if __name__ == "__main__":
    main()
