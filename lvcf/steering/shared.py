"""What the counterfactuals of one clip share: methods ask for the same edits, and end with the same videos."""

from __future__ import annotations

from pathlib import Path

from lvcf.errors import UserError
from lvcf.runs.folder import finished_result
from lvcf.runs.writer import SHOWN
from lvcf.steering.transcript import Made, read_calls


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
        """Add a prediction's folder, finished or failed; nothing of one that is damaged."""
        path = folder / "calls.jsonl"
        try:
            lines = read_calls(path) if path.is_file() else []
        except UserError:
            return
        edits = [(folder / line["answer"]["video"], line) for line in lines if line["kind"] == "edit"]
        if all(video.is_file() for video, _ in edits):
            self.edits |= {line["key"]: (video, line) for video, line in edits}
            hashes = {i: line["answer"]["sha256"] for i, (_, line) in enumerate(edits)}
            result = finished_result(folder)
            if result and result.get("best") in hashes and all((folder / name).is_file() for name in SHOWN):
                self.results[hashes[result["best"]]] = folder
