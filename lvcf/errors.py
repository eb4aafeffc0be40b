"""The one exception a user's mistake raises; the command line prints its message alone and exits with 2."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can put right: the message names the file, the value and the fix."""


def nearest(word: str, choices: Sequence[str]) -> str:
    """The choice that a misspelt word is nearest to, whatever its case; empty if none is near."""
    known = {choice.lower(): choice for choice in choices}
    near = get_close_matches(word.lower(), known, n=1)
    return known[near[0]] if near else ""


def cause_of(error: Exception) -> Exception:
    """The user's mistake behind a parser's error, which wraps what a constructor raises; else the error itself."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    return cause or error


def told(error: BaseException) -> str:
    """Any exception in one line: its class and its text, shortened."""
    text = " ".join(str(error).split())[:300]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
