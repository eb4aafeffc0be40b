"""The one exception a user's mistake raises; the command line prints its message alone and exits with 2."""

from __future__ import annotations

import math
from collections.abc import Sequence
from difflib import get_close_matches


class UserError(Exception):
    """Something the user can put right: the message names the file, the value and the fix."""


def nearest(word: str, choices: Sequence[str]) -> str:
    """The choice that a misspelt word is nearest to, whatever its case; empty if none is near."""
    known = {choice.lower(): choice for choice in choices}
    near = get_close_matches(word.lower(), known, n=1)
    return known[near[0]] if near else ""


def check_number(name: str, value: float, low: float = -math.inf, high: float = math.inf, above: bool = False) -> None:
    """Refuse a number that is not finite or not in its range.

    Args:
        name: of the argument, such as ``model.lr``.
        value: what it was given.
        low: the least that is allowed.
        high: the most that is allowed.
        above: whether ``low`` itself is left out.

    Raises:
        UserError: it is not in [low, high], or (low, high].
    """
    if math.isfinite(value) and low <= value <= high and not (above and value == low):
        return
    wanted = ["choose a finite number"]
    if math.isfinite(low):
        wanted.append(f"above {low:g}" if above else f"at least {low:g}")
    if math.isfinite(high):
        wanted.append(f"at most {high:g}")
    raise UserError(f"{name} {value:g}: {', '.join(wanted)}")


def cause_of(error: Exception) -> Exception:
    """The user's mistake behind a parser's error, which wraps what a constructor raises; else the error itself."""
    cause = error.__cause__
    while cause is not None and not isinstance(cause, UserError):
        cause = cause.__cause__
    return cause or error
