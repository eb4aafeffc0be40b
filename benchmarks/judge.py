"""How far the demo's steering judge can be trusted on edits: as it is, and pooled over parts of the clip.

    python -m benchmarks.judge

Rendered edits, of which all attributes are known: another face of the same person that the words describe, softened as
a decoder's clips are.  On some of them the share is chosen that the pooled judge needs to tell; it and the judge as it
is are then held against others, and against the ruler on the edits of ``make bench-axioms`` that no judge chose.
Writes ``benchmarks/results/judge.md``.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from benchmarks.face_ruler import DRAWN, softened
from lvcf.data.clip import to_clip
from lvcf.data.face_attributes import ATTRIBUTES
from lvcf.data.video import Frames
from lvcf.phantoms.face.set import draw_factors
from lvcf.runs.folder import read_predictions
from lvcf.steering.agreement import CHOSEN
from lvcf.steering.answers import UNSURE
from lvcf.steering.case import observe
from lvcf.steering.graph import read_graph
from lvcf.steering.judges.base import Judge, Shown
from lvcf.steering.judges.face import face_network_judge
from lvcf.steering.judges.pooled import PooledJudge

RUN = Path("runs/face_axioms")
N, CALIBRATION, HELD_OUT = 60, 3310, 3311
GRAPH = read_graph("steering/graphs/face.yaml")
FPS, TIMES = 8.0, np.arange(16) / 8.0
PARTS, SHARES, WANTED = 4, (0.5, 0.7, 0.9, 0.95, 0.99, 0.999), 0.95
"""Parts that are pooled, shares that are tried, and how many of its answers should be right."""
ALL = "all"
RESULTS = Path("benchmarks/results/judge.md")
Edit = tuple[Shown, dict[str, str]]
"""An edited clip, and what it shows by somebody else."""
Told = list[tuple[str, str, str, float]]
"""Attribute, what is shown, what the judge sees, and its confidence."""


def rendered(seed: int) -> list[Edit]:
    """Edits whose attributes are known."""
    edits = []
    for i, factors in enumerate(draw_factors(N, seed)):
        rng = np.random.default_rng([seed, i])
        values = {name: str(rng.choice(domain)) for name, domain in ATTRIBUTES.items()}
        frames = softened(factors, values, DRAWN["clear of the thresholds"], rng, TIMES)
        edits.append((_shown(f"{i:03d}", frames), values))
    return edits


def edited(run: Path) -> list[Edit]:
    """A run's edits that no judge chose, each once, and what the evaluating judge sees in them."""
    found: dict[tuple[str, str, int], Edit] = {}
    for prediction in read_predictions(run):
        result = prediction.result
        if prediction.failed or result["method"] in CHOSEN or not isinstance(result["evaluation"], list):
            continue
        key = result["clip"], result["prompt"], result["seed"]
        values = {one["attribute"]: one["observed"] for one in result["evaluation"]}
        found.setdefault(key, (_shown(result["clip"], prediction.counterfactual()), values))
    return list(found.values())


def _shown(name: str, frames: Frames) -> Shown:
    return Shown(name, to_clip(frames, frames.shape[1]), FPS)


def told(judge: Judge, edits: Iterable[Edit]) -> Told:
    """What a judge sees in edits, attribute by attribute."""
    questions = observe(GRAPH)
    lines: Told = []
    for shown, values in edits:
        seen = {one.attribute: one for one in judge.look(shown, questions).answer.answers}
        lines += [(name, value, seen[name].observed, seen[name].confidence) for name, value in values.items()]
    return lines


def needing(lines: Told, least: float) -> Told:
    """What a pooled judge that needs no share would see if it needed this one."""
    return [(name, value, seen if sure >= least else UNSURE, sure) for name, value, seen, sure in lines]


