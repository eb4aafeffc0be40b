"""What a steering run leaves: one folder per clip, intervention and method."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from torch import Tensor

from lvcf.data.clip import to_frames
from lvcf.data.video import write_preview
from lvcf.errors import UserError
from lvcf.files import Json, write_json
from lvcf.metrics.truth import CHANGED_LEVELS
from lvcf.runs.folder import finished_result
from lvcf.runs.shapes import SCHEMA_VERSION
from lvcf.runs.writer import SHOWN, versions, write_shown
from lvcf.steering.answers import Seen, Wanted, verdict_of
from lvcf.steering.loop import Outcome
from lvcf.steering.transcript import Made, read_calls

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


def measured(seen: Seen, questions: list[Wanted]) -> dict[str, float]:
    """:data:`lvcf.steering.methods.COLUMNS` of one clip; minimality is NaN where nothing is to be preserved."""
    verdict = verdict_of(seen, questions)
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


class Shared:
    """What the counterfactuals of one clip share: edits that were made and videos that were written.

    Methods ask for the same edits, and end with the same videos; this holds those of the folders added so far.

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
