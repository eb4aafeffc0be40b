"""One POST request with a limit on the whole answer's time and size, and without redirects."""

from __future__ import annotations

import queue
import threading
import urllib.request
from collections.abc import Callable
from http.client import HTTPMessage
from typing import IO, TypeVar

LARGEST = 64 * 2**20
"""Bytes of an answer."""
Result = TypeVar("Result")


class TooLargeError(Exception):
    """The answer is larger than any answer about clips."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Another host would get the request, or answer it."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow none: the redirect is then an HTTPError."""


def post(request: urllib.request.Request, timeout: float) -> bytes:
    """The body of the answer.

    Raises:
        urllib.error.HTTPError: the endpoint refuses or redirects.
        TooLargeError: it says more than ``LARGEST`` bytes.
        OSError, http.client.HTTPException: no connection, no whole answer within ``timeout`` seconds, a bad one.
    """

    def ask() -> bytes:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=timeout) as response:
            body: bytes = response.read(LARGEST + 1)
        if len(body) > LARGEST:
            raise TooLargeError
        return body

    return within(timeout, ask)


def within(seconds: float, work: Callable[[], Result]) -> Result:
    """What ``work`` returns or raises; a socket's own timeout begins anew with every byte.

    Raises:
        TimeoutError: it takes longer; it goes on in its thread, which no one waits for.
    """
    done: queue.SimpleQueue[tuple[Result | None, BaseException | None]] = queue.SimpleQueue()

    def run() -> None:
        try:
            done.put((work(), None))
        except BaseException as error:  # for the one who waits
            done.put((None, error))

    threading.Thread(target=run, daemon=True).start()
    try:
        result, error = done.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError("timed out") from None
    if error is not None:
        raise error
    return result  # type: ignore[return-value]  # there is one without an error
