"""What is known of a user's own clips: a CSV table with their labels, prompts and splits, or a split by their paths."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lvcf.data.clip import hash_share
from lvcf.data.tables import read_rows
from lvcf.errors import UserError, hint

SPLITS = ("train", "val", "test")
SPLIT_COLUMN = "split"
PATH_COLUMN, LABEL_COLUMN, PROMPT_COLUMN = "path", "label", "prompt"


@dataclass(frozen=True)
class Entry:
    """One clip.

    Attributes:
        path: below the root.
        split: train, val or test.
        label: class index or value; NaN where unknown.
        words: the label as prompts say it; empty where unknown.
        prompt: what the clip shows, without the label; empty where the table does not say.
    """

    path: Path
    split: str
    label: float = math.nan
    words: str = ""
    prompt: str = ""


@dataclass(frozen=True)
class ClipTable:
    """A CSV file with a row per clip.

    A column ``split`` (train, val, test) is optional; without it :func:`hashed_splits` decides.  The label and prompt
    columns may be absent too, unless the user named them.

    Attributes:
        path: the file.
        path_column: the column of paths relative to the root, of video or DICOM files or of frame folders.
        label_column: the column of numbers, or of names in ``labels``.
        prompt_column: the column of neutral prompts.
        labels: the class names in the order of their indices; empty where labels are numbers.

    Raises:
        UserError: a class name is there twice.
    """

    path: Path
    path_column: str = PATH_COLUMN
    label_column: str = LABEL_COLUMN
    prompt_column: str = PROMPT_COLUMN
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.labels)) < len(self.labels):
            raise UserError(f"data.labels {', '.join(self.labels)}: a name is there twice; each class needs its own")

    def read(self, root: Path) -> list[Entry]:
        """Every row.

        Raises:
            UserError: it is no table (see :func:`~lvcf.data.tables.read_rows`), a column is missing, there is no row,
                a path leaves ``root``, is not there or is listed twice, a label is no number or no known name, or a
                split is none.
        """
        entries, lines = list[Entry](), dict[Path, int]()
        for number, row in self._rows():
            entry = self._entry(f"{self.path}, line {number}", row, root)
            if lines.setdefault(entry.path, number) != number:
                raise UserError(
                    f"{self.path}, line {number}: '{entry.path}' is on line {lines[entry.path]} already; "
                    "remove one of the two"
                )
            entries.append(entry)
        if not entries:
            raise UserError(f"{self.path}: lists no clip; add a row per clip")
        splits = hashed_splits([entry.path for entry in entries])
        return [entry if entry.split else replace(entry, split=splits[entry.path]) for entry in entries]

    def _rows(self) -> list[tuple[int, dict[str, str]]]:
        """Rows by column, with their lines; what a row lacks is empty."""
        columns, rows = read_rows(self.path)
        self._check_columns(columns)
        return rows

    def _check_columns(self, found: list[str]) -> None:
        for name in (SPLIT_COLUMN, self.path_column, self.label_column, self.prompt_column):
            other = next((column for column in found if column.strip().lower() == name.lower()), name)
            if name not in found and other != name:  # it would be taken for one of the user's own columns
                raise UserError(f"{self.path}: column '{other}': write it '{name}'")
        needed = {
            "path_column": (self.path_column, True),
            "label_column": (self.label_column, self.label_column != LABEL_COLUMN or bool(self.labels)),
            "prompt_column": (self.prompt_column, self.prompt_column != PROMPT_COLUMN),
        }
        for option, (name, required) in needed.items():
            if required and name not in found:
                raise UserError(
                    f"{self.path}: column {name} is missing; set data.{option} to one of {', '.join(found)}"
                )

    def _entry(self, where: str, row: dict[str, str], root: Path) -> Entry:
        cell = row[self.path_column].strip()
        path = Path(cell)
        if not cell or path.is_absolute() or ".." in path.parts:
            raise UserError(
                f"{where}: {self.path_column} '{cell}' is no path below {root}; write it relative to data.root"
            )
        if not os.path.exists(root / path):  # Path.exists raises on a name that is too long
            raise UserError(f"{where}: {self.path_column} '{cell}' is not in {root}; correct or remove the row")
        split = row.get(SPLIT_COLUMN, "").strip().lower()
        if SPLIT_COLUMN in row and split not in SPLITS:
            raise UserError(f"{where}: {SPLIT_COLUMN} '{split}' is none; {hint(split, SPLITS)}")
        label, words = (math.nan, "")
        if self.label_column in row:
            label, words = self._label(where, row[self.label_column].strip())
        return Entry(path, split, label, words, row.get(self.prompt_column, "").strip())

    def _label(self, where: str, cell: str) -> tuple[float, str]:
        """The label, and how prompts say it: the class's name, or the value as a whole number."""
        if self.labels:
            if cell not in self.labels:
                raise UserError(
                    f"{where}: {self.label_column} '{cell}' is not in data.labels; {hint(cell, self.labels)}"
                )
            return float(self.labels.index(cell)), cell
        if not _is_number(cell):
            raise UserError(
                f"{where}: {self.label_column} '{cell}' is no number; correct or remove the row, or name the "
                "classes in data.labels"
            )
        return float(cell), str(round(float(cell)))


def told_words(table: Path) -> tuple[list[str], list[str]]:
    """What a table's clips are said to be: all words of its columns label and prompt, and the labels that are names.

    Raises:
        UserError: it is no table, or says nothing of any clip.
    """
    _, rows = read_rows(table)
    cells = [(row.get(LABEL_COLUMN, "").strip(), row.get(PROMPT_COLUMN, "").strip()) for _, row in rows]
    words = sorted({word for label, prompt in cells for word in (*label.split(), *prompt.split())})
    if not words:
        raise UserError(
            f"{table}: has no words in columns {LABEL_COLUMN} and {PROMPT_COLUMN}; fill one, or leave the table out"
        )
    return words, sorted({label for label, _ in cells if label and not _is_number(label)})


def _is_number(cell: str) -> bool:
    try:
        return math.isfinite(float(cell))
    except ValueError:
        return False


def hashed_split(path: Path) -> str:
    """80 % train, 10 % val, 10 % test by the path's hash alone: further clips do not move those already there."""
    share = hash_share(path.as_posix())
    return "train" if share < 0.8 else "val" if share < 0.9 else "test"


def hashed_splits(paths: Sequence[Path]) -> dict[Path, str]:
    """Every path's :func:`hashed_split`; if train or val would be empty, the clip whose hash is next to it goes there.

    With more clips than a few, both have their own, and the lent one is back in its own split.
    """
    splits = {path: hashed_split(path) for path in paths}
    ranked = sorted(paths, key=lambda path: hash_share(path.as_posix()))
    if len(ranked) < 2:
        return splits
    if "train" not in splits.values():
        splits[ranked[0]] = "train"
    if "val" not in splits.values():
        training = [path for path in ranked if splits[path] == "train"]
        splits[training[-1] if len(training) > 1 else ranked[1]] = "val"
    return splits
