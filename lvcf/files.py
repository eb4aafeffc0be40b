"""Tables and JSON files of lvcf's own: written in one step, and read with what is damaged named.  Light: no torch."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from lvcf.errors import UserError

Json = dict[str, Any]
FORMULA = tuple("=+-@\t\r\n")
"""With what a cell begins that a spreadsheet runs instead of showing it."""


class Record(dict[str, Any]):
    """An object of a JSON file, or a row of a table: who asks for an entry that is not there is told which file it is.

    Args:
        content: its entries.
        path: the file.
    """

    def __init__(self, content: dict[str, Any], path: Path) -> None:
        super().__init__(content)
        self.path = path

    def __missing__(self, key: str) -> Any:
        raise damaged(self.path, f"no '{key}'")


def damaged(path: Path, why: object) -> UserError:
    """The error about a file that a verb of lvcf wrote and that is not what it wrote."""
    told = " ".join(str(why).split())
    return UserError(f"{path}: damaged ({told}); remove it and run the command that wrote it again")


def write_json(path: Path, content: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Write an indented JSON file: a reader sees the old one or the whole new one.

    A number that is not finite is no JSON, and a defect of the caller's.
    """
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    temporary.replace(path)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a CSV file of at least one row; columns in the order of their first appearance, what a row lacks empty.

    Text that a spreadsheet would take for a formula is written behind an apostrophe, which :func:`as_text` takes off.
    """
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows({name: as_cell(value) for name, value in row.items()} for row in rows)
    temporary.replace(path)


def read_json(path: Path) -> Any:
    """A JSON file that a verb of lvcf wrote; its objects are :class:`Record`.

    Raises:
        UserError: it is damaged.
    """
    try:  # a byte order mark is what editors leave
        return json.loads(path.read_text(encoding="utf-8-sig"), object_hook=lambda content: Record(content, path))
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error


def read_record(path: Path) -> Record:
    """A JSON file that holds an object.

    Raises:
        UserError: it is damaged.
    """
    content = read_json(path)
    if not isinstance(content, Record):
        raise damaged(path, f"{type(content).__name__}, not an object")
    return content


def read_shape(path: Path, shape: Any) -> Record:
    """A JSON file that holds an object whose entries have the types of a shape, as :mod:`lvcf.runs.shapes` has them.

    Raises:
        UserError: it is damaged.
    """
    content = read_record(path)
    try:
        TypeAdapter(shape).validate_python(content, strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise damaged(path, f"{where}: {first['msg']}" if where else first["msg"]) from error
    return content


def read_optional(path: Path) -> Json | None:
    """A JSON object, or None if it is not there yet."""
    return read_record(path) if path.is_file() else None


def read_lines(path: Path) -> list[dict[str, str]]:
    """A CSV file that a verb of lvcf wrote, by its headings; empty where there is none.

    Raises:
        UserError: it is damaged.
    """
    first, *others = read_cells(path) or [[]]
    odd = next((number for number, row in enumerate(others, start=2) if len(row) != len(first)), None)
    if odd:
        raise damaged(path, f"row {odd} has not as many cells as the first")
    return [Record(dict(zip(first, row, strict=True)), path) for row in others]


def read_cells(path: Path) -> list[list[str]]:
    """A CSV file's rows that are not empty, the headings among them; none where there is no file.

    Raises:
        UserError: it is damaged.
    """
    if not path.is_file():
        return []
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return [[as_text(cell) for cell in row] for row in csv.reader(stream) if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise damaged(path, error) from error


def as_cell(value: Any) -> Any:
    """A value as it stands in a CSV file."""
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def as_text(cell: str) -> str:
    """What :func:`as_cell` made a cell of."""
    return cell[1:] if cell.startswith("'") and _is_formula(cell[1:]) else cell


def _is_formula(text: str) -> bool:
    """Whether text, or what follows its apostrophes, begins like a formula and is no number."""
    return text.lstrip("'").startswith(FORMULA) and not _is_number(text)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def named_folder(text: str) -> Path:
    """A folder as an option names it; an empty name would mean the working folder.

    Raises:
        ArgumentTypeError: it is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("names no folder; give one, or '.' for the working folder")
    return Path(text)
