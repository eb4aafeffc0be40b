"""One HTTP request within bounds: the time of its whole answer, and the size of the answer unpacked."""

from __future__ import annotations

import asyncio
import logging
import ssl
import zlib
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx

from lvcf.steering.answers import NoAnswerError

MOST = 4 * 2**20
"""Bytes of an answer, unpacked: a million tokens."""
GZIP_OR_ZLIB = 47
"""zlib's window bits that read both headers."""

logging.getLogger("httpx").setLevel(logging.WARNING)  # it would log every address, and a key may stand in one


@dataclass(frozen=True)
class Response:
    """A whole answer: HTTP state, headers and body, unpacked."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def text(self) -> str:
        """The body as text, whatever it is."""
        return self.body.decode("utf-8", "replace")


def post(url: httpx.URL, headers: dict[str, str], body: bytes, seconds: float, context: ssl.SSLContext) -> Response:
    """Send JSON and read the whole answer; redirects are not followed.

    Args:
        url: http or https.
        headers: beside those of the content.
        body: JSON.
        seconds: for everything, from the connection to the last byte.
        context: for https.

    Raises:
        TimeoutError: the seconds are over.
        httpx.HTTPError: nobody is there, or the connection broke.
        NoAnswerError: the answer is larger than :data:`MOST`, or packed in a way that was not asked for.
    """
    return _run(_post(url, headers, body, seconds, context))


async def _post(
    url: httpx.URL, headers: dict[str, str], body: bytes, seconds: float, context: ssl.SSLContext
) -> Response:
    told = {**headers, "Content-Type": "application/json", "Accept-Encoding": "gzip"}
    async with (
        asyncio.timeout(seconds),
        httpx.AsyncClient(timeout=None, verify=context) as client,
        client.stream("POST", url, headers=told, content=body) as response,
    ):
        unpack, whole = _unpacker(response.headers.get("Content-Encoding", "")), bytearray()
        async for part in response.aiter_raw():
            whole += unpack(part, MOST + 1 - len(whole))
            if len(whole) > MOST:
                raise NoAnswerError(f"an answer of more than {MOST // 2**20} MiB; is this a chat endpoint?")
        return Response(response.status_code, response.headers, bytes(whole))


def _unpacker(encoding: str) -> Callable[[bytes, int], bytes]:
    """Reads the next part of a body, up to so many bytes of what it holds."""
    if encoding.lower() in ("", "identity"):
        return lambda part, most: part[:most]
    if encoding.lower() not in ("gzip", "x-gzip", "deflate"):
        raise NoAnswerError(f"its answer is packed as {encoding}, which was not asked for; switch that off")
    packed = zlib.decompressobj(GZIP_OR_ZLIB)

    def unpack(part: bytes, most: int) -> bytes:
        try:
            return packed.decompress(part, most)
        except zlib.error as error:
            raise NoAnswerError(f"its packed answer is damaged ({error})") from error

    return unpack


def _run(asking: Coroutine[None, None, Response]) -> Response:
    """Wait for it: only an event loop can end a read in the middle."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(asking)
    with ThreadPoolExecutor(1) as thread:  # a notebook runs a loop of its own
        return thread.submit(asyncio.run, asking).result()
