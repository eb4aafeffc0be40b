"""What judges and rewriters are asked and what they answer, typed: an answer either fits or is refused."""

from __future__ import annotations

import errno
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lvcf.errors import UserError, line, told

ANSWERED = ConfigDict(extra="ignore", frozen=True, json_schema_extra={"additionalProperties": False})
"""Of what models write: what is asked for has no other fields, and those that come nevertheless are left out."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk."""
UNSURE = "cannot tell"
"""What a judge may answer instead of an option.  It is no value, so never what was wanted."""
Role = Literal["intervened", "descendant", "preserved"]
"""What a question tests: effectiveness on what was set and on what follows from it, minimality on all else."""


@dataclass(frozen=True)
class Refused:
    """What a model said that was no answer, and why not."""

    said: str
    why: str


class NoAnswerError(Exception):
    """A judge or rewriter did not answer: refused, was not understood, or was away; the message says which.

    Args:
        message: as it is shown.
        asked: the instruction, where there is one.
        tokens: used, in and out; None where nobody counts.
        refused: what it said that was no answer, in order.
    """

    def __init__(
        self, message: str, asked: str = "", tokens: int | None = None, refused: Sequence[Refused] = ()
    ) -> None:
        super().__init__(message)
        self.asked, self.tokens, self.refused = asked, tokens, list(refused)


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
    """One question about a clip, as every judge is asked it: nothing in it tells what was wanted.

    Attributes:
        attribute: the graph's variable.
        text: asks for its value.
        options: the values to choose from.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    attribute: str
    text: str
    options: tuple[str, ...]

    @property
    def blind(self) -> Question:
        """The question alone, also of :class:`Wanted`."""
        return Question(attribute=self.attribute, text=self.text, options=self.options)


class Wanted(Question):
    """A question with what was wanted, which is for the loop and for figures and not for a judge's eyes.

    Attributes:
        expected: the value the counterfactual has.
        role: what it tests.
    """

    expected: str
    role: Role


class Observation(BaseModel):
    """What a judge sees of one attribute.

    Attributes:
        attribute: the question's.
        observed: the option that the clip shows, or :data:`UNSURE`.
        confidence: in ``observed``, 0-1.
    """

    model_config = ANSWERED

    attribute: str
    observed: str
    confidence: float = Field(ge=0.0, le=1.0)


class _Listed(BaseModel):
    """An answer that is one list; a bare list is that one."""

    model_config = ANSWERED

    @model_validator(mode="before")
    @classmethod
    def _read_list(cls, given: object) -> object:
        (field,) = cls.model_fields
        return {field: given} if isinstance(given, list) else given


class Seen(_Listed):
    """What a judge sees, one observation per question."""

    answers: tuple[Observation, ...]

    def values(self) -> dict[str, str]:
        """What is shown."""
        return {answer.attribute: answer.observed for answer in self.answers}


class Answer(Observation):
    """An observation beside what was wanted.

    Attributes:
        realised: whether the observed value is the expected one, by :func:`verdict_of`; the loop stops on these.
        criticism: what is wrong in the frames, for the rewriter; empty if nothing is, or nobody criticised.
    """

    realised: bool
    criticism: str = ""


class Criticism(BaseModel):
    """What is wrong in the frames with one attribute, and how the prompt is to blame."""

    model_config = ANSWERED

    attribute: str
    criticism: str


class Criticisms(_Listed):
    """What the steering judge criticises in an edit."""

    criticisms: tuple[Criticism, ...]


class Verdict(BaseModel):
    """Answers, one per question."""

    answers: tuple[Answer, ...]

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

    def criticised(self, said: Criticisms) -> Verdict:
        """The same with what was said of the answers that failed."""
        names = [answer.attribute for answer in self.failed]
        told = {_spelt(one.attribute, names): one.criticism for one in said.criticisms}
        answers = (
            a if a.realised else a.model_copy(update={"criticism": told.get(a.attribute, "")}) for a in self.answers
        )
        return Verdict(answers=tuple(answers))


class Rewrite(BaseModel):
    """A prompt, and what the clip should move away from: a whole negative prompt, or nothing."""

    model_config = ANSWERED

    prompt: str = Field(min_length=1)
    negative: str


T = TypeVar("T", bound=BaseModel)
U = TypeVar("U", bound=BaseModel)
Said = TypeVar("Said", bound="Observation")


@dataclass(frozen=True)
class Reply(Generic[T]):
    """An answer and what it took.

    Attributes:
        answer: typed.
        asked: the instruction, where there is one.
        images: sha256 of every image shown.
        tokens: used, in and out; None where nobody counts.
        requests: sent for this answer, repairs included.
        refused: what was said before, and was no answer.
    """

    answer: T
    asked: str = ""
    images: list[str] = field(default_factory=list)
    tokens: int | None = None
    requests: int = 1
    refused: list[Refused] = field(default_factory=list)

    def then(self, other: Reply[Any], answer: U) -> Reply[U]:
        """What this and another reply took together, with an answer made of both."""
        counted = [reply.tokens for reply in (self, other) if reply.tokens is not None]
        return Reply(
            answer,
            "\n\n".join(text for text in (self.asked, other.asked) if text),
            [*self.images, *other.images],
            sum(counted) if counted else None,
            self.requests + other.requests,
            [*self.refused, *other.refused],
        )


def verdict_of(seen: Seen, wanted: Sequence[Wanted]) -> Verdict:
    """What was seen beside what was wanted: an attribute is realised if the value observed is the one expected.

    Raises:
        NoAnswerError: see :func:`in_order`.
    """
    answers = (
        Answer(attribute=a.attribute, observed=a.observed, confidence=a.confidence, realised=a.observed == q.expected)
        for a, q in zip(in_order(seen.answers, wanted), wanted, strict=True)
    )
    return Verdict(answers=tuple(answers))


def in_order(answers: Sequence[Said], questions: Sequence[Question]) -> tuple[Said, ...]:
    """The answers in the questions' order and spelling, which differs from a judge's in upper and lower case alone.

    Raises:
        NoAnswerError: a question has no answer or two, or an answer chooses none of the options.
    """
    names = [question.attribute for question in questions]
    by_name = {_spelt(answer.attribute, names): answer for answer in answers}
    if set(by_name) != set(names) or len(by_name) != len(answers):
        raise NoAnswerError(f"answers for {', '.join(a.attribute for a in answers)}, not for {', '.join(names)}")
    ordered = []
    for question in questions:
        name, answer = question.attribute, by_name[question.attribute]
        choices = (*question.options, UNSURE)
        observed = _spelt(answer.observed, choices)
        if observed not in choices:
            options = ", ".join(choices)
            raise NoAnswerError(f"'{answer.observed}' is none of {name}'s options ({options})")
        ordered.append(answer.model_copy(update={"attribute": name, "observed": observed}))
    return tuple(ordered)


def in_words(attribute: str, observed: str) -> str:
    """An observation in words."""
    return f"{attribute} cannot be told" if observed == UNSURE else f"{attribute} is {observed}"


def _spelt(word: str, choices: Sequence[str]) -> str:
    """A word as the only choice that it equals but for upper and lower case spells it; else the word itself."""
    near = [choice for choice in choices if choice.casefold() == word.strip().casefold()]
    return near[0] if word not in choices and len(near) == 1 else word


def most_probable(question: Question, probabilities: dict[str, float]) -> Observation:
    """The observation of a judge that knows a probability for every option.

    Raises:
        NoAnswerError: one of them is no number: no option is the most probable.
    """
    if not all(math.isfinite(share) for share in probabilities.values()):
        raise NoAnswerError(f"its probabilities of {question.attribute} are not finite")
    observed = max(question.options, key=lambda option: probabilities[option])
    confidence = min(max(probabilities[observed], 0.0), 1.0)
    return Observation(attribute=question.attribute, observed=observed, confidence=confidence)
