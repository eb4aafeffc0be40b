"""A second run's counterfactuals of the same clips, beside those of the run that a page is about."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from lvcf.errors import UserError
from lvcf.files import Json
from lvcf.measure.names import STATUSES
from lvcf.report.run_page import reading_line, run_context
from lvcf.runs.folder import Prediction, is_steering, read_manifest, read_predictions
from lvcf.runs.panel import show_panel


def beside_context(folder: Path, other: Path) -> Json:
    """What ``run.html.j2`` shows of a run with another one beside it, clip by clip, matched by their ids.

    Raises:
        UserError: one of them is no run of ``lvcf predict``, they are the same, they share no clip, or a file is
            damaged.
    """
    if folder.resolve() == other.resolve():
        raise UserError(f"--beside {other}: is the run that the page is about; name another one")
    manifest = read_manifest(other)
    if is_steering(manifest):
        raise UserError(f"--beside {other}: is a steering run; name one of lvcf predict")
    context = run_context(folder)
    known = {clip.id: clip for clip in read_predictions(other)}
    ids = read_manifest(folder)["ids"]
    if not known.keys() & {*ids}:
        raise UserError(f"--beside {other}: has no clip of {folder}; ids match where both runs read the same clips")
    name, linked = other.resolve().name, context["linked"]
    if name == context["name"]:
        name = f"{other.resolve().parent.name}/{name}"
    below = quote(os.path.relpath(other.resolve(), folder.resolve()))
    return context | {
        "clips": _cards(context["clips"], known, below, linked),
        "beside": {"name": name, "method": manifest["method"], "target": manifest["target"]},
        "only_beside": [one for one in known if one not in ids],
    }


def _cards(cards: Iterator[Json], known: dict[str, Prediction], below: str, linked: bool) -> Iterator[Json]:
    for card in cards:
        clip = known.get(card["id"])
        yield card | {"other": _other(clip, below, linked) if clip else None}


def _other(clip: Prediction, below: str, linked: bool) -> Json:
    """The other run's part of a card."""
    told: Json = {"status": clip.status, "words": STATUSES[clip.status], "hint": clip.result["hint"], "panel": None}
    if clip.failed:
        return told | {"reading": ""}
    panel = show_panel(clip.folder, linked)
    if linked:
        panel |= {part: f"{below}/{panel[part]}" for part in ("video", "poster")}
    return told | {"reading": reading_line(clip.result), "panel": panel}
