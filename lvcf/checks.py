"""Refusing a wrong number or word where it is given, in one line that names it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lvcf.errors import UserError, nearest


def check_number(name: str, value: float, low: float = -math.inf, high: float = math.inf, above: bool = False) -> None:
    """Refuse a number that is not finite or not in [low, high].

    Args:
        name: the argument's, as it stands in a configuration.
        value: what was given.
        low: the smallest one.
        high: the largest one.
        above: whether ``low`` itself is refused too.

    Raises:
        UserError: it is.
    """
    if math.isfinite(value) and low <= value <= high and not (above and value == low):
        return
    least = "" if low == -math.inf else f"above {low:g}" if above else f"of at least {low:g}"
    most = "" if high == math.inf else f"of at most {high:g}"
    range_ = " and ".join(part for part in (least, most) if part)
    raise UserError(f"{name} {value}: choose a finite number{' ' + range_ if range_ else ''}")


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Refuse a word that is none of ``choices``.

    Raises:
        UserError: with the nearest choice, or all of them.
    """
    if value in choices:
        return
    near = nearest(str(value), choices)
    fix = f"did you mean {near}?" if near else f"choose one of {', '.join(choices)}"
    raise UserError(f"{name} '{value}': {fix}")
