"""What the counterfactuals of one clip share: methods ask for the same edits, and end with the same videos."""

from __future__ import annotations

import json
from pathlib import Path

from lvcf.run_folder import finished_result
from lvcf.steering.transcript import Made


class Shared:
    """Edits that were made and videos that were written, of the folders added so far.

    Attributes:
        edits: by what was asked of the editor.
        results: finished folders by the hash of the video that they ended with.
    """

    def __init__(self) -> None:
        self.edits: dict[str, Made] = {}
        self.results: dict[str, Path] = {}

    def add(self, folder: Path) -> None:
        """Add a prediction's folder, finished or failed."""
        path = folder / "calls.jsonl"
        rows = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        edits = [line for line in map(json.loads, rows) if line["kind"] == "edit"]
        self.edits |= {line["key"]: (folder / line["answer"]["video"], line) for line in edits}
        if result := finished_result(folder):
            self.results[edits[result["best"]]["answer"]["sha256"]] = folder
