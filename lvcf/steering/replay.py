"""Running a record again, offline: no editor, no judge, no rewriter and no data set is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NoReturn

from torch import Tensor

from lvcf.data.clip import to_clip
from lvcf.errors import UserError
from lvcf.files import Record, damaged
from lvcf.runs.folder import Prediction, is_steering, read_manifest, read_predictions
from lvcf.steering.answers import Reply, Rewrite, Seen
from lvcf.steering.case import Case
from lvcf.steering.editors.base import Editor
from lvcf.steering.graph import stored_graph
from lvcf.steering.judges.base import Judge, Rewriter, Shown
from lvcf.steering.loop import Budget, Steering
from lvcf.steering.result import history
from lvcf.steering.transcript import Transcript


class Absent(Editor, Judge, Rewriter):
    """Stands where an editor, judge or rewriter was: it has their name, and the record has their answers."""

    def __init__(self, identity: str) -> None:
        self._identity = identity

    @property
    def identity(self) -> str:
        """Whoever answered."""
        return self._identity

    def prepare(self, clip: Tensor, source_prompt: str) -> NoReturn:
        """Not while a record answers."""
        self._refuse()

    def edit(self, state: Any, prompt: str, negative: str, seed: int) -> Tensor:
        """Not while a record answers."""
        self._refuse()

    def look(self, shown: Shown, questions: Any) -> Reply[Seen]:
        """Not while a record answers."""
        self._refuse()

    def rewrite(self, case: Case, attempts: Any) -> Reply[Rewrite]:
        """Not while a record answers."""
        self._refuse()

    def paraphrase(self, case: Case) -> Reply[Rewrite]:
        """Not while a record answers."""
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise AssertionError(f"{self._identity} was asked during a replay")


def replay(run: Path) -> list[str]:
    """Run every finished record of a run folder again; returns the ids whose history comes out otherwise.

    Raises:
        UserError: the folder is no steering run, or a record does not fit its results.
    """
    manifest = read_manifest(run)
    if not is_steering(manifest):
        raise UserError(f"{run}: no steering run; give a folder that lvcf steer wrote")
    predictions = [prediction for prediction in read_predictions(run) if not prediction.failed]
    if not predictions:
        raise UserError(f"{run}: no such finished clip yet; let lvcf steer finish one")
    return [prediction.id for prediction in predictions if not _same(prediction, manifest)]


def _same(prediction: Prediction, manifest: Record) -> bool:
    result = prediction.result
    frames = prediction.factual()
    graph = stored_graph(manifest, "graph")
    given, target = result.get("given", ""), result["target"]  # runs of before have none given
    case = Case(result["clip"], result["words"], graph, result["factual"], result["intervention"], given, target)
    editor, judge, rewriter = (Absent(manifest[role]) for role in ("editor", "judge", "rewriter"))
    record = Transcript(prediction.folder, float(result["fps"]), live=False)
    clip = to_clip(frames, frames.shape[1])
    steering = Steering(case, clip, editor, judge, rewriter, record, _stored_budget(manifest), result["seed"])
    outcome = steering.run(result["method"])
    return bool(history(outcome) == result["history"] and outcome.best == result["best"])


def _stored_budget(manifest: Record) -> Budget:
    """The budget.

    Raises:
        UserError: it is damaged.
    """
    try:
        return Budget(**manifest["budget"])
    except (TypeError, UserError) as error:
        raise damaged(manifest.path, f"budget: {error}") from error
