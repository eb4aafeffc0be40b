"""``--shard i/n``: the part of a run that one of several processes makes.  Light: no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence

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


def part_of(number: int, shard: Shard, what: str = "clips") -> range:
    """The numbers of a shard's clips or batches: neighbours, and in all shards nearly as many.

    Args:
        number: how many the run has.
        shard: which part.
        what: is divided, as a message says it.

    Raises:
        UserError: there are fewer than shards.
    """
    i, n = shard
    if number < n > 1:
        raise UserError(f"--shard {i}/{n}: {number} {what} make {number} parts at most; lower n")
    return range(number * (i - 1) // n, number * i // n)


def without_shard(arguments: Sequence[str]) -> list[str]:
    """A command line's arguments as those of the whole run."""
    kept, rest = list[str](), iter(arguments)
    for argument in rest:
        if argument == "--shard":
            next(rest, "")
        elif not argument.startswith("--shard="):
            kept.append(argument)
    return kept
