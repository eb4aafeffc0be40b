"""What the page says, as HTML: of a clip that was read, of a counterfactual and what it does not show."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lvcf.app.domains import FPS, Domain, Given
from lvcf.explain import Reading
from lvcf.explanation import Explanation
from lvcf.files import Json
from lvcf.measure.names import STATUSES
from lvcf.report.metrics import readable
from lvcf.report.run_page import reconstruction_warning, target_text
from lvcf.report.templates import load_template
from lvcf.runs.panel import panel_frames, player

TEMPLATES = Path(__file__).with_name("templates")
PLAYS = 'autoplay aria-label="{}" '
MOST = 4
"""Classes that are shown with their probabilities."""


def reading_html(domain: Domain, given: Given, found: Reading, own: bool) -> str:
    """The clip as it is explained, and what M says of it."""
    values = sorted(found.says.items(), key=lambda item: -item[1])
    number = len(values) == 1
    return load_template(TEMPLATES / "reading.html.j2").render(
        player=player(found.clip, FPS, PLAYS.format("The clip as the model sees it")),
        reads="" if own else domain.reads,
        value=f"{readable(values[0][1])} {values[0][0]}".strip() if number else "",
        classes=[] if number else [(name, f"{100 * share:.0f} %", 100 * share) for name, share in values[:MOST]],
        truth=given.truth,
    )


def result_html(found: Explanation, simulated: bool, notices: Sequence[str]) -> str:
    """The verdict, the panel and the caveats."""
    page = load_template(TEMPLATES / "result.html.j2")
    shown = {"status": found.status, "words": STATUSES[found.status], "hint": found.hint, "failed": found.failed}
    caveats = _caveats(found, simulated, notices)
    if found.failed:
        return page.render(**shown, caveats=caveats)
    panel = player(panel_frames(found.factual, found.video, found.mask), found.facts["fps"], PLAYS.format("The panel"))
    return page.render(**shown, **_verdict(found.facts), caveats=caveats, panel=panel, method=found.facts["method"])


def _verdict(facts: Json) -> Json:
    classifier = facts["task"] == "classification"
    before, after = (readable(facts[f"prediction_{when}"]) for when in ("before", "after"))
    said = [facts["class_before"], facts["class_after"]] if classifier else [before, after]
    unit = "" if classifier else facts["unit"]
    return {
        "before": f"{said[0]} {unit}".strip(),
        "after": f"{said[1]} {unit}".strip(),
        "asked": f"{target_text(facts)} {unit}".strip(),
        "shares": [before, after] if classifier else [],
        "changed": f"{100 * facts['mask_share']:.0f}",
        "seconds": f"{facts['seconds']:.0f}",
    }


def _caveats(found: Explanation, simulated: bool, notices: Sequence[str]) -> list[str]:
    """What a reader must not take the clip for."""
    said = [
        "It shows what the model reacts to, and not what is true: no finding, no prognosis and no image of anyone.",
        "Reached means that this model now says what was asked of this very file. Another model, or a person, may not.",
    ]
    if simulated:
        said.append("The clip you gave is simulated.")
    if not found.failed and (warning := reconstruction_warning(found.facts)):
        said.append(warning)
    return [*said, *notices]
