"""Addresses for messages and records, without what may hold a key."""

from __future__ import annotations

import re


def shown_address(address: str) -> str:
    """An address without user, password, query and fragment, in printable characters; never raises."""
    plain = "".join(letter for letter in re.split(r"[?#]", address, maxsplit=1)[0] if letter.isprintable())
    scheme, slashes, rest = plain.partition("//") if "//" in plain else ("", "", plain)
    host, slash, path = rest.partition("/")
    return f"{scheme}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def hidden(text: str, secret: str) -> str:
    """Text with ``[key]`` for a secret, as it is and as JSON, addresses and HTML may write its letters."""
    letters = [
        rf"(?:\\{{0,8}}{re.escape(letter)}|\\{{1,8}}u(?i:{ord(letter):04x})|%(?i:{ord(letter):02x})"
        rf"|&\#(?:0*{ord(letter)}|(?i:x0*{ord(letter):x}));)"
        for letter in secret
    ]
    return re.sub("".join(letters), "[key]", text)
