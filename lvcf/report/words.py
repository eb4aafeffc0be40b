"""Words of a run's page that its guide explains, linked to where it does."""

from __future__ import annotations

import re

from markupsafe import Markup, escape

ANCHORS = {
    **dict.fromkeys(("M", "oracle", "ruler"), "m"),
    "levels": "levels",
    "mask": "mask",
    "reconstruction": "reconstruction",
    **dict.fromkeys(("RG", "SG", "RGA", "SGA", "AGG"), "guidance"),
    "ADS": "ads",
    "MSPR": "mspr",
    "last correction": "correction",
    **dict.fromkeys(("prompt only", "guidance off"), "guidance"),
    **dict.fromkeys(
        ("LTXBackbone", "LTXVideoBackbone", "WanBackbone", "CogVideoXBackbone", "LatteBackbone"), "backbone"
    ),
}
"""By word, the end of the id of its entry in ``guide.html.j2``."""
_KNOWN = re.compile(rf"(?<!\d )\b({'|'.join(sorted(ANCHORS, key=len, reverse=True))})\b")  # 4.5 M are millions


def explained(text: str) -> Markup:
    """A text whose known words lead to the guide."""
    parts = _KNOWN.split(text)  # every second one is a word
    return Markup("").join(
        Markup('<a class="word" href="#word-{}">{}</a>').format(ANCHORS[part], part) if index % 2 else escape(part)
        for index, part in enumerate(parts)
    )
