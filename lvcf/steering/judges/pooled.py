"""A judge that looks at a clip part by part and says that it cannot tell where the parts do not agree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import reduce

import torch

from lvcf.checks import check_number
from lvcf.errors import UserError
from lvcf.steering.answers import UNSURE, Criticisms, Observation, Question, Reply, Seen, Verdict, Wanted, in_order
from lvcf.steering.judges.base import Edit, Judge, Shown


class PooledJudge(Judge):
    """Another judge, asked about consecutive parts of the clip, each apart; the options' mean shares decide.

    A part that saw an option with confidence c gives it c, and 1 - c to the others; one that cannot tell gives all the
    same.  It costs as many looks as there are parts.

    Args:
        judge: who looks, at frames alone and not at when they were: the face phantom's ruler cannot be one.
        parts: of a clip, as long as one another.
        least: share that an option needs, 0-1; below it the answer is *cannot tell*.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(self, judge: Judge, parts: int = 4, least: float = 0.7) -> None:
        if parts < 1:
            raise UserError(f"judge.parts {parts}: at least 1 is needed")
        check_number("judge.least", least, 0.0, 1.0)
        self.judge, self.parts, self.least = judge, parts, least

    @property
    def identity(self) -> str:
        """The judge's, and how it is pooled."""
        return f"{self.judge.identity}, {self.parts} parts, {self.least:g}"

    def look(self, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
        """See the base class.

        Raises:
            NoAnswerError: one part has no answer.
        """
        clips = torch.tensor_split(shown.video, min(self.parts, shown.video.shape[1]), dim=1)
        replies = [self.judge.look(replace(shown, video=clip), questions) for clip in clips]
        seen = [in_order(reply.answer.answers, questions) for reply in replies]
        answers = (self._pooled(q, said) for q, *said in zip(questions, *seen, strict=True))
        together = reduce(lambda before, reply: before.then(reply, reply.answer), replies)
        return replace(together, answer=Seen(answers=tuple(answers)))

    def _pooled(self, question: Question, said: Sequence[Observation]) -> Observation:
        shares = dict.fromkeys(question.options, 0.0)
        for answer in said:
            for option in shares:
                shares[option] += _share(option, answer, len(shares)) / len(said)
        best = max(shares, key=lambda option: shares[option])
        observed = best if shares[best] >= self.least else UNSURE
        return Observation(attribute=question.attribute, observed=observed, confidence=min(shares[best], 1.0))

    def criticise(self, edit: Edit, verdict: Verdict, wanted: Sequence[Wanted]) -> Reply[Criticisms]:
        """The judge's own, of the whole clips."""
        return self.judge.criticise(edit, verdict, wanted)


def _share(option: str, answer: Observation, options: int) -> float:
    """What one part gives to an option."""
    if answer.observed == UNSURE:
        return 1 / options
    return answer.confidence if option == answer.observed else (1 - answer.confidence) / (options - 1)
