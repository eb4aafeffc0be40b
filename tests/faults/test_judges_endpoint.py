"""An endpoint that is slow, huge, broken or hostile is one line about one call; its key is shown nowhere."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import tracemalloc
import zlib
from types import SimpleNamespace

import pytest

from lvcf.errors import UserError
from lvcf.steering.answers import NoAnswerError, Seen
from lvcf.steering.judges import endpoint
from lvcf.steering.judges.endpoint import Endpoint, EndpointJudge
from lvcf.steering.judges.face import FaceRulerJudge
from lvcf.steering.judges.local import LocalJudge, LocalModel
from tests.http_server import QuietHandler
from tests.steering.scripted import TEXT, Body, Scripted, Step, raw, says, send

SECRET = "sk-very-secret-0123456789"
ESCAPES = "\x1b[2J\x1b]0;owned\x07\r\n\u202e"


def refusing(*params: str, naming: bool = True) -> Step:
    """Answers only requests without these parameters; names the first of them by ``param``, or in words alone."""

    def step(handler: QuietHandler, body: Body) -> None:
        refused = next((name for name in params if name in body), None)
        if refused is None:
            says(TEXT)(handler, body)
            return
        error: Body = {"message": f"Unsupported parameter: '{refused}' is not supported with this model."}
        send(json.dumps({"error": error | ({"param": refused} if naming else {})}).encode(), 400)(handler, body)

    return step


@pytest.mark.parametrize("naming", [True, False])
def test_a_parameter_that_is_refused_is_left_out_from_then_on(naming) -> None:
    with Scripted(refusing("max_tokens", "temperature", naming=naming)) as server:
        endpoint = Endpoint(server.url, "toy", retries=0, max_tokens=77)
        for requests in (3, 4):
            assert server.ask_of(endpoint) == ("old", True)
            assert len(server.bodies) == requests
        last = server.bodies[-1]
        assert last["max_completion_tokens"] == 77
        assert not {"max_tokens", "temperature"} & set(last)
        assert last["response_format"]["type"] == "json_schema"  # nobody complained of it


def slowly(data: bytes, pause: float) -> Step:
    def step(handler: QuietHandler, body: Body) -> None:
        for byte in data:
            handler.wfile.write(bytes([byte]))
            handler.wfile.flush()
            time.sleep(pause)

    return step


SLOW = {
    "body": b"HTTP/1.0 200 OK\r\n\r\n" + b" " * 200,
    "headers": b"HTTP/1.0 200 OK\r\nX-Long: " + b"x" * 200,
}


@pytest.mark.parametrize("part", SLOW)
def test_the_time_limit_is_for_the_whole_answer(part) -> None:
    with Scripted(slowly(SLOW[part], 0.1)) as server:
        began = time.perf_counter()
        with pytest.raises(NoAnswerError, match=r"no answer after 1 attempts of 1 s \(no whole answer\)"):
            server.ask(timeout=1.0)
        assert time.perf_counter() - began < 15.0


def bomb(times: int = 400) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(2**20)) for _ in range(times)), packer.flush()])


HUGE: dict[str, Step] = {
    "packed": send(bomb(), Content_Encoding="gzip"),
    "packed, refused": send(bomb(), 400, Content_Encoding="gzip"),
    "plain": send(b" " * (32 * 2**20)),
    "packed twice": send(gzip.compress(bomb()), Content_Encoding="gzip, gzip"),
}


@pytest.mark.parametrize("kind", HUGE)
def test_a_huge_answer_is_not_kept(kind) -> None:
    with Scripted(HUGE[kind]) as server:
        tracemalloc.start()
        try:
            with pytest.raises(NoAnswerError, match=r"more than 4 MiB|packed as gzip, gzip"):
                server.ask()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert peak < 64 * 2**20
        assert len(server.bodies) == 1


def test_a_packed_answer_is_read() -> None:
    body = json.dumps({"choices": [{"message": {"content": TEXT}}]}).encode()
    with Scripted(send(gzip.compress(body), Content_Encoding="gzip")) as server:
        assert server.ask() == ("old", True)


BROKEN: dict[str, tuple[Step, str]] = {
    "sent on": (send(b"", 302, Location="http://user:pw@elsewhere/v1?key=x"), "sends on to http://elsewhere/v1,"),
    "sent on to nowhere": (send(b"", 301), "HTTP 301: sends on to nowhere"),
    "damaged packing": (send(b"no gzip", Content_Encoding="gzip"), "packed answer is damaged"),
    "deep JSON": (send(b"[" * 100000), "no chat completion"),
    "escape codes in a refusal": (send(ESCAPES.encode(), 403), "HTTP 403: [2J]0;owned"),
    "escape codes in the message": (says(None, refusal=ESCAPES), "refused: [2J]0;owned"),
    "escape codes in an option": (says(TEXT.replace('"old"', '"\\u001b[2J\\u202e"')), "'[2J' is none of"),
    "lines in a refusal": (send(b"one\n\n)", 400), "HTTP 400: one )"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_what_is_broken_is_told_in_one_printable_line(kind) -> None:
    step, told = BROKEN[kind]
    with Scripted(step) as server:
        with pytest.raises(NoAnswerError) as error:
            server.ask()
        assert told in str(error.value)
        assert str(error.value).isprintable()
        assert "pw" not in str(error.value)


def test_half_a_character_is_no_reason_to_end() -> None:
    with Scripted(says("\ud800 no JSON"), says(TEXT.replace('""', '"\\ud800"'))) as server:
        assert server.ask() == ("old", True)


def test_a_wait_that_cannot_be_is_not_waited(monkeypatch) -> None:
    waited: list[float] = []
    monkeypatch.setattr(endpoint, "time", SimpleNamespace(sleep=waited.append))  # its own, no server's
    with Scripted(send(b"", 429, Retry_After="nan"), says(TEXT)) as server:
        assert server.ask(retries=1, back_off=0.01, longest_wait=0.3) == ("old", True)
    assert waited == [0.01]


def test_many_attempts_do_not_overflow(monkeypatch) -> None:
    monkeypatch.setattr(endpoint, "time", SimpleNamespace(sleep=lambda seconds: None))
    with Scripted(raw(b"")) as server:
        pass  # nobody listens any longer
    with pytest.raises(NoAnswerError, match="after 1101 attempts"):
        server.ask(retries=1100)


def test_it_works_where_an_event_loop_runs() -> None:
    async def notebook() -> tuple[str, bool]:
        return server.ask()

    with Scripted(says(TEXT)) as server:
        assert asyncio.run(notebook()) == ("old", True)


NO_ENDPOINT = [
    "http://[::1",
    "http://",
    "http://h:99999/v1",
    "http://\ud800/v1",
    "ftp://h/v1",
    "h:80/v1",
    "http://h\n/",
]


@pytest.mark.parametrize("address", NO_ENDPOINT)
def test_no_address_is_told_before_anything_is_asked(address) -> None:
    with pytest.raises(UserError, match="no address of an endpoint") as error:
        Endpoint(address, "toy")
    assert str(error.value).isprintable()


WRONG = [
    ("timeout", float("nan")),
    ("timeout", float("inf")),
    ("timeout", -1.0),
    ("back_off", float("nan")),
    ("back_off", float("inf")),
    ("back_off", -1.0),
    ("longest_wait", float("nan")),
    ("longest_wait", float("inf")),
    ("retries", -1),
    ("max_tokens", 0),
]


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_number_that_makes_no_sense_is_refused_by_name(name, value) -> None:
    with pytest.raises(UserError, match=f"endpoint.{name} {value:g}: "):
        Endpoint("http://localhost/v1", "toy", **{name: value})


@pytest.mark.parametrize("frames", [0, -2, 129, 10**9])
def test_a_judge_is_shown_something_and_not_everything(frames, tmp_path) -> None:
    model = LocalModel.__new__(LocalModel)
    for make in (
        lambda: EndpointJudge(Endpoint("http://localhost/v1", "toy"), frames),
        lambda: LocalJudge(model, frames),
        lambda: FaceRulerJudge(tmp_path, frames),
    ):
        with pytest.raises(UserError, match=f"frames {frames}: "):
            make()


@pytest.mark.parametrize("around", ["{}\n", " {}", "{}\r\n", "\t{} "])
def test_a_key_is_sent_without_the_space_around_it(around, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", around.format(SECRET))
    with Scripted(says(TEXT)) as server:
        assert server.ask() == ("old", True)
        assert server.headers[0]["Authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("key", ["sk-ключ", "sk-a\nb", "sk-\x7fx", "sk-\u00e9", "sk-\udcff"])
def test_a_key_that_no_header_carries_is_refused_and_not_shown(key, monkeypatch) -> None:
    monkeypatch.setenv("MY_KEY", key)
    with pytest.raises(UserError, match="MY_KEY: holds a character that no HTTP header can carry") as error:
        Endpoint("http://localhost/v1", "toy", key_variable="MY_KEY")
    assert "sk-" not in str(error.value)


def echo(handler: QuietHandler, body: Body) -> None:
    """Complains of all that it was sent, after words of a length that would cut a key in two."""
    send(f"{'x' * 160} {handler.path} {handler.headers.get('Authorization')}".encode(), 403)(handler, body)


ADDRESSES = {
    "in the query": "http://{host}/v1?key=" + SECRET,
    "in the query, encoded": "http://{host}/v1?key=" + SECRET.replace("-", "%2D"),
    "as the password": "http://user:" + SECRET + "@{host}/v1",
    "as the user": "http://" + SECRET + "@{host}/v1",
    "in the header": "http://{host}/v1",
}


@pytest.mark.parametrize("place", ADDRESSES)
def test_a_secret_is_sent_and_never_shown(place, monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", SECRET if place == "in the header" else "")
    with Scripted(echo) as server:
        host = server.address.removeprefix("http://")
        endpoint = Endpoint(ADDRESSES[place].format(host=host), "toy", retries=0)
        assert endpoint.identity == f"toy at http://{host}/v1"
        with pytest.raises(NoAnswerError) as error:
            server.ask_of(endpoint)
        assert not any(part in str(error.value) for part in (SECRET, SECRET[:9], "%2D"))
        assert server.paths[0].startswith("/v1/chat/completions")
        assert ("key=" in server.paths[0]) == ("query" in place)


def test_a_short_key_does_not_change_an_answer(monkeypatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "old")  # many servers take any word
    with Scripted(says(TEXT)) as server:
        assert server.ask() == ("old", True)


FORMS = {
    "as PHP writes JSON": lambda key: key.replace("/", "\\/"),
    "as .NET writes JSON": lambda key: key.replace("+", "\\u002B"),
    "letter by letter": lambda key: "".join(f"\\u{ord(letter):04x}" for letter in key),
    "as in an address": lambda key: key.replace("/", "%2F").replace("+", "%2b"),
    "as in HTML": lambda key: key.replace("/", "&#x2F;").replace("+", "&#43;"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("status", [200, 401])
def test_a_key_is_hidden_however_an_endpoint_writes_it(form, status, monkeypatch) -> None:
    key = "sk-abc/def+ghi=jkl"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    echoed = json.dumps({"choices": [{"message": {"content": TEXT.replace('"old"', '"KEY"')}}]})
    with Scripted(send(echoed.replace("KEY", FORMS[form](key)).encode(), status)) as server:
        endpoint = Endpoint(server.url, "toy", retries=0)
        if status == 200:
            said = endpoint.ask("look", [], Seen, lambda seen: seen).answer.answers[0].observed
        else:
            with pytest.raises(NoAnswerError) as refused:
                endpoint.ask("look", [], Seen, lambda seen: seen)
            said = str(refused.value)
    assert "[key]" in said
    assert "ghi" not in said
