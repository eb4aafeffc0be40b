"""``lvcf study analyse``: preference shares, a sign test and agreement, from the raters' files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from scipy.stats import beta, binomtest

from lvcf.errors import UserError
from lvcf.files import Json, write_json, write_rows
from lvcf.study.answers import NONE, QUESTIONS, RULE, Rater, inattentive, read_answers, read_key

PREFERENCES = ("first", "second", NONE)
Line = dict[str, Any]
Codes = NDArray[np.integer]
MISSING = -1


def analyse(study: Path, files: Sequence[Path]) -> Json:
    """Write ``analysis.json``, ``analysis.csv`` (a row per question) and ``answers.csv`` (a row per answer).

    Args:
        study: the folder that ``lvcf study make`` wrote.
        files: the raters' files; all in ``study/answers`` if empty.

    Returns:
        What ``analysis.json`` holds.

    Raises:
        UserError: the study or a file is not what it should be, or no rater paid attention.
    """
    key = read_key(study)
    raters = read_answers(study, key, files)
    dropped = {rater.name: reason for rater in raters if (reason := inattentive(rater, key))}
    counted = [rater for rater in raters if rater.name not in dropped]
    if not counted:
        raise UserError(f"{study}: no rater counts ({'; '.join(sorted(set(dropped.values())))}); collect more answers")
    rows = [row for rater in counted for row in _rows(rater, key)]
    if not rows:
        raise UserError(f"{study}: attention checks alone were answered, no pair; collect more answers")
    result: Json = {
        "study": key["study"],
        "first": key["first"],
        "second": key["second"],
        "raters": len(counted),
        "rule": RULE,
        "dropped": [
            {"rater": r.name, "file": r.file.name, "why": dropped[r.name]} for r in raters if r.name in dropped
        ],
        "questions": {name: _question([row for row in rows if row["question"] == name]) for name in QUESTIONS},
    }
    write_rows(study / "answers.csv", rows)
    write_rows(study / "analysis.csv", [{"question": name, **row} for name, row in result["questions"].items()])
    write_json(study / "analysis.json", result)
    return result


def _rows(rater: Rater, key: Json) -> list[Line]:
    """A rater's answers to pairs; ``preferred`` is the run, whichever panel it was in."""
    return [
        {
            "rater": rater.name,
            "trial": name,
            "id": trial["id"],
            "question": question,
            "panel": panel,
            "preferred": trial.get(panel, NONE),
        }
        for name, trial in key["trials"].items()
        if not trial["check"]
        for question, panel in rater.answers.get(name, {}).items()
    ]


def _question(rows: list[Line]) -> Line:
    """One question's figures, flat; a figure that the answers do not give says why."""
    if not rows:
        return {"answers": 0, **dict.fromkeys(PREFERENCES, "unavailable: nobody answered it")}
    codes = np.array([PREFERENCES.index(row["preferred"]) for row in rows])
    clips, raters = (np.unique([row[name] for row in rows], return_inverse=True)[1] for name in ("trial", "rater"))
    result: Line = {"answers": len(rows), "clips": int(clips.max()) + 1, "raters": int(raters.max()) + 1}
    for code, name in enumerate(PREFERENCES):
        low, high = clustered_interval(codes == code, clips, raters)
        result |= {name: float((codes == code).mean()), f"{name}.low": low, f"{name}.high": high}
    result |= _sign_test(codes, clips)
    try:
        ratings = np.full((clips.max() + 1, raters.max() + 1), MISSING)
        ratings[clips, raters] = codes
        result["alpha"] = nominal_alpha(ratings)
    except ValueError as reason:
        result["alpha"] = f"unavailable: {reason}"
    decided = [row["panel"] == "A" for row in rows if row["panel"] != NONE]
    result["panel_a"] = float(np.mean(decided)) if decided else "unavailable: nobody preferred a side"
    return result


def _sign_test(codes: Codes, clips: Codes) -> Line:
    """Over clips, the independent units: each goes to the run that more raters preferred; ties do not count."""
    lead = np.bincount(clips, (codes == 0).astype(float) - (codes == 1))
    first, second = int((lead > 0).sum()), int((lead < 0).sum())
    row: Line = {"clips_first": first, "clips_second": second, "clips_tied": len(lead) - first - second}
    if not first + second:
        return row | {"sign_test_p": "unavailable: no clip where a run is preferred"}
    return row | {"sign_test_p": float(binomtest(first, first + second).pvalue)}


