"""Tables and JSON files, written in one step: a reader sees the old file or the whole new one."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any


def write_json(path: Path, content: dict[str, Any] | list[dict[str, Any]]) -> None:
    """Write an indented JSON file; a number that is not finite is no JSON, and a defect of the caller's."""
    temporary = path.with_name(f".{path.name}.partial")
    temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")
    temporary.replace(path)


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a CSV file of at least one row; columns in the order of their first appearance, what a row lacks empty."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)
    temporary.replace(path)
