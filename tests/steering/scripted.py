"""A real HTTP server that answers chat completions as a script says, byte by byte if need be."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from lvcf.steering.answers import Seen, Wanted, in_order, verdict_of
from lvcf.steering.judges.endpoint import Endpoint
from tests.http_server import QuietHandler, serve

Body = dict[str, Any]
Step = Callable[[QuietHandler, Body], None]
GOOD: Body = {
    "answers": [{"attribute": "age", "observed": "old", "realised": True, "confidence": 0.9, "criticism": ""}]
}
TEXT = json.dumps(GOOD)
ASKED = [Wanted(attribute="age", text="What age?", options=("young", "old"), expected="old", role="intervened")]


class Scripted:
    """Takes one step per request, the last one for ever; ``bodies`` and ``paths`` are what was sent."""

    def __init__(self, *steps: Step) -> None:
        self.bodies: list[Body] = []
        self.paths: list[str] = []
        self.headers: list[dict[str, str]] = []
        left, outer = list(steps), self

        class Handler(QuietHandler):
            def reply(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                outer.paths.append(self.path)
                outer.headers.append(dict(self.headers))
                (left.pop(0) if len(left) > 1 else left[0])(self, body)

        self.server, self.address = serve(Handler)
        self.url = f"{self.address}/v1"

    def ask(self, **options: Any) -> tuple[str, bool]:
        """What the judge at this server saw, and whether that is realised."""
        return self.ask_of(Endpoint(**{"base_url": self.url, "model": "toy", "timeout": 5.0, "retries": 0, **options}))

    @staticmethod
    def ask_of(endpoint: Endpoint) -> tuple[str, bool]:
        """The same of an endpoint that is there already."""
        seen = endpoint.ask("look", [], Seen, lambda said: Seen(answers=in_order(said.answers, ASKED))).answer
        (answer,) = verdict_of(seen, ASKED).answers
        return answer.observed, answer.realised

    def __enter__(self) -> Scripted:
        return self

    def __exit__(self, *error: object) -> None:
        self.server.shutdown()
        self.server.server_close()


def send(data: bytes, status: int = 200, **headers: str) -> Step:
    """A whole answer; underscores of a header's name are dashes."""

    def step(handler: QuietHandler, body: Body) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(data)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(data)

    return step


def says(content: object, finish: str = "stop", usage: object = None, **message: object) -> Step:
    """A chat completion whose message has this content and these other fields."""
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
    return send(json.dumps({"choices": [choice], "usage": usage or {"total_tokens": 5}}).encode())


def raw(data: bytes) -> Step:
    """Bytes in the place of a status line and all that follows."""

    def step(handler: QuietHandler, body: Body) -> None:
        handler.wfile.write(data)
        handler.wfile.flush()
        handler.close_connection = True

    return step
