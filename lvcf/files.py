"""Tables and JSON files, written in one step: a reader sees the old file or the whole new one."""

from __future__ import annotations

import argparse
import csv
import json
from pathlib import Path
from typing import Any


def write_json(path: Path, content: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Write an indented JSON file."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a CSV file of at least one row; columns in the order of their first appearance, what a row lacks empty."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)


def named_folder(text: str) -> Path:
    """A folder as an option names it; an empty name would mean the working folder.

    Raises:
        ArgumentTypeError: it is empty.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError("names no folder; give one, or '.' for the working folder")
    return Path(text)
