"""Something-Something V2 (Goyal et al. 2017), real or simulated: JSON label files and ``<id>.webm``.

Beside ``something-something-v2-{labels,train,validation,test}.json`` lie the videos, or their own folder
``20bn-something-something-v2``, as the archive unpacks.
"""

from __future__ import annotations

import difflib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lvcf.data.clip import Clip, check_names, is_plain
from lvcf.data.sampled import SampledDataset
from lvcf.data.tables import read_json
from lvcf.data.video import clip_indices, spare_seconds
from lvcf.errors import UserError

Listed = Literal["train", "validation", "test"]
Split = Literal["train", "validation", "test", "all"]
SPLITS: tuple[Listed, ...] = ("train", "validation", "test")
VIDEO_FOLDER = "20bn-something-something-v2"
MISSING = "set data.root to Something-Something V2's folder or make one: lvcf simulate motion"
KEYS = ("id", "label", "template", "placeholders")


@dataclass(frozen=True)
class Item:
    """One entry of a split's label file; the test split knows only ids.

    Attributes:
        id: the video's name without suffix.
        template: e.g. ``"Moving part of [something]"``; empty in the published test split.
        placeholders: what the brackets stand for.
    """

    id: str
    template: str
    placeholders: tuple[str, ...]

    @property
    def metadata(self) -> str:
        """The neutral prompt: what is acted upon.

        Only the first placeholder: how many there are would tell the action's template.
        """
        return f"video of {self.placeholders[0] if self.placeholders else 'something'}"


class SSv2Dataset(SampledDataset):
    """Clips of one split with the index of their action; never flipped, since left and right tell actions apart.

    A clip is the middle of its video: people start and end with stillness.  ``neutral_prompt`` names the object;
    ``prompt`` joins it with the label's sentence, just as ``prompt_template: "{metadata} {target}"`` says a target.

    Args:
        root: the folder with the label files.
        split: ``train``, ``validation``, ``test`` (published without labels: they are NaN), or ``all``.
        frames: frames per clip.
        fps: frames per second to sample at, by presentation time.
        size: height and width of the clip (the centre square, resized).
        random_start: start anywhere in the video (training) instead of in its middle.
        record_errors: return a missing or unreadable clip with its ``error`` instead of raising.

    Attributes:
        labels: the class names, templates without brackets, in the order of their indices.

    Raises:
        UserError: a label file is missing or no such file, an item's template is no label, ids repeat, or a video is
            missing.
    """

    offset = 0.5

    def __init__(
        self,
        root: Path,
        split: Split,
        frames: int = 16,
        fps: float = 8.0,
        size: int = 112,
        random_start: bool = False,
        record_errors: bool = False,
    ) -> None:
        super().__init__(root, frames, fps, size, random_start, record_errors)
        self.folder = video_folder(self.root)
        self.labels = read_labels(self.root)
        listed: tuple[Listed, ...] = SPLITS if split == "all" else (split,)
        self.items = [item for name in listed for item in self._checked(name)]
        if not self.items:
            raise UserError(f"{label_file(self.root, listed[0])}: holds no clip; choose another split")
        self.ids = [item.id for item in self.items]
        check_names(label_file(self.root, "labels"), self.ids)

    def _checked(self, split: Listed) -> list[Item]:
        """The entries of one label file, if all is well with them."""
        items = read_items(self.root, split)
        problem = next(label_problems(self.root, split, items, self.labels), None)
        problem = problem or (None if self.record_errors else next(missing_videos(self.root, split, items), None))
        if problem:
            raise UserError(problem)
        return items

    def __getitem__(self, index: int) -> Clip:
        item = self.items[index]
        path = self.folder / f"{item.id}.webm"
        label = class_name(item.template)
        return self.clip(
            item.id,
            path,
            lambda: self.of_video(path),
            label=float(self.labels.index(label)) if label else math.nan,
            prompt=f"{item.metadata} {label}".strip(),
            neutral_prompt=item.metadata,
        )


def window(times: NDArray[np.float64], frames: int, fps: float, share: float = 0.5) -> NDArray[np.int64]:
    """The frames of a clip that starts after ``share`` of the time it leaves over; 0.5 is the middle of the video.

    Raises:
        ValueError: the video is too short.
    """
    return clip_indices(times, frames, fps, share * spare_seconds(times, frames, fps))


def class_name(template: str) -> str:
    """A template as ``labels.json`` has it: without brackets."""
    return template.replace("[", "").replace("]", "")


def label_file(root: Path, name: str) -> Path:
    """``something-something-v2-<name>.json``."""
    return root / f"something-something-v2-{name}.json"


def video_folder(root: Path) -> Path:
    """Where the videos lie."""
    return root / VIDEO_FOLDER if (root / VIDEO_FOLDER).is_dir() else root


def read_labels(root: Path) -> list[str]:
    """The class names in the order of their indices.

    Raises:
        UserError: the file is missing, or its indices are not 0, 1, 2 ...
    """
    content = read_json(label_file(root, "labels"), dict, MISSING)
    by_index = {str(index): name for name, index in content.items()}
    wanted = [str(index) for index in range(len(content))]
    if sorted(by_index) != sorted(wanted):
        odd = sorted(set(by_index) - set(wanted)) or ["one of them twice"]
        raise UserError(
            f'{label_file(root, "labels")}: {len(content)} labels need the indices "0" to "{len(content) - 1}", '
            f"found {odd[0]}; download it again"
        )
    return [by_index[index] for index in wanted]


def read_items(root: Path, split: Listed) -> list[Item]:
    """The entries of a split's label file.

    Raises:
        UserError: the file is missing, is no list of entries, or an entry lacks something.
    """
    path = label_file(root, split)
    keys = KEYS[:1] if split == "test" else KEYS
    items = []
    for number, entry in enumerate(read_json(path, list, MISSING), start=1):
        lacking = [key for key in keys if not isinstance(entry, dict) or key not in entry]
        if lacking:
            raise UserError(f"{path}, entry {number}: '{lacking[0]}' is missing; expected {', '.join(keys)}")
        template, words = entry.get("template", ""), entry.get("placeholders", [])
        if not isinstance(template, str) or not isinstance(words, list):
            raise UserError(f"{path}, entry {number}: template is no text or placeholders no list; download it again")
        items.append(Item(str(entry["id"]), template, tuple(str(word) for word in words)))
    return items


def label_problems(root: Path, split: Listed, items: list[Item], labels: list[str]) -> Iterator[str]:
    """What is wrong with a split's entries, a line each: a name that leaves the folder, an id twice, no such label."""
    path, known, seen = label_file(root, split), set(labels), set[str]()
    for item in items:
        if not is_plain(item.id):
            yield f"{path}: id '{item.id}' is not a plain name; correct it"
        if item.id in seen:
            yield f"{path}: id {item.id} is there twice; remove one entry"
        seen.add(item.id)
        if item.template and class_name(item.template) not in known:
            nearest = difflib.get_close_matches(class_name(item.template), labels, n=1, cutoff=0.0)
            yield (
                f"{path}: template '{item.template}' of {item.id} is not in {label_file(root, 'labels').name}; "
                f"the nearest there is '{nearest[0] if nearest else 'none'}'"
            )


def missing_videos(root: Path, split: Listed, items: list[Item]) -> Iterator[str]:
    """A line for every entry without a video."""
    folder = video_folder(root)
    there = {entry.name for entry in os.scandir(folder)}
    for item in items:
        if f"{item.id}.webm" not in there:
            yield f"{folder / item.id}.webm: not found, but {label_file(root, split).name} lists it; download it again"