def agreement(lines: Told, name: str = ALL) -> tuple[float, float, float]:
    """Of an attribute's answers, the shares that are right and that cannot tell; of the others, the right ones."""
    own = [(shown, seen) for attribute, shown, seen, _ in lines if name in (attribute, ALL)]
    right, unsure = sum(shown == seen for shown, seen in own), sum(seen == UNSURE for _, seen in own)
    answered = len(own) - unsure
    return right / len(own), unsure / len(own), right / answered if answered else float("nan")


def chosen_share(lines: Told) -> float:
    """The least of :data:`SHARES` with which enough answers are right, or the last."""
    return next((s for s in SHARES if agreement(needing(lines, s))[2] >= WANTED), SHARES[-1])


def rows(edits: str, judge: str, lines: Told) -> list[str]:
    """By attribute, how often a judge is right."""
    cells = {name: " | ".join(f"{share:.2f}" for share in agreement(lines, name)) for name in (*ATTRIBUTES, ALL)}
    return [f"| {edits} | {judge} | {name} | {told} |" for name, told in cells.items()]


def crossed(lines: Told) -> list[str]:
    """By attribute and shown value, how often a judge sees which."""
    counts = Counter(line[:3] for line in lines)
    made = []
    for name, domain in ATTRIBUTES.items():
        for value in (value for value in (*domain, UNSURE) if any(key[:2] == (name, value) for key in counts)):
            options = ((seen, counts[name, value, seen]) for seen in (*domain, UNSURE))
            made.append(f"| {name} | {value} | {', '.join(f'{seen} {n}' for seen, n in options if n)} |")
    return made


def table(found: dict[tuple[str, str], Told]) -> list[str]:
    """How often judges are right, by what the edits are held against."""
    head = ["| edits, beside | judge | attribute | right | cannot tell | right of those told |", "|---" * 6 + "|"]
    return head + [row for (edits, judge), lines in found.items() for row in rows(edits, judge, lines)]


def by_share(lines: Told) -> list[str]:
    """What the pooled judge tells if it needs more."""
    made = [f"| share needed | {' | '.join((*ATTRIBUTES, ALL))} | cannot tell |", "|---" * (3 + len(ATTRIBUTES)) + "|"]
    for least in SHARES:
        those = needing(lines, least)
        cells = [f"{agreement(those, name)[2]:.2f}" for name in (*ATTRIBUTES, ALL)]
        made.append(f"| {least:g} | {' | '.join(cells)} | {agreement(those)[1]:.2f} |")
    return made


def main() -> None:
    """Look at all edits and write the tables."""
    network = face_network_judge("face_motion/face_attributes")
    pooled = PooledJudge(network, PARTS, 0.0)
    least = chosen_share(told(pooled, rendered(CALIBRATION)))
    sets = {"rendered, truth": rendered(HELD_OUT), "edited, ruler": edited(RUN)}
    shares = {edits: told(pooled, clips) for edits, clips in sets.items()}
    found = {(edits, "as it is"): told(network, clips) for edits, clips in sets.items()}
    found |= {(edits, f"{PARTS} parts"): needing(shares[edits], least) for edits in sets}
    lines = [
        f"Simulated faces; made by `make bench-axioms`. {N} rendered edits whose attributes are known, and "
        f"{len(sets['edited, ruler'])} real edits that no judge chose, beside the ruler. As it is: the demo's network "
        f"on the whole clip. {PARTS} parts: pooled; an option needs a share of {least:g}, the least of those below "
        f"with which {WANTED:g} of the answers were right on {N} other rendered edits.",
        "",
        *table(found),
        "",
        "Of real edits, which answers agree with the ruler if the pooled judge needs a larger share to tell:",
        "",
        *by_share(shares["edited, ruler"]),
    ]
    for edits in sets:
        beside = edits.partition(", ")[2]
        lines += ["", f"{edits}; judge as it is:", "", f"| attribute | {beside} | judge |", "|---|---|---|"]
        lines += crossed(found[edits, "as it is"])
    RESULTS.write_text("\n".join(lines) + "\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
