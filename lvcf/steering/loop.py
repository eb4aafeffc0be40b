"""The loop of causal steering: edit, judge, criticise, rewrite, edit again; and the baselines it is compared with.

After CSVC (Spyrou et al. 2025) and textual gradients (Yuksekgonul et al. 2024): the loss is the judge's answer on the
frames, its criticisms are the gradient, the rewriter's next prompt is the step.  docs/method.md, 15.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lvcf.errors import UserError, hint
from lvcf.steering.answers import (
    CaseError,
    Criticisms,
    NoAnswerError,
    Question,
    Refused,
    Reply,
    Rewrite,
    Seen,
    Verdict,
    Wanted,
    in_order,
    verdict_of,
)
from lvcf.steering.case import Case
from lvcf.steering.editors.base import Editor
from lvcf.steering.judges.base import Attempt, Edit, Judge, Rewriter, Shown
from lvcf.steering.methods import METHODS
from lvcf.steering.prompts import fitting
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
            return self.transcript.ask("paraphrase", who, request, Rewrite, lambda: self._written([]))
        prompts = {"initial": self.case.initial_prompt, "given": self.case.given, "graph": self.case.target_prompt}
        return Rewrite(prompt=prompts[method], negative="")

    def _loop(self, outcome: Outcome, feedback: bool) -> None:
        rewrite, unwritten = Rewrite(prompt=self.case.target_prompt, negative=""), 0
        while not (reason := self._stop(outcome, unwritten, patience=feedback)):
            self._attempt(outcome, rewrite, feedback)
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

    def _attempt(self, outcome: Outcome, rewrite: Rewrite, feedback: bool = False) -> None:
        """Edit and ask the judge, who criticises where that is heard; an edit that nobody judged is kept too."""
        seed = self.seed + len(outcome.attempts)
        source = self._shown(self.clip)
        request = {**rewrite.model_dump(), "seed": seed, "images": {"source": source.hash}}
        edited = self.transcript.edit(self.editor.identity, request, lambda: self._edit(rewrite, seed))
        verdict, problem = None, ""
        try:
            edit = Edit(source, self._shown(edited), rewrite.prompt)
            verdict = judge_edit(self.transcript, self.judge, edit, self.case.questions, feedback)
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
        return self.transcript.ask("rewrite", self.rewriter.identity, request, Rewrite, lambda: self._written(attempts))

    def _written(self, attempts: list[Attempt]) -> Reply[Rewrite]:
        """The rewriter's prompt, before any attempt a paraphrase; one that asks for something else is no answer."""
        rewriter, first = self.rewriter, not attempts
        reply = rewriter.paraphrase(self.case) if first else rewriter.rewrite(self.case, attempts)
        try:
            fitting(self.case, reply.answer, paraphrase=first)
        except NoAnswerError as problem:
            refused = [*reply.refused, Refused(reply.answer.model_dump_json(), str(problem))]
            raise NoAnswerError(str(problem), reply.asked, reply.tokens, refused) from problem
        return reply

    def _shown(self, clip: Tensor) -> Shown:
        return Shown(self.case.id, clip, self.transcript.fps)


def look(transcript: Transcript, kind: str, judge: Judge, shown: Shown, questions: Sequence[Question]) -> Seen:
    """What a judge sees in a clip, recorded: it is told neither what was wanted nor what the clip was before.

    Raises:
        NoAnswerError: there is none.
    """
    blind = [question.blind for question in questions]
    request = {"images": {"shown": shown.hash}, "questions": [question.model_dump(mode="json") for question in blind]}
    return transcript.ask(kind, judge.identity, request, Seen, lambda: _looked(judge, shown, blind))


def judge_edit(transcript: Transcript, judge: Judge, edit: Edit, wanted: Sequence[Wanted], criticise: bool) -> Verdict:
    """The steering judge's verdict, recorded: it looks as blindly as any, and criticises what is not as wanted.

    What was recorded counts as it is: records of before may contradict themselves, and have to run again as they ran.

    Raises:
        NoAnswerError: there is none.
    """

    def asked() -> Reply[Verdict]:
        seen = _looked(judge, edit.edited, [question.blind for question in wanted])
        verdict = verdict_of(seen.answer, wanted)
        said: Reply[Criticisms] = Reply(Criticisms(criticisms=()), requests=0)
        if criticise and not verdict.realised:
            own = Edit(_copied(edit.source), _copied(edit.edited), edit.prompt)
            said = judge.criticise(own, verdict, wanted)
        return seen.then(said, verdict.criticised(said.answer))

    request: Line = {
        "prompt": edit.prompt,
        "images": {"source": edit.source.hash, "edited": edit.edited.hash},
        "questions": [question.model_dump(mode="json") for question in wanted],
    }
    verdict = transcript.ask("judge", judge.identity, request, Verdict, asked)
    return Verdict(answers=in_order(verdict.answers, wanted))


def _looked(judge: Judge, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
    """Every question has exactly one answer."""
    reply = judge.look(_copied(shown), questions)
    return replace(reply, answer=Seen(answers=in_order(reply.answer.answers, questions)))


def _copied(shown: Shown) -> Shown:
    """A judge may work in place."""
    return replace(shown, video=shown.video.clone())
