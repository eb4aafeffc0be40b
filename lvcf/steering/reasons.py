"""Why something did not work, in one line that a terminal can show."""

from __future__ import annotations

import errno

from lvcf.errors import UserError
from lvcf.steering.answers import CaseError, NoAnswerError

LONGEST = 400
"""Characters of a reason."""
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk."""


def line(text: str, most: int = LONGEST) -> str:
    """Text of whatever origin on one line: white space is one space, what moves a cursor or paints is dropped."""
    words = "".join(c if c.isprintable() else " " if c.isspace() else "" for c in text).split()
    told = " ".join(words)
    return told if len(told) <= most else f"{told[: most - 3]}..."


def reason(error: Exception) -> str:
    """An exception as the reason why one case failed: what lvcf raises says it all, others are named.

    Raises:
        OSError: the disk is full, so that every case would fail.
    """
    if isinstance(error, OSError) and error.errno in FULL:
        raise error
    told = line(str(error))
    if isinstance(error, UserError | NoAnswerError | CaseError):
        return told
    return f"{type(error).__name__}: {told}" if told else type(error).__name__
