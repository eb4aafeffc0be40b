"""Why something did not work, in one line that a terminal can show."""

from __future__ import annotations

import errno

from lvcf.errors import UserError, line, told
from lvcf.steering.answers import CaseError, NoAnswerError

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a full disk."""


def reason(error: Exception) -> str:
    """An exception as the reason why one case failed: what lvcf raises says it all, others are named.

    Raises:
        OSError: the disk is full, so that every case would fail.
    """
    if isinstance(error, OSError) and error.errno in FULL:
        raise error
    return line(str(error)) if isinstance(error, UserError | NoAnswerError | CaseError) else told(error)
