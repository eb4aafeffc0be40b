"""What raters are asked; reading a study's key and their files, and who of them paid attention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lvcf.errors import UserError, nearest
from lvcf.files import Json, damaged, read_json, read_record, read_shape
from lvcf.runs.folder import is_plain
from lvcf.runs.shapes import StudyKey
from lvcf.study.trials import FEWEST_CHECKS

QUESTIONS = {
    "realism": "Which one looks more like a real recording?",
    "faithfulness": "Which one shows better what was asked for?",
    "localisation": "Which one leaves everything else more as it was in the original?",
}
CHECKED = ("realism", "localisation")
"""Questions with a known answer where one side is the original itself; it does not show what was asked for."""
NONE = "none"
CHOICES = {"A": "A", "B": "B", NONE: "No preference"}
FORMAT = "lvcf study answers"
VERSION = 1
PASS = 0.8
RULE = f"a rater counts with at least {FEWEST_CHECKS} attention checks answered, {PASS:.0%} of their answers right"


@dataclass(frozen=True)
class Rater:
    """One rater's file; ``answers[trial][question]`` is A, B or none."""

    file: Path
    name: str
    saved: str
    answers: dict[str, dict[str, str]]


def read_key(study: Path) -> Json:
    """The key that ``lvcf study make`` wrote.

    Raises:
        UserError: there is none, or it is damaged.
    """
    if not study.is_dir():
        raise UserError(f"{study}: no such study folder; give the folder that lvcf study make wrote")
    if not (study / "key.json").is_file():
        raise UserError(f"{study}: holds no key.json, so it is no study; give the folder that lvcf study make wrote")
    path = study / "key.json"
    if not {"study", "first", "second", "trials"} <= read_record(path).keys():
        raise UserError(f"{path}: not the key of a study; give the folder that lvcf study make wrote")
    key = read_shape(path, StudyKey)
    odd = next((name for name in key["trials"] if not is_plain(name)), None)
    if odd is not None:
        raise damaged(path, f"trials hold {odd!r}, which is no file's name")
    return key


def read_answers(study: Path, key: Json, files: Sequence[Path]) -> list[Rater]:
    """One entry per rater: of files that one rater saved several times, the last.

    Raises:
        UserError: there is no file, or one is damaged, no answers of a study, or another study's.
    """
    paths = list(files) or sorted((study / "answers").glob("*.json"))
    if not paths:
        raise UserError(f"{study / 'answers'}: no answers; put the raters' .json files there, or name them")
    raters: dict[str, Rater] = {}
    for rater in sorted((_read(path, key) for path in paths), key=lambda r: r.saved):
        raters[rater.name] = rater
    if not any(answers for rater in raters.values() for answers in rater.answers.values()):
        raise UserError(f"{study}: {len(paths)} answer file(s) without a single answer; ask the raters to begin")
    return list(raters.values())


def _read(path: Path, key: Json) -> Rater:
    if not path.is_file():
        raise UserError(f"{path}: no such answer file; check the path")
    try:
        content = read_json(path)
    except UserError as error:  # what wrote it was the page
        raise UserError(f"{path}: damaged; ask the rater to save the answers again, or remove it") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise UserError(f"{path}: no answers of a study; remove it, or give the .json file that the page saved")
    if content.get("version") != VERSION:
        raise UserError(f"{path}: format version {content.get('version')!r}, this lvcf reads {VERSION}; update lvcf")
    if content.get("study") != key["study"]:
        other = content.get("study")
        raise UserError(f"{path}: answers of study {other!r}, this one is {key['study']!r}; move it to its own study")
    answers = content.get("answers")
    if not isinstance(answers, dict) or not all(isinstance(content.get(k), str) for k in ("rater", "saved")):
        raise UserError(f"{path}: lacks the rater, the time or the answers; ask the rater to save the answers again")
    for trial, given in answers.items():
        _check_trial(path, key, trial, given)
    return Rater(path, content["rater"], content["saved"], answers)


def _check_trial(path: Path, key: Json, trial: str, given: object) -> None:
    if trial not in key["trials"]:
        raise UserError(f"{path}: comparison '{trial}' is not in the study; ask the rater to save the answers again")
    if not isinstance(given, dict):
        raise UserError(f"{path}: comparison '{trial}' holds no answers; ask the rater to save the answers again")
    for question, choice in given.items():
        if question not in QUESTIONS:
            near = nearest(question, list(QUESTIONS)) or ", ".join(QUESTIONS)
            raise UserError(f"{path}: comparison '{trial}': unknown question {question!r}; the study asks {near}")
        if choice not in list(CHOICES):  # a list: what can not be hashed may stand there
            known = ", ".join(CHOICES)
            raise UserError(f"{path}: comparison '{trial}': {question} is {choice!r}; it can be {known}")


def inattentive(rater: Rater, key: Json) -> str:
    """Why a rater does not count; empty if they do."""
    answered = {name: answers for name, answers in rater.answers.items() if set(CHECKED) <= answers.keys()}
    checks = [name for name, trial in key["trials"].items() if trial["check"] and name in answered]
    if len(checks) < FEWEST_CHECKS:
        return f"answered {len(checks)} attention checks, {FEWEST_CHECKS} are needed"
    given = [key["trials"][name].get(answered[name][question]) for name in checks for question in CHECKED]
    right = given.count("intact")
    if right < PASS * len(given):
        return f"{right} of {len(given)} answers to attention checks right, {PASS:.0%} are needed"
    return ""
