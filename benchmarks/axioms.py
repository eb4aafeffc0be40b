"""Causal-Adapter's four figures of an editor under a causal graph, on the face phantom, in its tables' layout.

    python -m benchmarks.axioms

needs ``make bench-axioms``'s run.  Effectiveness: F1 of every attribute under every intervention, by the ruler in the
pixels.  Composition: how far a clip goes in 1 and 10 edits to what it shows already.  Reversibility: how far from the
factual clip an edit there and back ends.  FID: on features of the phantom's oracle, since Inception's weights are not
to be had offline.  Writes ``benchmarks/results/axioms.md``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lvcf.configuration import read_section
from lvcf.data.clip import to_clip
from lvcf.errors import UserError
from lvcf.measure.sets import realism
from lvcf.metrics.change import l1
from lvcf.metrics.fidelity import ssim
from lvcf.models.backbones.ltx import ltx_backbone
from lvcf.models.targets.clip_classifier import clip_frame_transformer
from lvcf.runs.folder import Prediction, read_manifest, read_predictions
from lvcf.steering.axioms import composed, effectiveness, returned
from lvcf.steering.editors.base import Editor
from lvcf.steering.editors.latent_video import LatentVideoEditor
from lvcf.steering.graph import stored_graph
from lvcf.steering.methods import METHODS

RUN = Path("runs/face_axioms")
CYCLES = (1, 10)
FEATURES = "oracle-frames"
RESULTS = Path("benchmarks/results/axioms.md")
Distances = tuple[float, float]
"""L1 in levels, and SSIM."""


def shipped_editor() -> LatentVideoEditor:
    """The editor of the demo, which made the run."""
    arguments = read_section("steering/face.yaml", "steer")["editor"]["init_args"]
    backbone = ltx_backbone(**arguments.pop("backbone")["init_args"])
    return LatentVideoEditor(backbone, **arguments)


def video(frames: Any) -> Tensor:
    """Frames ``(T, H, W, 3)`` as a clip."""
    return to_clip(frames, frames.shape[1])


def apart(one: Tensor, other: Tensor) -> Distances:
    """How far two clips are."""
    return l1(one, other), ssim(one, other)


def composition(editor: Editor, predictions: list[Prediction]) -> dict[int, list[Distances]]:
    """By number of edits, the distance of every factual clip to itself."""
    first = {prediction.result["clip"]: prediction for prediction in reversed(predictions)}
    found: dict[int, list[Distances]] = {cycle: [] for cycle in CYCLES}
    for prediction in first.values():
        clip = video(prediction.factual())
        edits = composed(editor, clip, prediction.result["source_prompt"], prediction.result["seed"])
        for cycle, edited in enumerate(islice(edits, max(CYCLES)), start=1):
            if cycle in found:
                found[cycle].append(apart(edited, clip))
    return found


def reversibility(editor: Editor, predictions: list[Prediction]) -> Iterator[Distances]:
    """The distance of every clip edited there and back to itself; methods that ended alike share the way."""
    known: dict[tuple[str, str, bytes], Distances] = {}
    for prediction in predictions:
        result, edited = prediction.result, prediction.counterfactual()
        key = result["clip"], result["prompt"], edited.tobytes()
        if key not in known:
            back = returned(editor, video(edited), result["prompt"], result["source_prompt"], result["seed"])
            known[key] = apart(back, video(prediction.factual()))
        yield known[key]


def cell(value: float, digits: int = 2) -> str:
    """A figure; a dash where there is none."""
    return "–" if math.isnan(value) else f"{value:.{digits}f}"


def means(distances: list[Distances]) -> str:
    """Mean L1 and mean SSIM."""
    levels, likeness = np.mean(distances, axis=0)
    return f"{levels:.2f}, {likeness:.3f}"


def by_attribute(predictions: list[Prediction], domains: dict[str, list[str]]) -> list[str]:
    """The table of effectiveness: rows of a method and an intervention, a column an attribute."""
    lines = [f"| prompt | intervention | n | {' | '.join(domains)} |", "|---" * (3 + len(domains)) + "|"]
    for method in methods_of(predictions):
        for name in domains:
            chosen = [
                p.result for p in predictions if p.result["method"] == method and name in p.result["intervention"]
            ]
            found = effectiveness(chosen, dict(domains))
            cells = " | ".join(cell(value) for value in found.values())
            lines.append(f"| {method} | do({name}) | {len(chosen)} | {cells} |")
    return lines


def methods_of(predictions: list[Prediction]) -> list[str]:
    """The methods there are, baselines first."""
    return [method for method in METHODS if any(p.result["method"] == method for p in predictions)]


def of(figures: dict[str, Any], name: str) -> float:
    """A figure of sets, whose key also tells n, features and resolution."""
    return float(next(value for key, value in figures.items() if key.startswith(f"realism/{name}[")))


def by_method(predictions: list[Prediction], editor: Editor) -> list[str]:
    """The table of the other three figures; composition hangs on no prompt of a method."""
    again = composition(editor, predictions)
    back = dict(zip((p.id for p in predictions), reversibility(editor, predictions), strict=True))
    oracle = clip_frame_transformer("face_motion/face_oracle").freeze()
    lines = [
        "| prompt | n | composition, 1 edit | 10 edits | reversibility | FID | FID of doing nothing |",
        "|---" * 7 + "|",
    ]
    for method in methods_of(predictions):
        chosen = [p for p in predictions if p.result["method"] == method]
        figures, _ = realism(chosen, FEATURES, oracle)
        fid, floor = (of(figures, name) for name in ("fid", "fid_floor"))
        cells = [
            *(means(again[cycle]) for cycle in CYCLES),
            means([back[p.id] for p in chosen]),
            cell(fid),
            cell(floor),
        ]
        lines.append(f"| {method} | {len(chosen)} | {' | '.join(cells)} |")
    return lines


def main() -> None:
    """Measure the run and write both tables."""
    manifest, editor = read_manifest(RUN), shipped_editor()
    if manifest["editor"] != editor.identity:
        raise UserError(f"{RUN}: made by {manifest['editor']}, not by {editor.identity}; run make bench-axioms")
    predictions = [prediction for prediction in read_predictions(RUN) if not prediction.failed]
    graph = stored_graph(manifest, "evaluation_graph")
    domains = {name: list(variable.values) for name, variable in graph.variables.items()}
    clips = len({prediction.result["clip"] for prediction in predictions})
    positive = ", ".join(domain[-1] if domain[-1] != "yes" else name for name, domain in domains.items())
    with torch.no_grad():
        others = by_method(predictions, editor)
    lines = [
        f"Simulated faces, {clips} clips under {len(manifest['interventions'])} interventions each; made by `make "
        f"bench-axioms`. Editor: {editor.identity}.",
        "",
        f"Effectiveness: F1 by the ruler in the pixels; positive is {positive}. A dash: nothing was positive.",
        "",
        *by_attribute(predictions, domains),
        "",
        "Composition and reversibility: mean L1 in levels of 255 and mean SSIM to the factual clip. FID: on frames' "
        "features of the phantom's oracle, of disjoint halves of clips; of doing nothing: real against real.",
        "",
        *others,
    ]
    RESULTS.write_text("\n".join(lines) + "\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
