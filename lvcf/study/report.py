"""The page about a study, as ``study.html.j2`` wants it."""

from __future__ import annotations

import shlex
from collections import defaultdict
from pathlib import Path

from lvcf.data.video import read_video
from lvcf.files import Json, read_lines, read_shape
from lvcf.measure.names import Figure
from lvcf.report.metrics import readable
from lvcf.report.plots import share_plot
from lvcf.runs.shapes import Analysis
from lvcf.study.answers import NONE, QUESTIONS, read_key

SHARES = ("first", NONE, "second")
"""In the order of the plot: who has no preference stands between the two."""
Leads = dict[str, dict[str, int]]


def study_context(study: Path) -> Json:
    """What ``study.html.j2`` shows of a study's folder.

    Raises:
        UserError: the study, its analysis or a clip is damaged.
    """
    key, analysis = read_key(study), study / "analysis.json"
    result = read_shape(analysis, Analysis) if analysis.is_file() else None
    first, second = (str(key[run]["name"]) for run in ("first", "second"))
    names = {"first": first, NONE: "no preference", "second": second}
    leads = _leads(study / "answers.csv") if result else {}
    clips = [_clip(study, name, trial, leads, names) for name, trial in key["trials"].items() if not trial["check"]]
    clips.sort(key=lambda clip: str(clip["id"]))
    outcomes = {"first": f"{first} preferred", "second": f"{second} preferred", "tied": "tied"}
    return {
        "asked": _asked(key, result, len(clips)),
        "analysed": result is not None,
        "analyse": f"lvcf study analyse {shlex.quote(str(study))}",
        "preferences": [names[share] for share in SHARES],
        "runs": [first, second],
        "questions": [_question(name, row, names) for name, row in result["questions"].items()] if result else [],
        "rule": result["rule"] if result else "",
        "dropped": result["dropped"] if result else [],
        "statuses": outcomes if result else {},
        "counts": {status: sum(clip["status"] == status for clip in clips) for status in outcomes},
        "figures": {name: Figure(name, QUESTIONS[name]) for name in QUESTIONS} if result else {},
        "clips": clips,
        "layout": {"names": ["A", "original", "B"], "gap": 0, "header": 0, "footer": 0},
    }


def _asked(key: Json, result: Json | None, clips: int) -> list[tuple[str, str]]:
    runs = [(f"{which} run", f"{key[which]['name']} ({key[which]['method']})") for which in ("first", "second")]
    checks = len(key["trials"]) - clips
    rows = [*runs, ("clips", f"{clips}, and {checks} attention checks"), ("seed", str(key["seed"]))]
    return [*rows, ("raters", f"{result['raters']} counted, {len(result['dropped'])} dropped")] if result else rows


def _question(name: str, row: Json, names: dict[str, str]) -> Json:
    """A question's shares with their intervals, its plot and its other figures as text."""
    known = isinstance(row["first"], float)
    shares = [{"value": _percent(row[share]), "interval": _interval(row, share)} for share in SHARES]
    told: Json = {"name": name, "text": QUESTIONS[name], "shares": shares, "plot": None}
    if not known:
        return told | {"cells": ["0", "–", "–", "–", "–"]}
    bars = [(names[s], 100 * row[s], 100 * row[f"{s}.low"], 100 * row[f"{s}.high"]) for s in SHARES]
    won = f"{row['clips_first']} : {row['clips_second']}, {row['clips_tied']}"
    figures = [readable(row["sign_test_p"]), readable(row["alpha"]), _percent(row["panel_a"])]
    return told | {"plot": share_plot(QUESTIONS[name], bars), "cells": [str(row["answers"]), won, *figures]}


def _percent(share: float | str) -> str:
    return f"{100 * share:.0f} %" if isinstance(share, float) else share


def _interval(row: Json, share: str) -> str:
    if not isinstance(row[share], float):
        return ""
    return f"{100 * row[f'{share}.low']:.0f} to {100 * row[f'{share}.high']:.0f} %"


def _leads(path: Path) -> Leads:
    """By trial and question, how many more raters preferred the first run than the second."""
    leads: Leads = defaultdict(dict)
    for row in read_lines(path):
        of_trial, step = leads[row["trial"]], {"first": 1, "second": -1}.get(row["preferred"], 0)
        of_trial[row["question"]] = of_trial.get(row["question"], 0) + step
    return leads


def _clip(study: Path, name: str, trial: Json, leads: Leads, names: dict[str, str]) -> Json:
    """One line of the table, and what the page's script needs to show the clip."""
    source = f"raters/clips/{name}.mp4"
    order = [0, 1, 2] if trial["A"] == "first" else [2, 1, 0]
    labels = [names[trial["A"]], "original", names[trial["B"]]]
    lead = sum(leads.get(name, {}).values())
    return {
        "id": trial["id"],
        "status": "first" if lead > 0 else "second" if lead < 0 else "tied",
        "leads": leads.get(name, {}),
        "video": {"source": source, "fps": read_video(study / source).fps, "tiles": order, "names": labels},
    }
