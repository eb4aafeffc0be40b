"""What judges and rewriters are asked and what they answer, typed: an answer either fits or is refused."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lvcf.errors import UserError, line, told

ANSWERED = ConfigDict(extra="ignore", frozen=True, json_schema_extra={"additionalProperties": False})
"""Of what models write: what is asked for has no other fields, and those that come nevertheless are left out."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk."""
Role = Literal["intervened", "descendant", "preserved"]
"""What a question tests: effectiveness on what was set and on what follows from it, minimality on all else."""


class NoAnswerError(Exception):
    """A judge or rewriter did not answer: refused, was not understood, or was away; the message says which."""


class CaseError(Exception):
    """One case cannot be finished: its editor, judge or rewriter broke down; the message says who and why."""


def reason(error: Exception) -> str:
    """An exception as the reason why one case failed: what lvcf raises says it all, others are named.

    Raises:
        OSError: the disk is full, so that every case would fail.
    """
    if isinstance(error, OSError) and error.errno in FULL:
        raise error
    return line(str(error)) if isinstance(error, UserError | NoAnswerError | CaseError) else told(error)


class Question(BaseModel):
    """One question about the edited clip.

    Attributes:
        attribute: the graph's variable.
        text: asks for its value.
        options: the values to choose from.
        expected: the value the counterfactual has; empty where the value itself is asked for.
        role: what it tests.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    attribute: str
    text: str
    options: tuple[str, ...]
    expected: str
    role: Role


class Answer(BaseModel):
    """What a judge says of one attribute.

    Attributes:
        attribute: the question's.
        observed: the option that the edited clip shows.
        realised: whether that is the expected value; the loop stops on these.  :func:`check_answers` sets it.
        confidence: in ``realised``, 0-1.
        criticism: what is wrong in the frames, for the rewriter; empty if nothing is.
    """

    model_config = ANSWERED

    attribute: str
    observed: str
    realised: bool
    confidence: float = Field(ge=0.0, le=1.0)
    criticism: str


class Verdict(BaseModel):
    """A judge's answers, one per question."""

    model_config = ANSWERED

    answers: tuple[Answer, ...]

    @model_validator(mode="before")
    @classmethod
    def _read_list(cls, given: object) -> object:
        """A bare list is the list of answers."""
        return {"answers": given} if isinstance(given, list) else given

    @property
    def realised(self) -> bool:
        """Whether every attribute has its expected value."""
        return all(answer.realised for answer in self.answers)

    @property
    def failed(self) -> tuple[Answer, ...]:
        """The answers that say no."""
        return tuple(answer for answer in self.answers if not answer.realised)

    @property
    def score(self) -> tuple[int, float]:
        """How many attributes are right, then the mean of (1 + c)/2 for a yes and (1 - c)/2 for a no, in 0-1."""
        shares = [0.5 + (0.5 if answer.realised else -0.5) * answer.confidence for answer in self.answers]
        return sum(answer.realised for answer in self.answers), sum(shares) / len(shares)

    def values(self) -> dict[str, str]:
        """What is shown."""
        return {answer.attribute: answer.observed for answer in self.answers}


class Rewrite(BaseModel):
    """A prompt, and what the clip should move away from: a whole negative prompt, or nothing."""

    model_config = ANSWERED

    prompt: str = Field(min_length=1)
    negative: str


T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True)
class Reply(Generic[T]):
    """An answer and what it took.

    Attributes:
        answer: typed.
        asked: the instruction, where there is one.
        images: sha256 of every image shown.
        tokens: used, in and out; None where nobody counts.
        requests: sent for this answer, repairs included.
    """

    answer: T
    asked: str = ""
    images: list[str] = field(default_factory=list)
    tokens: int | None = None
    requests: int = 1


def check_answers(verdict: Verdict, questions: Sequence[Question]) -> Verdict:
    """The answers in the questions' order; what was observed decides what is realised, whatever a judge says of it.

    Raises:
        NoAnswerError: a question has no answer or two, or an answer chooses none of the options.
    """
    answers = fitting(verdict, questions).answers
    right = [a.observed == q.expected for a, q in zip(answers, questions, strict=True)]
    return Verdict(answers=tuple(a.model_copy(update={"realised": r}) for a, r in zip(answers, right, strict=True)))


def fitting(verdict: Verdict, questions: Sequence[Question]) -> Verdict:
    """The answers in the questions' order and spelling, which differs from a judge's in upper and lower case alone.

    Raises:
        NoAnswerError: a question has no answer or two, or an answer chooses none of the options.
    """
    names = [question.attribute for question in questions]
    by_name = {_spelt(answer.attribute, names): answer for answer in verdict.answers}
    if set(by_name) != set(names) or len(by_name) != len(verdict.answers):
        raise NoAnswerError(
            f"answers for {', '.join(a.attribute for a in verdict.answers)}, not for {', '.join(names)}"
        )
    answers = []
    for question in questions:
        name, answer = question.attribute, by_name[question.attribute]
        observed = _spelt(answer.observed, question.options)
        if observed not in question.options:
            options = ", ".join(question.options)
            raise NoAnswerError(f"'{answer.observed}' is none of {name}'s options ({options})")
        answers.append(answer.model_copy(update={"attribute": name, "observed": observed}))
    return Verdict(answers=tuple(answers))


def _spelt(word: str, choices: Sequence[str]) -> str:
    """A word as the only choice that it equals but for upper and lower case spells it; else the word itself."""
    near = [choice for choice in choices if choice.casefold() == word.strip().casefold()]
    return near[0] if word not in choices and len(near) == 1 else word


def judged(question: Question, probabilities: dict[str, float]) -> Answer:
    """The answer of a judge that knows a probability for every option.

    Raises:
        NoAnswerError: one of them is no number: no option is the most probable.
    """
    if not all(math.isfinite(share) for share in probabilities.values()):
        raise NoAnswerError(f"its probabilities of {question.attribute} are not finite")
    observed = max(question.options, key=lambda option: probabilities[option])
    realised = observed == question.expected
    criticism = "" if realised else f"the clip shows {question.attribute} = {observed}, not {question.expected}"
    return Answer(
        attribute=question.attribute,
        observed=observed,
        realised=realised,
        confidence=min(max(probabilities[observed], 0.0), 1.0),
        criticism=criticism,
    )
