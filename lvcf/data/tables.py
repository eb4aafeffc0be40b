"""Reading the text files of data sets: CSV tables, lists and JSON, with mistakes told by file and line."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from pathlib import Path
from typing import Any

from lvcf.errors import UserError


def read_text(path: Path) -> str:
    """A UTF-8 file, with or without a byte order mark.

    Raises:
        UserError: it cannot be read, or is in another encoding.
    """
    content = _read_bytes(path)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        coding = "UTF-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "another encoding"
        raise UserError(
            f"{path}: is in {coding}, not in UTF-8 (byte {error.start}); save it as UTF-8, e.g. with iconv -t utf-8"
        ) from error


def read_rows(path: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The columns of a CSV table, and every row by column with the line it ends on; what a row lacks is empty.

    Raises:
        UserError: it cannot be read, is no table, has a column twice, or a row has more cells than there are columns.
    """
    lines = io.StringIO(read_text(path), newline="")
    reader = csv.DictReader(lines, skipinitialspace=True, restval="", restkey="")
    try:
        columns = list(reader.fieldnames or [])
        twice = [name for name, number in Counter(columns).items() if name and number > 1]
        if twice:
            raise UserError(f"{path}: column {twice[0]} is there twice; rename or remove one")
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise UserError(f"{path}, line {reader.line_num}: not a readable table ({error}); correct it") from error
    for number, row in rows:
        if any(isinstance(cells, list) and any(cells) for cells in row.values()):
            raise UserError(
                f"{path}, line {number}: has more cells than the {len(columns)} columns; quote cells with commas"
            )
    return columns, rows


def read_json(path: Path, kind: type[Any], missing: str, fix: str = "download it again") -> Any:
    """A JSON file that holds a ``dict`` or a ``list``.

    Args:
        path: the file.
        kind: what it holds.
        missing: what to do if it is not there.
        fix: what to do if it is damaged.

    Raises:
        UserError: it is not there, cannot be read, or holds another thing.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; {missing}")
    try:
        content = json.loads(_read_bytes(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not a JSON file ({error}); {fix}") from error
    if not isinstance(content, kind):
        raise UserError(f"{path}: holds no JSON {'object' if kind is dict else 'list'}; {fix}")
    return content


def _read_bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); copy it again") from error
