"""A real HTTP server that speaks chat completions, and misbehaves as it is told."""

from __future__ import annotations

import base64
import io
import json
import re
import time
from typing import Any

import numpy as np
import torch
from PIL import Image

from tests.http_server import QuietHandler, serve
from tests.steering.painted import GRAPH, read

Fault = int | float | str | bytes | dict[str, str] | None
"""An HTTP state, seconds to wait first, ``hang up``, ``refuse``, ``filter``, ``fence``, ``lie``, a raw body, text, or
headers of a 429."""
OPTIONS = re.compile(r"^- (\w+): .* Options: (.*)$", re.MULTILINE)
WRONG = re.compile(r"^- (\w+) is (\w+), \w+ was wanted", re.MULTILINE)


class ChatServer:
    """Looks at the last image it is shown and answers for it; ``faults`` come first, one per request.

    ``formats`` are the response formats that it knows.
    """

    def __init__(self, faults: list[Fault] = [], formats: tuple[str, ...] = ("json_schema", "json_object")) -> None:  # noqa: B006
        self.faults, self.formats = list(faults), formats
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        outer = self

        class Handler(QuietHandler):
            def reply(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outer.bodies.append(body)
                outer.headers.append(dict(self.headers))
                state, headers, data = outer.reply(body, self.path)
                if state == 0:
                    self.connection.close()
                    return
                self.send_response(state)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

        self.server, address = serve(Handler)
        self.url = f"{address}/v1"

    def reply(self, body: dict[str, Any], path: str) -> tuple[int, dict[str, str], bytes]:
        """State, headers and body."""
        if path.partition("?")[0] != "/v1/chat/completions":
            return 404, {}, b"no such path"
        asked = body.get("response_format", {"type": "text"})["type"]
        if asked not in (*self.formats, "text"):
            return 400, {}, f"unsupported response_format {asked}".encode()
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, dict):
            return 429, fault, b"slow down"
        if isinstance(fault, int):
            return fault, {}, f"bad key {self.headers[-1].get('Authorization', '')}".encode()
        if isinstance(fault, bytes):
            return 200, {}, fault
        if isinstance(fault, float):
            time.sleep(fault)
        if fault == "hang up":
            return 0, {}, b""
        message: dict[str, Any] = {"role": "assistant", "content": self.answer(body)}
        if fault == "refuse":
            message = {"role": "assistant", "content": None, "refusal": "I do not judge faces."}
        elif fault == "fence":
            message["content"] = f"Sure, here you are:\n```json\n{message['content']}\n```"
        elif isinstance(fault, str) and fault != "filter":
            message["content"] = fault
        choice = {"index": 0, "message": message, "finish_reason": "content_filter" if fault == "filter" else "stop"}
        return 200, {}, json.dumps({"choices": [choice], "usage": {"total_tokens": 100}}).encode()

    def answer(self, body: dict[str, Any]) -> str:
        """What is seen or criticised where images are shown, else a prompt: the last one with stronger words."""
        content = body["messages"][0]["content"]
        text = content[0]["text"]
        images = [picture(part) for part in content[1:]]
        if wrong := WRONG.findall(text):
            return json.dumps({"criticisms": [{"attribute": n, "criticism": f"{n} is {v}"} for n, v in wrong]})
        if images:
            return json.dumps({"answers": [self.look(images[-1], *found) for found in OPTIONS.findall(text)]})
        tried = re.findall(r'^\d+\. "(.*?)"', text, re.MULTILINE)
        prompt = tried[-1].replace("an old", "a very old, elderly, wrinkled") if tried else "in other words "
        prompt += "" if tried else re.findall(r'^"(.*?)"', text, re.MULTILINE)[0]
        return json.dumps({"prompt": prompt, "negative": ""})

    def look(self, image: np.ndarray, name: str, options: str) -> dict[str, Any]:
        clip = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[:, None] / 127.5 - 1.0
        domain = options.split(", ")
        observed = domain[round(read(clip, GRAPH)[name] * (len(domain) - 1))]
        return {"attribute": name, "observed": observed, "confidence": 0.9}

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


def picture(part: dict[str, Any]) -> np.ndarray:
    """An image of a message."""
    kind, _, data = part["image_url"]["url"].partition(",")
    assert kind == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))
