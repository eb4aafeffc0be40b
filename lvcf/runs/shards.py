"""``--shard i/n``: the part of a run that one of several processes makes.  Light: no torch."""

from __future__ import annotations

import re

from lvcf.errors import UserError

Shard = tuple[int, int]
"""Which part, from 1, of how many."""


def parse_shard(text: str) -> Shard:
    """A shard as an option has it.

    Raises:
        UserError: ``text`` is no such pair.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    i, n = (int(part) for part in found.groups()) if found else (0, 0)
    if not 1 <= i <= n:
        raise UserError(f"--shard {text}: write i/n with i from 1 to n, such as 1/4")
    return i, n


def part_of(clips: int, shard: Shard) -> range:
    """The numbers of a shard's clips: neighbours, and in all shards nearly as many.

    Raises:
        UserError: there are fewer clips than shards.
    """
    i, n = shard
    if clips < n > 1:
        raise UserError(f"--shard {i}/{n}: {clips} clips make {clips} parts at most; lower n")
    return range(clips * (i - 1) // n, clips * i // n)
