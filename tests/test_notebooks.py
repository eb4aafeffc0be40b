"""The notebooks run, and what they show is what stands in them."""

from __future__ import annotations

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parent.parent / "docs" / "notebooks"
LARGEST = 900_000
"""Bytes of a notebook: a panel is a video of some 300 kB."""


def outputs(notebook: nbformat.NotebookNode) -> list[str]:
    """What cells returned as text."""
    return [
        output["data"].get("text/plain", "")
        for cell in notebook.cells
        for output in cell.get("outputs", [])
        if output["output_type"] == "execute_result" and "text/html" not in output["data"]
    ]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["own_classifier", "find_a_shortcut", "repair_a_shortcut"])
def test_a_notebook_runs_and_says_what_stands_in_it(name, monkeypatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    path = FOLDER / f"{name}.ipynb"
    stored = nbformat.read(path, as_version=4)
    assert path.stat().st_size < LARGEST
    fresh = nbformat.read(path, as_version=4)
    NotebookClient(fresh, timeout=300, kernel_name="python3").execute()
    assert outputs(fresh) == outputs(stored)
    shown = [
        o["data"]["text/html"]
        for cell in fresh.cells
        for o in cell.get("outputs", [])
        if "text/html" in o.get("data", {})
    ]
    assert any("<video" in page for page in shown)
