"""Imports run downwards: a room (a folder or module of lvcf) imports rooms of lower floors alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.helpers import ROOT

FLOORS = (
    ("__init__",),
    ("__main__", "results"),
    ("cli",),
    ("app",),
    ("explain",),
    ("callbacks",),
    ("explanation", "tasks"),
    ("edits", "steering", "study"),
    ("ablation", "phantoms", "presets", "report", "sampler"),
    ("diversity",),
    ("measure", "sampling", "settings", "tracking"),
    ("region",),
    ("checkpoint", "datamodules", "given_frames", "guidance", "metrics", "targets", "wandb_runs", "wording"),
    ("models", "runs"),
    ("data",),
    ("checks", "configuration", "files", "parsing"),
    ("addresses", "diffusion", "errors", "noise", "refinement"),
)
"""From the roof to the ground; rooms of one floor do not know each other."""
PLUGGED = ("phantoms", "steering", "callbacks")
"""What configurations name by class path: no reader and no model needs them."""


def imported(path: Path) -> Iterator[str]:
    """The modules of lvcf that a file imports, in functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"lvcf.{one.name}" for one in node.names] if node.module == "lvcf" else [node.module]
        else:
            names = [one.name for one in node.names] if isinstance(node, ast.Import) else []
        yield from (name for name in names if name.startswith("lvcf."))


def room(path: Path) -> str:
    return path.relative_to(ROOT / "lvcf").with_suffix("").parts[0]


FILES = sorted((ROOT / "lvcf").rglob("*.py"))
IMPORTS = {
    (path.relative_to(ROOT / "lvcf").as_posix(), name.split(".")[1]) for path in FILES for name in imported(path)
}


def test_every_room_has_its_floor() -> None:
    rooms = [one for floor in FLOORS for one in floor]
    assert sorted(rooms) == sorted({room(path) for path in FILES})


def test_imports_run_downwards() -> None:
    height = {one: -number for number, floor in enumerate(FLOORS) for one in floor}
    upwards = {
        (file, other)
        for file, other in IMPORTS
        if other != (own := room(ROOT / "lvcf" / file)) and height[other] >= height[own]
    }
    assert upwards == set()


def test_readers_and_models_know_nothing_that_is_plugged_in() -> None:
    below = {(file, other) for file, other in IMPORTS if file.startswith(("data/", "datamodules/", "models/"))}
    assert ("models/targets/face_attributes.py", "data") in below
    assert not {(file, other) for file, other in below if other in (*PLUGGED, "metrics")}
