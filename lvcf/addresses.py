"""Addresses for messages and records, without what may hold a key."""

from __future__ import annotations

import re


def shown_address(address: str) -> str:
    """An address without user, password, query and fragment, in printable characters; never raises."""
    plain = "".join(letter for letter in re.split(r"[?#]", address, maxsplit=1)[0] if letter.isprintable())
    scheme, slashes, rest = plain.partition("//") if "//" in plain else ("", "", plain)
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"
