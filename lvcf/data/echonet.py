"""EchoNet-Dynamic (Ouyang et al. 2020), real or simulated: ``FileList.csv`` and ``Videos/*.avi``."""

from __future__ import annotations

import math
from pathlib import Path

from lvcf.data.clip import Clip, Split, check_names, is_plain
from lvcf.data.sampled import SampledDataset
from lvcf.data.tables import read_rows
from lvcf.errors import UserError

VIEW = "apical four chamber echocardiogram"
COLUMNS = ("FileName", "EF", "Split")


def ef_prompt(ef: float) -> str:
    """The prompt that states a value, e.g. ``"... ejection fraction 55 percent"``; integers, as the words allow."""
    return f"{VIEW} ejection fraction {round(ef)} percent"


class EchoNetDataset(SampledDataset):
    """Clips of one split with their ejection fraction in percent.

    Args:
        root: the folder with ``FileList.csv`` and ``Videos/``.
        split: ``train``, ``val``, ``test``, or ``all``.
        frames: frames per clip.
        fps: frames per second to sample at, by presentation time.
        size: height and width of the clip.
        random_start: start anywhere in the video (training) instead of at its beginning.
        record_errors: return an unreadable clip with its ``error`` instead of raising.

    Raises:
        UserError: the root, the list or a column is missing, a name leaves the folder, an EF is no number, or the
            split is empty.
    """

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
        rows = read_file_list(self.root)
        self.rows = [(name, ef) for name, ef, of in rows if split == "all" or of == split.upper()]
        if not self.rows:
            found = ", ".join(sorted({of for _, _, of in rows})) or "none"
            raise UserError(f"{self.root / 'FileList.csv'}: no clip in split '{split}' (splits there: {found})")
        self.ids = [name for name, _ in self.rows]
        check_names(self.root / "FileList.csv", self.ids)

    def __getitem__(self, index: int) -> Clip:
        name, ef = self.rows[index]
        path = self.root / "Videos" / f"{name}.avi"
        return self.clip(name, path, lambda: self.of_video(path), ef, ef_prompt(ef), VIEW)


def read_file_list(root: Path) -> list[tuple[str, float, str]]:
    """(name without suffix, EF in percent, SPLIT) of every row of ``FileList.csv``."""
    return [parse_row(root / "FileList.csv", number, row) for number, row in numbered_rows(root)]


def numbered_rows(root: Path) -> list[tuple[int, dict[str, str]]]:
    """Every row of ``FileList.csv`` as it stands there, with its line.

    Raises:
        UserError: the list or a column is missing, or it is no table.
    """
    path = root / "FileList.csv"
    if not path.is_file():
        raise UserError(f"{path}: not found; set data.root to EchoNet-Dynamic's folder or make one: lvcf simulate echo")
    columns, rows = read_rows(path)
    missing = [c for c in COLUMNS if c not in columns]
    if missing:
        raise UserError(f"{path}: column {missing[0]} is missing; expected {', '.join(COLUMNS)}")
    return rows


def parse_row(path: Path, number: int, row: dict[str, str]) -> tuple[str, float, str]:
    """(name without suffix, EF in percent, SPLIT) of a row.

    Raises:
        UserError: the name leaves the folder, or the EF is no number in 0..100.
    """
    name = row["FileName"].removesuffix(".avi")
    if not is_plain(name):
        raise UserError(f"{path}, line {number}: FileName '{row['FileName']}' is not a plain name; correct it")
    try:
        ef = float(row["EF"])
    except ValueError:
        ef = math.nan
    if not 0.0 <= ef <= 100.0:
        raise UserError(
            f"{path}, line {number}: EF '{row['EF']}' of {name} is not in 0..100; correct or remove the row"
        )
    return name, ef, row["Split"].upper()
