"""The loop of causal steering: edit, judge, criticise, rewrite, edit again; and the baselines it is compared with.

After CSVC (Spyrou et al. 2025) and textual gradients (Yuksekgonul et al. 2024): the loss is the judge's answer on the
frames, its criticisms are the gradient, the rewriter's next prompt is the step.  docs/method.md, 15.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lvcf.errors import UserError, hint
from lvcf.steering.answers import (
    CaseError,
    NoAnswerError,
    Question,
    Reply,
    Rewrite,
    Verdict,
    check_answers,
    fitting,
)
from lvcf.steering.case import Case
from lvcf.steering.editors.base import Editor
from lvcf.steering.judges.base import Attempt, Judge, Rewriter, Shown
from lvcf.steering.methods import METHODS
from lvcf.steering.transcript import COUNTED, Line, Transcript

LOST = 2
"""Verdicts, or new prompts, that fail to come one after another and end a loop."""


@dataclass(frozen=True)
class Budget:
    """What a loop may spend.

    Attributes:
        edits: most edits.
        calls: most calls of judge and rewriter together; evaluation is not counted.
        patience: attempts without a better one before it stops.

    Raises:
        UserError: a number is below 1.
    """

    edits: int = 6
    calls: int = 20
    patience: int = 3

    def __post_init__(self) -> None:
        for name in ("edits", "calls", "patience"):
            if getattr(self, name) < 1:
                raise UserError(f"budget.{name} {getattr(self, name)}: at least 1 is needed")


@dataclass
class Outcome:
    """What came out.

    Attributes:
        attempts: all of them, in order.
        stopped: why there are no more: realised, edits, calls, stagnation, done (a single edit) or no answer.
        problems: what judge and rewriter did instead of answering.
    """

    attempts: list[Attempt] = field(default_factory=list)
    stopped: str = ""
    problems: list[str] = field(default_factory=list)

    @property
    def best(self) -> int:
        """The attempt with the best score, the first of equal ones."""
        return max(range(len(self.attempts)), key=lambda i: (self.attempts[i].rank, -i))


class Steering:
    """One clip, one intervention, one method.

    Args:
        case: what is asked.
        clip: the factual clip ``(3, T, H, W)`` in [-1, 1].
        editor: edits.
        judge: steers.
        rewriter: rewrites.
        transcript: answers and records every call.
        budget: what may be spent.
        seed: of the first edit; attempt i has seed + i, with and without feedback.
    """

    def __init__(
        self,
        case: Case,
        clip: Tensor,
        editor: Editor,
        judge: Judge,
        rewriter: Rewriter,
        transcript: Transcript,
        budget: Budget,
        seed: int,
    ) -> None:
        self.case, self.clip, self.transcript = case, clip, transcript
        self.editor, self.judge, self.rewriter = editor, judge, rewriter
        self.budget, self.seed = budget, seed
        self._state: Any = None

    def run(self, method: str) -> Outcome:
        """Run one of :data:`lvcf.steering.methods.METHODS`.

        Raises:
            UserError: there is no such method.
            CaseError: editor, judge or rewriter broke down, or the edit is no clip that can be shown.
        """
        if method not in METHODS:
            raise UserError(f"methods: no '{method}'; {hint(method, list(METHODS))}")
        outcome = Outcome()
        if method in ("steered", "best_of_n"):
            self._loop(outcome, feedback=method == "steered")
            return outcome
        try:
            self._attempt(outcome, self._first(method))
            outcome.stopped = "done"
        except NoAnswerError as problem:
            outcome.problems.append(f"{self.rewriter.identity}: {problem}")
            outcome.stopped = "no answer"
        return outcome

    def _first(self, method: str) -> Rewrite:
        """The prompt of a single edit."""
        if method == "paraphrase":
            request = {"prompt": self.case.initial_prompt}
            who = self.rewriter.identity
            return self.transcript.ask("paraphrase", who, request, Rewrite, lambda: self.rewriter.paraphrase(self.case))
        prompts = {"initial": self.case.initial_prompt, "given": self.case.given, "graph": self.case.target_prompt}
        return Rewrite(prompt=prompts[method], negative="")

    def _loop(self, outcome: Outcome, feedback: bool) -> None:
        rewrite, unwritten = Rewrite(prompt=self.case.target_prompt, negative=""), 0
        while not (reason := self._stop(outcome, unwritten, patience=feedback)):
            self._attempt(outcome, rewrite)
            if not feedback or outcome.attempts[-1].verdict is None or self._stop(outcome, unwritten):
                continue  # without a verdict the same words are tried again, with the next seed
            try:
                rewrite, unwritten = self._rewritten(outcome.attempts), 0
            except NoAnswerError as problem:
                outcome.problems.append(f"{self.rewriter.identity}: {problem}")
                unwritten += 1
        outcome.stopped = reason

    def _stop(self, outcome: Outcome, unwritten: int, patience: bool = True) -> str:
        """Why there should be no further attempt; empty if there should."""
        attempts, budget = outcome.attempts, self.budget
        if attempts and attempts[-1].verdict is not None and attempts[-1].verdict.realised:
            return "realised"
        unjudged = len(attempts) >= LOST and all(attempt.verdict is None for attempt in attempts[-LOST:])
        if unjudged or unwritten >= LOST:
            return "no answer"
        if len(attempts) >= budget.edits:
            return "edits"
        if self.transcript.count(*COUNTED) >= budget.calls:
            return "calls"
        stagnant = bool(attempts) and len(attempts) - 1 - outcome.best >= budget.patience
        return "stagnation" if stagnant and patience else ""

    def _attempt(self, outcome: Outcome, rewrite: Rewrite) -> None:
        """Edit and ask the judge; an edit that nobody judged is kept too."""
        seed = self.seed + len(outcome.attempts)
        request = {**rewrite.model_dump(), "seed": seed, "images": {"source": self._shown(self.clip).hashes["source"]}}
        edited = self.transcript.edit(self.editor.identity, request, lambda: self._edit(rewrite, seed))
        verdict, problem = None, ""
        try:
            verdict = ask_judge(
                self.transcript, "judge", self.judge, self._shown(edited), self.case.questions, rewrite.prompt
            )
        except NoAnswerError as error:
            problem = f"{self.judge.identity}: {error}"
            outcome.problems.append(problem)
        outcome.attempts.append(Attempt(rewrite.prompt, rewrite.negative, seed, edited, verdict, problem))

    def _edit(self, rewrite: Rewrite, seed: int) -> Tensor:
        if self._state is None:  # not before it is needed: a record runs without the editor's work
            self._state = self.editor.prepare(self.clip.clone(), self.case.source_prompt)
        edited = self.editor.edit(self._state, rewrite.prompt, rewrite.negative, seed)
        if edited.shape != self.clip.shape:
            raise CaseError(
                f"the edit has shape {(*edited.shape,)}, the clip {(*self.clip.shape,)}; correct the editor"
            )
        if not torch.isfinite(edited).all():
            raise CaseError(
                f"the edit of seed {seed} is not finite: {self.editor.identity} divides by 0 or overflows; check its "
                "weights, scheduler and precision"
            )
        return edited

    def _rewritten(self, attempts: list[Attempt]) -> Rewrite:
        last = attempts[-1]
        assert last.verdict is not None  # the loop rewrites after a verdict only
        request = {
            "prompt": last.prompt,
            "negative": last.negative,
            "target": self.case.target,
            "verdict": last.verdict.model_dump(mode="json"),
        }
        who = self.rewriter.identity
        return self.transcript.ask("rewrite", who, request, Rewrite, lambda: self.rewriter.rewrite(self.case, attempts))

    def _shown(self, edited: Tensor) -> Shown:
        return Shown(self.case.id, self.clip, edited, self.transcript.fps)


def ask_judge(
    transcript: Transcript, kind: str, judge: Judge, shown: Shown, questions: list[Question], prompt: str
) -> Verdict:
    """A judge's verdict on a clip, recorded; every question has exactly one answer.

    What was recorded counts as it is: records of before may contradict themselves, and have to run again as they ran.

    Raises:
        NoAnswerError: there is none.
    """

    def asked() -> Reply[Verdict]:
        own = replace(shown, source=shown.source.clone(), edited=shown.edited.clone())  # it may work in place
        reply = judge.judge(own, questions, prompt)
        return replace(reply, answer=check_answers(reply.answer, questions))

    request: Line = {
        "prompt": prompt,
        "images": shown.hashes,
        "questions": [question.model_dump(mode="json") for question in questions],
    }
    return fitting(transcript.ask(kind, judge.identity, request, Verdict, asked), questions)
