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