def print_analysis(result: Json, study: Path) -> None:
    """The result on the terminal."""
    first, second = (escape(result[run]["name"]) for run in ("first", "second"))
    table = Table(title=f"{escape(str(study))}: {result['raters']} raters; share of answers [95 % interval]")
    for heading in ("question", first, second, "no preference", "clips won", "sign test p", "agreement α"):
        table.add_column(heading, justify="left" if heading == "question" else "right", overflow="fold")
    for name, row in result["questions"].items():
        shares = [_share(row, preference) for preference in PREFERENCES]
        won = f"{row['clips_first']} : {row['clips_second']}" if row["answers"] else "–"
        table.add_row(name, *shares, won, _number(row, "sign_test_p", 4), _number(row, "alpha", 3))
    console = Console(width=max(Console().width, 120))
    console.print(table)
    console.print(
        f"Clips won: preferred by more raters, {first} : {second}; the sign test is two-sided, over these clips."
    )
    console.print(f"Checks: {result['rule']}. {len(result['dropped'])} dropped.")
    for rater in result["dropped"]:
        console.print(f"  {rater['file']}: {rater['why']}", markup=False)


def _share(row: Line, name: str) -> str:
    if isinstance(row[name], str):
        return "–"
    return f"{100 * row[name]:.0f} % [{100 * row[f'{name}.low']:.0f}, {100 * row[f'{name}.high']:.0f}]"


def _number(row: Line, name: str, digits: int) -> str:
    value = row.get(name)
    return f"{value:.{digits}f}" if isinstance(value, float) else "–"


def nominal_alpha(ratings: Codes) -> float:
    """Krippendorff's alpha for nominal data: 1 is full agreement, 0 what chance gives, below 0 systematic disagreement.

    1 - (n - 1)(n - Σ o_cc) / (n² - Σ n_c²), with o_cc the coincidences of equal values within units, n_c the pairable
    occurrences of a value and n their sum (Krippendorff 2011, *Computing Krippendorff's Alpha-Reliability*).

    Args:
        ratings: ``(units, raters)`` codes from 0, ``-1`` where a rater gave none.

    Raises:
        ValueError: no unit has two ratings, or all pairable ratings are the same, where alpha is not defined.
    """
    counts = np.stack([(ratings == value).sum(axis=1) for value in range(ratings.max(initial=0) + 1)], axis=1)
    counts = counts[counts.sum(axis=1) >= 2]
    if not len(counts):
        raise ValueError("no clip was rated by two raters")
    size = counts.sum(axis=1, keepdims=True)
    equal = (counts * (counts - 1) / (size - 1)).sum()
    values = counts.sum(axis=0)
    n = values.sum()
    chance = n**2 - (values**2).sum()
    if chance == 0:
        raise ValueError("all answers are the same")
    return float(1 - (n - 1) * (n - equal) / chance)


def clustered_interval(hits: NDArray[np.bool_], clips: Codes, raters: Codes) -> tuple[float, float]:
    """95 % interval of a share of answers that are not independent: several per clip, several per rater.

    The exact binomial interval at the effective number of answers, p (1 - p) over their variance (Korn and Graubard
    1998); the variance is clustered by clip and by rater (Cameron, Gelbach and Miller 2011), and never taken to be
    below that of either alone.  Where all answers are the same, each clip counts as one answer.

    Args:
        hits: ``(N,)``, N >= 1, which answers count towards the share.
        clips: ``(N,)`` the clip each answer is about.
        raters: ``(N,)`` who gave it; with very few raters the interval speaks of these raters alone.
    """
    n, share = len(hits), float(hits.mean())
    effective = float(len(np.unique(clips)))
    if 0 < share < 1:
        answers = np.arange(n)
        by_clip, by_rater, alone = (_variance(hits - share, groups) for groups in (clips, raters, answers))
        effective = min(n, n * alone / max(by_clip, by_rater, by_clip + by_rater - alone))
    x = share * effective
    low = 0.0 if share == 0 else float(beta.ppf(0.025, x, effective - x + 1))
    high = 1.0 if share == 1 else float(beta.ppf(0.975, x + 1, effective - x))
    return low, high


def _variance(residuals: NDArray[np.floating], groups: Codes) -> float:
    """Of the mean, clustered: the sums over groups are independent, the members of one are not."""
    _, index = np.unique(groups, return_inverse=True)
    sums = np.bincount(index, residuals)
    if len(sums) < 2:
        return 0.0
    return float(len(sums) / (len(sums) - 1) * (sums**2).sum() / len(residuals) ** 2)
