"""Turns the pages' equations into MathML when the site is built, so that no script has to be fetched to read them.

Equations are written as GitHub shows them too: a block fenced as ``math``, and $`...`$ in a line.
"""

from __future__ import annotations

import html
import re
from typing import Any

from latex2mathml.converter import convert

BLOCK = re.compile(r'<pre class="math"><code>(.*?)</code></pre>', re.DOTALL)
INLINE = re.compile(r"\$<code>(.*?)</code>\$", re.DOTALL)


def on_page_content(content: str, **_: Any) -> str:
    """MkDocs' hook: the page's HTML with MathML in place of LaTeX."""
    content = BLOCK.sub(lambda found: f'<div class="math">{mathml(found[1], "block")}</div>', content)
    return INLINE.sub(lambda found: mathml(found[1], "inline"), content)


def mathml(code: str, display: str) -> str:
    """LaTeX, escaped for HTML, to MathML."""
    return convert(html.unescape(code).strip(), display=display)
