"""A judge's answer is found wherever its server and model put it; it never says what was not observed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from lvcf.steering.answers import NoAnswerError, Observation, Question, Reply, Seen, Wanted, most_probable, verdict_of
from lvcf.steering.judges.base import Edit, Judge, Shown
from lvcf.steering.loop import judge_edit
from lvcf.steering.result import measured
from lvcf.steering.transcript import Transcript
from tests.steering.painted import FPS, YOUNG_MAN, case, paint
from tests.steering.scripted import ASKED, GOOD, TEXT, Scripted, Step, says, send

DRAFT = TEXT.replace('"old"', '"young"')
FOUND: dict[str, Step] = {
    "after a thought with braces": says(f"<think>\nIt wants {{answers}}; {{young, old}}.\n</think>\n\n{TEXT}"),
    "after a thought that is closed only": says(f"It wants {{answers}}. </think>{TEXT}"),
    "after a draft in a thought": says(f"<think>First {DRAFT}</think>{TEXT}"),
    "after two thoughts": says(f"<think>a</think>{DRAFT}<think>No, {DRAFT}</think>\n{TEXT}"),
    "after a thought in other marks": says(f"[THINK]It is {DRAFT}[/THINK]{TEXT}"),
    "after a draft in words": says(f"At first sight {DRAFT}, but the hair is grey: {TEXT}"),
    "before a note with braces": says(f"```json\n{TEXT}\n```\nNote: {{age}} was hard to see."),
    "in another object": says(json.dumps({"verdict": GOOD})),
    "as a bare list": says(json.dumps(GOOD["answers"])),
    "as a JSON string": says(json.dumps(TEXT)),
    "in parts": says([{"type": "text", "text": TEXT[:30]}, {"type": "text", "text": TEXT[30:]}]),
    "in parts after a thought": says([{"type": "thinking", "thinking": [DRAFT]}, {"type": "text", "text": TEXT}]),
    "in reasoning_content": says(None, reasoning_content=TEXT),
    "in reasoning": says("", reasoning=f"I think so: {TEXT}"),
    "in a tool's arguments": says(None, tool_calls=[{"id": "1", "function": {"name": "Verdict", "arguments": TEXT}}]),
    "in a tool's arguments, decoded": says(None, tool_calls=[{"function": {"name": "Verdict", "arguments": GOOD}}]),
    "in a function's arguments": says(None, function_call={"name": "Verdict", "arguments": TEXT}),
    "in a tool's arguments, after words": says("I call it.", tool_calls=[{"function": {"arguments": TEXT}}]),
    "with a mark of thoughts in a text": says(TEXT.replace('"criticism": ""', '"criticism": "it says </think>"')),
    "whole, although no token was left": says(f"```json\n{TEXT}\n```", "length"),
    "with a capital": says(TEXT.replace('"old"', '"Old "').replace('"age"', '"Age"')),
    "with another field": says(TEXT.replace('"criticism": ""', '"criticism": "", "reason": "grey hair"')),
}


@pytest.mark.parametrize("place", FOUND)
def test_an_answer_is_found_at_the_first_request(place) -> None:
    with Scripted(FOUND[place]) as server:
        assert server.ask() == ("old", True)
        assert len(server.bodies) == 1


@pytest.mark.parametrize("usage", ['{"total_tokens": 1e400}', '{"total_tokens": "many"}', "[1]"])
def test_a_count_of_tokens_that_cannot_be_is_no_count(usage) -> None:
    choice = {"message": {"content": TEXT}, "finish_reason": "stop"}
    body = f'{{"choices": [{json.dumps(choice)}], "usage": {usage}}}'
    with Scripted(send(body.encode())) as server:
        assert server.ask() == ("old", True)


TOLD: dict[str, tuple[Step, int, str]] = {
    "cut off": (says(TEXT[:40], "length"), 1, "endpoint.max_tokens"),
    "cut off in a thought": (says(f"<think>Maybe {TEXT} but", "length"), 1, "endpoint.max_tokens"),
    "cut off in its reasoning": (says("", "length", reasoning_content="long"), 1, "endpoint.max_tokens"),
    "cut off after a draft": (says(f"First {DRAFT}, but", "length"), 1, "endpoint.max_tokens"),
    "cut off after a draft in its reasoning": (
        says(None, "length", reasoning_content=f"First {DRAFT}, but"),
        1,
        "endpoint.max_tokens",
    ),
    "empty": (says(""), 2, "an empty answer"),
    "no content": (says(None), 2, "an empty answer"),
    "reasoning without an answer": (says(None, reasoning_content="I cannot tell."), 2, "none in its reasoning"),
    "a thought alone": (says(f"<think>{TEXT}</think>"), 2, "an empty answer"),
    "brackets without end": (says('[{"a":' * 100000), 2, "nested too deeply"),
    "a model that repeats itself": (says(('{"a":' * 900 + "x") * 200), 2, "no JSON object"),
    "brackets": (says('{"a":' * 100000 + "1" + "}" * 100000), 2, "nested too deeply"),
}


@pytest.mark.parametrize("answer", TOLD)
def test_what_is_no_answer_is_told_in_one_line(answer) -> None:
    step, requests, told = TOLD[answer]
    with Scripted(step) as server:
        with pytest.raises(NoAnswerError) as error:
            server.ask()
        assert told in str(error.value)
        assert "\n" not in str(error.value)
        assert len(server.bodies) == requests


@pytest.mark.parametrize(("observed", "said", "right"), [("young", True, False), ("old", False, True)])
def test_what_was_observed_decides_what_is_realised(observed, said, right) -> None:
    text = TEXT.replace('"old"', f'"{observed}"').replace("true", json.dumps(said))
    with Scripted(says(text)) as server:
        assert server.ask() == (observed, right)


class Sure(Observation):
    """Says that all is as expected, which nobody asked."""

    realised: bool = True


def contradiction(questions: list[Question]) -> Seen:
    """Shows the first option of everything and says that all is as expected."""
    return Seen(answers=tuple(Sure(attribute=q.attribute, observed=q.options[0], confidence=1.0) for q in questions))


def test_figures_count_what_was_observed() -> None:
    questions = case(YOUNG_MAN, age="old").questions  # the first options are those of a young woman
    figures = measured(contradiction(questions), questions)
    assert figures == {"joint": 0.0, "effectiveness": 0.0, "minimality": 0.0, "violations": 3.0}


class Yes(Judge):
    """Any judge, of a user's own too."""

    identity = "yes"

    def look(self, shown: Shown, questions: Any) -> Any:
        return Reply(contradiction(questions))


