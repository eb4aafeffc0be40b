"""Pages are Jinja templates; words that the run's guide explains are linked to where it does."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup, escape

from lvcf.data.video import Frames
from lvcf.files import Json
from lvcf.runs.panel import difference_colours

PAGES = Path(__file__).with_name("templates")
"""Where those of ``lvcf report`` lie."""


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
        (
            "LTXBackbone",
            "LTXVideoBackbone",
            "LTX2Backbone",
            "WanBackbone",
            "AnyFlowBackbone",
            "CogVideoXBackbone",
            "LatteBackbone",
        ),
        "backbone",
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


def write_page(path: Path, template: str, shown: Json) -> Path:
    """Fill a template of :data:`PAGES`; a reader sees the old page or the whole new one.  Returns ``path``."""
    page, partial = load_template(PAGES / template), path.with_name(f".{path.name}.partial")
    try:
        # hints and ids may hold bytes that are no text: file names may
        with partial.open("w", encoding="utf-8", errors="replace") as stream:
            stream.writelines(page.generate(shown))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def gradient(colours: Frames) -> str:
    """Colours ``(n, 3)`` as stops of a CSS gradient."""
    return ", ".join("rgb({} {} {})".format(*colour) for colour in colours)


def ramp() -> str:
    """The panel's difference colours as stops of a CSS gradient."""
    return gradient(difference_colours(np.linspace(-1, 1, 11), 1))


def load_template(path: Path) -> Template:
    """A template that escapes what it is given and refuses what it is not given."""
    pages = Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    pages.filters["explained"] = explained
    return pages.get_template(path.name)
