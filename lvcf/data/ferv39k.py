"""FERV39K (Wang et al. 2022), real or simulated: folders of face crops, and lists of clips with their expression."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from lvcf.checks import check_choice
from lvcf.data.clip import Clip, Split, check_names, check_sampling, hash_share, safe_name
from lvcf.data.sampled import SampledDataset
from lvcf.data.tables import read_rows, read_text
from lvcf.data.video import nearest_frames
from lvcf.errors import UserError, nearest

EXPRESSIONS = ("Angry", "Disgust", "Fear", "Happy", "Neutral", "Sad", "Surprise")
"""The classes; their index is the label."""
CLIPS = "2_ClipsforFaceCrop"
"""Where the frame folders ``Scene/Emotion/id`` lie."""
PEOPLE = "People.csv"
"""Who each clip shows, in words: ``path, person``; the release has no such table."""
LISTS = {
    "train": ("Annotation/train.csv", "4_setups/All_scenes/train_All.csv"),
    "test": ("Annotation/test.csv", "4_setups/All_scenes/test_All.csv"),
}
"""Where a split's list may lie: rows ``Interview/Happy/0118,3``, or the release's ``.../0118 Happy``."""
SOURCE_FPS = 25.0
"""Assumed: the release holds frames without their rate; video is mostly 25 or 30."""
VAL_SHARE = 0.1


class Entry(NamedTuple):
    """One row of a list: the clip's path ``Scene/Emotion/id`` and its class index."""

    path: str
    label: int


def read_people(root: Path) -> dict[str, str]:
    """Who each clip shows, e.g. ``"old bald man with a beard"``, by its path; empty without the table."""
    table = root / PEOPLE
    if not table.is_file():
        return {}
    columns, rows = read_rows(table)
    if not {"path", "person"} <= set(columns):
        raise UserError(f"{table}: has no columns path and person; make the set again or remove the file")
    return {row["path"]: row["person"] for _, row in rows}


def expression_prompt(label: int, metadata: str) -> str:
    """The prompt that states a class, e.g. ``"face in a daily life scene with happy expression"``."""
    return f"{metadata} with {EXPRESSIONS[label].lower()} expression"


def neutral_prompt(path: str, person: str = "") -> str:
    """Who is shown, if known, and the scene of ``Scene/Emotion/id`` in words, without the expression."""
    return f"face {f'of {_article(person)} ' if person else ''}{scene_words(path)}"


def scene_words(path: str) -> str:
    """The scene of ``Scene/Emotion/id``, e.g. ``"in a daily life scene"``."""
    scene = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", path.split("/")[0]).lower()
    return f"in {_article(scene)} scene"


def _article(words: str) -> str:
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


