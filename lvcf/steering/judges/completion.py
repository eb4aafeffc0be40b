"""Reading chat completions: where servers and models put an answer, and what they write around it."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from lvcf.steering.answers import NoAnswerError

T = TypeVar("T", bound=BaseModel)
THINKING = re.compile(r"(</think(?:ing)?>|\[/think\]|◁/think▷)|<think(?:ing)?>|\[think\]|◁think▷", re.IGNORECASE)
"""Where models begin and end (the group) what they say to themselves before an answer."""
OPENING = re.compile(r'\{\s*"|\[\s*\{')
"""Where an answer may begin: an object, or a list of them."""
SEARCHED, TRIED = 2**18, 2000
"""Characters at the end of a message that an answer is looked for in, and beginnings that are tried there."""
DECODER = json.JSONDecoder()
COUNTABLE = 1e15
"""No count of tokens is larger."""
CUT = ("length", "max_tokens")
"""Reasons to finish that mean: no token was left."""


@dataclass(frozen=True)
class Completion:
    """What a model said.

    Attributes:
        text: its message without what it said to itself; empty if there is none.
        tools: what it gave to tools, where the answer may be instead.
        reasoning: where the answer may be if the message is empty.
        tokens: used, in and out; 0 where nobody counts.
        cut: whether no token was left.
        refusal: why it does not answer; empty if it does.
    """

    text: str
    tools: tuple[str, ...]
    reasoning: tuple[str, ...]
    tokens: int
    cut: bool
    refusal: str


def read_completion(body: bytes) -> Completion:
    """The first choice of a chat completion.

    Raises:
        ValueError: the body is none.
    """
    try:
        said = json.loads(body)
        choice = said["choices"][0]
        message: dict[str, Any] = {**choice["message"]}
        finished = choice.get("finish_reason")
        refusal = message.get("refusal") or ("filtered" if finished == "content_filter" else "")
        tools = tuple(_arguments(message))
        reasoning = tuple(_joined(message.get(name)) for name in ("reasoning_content", "reasoning"))
        text = spoken(_joined(message.get("content")))
        tokens = _tokens(said.get("usage"))
        return Completion(text, tools, reasoning, tokens, finished in CUT, str(refusal))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError("no chat completion") from error


def read_answer(completion: Completion, expected: type[T]) -> T:
    """The typed answer of a completion.

    Raises:
        ValidationError: there is JSON, but none of that type.
        NoAnswerError: there is no JSON.
    """
    problem: ValidationError | NoAnswerError | None = None
    for text in (completion.text, *completion.tools, *(() if completion.text else completion.reasoning)):
        try:
            if text:
                return last_of(text, expected, completion.cut)
        except (ValidationError, NoAnswerError) as error:
            problem = problem or error
    if completion.text and problem:
        raise problem
    raise NoAnswerError("an empty answer" + (", and none in its reasoning" if any(completion.reasoning) else ""))


def last_of(text: str, expected: type[T], cut: bool = False) -> T:
    """The last JSON value in a text that is of a type, whatever words, fences or drafts stand around it.

    Args:
        text: what a model wrote.
        expected: the type.
        cut: whether it wanted to go on: what it still says words after was a draft.

    Raises:
        ValidationError: there is JSON, but none of that type; it tells of the longest.
        NoAnswerError: there is no JSON.
    """
    text, found, place = _unquoted(text)[-SEARCHED:], None, 0
    longest, problem = 0, None
    for _ in range(TRIED):
        if not (opening := OPENING.search(text, place)):
            break
        place = opening.start() + 1
        try:
            value, stop = DECODER.raw_decode(text, opening.start())
            written = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
            found, place = expected.model_validate_json(written), stop
        except ValidationError as error:
            if stop - opening.start() > longest:
                longest, problem = stop - opening.start(), error
        except RecursionError as error:
            raise NoAnswerError("JSON that is nested too deeply") from error
        except ValueError:  # a brace in a sentence
            continue
    if found is None:
        raise problem or NoAnswerError("no JSON object")
    if cut and re.search(r"\w", text[place:]):
        raise NoAnswerError("a draft of an answer, and then it was cut off")
    return found


def _unquoted(text: str) -> str:
    """Text that is a JSON string as a whole, decoded."""
    try:
        decoded = json.loads(text) if text.startswith('"') else text
    except ValueError:
        return text
    return str(decoded)


def spoken(text: str) -> str:
    """Text after the last thought; one that was cut off while it thought has no end of it, and JSON has none."""
    if _is_json(text):
        return text.strip()
    marks = list(THINKING.finditer(text))
    begin = max((mark.end() for mark in marks if mark[1]), default=0)
    stop = min((mark.start() for mark in marks if mark.start() >= begin), default=len(text))
    return text[begin:stop].strip()


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _joined(content: object) -> str:
    """A message's content as text: servers send one text, or a list of parts."""
    if isinstance(content, list):
        return "".join(_joined(part.get("text") if isinstance(part, dict) else part) for part in content)
    return content.encode("utf-8", "replace").decode() if isinstance(content, str) else ""


def _arguments(message: dict[str, Any]) -> list[str]:
    """What a model gave a tool, as servers of forced schemas answer."""
    calls = [call.get("function") for call in message.get("tool_calls") or [] if isinstance(call, dict)]
    given = [call.get("arguments") for call in [*calls, message.get("function_call")] if isinstance(call, dict)]
    return [value if isinstance(value, str) else json.dumps(value) for value in given]


def _tokens(usage: object) -> int:
    """The tokens that a server counted, if it counts them in a way that can be true."""
    count = usage.get("total_tokens") if isinstance(usage, dict) else 0
    return int(count) if isinstance(count, int | float) and 0 < count < COUNTABLE else 0
