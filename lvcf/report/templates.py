"""Pages are Jinja templates that lie beside the code that fills them."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

from lvcf.report.words import explained


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
