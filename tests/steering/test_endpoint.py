"""Judge and rewriter behind a real HTTP server: well-behaved, slow, malformed, refusing and rate-limiting."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from lvcf.data.clip import round_to_8_bits, to_frames
from lvcf.errors import UserError
from lvcf.steering.answers import UNSURE, NoAnswerError, Observation, Seen, verdict_of
from lvcf.steering.case import observe
from lvcf.steering.judges.base import Attempt, Edit, Shown
from lvcf.steering.judges.endpoint import Endpoint, EndpointJudge, EndpointRewriter, bare
from lvcf.steering.judges.graph_rewriter import GraphRewriter
from lvcf.steering.judges.instructions import criticise, step
from lvcf.steering.loop import Budget, Outcome, Steering
from lvcf.steering.transcript import Transcript
from tests.steering.chat import ChatServer, Fault, picture
from tests.steering.painted import FPS, GRAPH, YOUNG_MAN, BandEditor, case, paint

KEY = "sk-very-secret-0123456789"
Start = Callable[..., ChatServer]
VERDICT = '{"answers": [{"attribute": "age", "observed": "old", "realised": true, "confidence": 1.0, "criticism": ""}]}'


@pytest.fixture(autouse=True)
def key(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def start() -> Iterator[Start]:
    servers: list[ChatServer] = []

    def make(*arguments: Any, **options: Any) -> ChatServer:
        servers.append(ChatServer(*arguments, **options))
        return servers[-1]

    yield make
    for server in servers:
        server.close()


def endpoint(server: ChatServer, **options: Any) -> Endpoint:
    return Endpoint(server.url, "toy", **{"timeout": 10.0, "retries": 2, "back_off": 0.01, **options})


ASKED = case(YOUNG_MAN, age="old")
SOURCE = round_to_8_bits(paint(YOUNG_MAN))
BEFORE, WANTED = (Shown("clip", clip, FPS) for clip in (SOURCE, round_to_8_bits(paint(ASKED.target))))


def steer(folder, server: ChatServer, **options: Any) -> Outcome:
    """An editor that hears nothing less than 'very old'; the endpoint judges and rewrites."""
    one = endpoint(server, **options)
    transcript = Transcript(folder, FPS)
    editor, budget = BandEditor(needs=["old very old"]), Budget(edits=4, calls=12)
    return Steering(ASKED, SOURCE, editor, EndpointJudge(one, 2), EndpointRewriter(one), transcript, budget, 0).run(
        "steered"
    )


def test_what_is_seen_and_what_was_shown(start) -> None:
    """The judge is asked what it sees: of what was wanted, or was before, nothing stands in the whole request."""
    server = start()
    reply = EndpointJudge(endpoint(server), frames=2).look(WANTED, ASKED.questions)
    assert reply.answer.values() == ASKED.target
    assert (reply.tokens, reply.requests, len(reply.images)) == (100, 1, 2)
    (body,) = server.bodies
    text, *images = body["messages"][0]["content"]
    shown = [picture(part) for part in images]
    frames = [to_frames(WANTED.video)[i] for i in (0, -1)]
    assert all(np.array_equal(a, b) for a, b in zip(shown, frames, strict=True))
    assert "- beard: Does this person have a beard? Options: no, yes\n" in text["text"]
    sent = json.dumps({**body, "messages": text["text"]})
    for told in ("expected", "wanted", "realised", "source", "edit", "changed", "prompt", ASKED.target_prompt):
        assert told not in sent, told
    wanted = body["response_format"]["json_schema"]
    assert wanted["strict"]
    assert wanted["schema"]["additionalProperties"] is False
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_wrong_edit_is_criticised(start) -> None:
    """Who steers is told what was wanted, once it has said what it sees, and shown what was before."""
    server, edit = start(), Edit(BEFORE, BEFORE, "the prompt")
    judge = EndpointJudge(endpoint(server), frames=2)
    verdict = verdict_of(judge.look(edit.edited, ASKED.questions).answer, ASKED.questions)
    said = judge.criticise(edit, verdict, ASKED.questions).answer
    assert [one.criticism for one in said.criticisms] == ["age is young", "beard is no", "baldness is no"]
    assert [a.criticism for a in verdict.criticised(said).failed] == ["age is young", "beard is no", "baldness is no"]
    text, *images = server.bodies[1]["messages"][0]["content"]
    assert len(images) == 4
    assert '"the prompt"' in text["text"]
    assert "- age is young, old was wanted; this should have been changed\n" in text["text"]
    assert "- beard is no, yes was wanted; this should follow from the change\n" in text["text"]
    assert "gender" not in text["text"]  # it is right


def test_a_preserved_attribute_that_changed_is_criticised_as_one() -> None:
    verdict = verdict_of(Seen(answers=tuple(seen(gender="woman"))), ASKED.questions)
    assert "- gender is woman, man was wanted; this should be as in the source" in criticise(
        "", verdict, ASKED.questions, 1
    )


def test_a_judge_may_say_that_it_cannot_tell(start) -> None:
    """It is no value: nothing is right of it, and what was criticised says so."""
    unsure = json.dumps([{"attribute": n, "observed": "Cannot tell", "confidence": 0.5} for n in GRAPH.variables])
    server = start([unsure])
    judge = EndpointJudge(endpoint(server))
    saw = judge.look(WANTED, ASKED.questions).answer
    assert '"cannot tell"' in server.bodies[0]["messages"][0]["content"][0]["text"]
    assert set(saw.values().values()) == {UNSURE}
    verdict = verdict_of(saw, ASKED.questions)
    assert len(verdict.failed) == 4
    assert "- age cannot be told, old was wanted" in criticise("", verdict, ASKED.questions, 1)
    attempt = Attempt("a prompt", "", 0, SOURCE, verdict)
    assert "age: age cannot be told" in step(ASKED, [attempt])
    written = GraphRewriter().rewrite(ASKED, [attempt]).answer
    assert "cannot" not in written.prompt + written.negative


def test_a_bare_list_of_criticisms_is_read(start) -> None:
    server = start([json.dumps([{"attribute": "Age", "criticism": "too smooth"}])])
    verdict = verdict_of(Seen(answers=tuple(seen(age="young"))), ASKED.questions)
    said = EndpointJudge(endpoint(server)).criticise(Edit(BEFORE, BEFORE, ""), verdict, ASKED.questions).answer
    assert [answer.criticism for answer in verdict.criticised(said).failed] == ["too smooth"]


def seen(**other: str) -> list[Observation]:
    values = {**ASKED.target, **other}
    return [Observation(attribute=name, observed=value, confidence=1.0) for name, value in values.items()]


def test_the_factual_values_can_be_asked_for(start) -> None:
    assert EndpointJudge(endpoint(start())).look(BEFORE, observe(GRAPH)).answer.values() == YOUNG_MAN


@pytest.mark.parametrize(
    ("formats", "requests", "rung"),
    [(("json_schema",), 1, "json_schema"), (("json_object",), 2, "json_object"), ((), 3, "text")],
)
def test_the_ladder_of_formats(start, formats, requests, rung) -> None:
    server = start(formats=formats)
    judge = EndpointJudge(endpoint(server))
    assert judge.look(WANTED, ASKED.questions).answer.values() == ASKED.target
    assert len(server.bodies) == requests
    assert server.bodies[-1].get("response_format", {"type": "text"})["type"] == rung
    assert judge.look(WANTED, ASKED.questions).answer.values() == ASKED.target
    assert len(server.bodies) == requests + 1  # it remembers


RECOVERED: dict[str, tuple[list[Fault], int]] = {
    "a code fence": (["fence"], 1),
    "no JSON": (["The person looks old to me."], 2),
    "half an object": (['{"answers": [{"attribute": "age"'], 2),
    "answers missing": ([VERDICT], 2),
    "an unknown option": ([VERDICT.replace('"old"', '"ancient"')], 2),
    "a confidence above 1": ([VERDICT.replace("1.0", "95")], 2),
    "another field": ([VERDICT.replace('"answers"', '"verdict"')], 2),
    "empty": ([""], 2),
    "rate limited": ([{"Retry-After": "0"}], 2),
    "rate limited, until a date": ([{"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}], 2),
    "busy twice": ([503, 503], 3),
    "hangs up": (["hang up"], 2),
    "slow once": ([5.0], 2),
}


@pytest.mark.parametrize("name", RECOVERED)
def test_what_it_recovers_from(name, start) -> None:
    faults, requests = RECOVERED[name]
    server = start(faults)
    judge = EndpointJudge(endpoint(server, timeout=3.0 if "slow" in name else 5.0))
    assert judge.look(WANTED, ASKED.questions).answer.values() == ASKED.target
    assert len(server.bodies) == requests


def test_the_repair_tells_what_was_wrong(start) -> None:
    server = start([VERDICT.replace('"old"', '"ancient"')])
    EndpointJudge(endpoint(server)).look(WANTED, ASKED.questions[:1])
    said, complaint = server.bodies[1]["messages"][1:]
    assert said["role"] == "assistant"
    assert "'ancient' is none of age's options (young, old, cannot tell)" in complaint["content"]


LOST: dict[str, tuple[list[Fault], int, str]] = {
    "refuses": (["refuse"], 1, "refused: I do not judge faces."),
    "filtered": (["filter"], 1, "refused: filtered"),
    "never JSON": (["no"] * 2, 2, "no answer that fits, also not after a repair"),
    "a wrong key": ([401], 1, "HTTP 401: bad key Bearer [key]"),
    "always busy": ([429] * 3, 3, "no answer after 3 attempts of 5 s (HTTP 429)"),
    "no chat completion": ([b"<html>"], 1, "no chat completion: '<html>'"),
    "no choices": ([b'{"choices": []}'], 1, "no chat completion"),
}


@pytest.mark.parametrize("name", LOST)
def test_what_it_says_when_there_is_no_answer(name, start) -> None:
    faults, requests, says = LOST[name]
    server = start(faults)
    with pytest.raises(NoAnswerError) as error:
        EndpointJudge(endpoint(server, timeout=5.0)).look(WANTED, ASKED.questions)
    assert says in str(error.value)
    assert KEY not in str(error.value)
    assert len(server.bodies) == requests


def test_nobody_there() -> None:
    server = ChatServer()
    server.close()
    with pytest.raises(NoAnswerError, match="no answer after 2 attempts of 1 s"):
        EndpointJudge(endpoint(server, timeout=1.0, retries=1)).look(WANTED, ASKED.questions)


def test_it_waits_as_long_as_it_is_told_but_no_longer_than_it_may(start) -> None:
    server = start([{"Retry-After": "0.3"}, {"Retry-After": "3600"}])
    began = time.perf_counter()
    EndpointJudge(endpoint(server, longest_wait=0.4)).look(WANTED, ASKED.questions)
    assert 0.7 <= time.perf_counter() - began < 600.0


def test_the_loop_with_feedback_from_the_endpoint(start, tmp_path) -> None:
    outcome = steer(tmp_path, start())
    assert outcome.stopped == "realised"
    assert [attempt.prompt for attempt in outcome.attempts] == [
        "a video of an old bald man with a beard",
        "a video of a very old, elderly, wrinkled bald man with a beard",
    ]


STORMS: dict[str, tuple[list[Fault], str, int]] = {
    "judge refuses once": (["refuse"], "realised", 1),
    "rewriter refuses once": ([None, "refuse"], "realised", 1),
    "judge babbles once": (["no", "no"], "realised", 1),
    "judge is gone": (["refuse"] * 9, "no answer", 2),
    "rewriter is gone": ([None, "refuse", None, "refuse"], "no answer", 2),
    "limited in between": ([{"Retry-After": "0"}, None, 503, "fence"], "realised", 0),
}


@pytest.mark.parametrize("name", STORMS)
def test_the_loop_survives_and_says_what_happened(name, start, tmp_path) -> None:
    faults, stopped, problems = STORMS[name]
    server = start(faults)
    outcome = steer(tmp_path, server)
    assert outcome.stopped == stopped
    assert len(outcome.problems) == problems
    assert all(problem.startswith(f"toy at {server.url}: ") for problem in outcome.problems)
    assert len(list((tmp_path / "attempts").glob("*.mkv"))) == len(outcome.attempts)  # what there is, is kept


def test_the_key_is_written_nowhere(start, tmp_path) -> None:
    steer(tmp_path, start([f"Your key {KEY} is fine", 401, None, None, 401]))
    record = tmp_path / "calls.jsonl"
    lines = [json.loads(line) for line in record.read_text().splitlines()]
    assert any("HTTP 401" in line["problem"] for line in lines)
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes()
    judged = next(line for line in lines if line["kind"] == "judge" and not line["problem"])
    assert judged["tokens"] >= 100
    assert len(judged["images"]) == 2 + 4  # of the edit, then of both clips for the criticism
    assert judged["requests"] == 2


def test_no_key_is_no_header(start, monkeypatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY")
    server = start()
    EndpointJudge(endpoint(server)).look(WANTED, ASKED.questions)
    assert "Authorization" not in server.headers[0]


def test_a_prompt_that_asks_for_something_else_is_repaired_before_it_costs_an_edit(start, tmp_path) -> None:
    """A weak model repeats its instruction: it is told what is missing, and its words are kept."""
    echo = '{"prompt": "Write the next prompt.", "negative": ""}'
    server = start([None, None, echo])  # it looks, criticises, and writes
    outcome = steer(tmp_path, server)
    assert [a.prompt for a in outcome.attempts] == [
        "a video of an old bald man with a beard",
        "a video of a very old, elderly, wrinkled bald man with a beard",
    ]
    assert (outcome.stopped, outcome.problems) == ("realised", [])
    told, why = server.bodies[3]["messages"][-2:], "the prompt does not say that age is old; write 'old'"
    assert (told[0]["content"], why in told[1]["content"]) == (echo, True)
    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    (rewrite,) = (line for line in lines if line["kind"] == "rewrite")
    assert (rewrite["refused"], rewrite["requests"]) == ([{"said": echo, "why": why}], 2)


def test_a_paraphrase_that_says_something_else_is_asked_again(start) -> None:
    away = json.dumps({"prompt": ASKED.initial_prompt, "negative": ASKED.initial_prompt})
    reply = EndpointRewriter(endpoint(start(['{"prompt": "I am a student", "negative": ""}']))).paraphrase(ASKED)
    assert [one.why for one in reply.refused] == ["the prompt does not say that age is old; write 'old'"]
    with pytest.raises(NoAnswerError, match="the negative prompt says 'old', which is what age should be") as problem:
        EndpointRewriter(endpoint(start([away, away]))).paraphrase(ASKED)
    assert (len(problem.value.refused), problem.value.tokens) == (2, 200)


def test_what_is_asked_for_is_not_described_in_words_that_a_model_may_answer_with(start) -> None:
    server = start()
    EndpointRewriter(endpoint(server)).paraphrase(ASKED)
    EndpointJudge(endpoint(server)).look(WANTED, ASKED.questions)
    for body, name in zip(server.bodies, ("Rewrite", "Seen"), strict=True):
        sent = body["response_format"]["json_schema"]
        assert sent["name"] == name
        schema = json.dumps(sent["schema"])
        assert schema in body["messages"][0]["content"][0]["text"]
        assert "description" not in schema
        assert '"title"' not in schema
    noted = {"title": "T", "properties": {"title": {"type": "string", "description": "D"}}}
    assert bare(noted) == {"properties": {"title": {"type": "string"}}}  # a field of that name stays


def test_a_paraphrase_and_arguments(start) -> None:
    server = start()
    said = EndpointRewriter(endpoint(server)).paraphrase(ASKED).answer.prompt
    assert said == f"in other words {ASKED.initial_prompt}"
    assert f'"{ASKED.initial_prompt}"' in server.bodies[0]["messages"][0]["content"][0]["text"]
    with pytest.raises(UserError, match="no address of an endpoint"):
        Endpoint("localhost:8000", "toy")
    with pytest.raises(UserError, match="must be above 0"):
        Endpoint("http://localhost", "toy", timeout=0.0)
