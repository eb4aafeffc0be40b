"""What is known of a user's own clips: a CSV table with their labels, prompts and splits, or a split by their paths."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lvcf.data.clip import hash_share
from lvcf.data.tables import read_rows
from lvcf.errors import UserError, nearest

Split = Literal["train", "val", "test", "all"]
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

    A column ``split`` (train, val, test) is optional; without it :func:`hashed_split` decides.  The label and prompt
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
        return entries

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
        split = row.get(SPLIT_COLUMN, hashed_split(path)).strip().lower()
        if split not in SPLITS:
            raise UserError(f"{where}: {SPLIT_COLUMN} '{split}' is none; {suggestion(split, SPLITS)}")
        label, words = (math.nan, "")
        if self.label_column in row:
            label, words = self._label(where, row[self.label_column].strip())
        return Entry(path, split, label, words, row.get(self.prompt_column, "").strip())

    def _label(self, where: str, cell: str) -> tuple[float, str]:
        """The label, and how prompts say it: the class's name, or the value as a whole number."""
        if self.labels:
            if cell not in self.labels:
                raise UserError(
                    f"{where}: {self.label_column} '{cell}' is not in data.labels; {suggestion(cell, self.labels)}"
                )
            return float(self.labels.index(cell)), cell
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UserError(
                f"{where}: {self.label_column} '{cell}' is no number; correct or remove the row, or name the "
                "classes in data.labels"
            )
        return value, str(round(value))


def hashed_split(path: Path) -> str:
    """80 % train, 10 % val, 10 % test by the path's hash alone: further clips do not move those already there."""
    share = hash_share(path.as_posix())
    return "train" if share < 0.8 else "val" if share < 0.9 else "test"


def suggestion(word: str, choices: Sequence[str]) -> str:
    """The choice a misspelt word is nearest to, whatever its case, or all of them."""
    near = nearest(word, choices)
    return f"did you mean {near}?" if near else f"use one of {', '.join(choices)}"
