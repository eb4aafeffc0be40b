"""Simulated echo sets on disk, in EchoNet-Dynamic's own layout, plus ``Factors.csv``."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from lvcf.data.video import Frames, read_video, write_lossless, write_mjpeg
from lvcf.files import write_rows
from lvcf.phantoms.echo.simulate import (
    EF_RANGE,
    FPS,
    SIZE,
    Array,
    EchoFactors,
    Ventricle,
    bullet,
    deformation,
    ejected,
    render,
)
from lvcf.phantoms.set_folder import RANDOM, Marker, read_rows, write_factors, write_missing

FRAMES = 128
SPLITS = (("TEST", 0.1), ("VAL", 0.2), ("TRAIN", 1.0))
"""Upper ends of the splits' shares, in the order of the clips."""


def frame_times(frames: int = FRAMES) -> Array:
    """Presentation times in seconds of a simulated video's frames."""
    return np.arange(frames) / FPS


def to_rgb(gray: np.ndarray[Any, np.dtype[np.uint8]]) -> Frames:
    """Repeat the one channel of ``(T, H, W)`` frames."""
    return np.repeat(gray[..., None], 3, axis=-1)


def draw_factors(n: int, seed: int, marker: Marker = "none") -> list[EchoFactors]:
    """The factors of a set's clips; those of clip i come from (seed, i) alone."""
    return [_draw(np.random.default_rng([seed, i]), marker) for i in range(n)]


def _draw(rng: np.random.Generator, marker: Marker) -> EchoFactors:
    factors = EchoFactors.sample(rng, "ef" if marker == "label" else "none")
    return factors.do(marker=repr(round(float(rng.uniform(*EF_RANGE)), 2))) if marker in RANDOM else factors


def simulate(out: Path, n: int, seed: int, marker: Marker = "none", exact: bool = False) -> None:
    """Write ``n`` clips below ``out``; videos that stand already are kept, so a killed run goes on.

    Args:
        out: the set's folder.
        n: number of clips.
        seed: of the factors.
        marker: the planted corner marker.
        exact: with a lossless codec instead of EchoNet-Dynamic's: to train on beside a set that has its grain.

    Raises:
        UserError: ``out`` holds a set made with other settings.
    """
    everyone = draw_factors(n, seed, marker)
    said = [f.told if marker == "alone" else f.ef for f in everyone]
    names = [f"echo{seed:04d}_{i:05d}" for i in range(n)]
    rows = [{"FileName": name, **f.to_row()} for name, f in zip(names, everyone, strict=True)]
    write_factors(out, rows)
    (out / "Videos").mkdir(exist_ok=True)
    clips = {out / "Videos" / f"{name}.avi": f for name, f in zip(names, everyone, strict=True)}
    write_missing(clips, partial(_write_clip, write=write_lossless if exact else write_mjpeg), "simulate echo")
    write_rows(out / "VolumeTracings.csv", [r for n_, f in zip(names, everyone, strict=True) for r in _tracing(n_, f)])
    listed = enumerate(zip(names, everyone, said, strict=True))
    write_rows(out / "FileList.csv", [_listing(i, n, name, f, ef) for i, (name, f, ef) in listed])


def read_factors(root: Path) -> dict[str, EchoFactors]:
    """The factors of every clip of a simulated set, by file name; empty for a real one."""
    return {row["FileName"]: EchoFactors.from_row(row) for row in read_rows(root)}


def through_codec(gray: np.ndarray[Any, np.dtype[np.uint8]]) -> Frames:
    """What frames ``(T, H, W)`` look like when read back from the set ``(T, H, W, 3)``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.avi"
        write_mjpeg(path, to_rgb(gray), FPS)
        return read_video(path).frames


def _write_clip(path: Path, factors: EchoFactors, write: Callable[[Path, Frames, float], None]) -> None:
    temporary = path.with_name(f".partial_{path.name}")
    write(temporary, to_rgb(render(factors, frame_times())), FPS)
    temporary.replace(path)


def _listing(index: int, n: int, name: str, factors: EchoFactors, ef: float) -> dict[str, Any]:
    split = next(label for label, end in SPLITS if index < end * n)
    return {
        "FileName": name,
        "EF": ef,
        "ESV": round(factors.edv * (1.0 - ef / 100.0), 4),
        "EDV": factors.edv,
        "FrameHeight": SIZE,
        "FrameWidth": SIZE,
        "FPS": int(FPS),
        "NumberOfFrames": FRAMES,
        "Split": split,
    }


def _tracing(name: str, factors: EchoFactors) -> Iterator[dict[str, Any]]:
    """The long axis and 20 chords at the clip's first end-diastole and end-systole, as EchoNet's tracings."""
    shape = Ventricle.of(factors)
    systole = ejected(factors.phase + frame_times() * factors.heart_rate / 60.0)
    for frame in (int(np.argmin(systole)), int(np.argmax(systole))):
        k_width, k_length = deformation(1.0 - factors.ef / 100.0 * float(systole[frame]))
        share = (np.arange(20) + 0.5) / 20
        along = np.concatenate([[0.0], share]) * shape.length * k_length
        half = np.concatenate([[0.0], bullet(share) * shape.width * k_width])
        end = np.concatenate([[shape.length * k_length], along[1:]])
        x1, y1 = shape.to_image(along, -half)
        x2, y2 = shape.to_image(end, half)
        for corner in np.round(np.stack([x1, y1, x2, y2], axis=1), 4):
            values = dict(zip(("X1", "Y1", "X2", "Y2"), corner.tolist(), strict=True))
            yield {"FileName": f"{name}.avi", **values, "Frame": frame}
