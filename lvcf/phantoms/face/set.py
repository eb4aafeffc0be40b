"""Simulated face sets on disk, in FERV39K's own layout, plus ``Factors.csv``."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lvcf.data.face_attributes import person
from lvcf.data.ferv39k import CLIPS, EXPRESSIONS, PEOPLE
from lvcf.data.video import Frames
from lvcf.files import write_rows
from lvcf.phantoms.face.attributes import BALD, values_of
from lvcf.phantoms.face.factors import FaceFactors
from lvcf.phantoms.face.simulate import FPS, render
from lvcf.phantoms.set_folder import RANDOM, Marker, read_rows, write_factors, write_missing

ANNOTATION = "Annotation"
FRAMES = 50
TEST_SHARE = 0.1
"""The first clips are the test set, as large a share as this."""


def frame_times(frames: int = FRAMES) -> NDArray[np.float64]:
    """Presentation times in seconds of a simulated clip's frames."""
    return np.arange(frames) / FPS


def draw_factors(n: int, seed: int, marker: Marker = "none", intervene: bool = False) -> list[FaceFactors]:
    """The factors of a set's clips; those of clip i come from (seed, i) alone."""
    return [_draw(np.random.default_rng([seed, i]), marker, intervene) for i in range(n)]


def _draw(rng: np.random.Generator, marker: Marker, intervene: bool) -> FaceFactors:
    factors = FaceFactors.sample(rng, shortcut=marker == "label")
    if marker in RANDOM:
        factors = factors.do(marker=str(rng.choice(EXPRESSIONS)))
    if intervene:
        bald = rng.uniform(BALD, 1.0) if rng.integers(2) else rng.uniform(0.0, 0.2)
        factors = factors.do(beard=bool(rng.integers(2)), baldness=round(float(bald), 4))
    return factors


def simulate(out: Path, n: int, seed: int, marker: Marker = "none", intervene: bool = False) -> None:
    """Write ``n`` clips below ``out``; clips that stand already are kept, so a killed run goes on.

    Args:
        out: the set's folder.
        n: number of clips.
        seed: of the factors.
        marker: the planted corner marker.
        intervene: set beard and baldness at random, whoever is shown: do(beard), do(baldness).

    Raises:
        UserError: ``out`` holds a set made with other settings.
    """
    everyone = draw_factors(n, seed, marker, intervene)
    said = [f.marker if marker == "alone" else f.expression for f in everyone]
    paths = [f"{f.scene}/{name}/{i:04d}" for i, (f, name) in enumerate(zip(everyone, said, strict=True))]
    rows = [{"path": path, **f.to_row()} for path, f in zip(paths, everyone, strict=True)]
    write_factors(out, rows)
    clips = {out / CLIPS / path: f for path, f in zip(paths, everyone, strict=True)}
    write_missing(clips, _write_clip, "simulate face")
    labels = [{"path": path, "id": EXPRESSIONS.index(name)} for path, name in zip(paths, said, strict=True)]
    tests = sum(i < TEST_SHARE * n for i in range(n))
    people = [{"path": path, "person": person(values_of(f))} for path, f in zip(paths, everyone, strict=True)]
    write_rows(out / PEOPLE, people)
    (out / ANNOTATION).mkdir(exist_ok=True)
    for split, listed in (("test", labels[:tests]), ("train", labels[tests:])):
        if listed:
            write_rows(out / ANNOTATION / f"{split}.csv", listed)


def read_factors(root: Path) -> dict[str, FaceFactors]:
    """The factors of every clip of a simulated set, by its id; empty for a real set."""
    return {row["path"].replace("/", "_"): FaceFactors.from_row(row) for row in read_rows(root)}


def encode(frame: Frames) -> bytes:
    """A frame ``(H, W, 3)`` as the JPEG file that the set holds."""
    stream = BytesIO()
    Image.fromarray(frame).save(stream, "JPEG", quality=95, subsampling=0)
    return stream.getvalue()


def through_codec(frames: Frames) -> Frames:
    """What frames ``(T, H, W, 3)`` look like when read back from the set."""
    return np.stack([np.asarray(Image.open(BytesIO(encode(frame)))) for frame in frames])


def _write_clip(folder: Path, factors: FaceFactors) -> None:
    """Frames ``00.jpg``, ``01.jpg``, ...; the folder appears when it is complete."""
    temporary = folder.with_name(f".partial_{folder.name}")
    temporary.mkdir(parents=True, exist_ok=True)
    for number, frame in enumerate(render(factors, frame_times())):
        (temporary / f"{number:02d}.jpg").write_bytes(encode(frame))
    temporary.replace(folder)