class FERV39KDataset(SampledDataset):
    """Clips of one split with their expression, 0-6 in the order of ``EXPRESSIONS``.

    The release has no validation list: ``val`` is a tenth of ``train``, by the hash of a clip's path.  Many clips last
    hardly a second: one that ends early holds its last frame.

    Args:
        root: the folder with ``2_ClipsforFaceCrop/`` and the lists.
        split: ``train``, ``val``, ``test``, or ``all``.
        frames: frames per clip.
        fps: frames per second to sample at, by presentation time.
        size: height and width of the clip.
        source_fps: frames per second of the frame folders, which do not say it themselves.
        random_start: start anywhere in the clip (training) instead of at its beginning.
        record_errors: return an unreadable clip with its ``error`` instead of raising.

    Raises:
        UserError: a list is missing or wrong (see :func:`read_list`), a clip is in both, or the split is empty.
    """

    def __init__(
        self,
        root: Path,
        split: Split,
        frames: int = 16,
        fps: float = 8.0,
        size: int = 112,
        source_fps: float = SOURCE_FPS,
        random_start: bool = False,
        record_errors: bool = False,
    ) -> None:
        super().__init__(root, frames, fps, size, random_start, record_errors)
        check_sampling(source_fps=source_fps)
        self.source_fps = source_fps
        check_choice("split", split, get_args(Split))
        self.entries = read_split(self.root, split)
        self.ids = [safe_name(entry.path) for entry in self.entries]
        self.people = read_people(self.root)

    def __getitem__(self, index: int) -> Clip:
        entry = self.entries[index]
        folder = self.root / CLIPS / entry.path
        metadata = neutral_prompt(entry.path, self.people.get(entry.path, ""))
        prompt = expression_prompt(entry.label, metadata)
        return self.clip(
            self.ids[index],
            folder,
            lambda: self.of_pictures(folder, self.source_fps),
            label=float(entry.label),
            prompt=prompt,
            neutral_prompt=metadata,
        )

    def choose(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """A clip that ends early holds its last frame."""
        return window(times, self.frames, self.fps, self.start(times))


def window(times: NDArray[np.float64], frames: int, fps: float, start: float = 0.0) -> NDArray[np.int64]:
    """The frames of a clip that begins at ``start`` seconds; one that ends early holds its last frame."""
    return nearest_frames(times, start + np.arange(frames) / fps)


def read_split(root: Path, split: Split) -> list[Entry]:
    """The clips of a split.

    Raises:
        UserError: its list is missing or wrong, a clip is listed twice, or the split is empty.
    """
    source = find_list(root, "test" if split == "test" else "train")
    other = find_list(root, "train" if split == "test" else "test", required=split == "all")
    entries, others = read_list(source), read_list(other) if other.is_file() else []
    both = {entry.path for entry in entries} & {entry.path for entry in others}
    if both:
        raise UserError(f"{source}: '{min(both)}' is listed in {other.name} too; remove one of the rows")
    if split in ("train", "val"):
        entries = [entry for entry in entries if is_validation(entry.path) == (split == "val")]
    chosen = entries + others if split == "all" else entries
    check_names(source, [entry.path for entry in chosen])
    if not chosen:
        raise UserError(f"{source}: no clip in split '{split}'; add clips or choose another split")
    return chosen


def is_validation(path: str) -> bool:
    """Whether a training clip is held out for validation: by its path alone."""
    return hash_share(path) < VAL_SHARE


def read_list(source: Path) -> list[Entry]:
    """The rows of a list.

    Raises:
        UserError: a row has no path and label, names no expression, or its label is not its folder's expression.
    """
    lines = read_text(source).splitlines()
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1) if line.strip()]
    return [_entry(f"{source}, line {number}", line) for number, line in numbered if line != "path,id"]


def _entry(where: str, line: str) -> Entry:
    path, _, label = (part.strip() for part in line.replace(",", " ").partition(" "))
    parts = path.split("/")
    if len(parts) != 3 or not label or any(part in ("", ".", "..") or "\\" in part for part in parts):
        raise UserError(f"{where}: '{line}' is no Scene/Emotion/id with a label; correct or remove the row")
    folder = _index(where, parts[1])
    index = int(label) if label.isdecimal() and int(label) < len(EXPRESSIONS) else _index(where, label)
    if index != folder:
        raise UserError(
            f"{where}: '{line}' has label {index} ({EXPRESSIONS[index]}) but lies in {parts[1]} ({folder}); "
            "correct or remove the row"
        )
    return Entry(path, index)


def _index(where: str, name: str) -> int:
    if name not in EXPRESSIONS:
        near = nearest(name, EXPRESSIONS)
        hint = f"did you mean {near}?" if near else f"use 0-6 or one of {', '.join(EXPRESSIONS)}"
        raise UserError(f"{where}: '{name}' is no expression; {hint}")
    return EXPRESSIONS.index(name)


def find_list(root: Path, name: str, required: bool = True) -> Path:
    """Where the list ``train`` or ``test`` lies; the first place it may lie if it is optional and absent.

    Raises:
        UserError: it is required and absent.
    """
    candidates = [root / place for place in LISTS[name]]
    found = next((path for path in candidates if path.is_file()), None)
    if found is None and required:
        raise UserError(
            f"{candidates[0]}: not found; set data.root to FERV39K's folder or make one: lvcf simulate face"
        )
    return found or candidates[0]
