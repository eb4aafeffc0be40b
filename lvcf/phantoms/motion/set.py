"""Simulated motion sets on disk, in Something-Something V2's own layout, plus ``Factors.csv``.

The published videos are 240 pixels high with 12 frames a second; these are 112x112 with 16, which the sampling rate of
8 divides, in VP9's lossless mode, so that reading a clip returns what was rendered.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from lvcf.data.ssv2 import SPLITS, VIDEO_FOLDER, class_name, label_file
from lvcf.data.video import write_webm
from lvcf.files import write_json
from lvcf.phantoms.motion.simulate import ACTIONS, FPS, MotionFactors, frame_times, render
from lvcf.phantoms.set_folder import RANDOM, Marker, read_rows, write_factors, write_missing

LABELS = tuple(class_name(template) for template in ACTIONS.values())
"""The set's class names, in the order of their indices."""
SHARES = {"test": 0.1, "validation": 0.2, "train": 1.0}
"""Upper ends of the splits' shares, in the order of the clips."""


def draw_factors(n: int, seed: int, marker: Marker = "none") -> list[MotionFactors]:
    """The factors of a set's clips; those of clip i come from (seed, i) alone, and actions take turns."""
    actions = list(ACTIONS)
    return [_draw(np.random.default_rng([seed, i]), actions[i % len(actions)], marker) for i in range(n)]


def _draw(rng: np.random.Generator, action: str, marker: Marker) -> MotionFactors:
    factors = MotionFactors.sample(rng, action, "action" if marker == "label" else "none")
    return factors.do(marker=str(rng.choice(list(ACTIONS)))) if marker in RANDOM else factors


def simulate(out: Path, n: int, seed: int, marker: Marker = "none") -> None:
    """Write ``n`` clips below ``out``; videos that stand already are kept, so a killed run goes on.

    Raises:
        UserError: ``out`` holds a set made with other settings.
    """
    clips = {f"motion{seed:04d}_{i:05d}": f for i, f in enumerate(draw_factors(n, seed, marker))}
    said = {name: f.marker if marker == "alone" else f.action for name, f in clips.items()}
    rows = [{"id": name, **f.to_row()} for name, f in clips.items()]
    if marker == "alone":  # the factors do not tell such a set from a random marker's
        rows = [row | {"label": said[row["id"]]} for row in rows]
    write_factors(out, rows)
    (out / VIDEO_FOLDER).mkdir(exist_ok=True)
    write_missing({out / VIDEO_FOLDER / f"{name}.webm": f for name, f in clips.items()}, _write_clip, "simulate motion")
    write_json(label_file(out, "labels"), {name: str(index) for index, name in enumerate(LABELS)})
    _write_splits(out, {name: f.do(action=said[name]) for name, f in clips.items()})


def read_factors(root: Path) -> dict[str, MotionFactors]:
    """The factors of every clip of a simulated set, by id; empty for a real one."""
    return {row["id"]: MotionFactors.from_row(row) for row in read_rows(root)}


def _write_clip(path: Path, factors: MotionFactors) -> None:
    temporary = path.with_name(f".partial_{path.name}")
    write_webm(temporary, render(factors, frame_times()), FPS)
    temporary.replace(path)


def _write_splits(out: Path, clips: dict[str, MotionFactors]) -> None:
    entries: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    for i, (name, factors) in enumerate(clips.items()):
        split = next(split for split, end in SHARES.items() if i < end * len(clips))
        entries[split].append(_entry(name, factors))
    for split in SPLITS:
        write_json(label_file(out, split), entries[split])


def _entry(name: str, factors: MotionFactors) -> dict[str, Any]:
    """As published: the sentence is in small letters, without articles."""
    sentence = factors.template.replace("[Something]", "[something]")
    for words in factors.placeholders:
        sentence = sentence.replace("[something]", words, 1)
    return {
        "id": name,
        "label": sentence.lower(),
        "template": factors.template,
        "placeholders": factors.placeholders,
    }