def test_a_judge_of_ones_own_cannot_contradict_itself_either(tmp_path) -> None:
    asked = case(YOUNG_MAN, age="old")
    shown = Shown("clip", paint(YOUNG_MAN), FPS)
    verdict = judge_edit(Transcript(tmp_path, FPS), Yes(), Edit(shown, shown, ""), asked.questions, criticise=True)
    assert not verdict.realised
    assert [a.realised for a in verdict.answers] == [False] * 4
    (line,) = (tmp_path / "calls.jsonl").read_text().splitlines()
    assert [a["realised"] for a in json.loads(line)["answer"]["answers"]] == [False] * 4


def test_only_one_spelling_may_be_meant() -> None:
    question = Wanted(attribute="x", text="", options=("A", "a"), expected="a", role="intervened")

    def seen(observed: str) -> Seen:
        return Seen(answers=(Observation(attribute="x", observed=observed, confidence=1.0),))

    assert verdict_of(seen("a"), [question]).realised
    assert not verdict_of(seen("A"), [question]).realised
    with pytest.raises(NoAnswerError):
        verdict_of(seen(" a"), [question])


@pytest.mark.parametrize("share", [float("nan"), float("inf")])
def test_probabilities_that_are_no_numbers_are_no_answer(share) -> None:
    with pytest.raises(NoAnswerError, match="not finite"):
        most_probable(ASKED[0], {"young": share, "old": share})
