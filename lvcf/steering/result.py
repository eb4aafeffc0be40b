"""What a steering run leaves: one folder per clip, intervention and method."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from torch import Tensor

from lvcf.data.clip import to_frames
from lvcf.data.video import write_preview
from lvcf.files import Json, write_json
from lvcf.metrics.truth import CHANGED_LEVELS
from lvcf.runs.shapes import SCHEMA_VERSION
from lvcf.runs.writer import SHOWN, versions, write_shown
from lvcf.steering.answers import Question, Verdict, check_answers
from lvcf.steering.loop import Outcome

VERSIONED = ("lvcf", "torch", "diffusers", "transformers", "pydantic", "httpx")


def history(outcome: Outcome) -> list[Json]:
    """Every attempt as ``result.json`` keeps it."""
    return [
        {
            "prompt": attempt.prompt,
            "negative": attempt.negative,
            "seed": attempt.seed,
            "verdict": None if attempt.verdict is None else attempt.verdict.model_dump(mode="json")["answers"],
            "problem": attempt.problem,
        }
        for attempt in outcome.attempts
    ]


def measured(verdict: Verdict, questions: list[Question]) -> dict[str, float]:
    """:data:`lvcf.steering.methods.COLUMNS` of one clip; minimality is NaN where nothing is to be preserved."""
    verdict = check_answers(verdict, questions)
    right = {answer.attribute: answer.realised for answer in verdict.answers}
    kept = [right[q.attribute] for q in questions if q.role == "preserved"]
    made = [right[q.attribute] for q in questions if q.role != "preserved"]
    unset = [not right[q.attribute] for q in questions if q.role != "intervened"]
    return {
        "joint": float(verdict.realised),
        "effectiveness": float(np.mean(made)),
        "minimality": float(np.mean(kept)) if kept else float("nan"),
        "violations": float(sum(unset)),
    }


def write_result(
    folder: Path, clip: Tensor, fps: float, outcome: Outcome, facts: Json, twin: Path | None = None
) -> None:
    """Write the best attempt's videos and ``result.json`` into a clip's folder, which holds its record.

    Args:
        folder: the clip's.
        clip: the factual clip ``(3, T, H, W)``.
        fps: of the videos.
        outcome: at least one attempt.
        facts: the rest of ``result.json``.
        twin: a finished folder of the same clip that ended with the same video, whose files are copied.
    """
    best = outcome.attempts[outcome.best]
    factual, final = to_frames(clip), to_frames(best.edited)
    changed = np.abs(final.astype(np.int16) - factual).max(axis=-1) > CHANGED_LEVELS
    if twin:
        for name in SHOWN:
            shutil.copyfile(twin / name, folder / name)
    else:
        write_shown(folder, factual, final, changed.astype(np.uint8) * 255, fps)
    if len(outcome.attempts) > 1:  # the clip as it is, then every attempt after the other
        steps = [factual, *(to_frames(attempt.edited) for attempt in outcome.attempts)]
        write_preview(folder / "progression.mp4", np.concatenate(steps), fps)
    more = {
        "prompt": best.prompt,
        "negative": best.negative,
        "best": outcome.best,
        "stopped": outcome.stopped,
        "problems": outcome.problems,
        "history": history(outcome),
        "frames": len(factual),
        "fps": fps,
        "mask_share": float(changed.mean()),
    }
    write_json(folder / "result.json", {**head(), **facts, **more})


def head() -> Json:
    """What every ``result.json`` and manifest says."""
    return {"schema_version": SCHEMA_VERSION, "versions": versions(*VERSIONED)}
