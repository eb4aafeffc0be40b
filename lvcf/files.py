"""Tables and JSON files, written in one step: a reader sees the old file or the whole new one."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any

FORMULA = tuple("=+-@\t\r\n")
"""With what a cell begins that a spreadsheet runs instead of showing it."""


def write_json(path: Path, content: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Write an indented JSON file; a number that is not finite is no JSON, and a defect of the caller's."""
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
