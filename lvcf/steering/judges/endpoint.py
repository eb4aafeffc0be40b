"""Judge and rewriter at an OpenAI-compatible endpoint: vLLM, Ollama, llama.cpp's server, or a hosted one."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import time
from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, TypeVar
from urllib.parse import unquote_plus

import httpx
from PIL import Image
from pydantic import BaseModel, ValidationError

from lvcf.addresses import hidden, shown_address
from lvcf.data.video import Frames
from lvcf.errors import UserError, line
from lvcf.models.targets.black_box import TEMPORARY
from lvcf.steering.answers import (
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
)
from lvcf.steering.case import Case
from lvcf.steering.judges import instructions
from lvcf.steering.judges.base import Attempt, Edit, Judge, Rewriter, Shown, check_shown
from lvcf.steering.judges.completion import Completion, read_answer, read_completion
from lvcf.steering.judges.transport import Response, post
from lvcf.steering.prompts import fitting

T = TypeVar("T", bound=BaseModel)
Message = dict[str, Any]
LADDER = ("json_schema", "json_object", "text")
"""Ways to ask for JSON, strictest first; an endpoint that refuses one is asked by the next from then on."""
REFUSES = (400, 415, 422, 501)
"""HTTP states by which endpoints refuse a response format, or another part of a request, that they do not know."""
ASKED = 2
"""Times: an answer that does not fit is repaired once."""
DAY = 86400.0
SHORTEST = 8
"""Characters of a secret that an answer is searched for; a shorter key is a placeholder, such as none."""


class Endpoint:
    """Chat completions with typed answers.

    Args:
        base_url: such as ``http://localhost:8000/v1``; a user, a password or a query in it is sent and never shown.
        model: the endpoint's name for it.
        key_variable: the environment variable with the key; the key is sent, never written.
        timeout: seconds to wait for one whole answer.
        retries: how often to ask again when the endpoint is away, slow or busy; the wait doubles each time, or is what
            the endpoint asks for.
        back_off: seconds before the first of these.
        longest_wait: seconds that are waited at most, whatever the endpoint asks for.
        max_tokens: of an answer.

    Raises:
        UserError: an argument makes no sense, or no header can carry the key.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        key_variable: str = "OPENAI_API_KEY",
        timeout: float = 120.0,
        retries: int = 4,
        back_off: float = 1.0,
        longest_wait: float = 60.0,
        max_tokens: int = 1024,
    ) -> None:
        self.shown, self.model = shown_address(base_url).rstrip("/"), model
        self.url = _completions(base_url)
        for name, number, least in (("retries", retries, 0), ("max_tokens", max_tokens, 1)):
            if number < least:
                raise UserError(f"endpoint.{name} {number}: at least {least} is needed")
        if not 0.0 < timeout <= DAY:
            raise UserError(f"endpoint.timeout {timeout:g}: must be above 0, and {DAY:g} seconds at most")
        for name, value in (("back_off", back_off), ("longest_wait", longest_wait)):
            if not 0.0 <= value <= DAY:
                raise UserError(f"endpoint.{name} {value:g}: choose from 0 to {DAY:g} seconds")
        self.key = _key(key_variable)
        self.secrets = _secrets(self.key, self.url)
        self.context = httpx.create_ssl_context()
        self.timeout, self.retries = timeout, retries
        self.back_off, self.longest_wait, self.max_tokens = back_off, longest_wait, max_tokens
        self._ask_by_default()

    @property
    def identity(self) -> str:
        """The model and where it is."""
        return f"{self.model} at {self.shown}"

    def ask(self, instruction: str, images: list[bytes], expected: type[T], check: Callable[[T], T]) -> Reply[T]:
        """A typed answer, with one repair if the first does not fit.

        Args:
            instruction: the text.
            images: PNG files.
            expected: the answer's type.
            check: refuses answers that do not fit the question.

        Raises:
            NoAnswerError: the endpoint is away, refuses, or answers something else twice.
        """
        schema = bare(expected.model_json_schema())
        told = f"{instruction}\n\nAnswer with one JSON object of this schema and nothing else:\n{json.dumps(schema)}"
        content: list[Message] = [{"type": "text", "text": told}]
        content += [{"type": "image_url", "image_url": {"url": _data_url(image)}} for image in images]
        messages: list[Message] = [{"role": "user", "content": content}]
        asked, tokens, refused = self._hide(instruction, SHORTEST), 0, list[Refused]()
        while len(refused) < ASKED:
            said = self._complete(messages, schema, expected.__name__)
            tokens += said.tokens
            try:
                answer = check(read_answer(said, expected))
            except (ValidationError, NoAnswerError) as error:
                problem = f"cut off at {self.max_tokens} tokens" if said.cut else self._told(_line(error))
                refused.append(Refused(said.text, problem))
                if said.cut:
                    told = f"{problem}; raise endpoint.max_tokens"
                    raise NoAnswerError(told, asked, tokens or None, refused) from error
                complaint = f"That does not fit: {problem}. Answer again with the corrected JSON object alone."
                messages += [{"role": "assistant", "content": said.text}, {"role": "user", "content": complaint}]
                continue
            hashes = [hashlib.sha256(image).hexdigest() for image in images]
            return Reply(answer, asked, hashes, tokens or None, len(refused) + 1, refused)
        told = f"no answer that fits, also not after a repair: {refused[-1].why}"
        raise NoAnswerError(told, asked, tokens or None, refused)

    def _complete(self, messages: list[Message], schema: Message, name: str) -> Completion:
        """One completion, by the strictest format and with the settings that the endpoint takes."""
        while True:
            settings = {self.limit: self.max_tokens, **({"temperature": 0.0} if self.greedy else {})}
            body = {"model": self.model, "messages": messages, **settings, **_format(LADDER[self.rung], schema, name)}
            response = self._post(json.dumps(body).encode())
            if response.status in REFUSES and self._ask_otherwise(_complaint(response)):
                continue
            if response.status != 200:
                self._ask_by_default()  # whatever it refuses, it was none of these
                raise NoAnswerError(self._refusal(response))
            return self._read(response)

    def _ask_by_default(self) -> None:
        self.rung, self.limit, self.greedy = 0, "max_tokens", True

    def _ask_otherwise(self, complaint: str) -> bool:
        """Leave out what an endpoint complains of, from now on; whether there was anything left to leave out."""
        if "response_format" not in complaint:
            if "max_tokens" in complaint and self.limit == "max_tokens":
                self.limit = "max_completion_tokens"
                return True
            if "temperature" in complaint and self.greedy:
                self.greedy = False
                return True
        self.rung += 1
        return self.rung < len(LADDER)

    def _post(self, body: bytes) -> Response:
        """One request, repeated with a growing wait while the endpoint is away, slow or busy.

        Raises:
            NoAnswerError: it stays so.
        """
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        problem, wait = "", self.back_off
        for attempt in range(self.retries + 1):
            asked = wait
            try:
                response = post(self.url, headers, body, self.timeout, self.context)
                if response.status not in TEMPORARY:
                    return response
                problem = f"HTTP {response.status}"
                asked = _seconds(response.headers.get("Retry-After"), wait)
            except TimeoutError:
                problem = "no whole answer"
            except httpx.HTTPError as error:
                problem = self._told(f"{type(error).__name__} {error}")
            if attempt < self.retries:
                time.sleep(min(asked, self.longest_wait))
            wait = min(2.0 * wait, DAY)
        raise NoAnswerError(f"no answer after {self.retries + 1} attempts of {self.timeout:g} s ({problem})")

    def _refusal(self, response: Response) -> str:
        """What an endpoint says instead of answering."""
        if 300 <= response.status < 400:
            there = self._told(shown_address(response.headers.get("Location", "nowhere")))
            return f"HTTP {response.status}: sends on to {there}, which is not followed; give the address that answers"
        return f"HTTP {response.status}: {self._told(response.text)}"

    def _read(self, response: Response) -> Completion:
        """What the model said.

        Raises:
            NoAnswerError: it refused, or the body is no chat completion.
        """
        try:
            said = read_completion(self._hide(response.text, SHORTEST).encode())
        except ValueError as error:
            raise NoAnswerError(f"no chat completion: {self._told(response.text)!r}") from error
        if said.refusal:
            raise NoAnswerError(f"refused: {self._told(said.refusal)}")
        return said

    def _told(self, text: str) -> str:
        """What an endpoint or a model wrote, as a message shows it."""
        return line(self._hide(text), most=200)

    def _hide(self, text: str, shortest: int = 1) -> str:
        """Text without the secrets, which an endpoint may repeat, those of some length at least."""
        for secret in self.secrets:
            if len(secret) >= shortest:
                text = hidden(text, secret)
        return text


class EndpointJudge(Judge):
    """A vision-language model behind an endpoint.

    Args:
        endpoint: where.
        frames: frames shown of each clip.

    Raises:
        UserError: no frame is shown.
    """

    def __init__(self, endpoint: Endpoint, frames: int = 4) -> None:
        self.endpoint, self.frames = endpoint, check_shown(frames)

    @property
    def identity(self) -> str:
        """The endpoint's."""
        return self.endpoint.identity

    def look(self, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
        """See the base class."""
        images = [png(frame) for frame in shown.frames(self.frames)]
        instruction = instructions.look(questions, self.frames)
        return self.endpoint.ask(
            instruction, images, Seen, lambda seen: Seen(answers=in_order(seen.answers, questions))
        )

    def criticise(self, edit: Edit, verdict: Verdict, wanted: Sequence[Wanted]) -> Reply[Criticisms]:
        """See the base class."""
        images = [png(frame) for clip in (edit.source, edit.edited) for frame in clip.frames(self.frames)]
        instruction = instructions.criticise(edit.prompt, verdict, wanted, self.frames)
        return self.endpoint.ask(instruction, images, Criticisms, lambda said: said)


class EndpointRewriter(Rewriter):
    """A language model behind an endpoint.

    Args:
        endpoint: where.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint

    @property
    def identity(self) -> str:
        """The endpoint's."""
        return self.endpoint.identity

    def rewrite(self, case: Case, attempts: Sequence[Attempt]) -> Reply[Rewrite]:
        """See the base class."""
        return self.endpoint.ask(instructions.step(case, attempts), [], Rewrite, lambda said: fitting(case, said))

    def paraphrase(self, case: Case) -> Reply[Rewrite]:
        """See the base class."""
        return self.endpoint.ask(instructions.paraphrase(case), [], Rewrite, lambda said: fitting(case, said, True))


def bare(schema: Any) -> Any:
    """A JSON schema without its descriptions and titles, which are lvcf's words: weak models answer with them."""
    if isinstance(schema, list):
        return [bare(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    notes = {name for name in ("description", "title") if isinstance(schema.get(name), str)}
    return {name: bare(part) for name, part in schema.items() if name not in notes}


def png(frame: Frames) -> bytes:
    """A frame ``(H, W, 3)`` as a file."""
    stream = BytesIO()
    Image.fromarray(frame).save(stream, "PNG")
    return stream.getvalue()


def _data_url(image: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(image).decode('ascii')}"


def _format(rung: str, schema: Message, name: str) -> Message:
    if rung == "json_schema":
        wanted = {"name": name, "schema": schema, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": wanted}}
    return {"response_format": {"type": "json_object"}} if rung == "json_object" else {}


def _completions(base_url: str) -> httpx.URL:
    """Where chat completions are; a query stays.

    Raises:
        UserError: it is no address.
    """
    address, mark, query = base_url.partition("#")[0].partition("?")
    try:
        url = httpx.URL(f"{address.rstrip('/')}/chat/completions{mark}{query}")
    except (httpx.InvalidURL, ValueError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host or (url.port or 0) > 65535:
        shown = line(shown_address(base_url))
        raise UserError(f"{shown}: no address of an endpoint; write http:// or https://, a host and a path")
    return url


def _key(variable: str) -> str:
    """The key of an environment variable, empty if it is not set.

    Raises:
        UserError: a header cannot carry it.
    """
    key = os.environ.get(variable, "").strip()
    if not (key.isascii() and key.isprintable()):
        raise UserError(f"{variable}: holds a character that no HTTP header can carry; set it to the key alone")
    return key


def _secrets(key: str, url: httpx.URL) -> list[str]:
    """What is never shown, longest first: the key, who asks, and values of the query, as they are and as sent."""
    userinfo = url.userinfo.decode()
    who = [userinfo, url.username, url.password, userinfo.partition(":")[2]]
    who.append(base64.b64encode(f"{url.username}:{url.password}".encode()).decode() if userinfo else "")
    values = [pair.partition("=")[2] or pair for pair in url.query.decode().split("&")]
    values = [form for value in values for form in (value, unquote_plus(value)) if len(form) >= SHORTEST]
    return sorted({secret for secret in (key, *who, *values) if secret}, key=len, reverse=True)


def _complaint(response: Response) -> str:
    """The parameter that an endpoint names in a refusal, else its message, else all it says."""
    try:
        error = json.loads(response.text)["error"]
        return str(error.get("param") or error["message"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return response.text


def _seconds(header: str | None, otherwise: float) -> float:
    """What ``Retry-After`` asks for, if it is a number."""
    try:
        seconds = float(header or "nan")
    except ValueError:  # a date
        return otherwise
    return otherwise if math.isnan(seconds) else max(seconds, 0.0)


def _line(error: Exception) -> str:
    if isinstance(error, ValidationError):
        problems = [f"{'.'.join(map(str, e['loc'])) or 'answer'}: {e['msg']}" for e in error.errors()[:3]]
        return "; ".join(problems)
    return str(error)
