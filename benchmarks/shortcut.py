"""How much target models rely on a planted marker, and how much of each explanation lies on it.

    lvcf ablate --config ablations/shortcut.yaml && python benchmarks/shortcut.py motion
    lvcf ablate --config ablations/shortcut_face.yaml && python benchmarks/shortcut.py face
    lvcf ablate --config ablations/shortcut_echo.yaml && python benchmarks/shortcut.py echo

Reliance is exact, by do(content) x do(marker); see :mod:`lvcf.phantoms.reliance`.  Rows of phantoms that are not named
stay as they are.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lvcf.data.clip import round_to_8_bits, to_clip
from lvcf.models.backbones.base import Backbone
from lvcf.models.backbones.ltx import ltx_backbone
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.clip_classifier import clip_resnet_3d
from lvcf.models.targets.ejection_fraction import echo_resnet_3d
from lvcf.phantoms.reliance import PLANTED, Planted, reliance, share_on_marker
from lvcf.phantoms.truth import phantom_of
from lvcf.runs.folder import Prediction, read_manifest, read_predictions

RESULTS = Path("benchmarks/results/shortcut.md")
KINDS = ("relying", "ignoring")
COLUMNS = ("clips", "reliance on the marker", "reached", "share of the change on the marker", "ceiling")


class Domain(NamedTuple):
    """Where a phantom's two models and the run that explains them are."""

    runs: Path
    weights: Path
    load: Callable[[str], TargetModel]
    backbone: str


DOMAINS = {
    "motion": Domain(
        Path("runs/ablation_shortcut"), Path("runs/weights/shortcut"), clip_resnet_3d, "face_motion/backbone"
    ),
    "face": Domain(
        Path("runs/ablation_shortcut_face"), Path("runs/weights/shortcut_face"), clip_resnet_3d, "face_motion/backbone"
    ),
    "echo": Domain(
        Path("runs/ablation_shortcut_echo"), Path("runs/weights/shortcut_echo"), echo_resnet_3d, "phantom/backbone"
    ),
}


@torch.no_grad()
def restored(backbone: Backbone, video: Tensor) -> NDArray[np.float64]:
    """D(E(x)) on 8-bit levels, as saved clips are, ``(3, T, H, W)``."""
    clip = backbone.decode(backbone.encode(video[None]), video.shape[1])[0]
    return round_to_8_bits(clip).double().numpy()


class Explained(NamedTuple):
    """A clip that was explained: what the run wrote, what it was made from, and what M was asked for."""

    prediction: Prediction
    factors: Any
    asked: Any


def planted_in(run: Path) -> Planted:
    """The phantom whose clips a run explains."""
    return PLANTED[phantom_of(Path(read_manifest(run)["data"]))]


def explained(run: Path) -> list[Explained]:
    """The finished clips of a run that were asked for something else than they show: M may misread a clip."""
    planted = planted_in(run)
    truths = planted.read(Path(read_manifest(run)["data"]))
    finished = [p for p in read_predictions(run) if not p.failed]
    found = [Explained(p, truths[p.id], planted.named(p.result["target"]["low"])) for p in finished]
    return [one for one in found if one.asked != planted.own(one.factors)]


def share_of(one: Explained, backbone: Backbone) -> tuple[float, NDArray[np.float64]]:
    """The share of a clip's change that is on the marker, and the clip's reconstruction, which the change is from."""
    factual, final = (to_clip(frames, 112) for frames in (one.prediction.factual(), one.prediction.counterfactual()))
    reference = restored(backbone, factual)
    return share_on_marker(final.double().numpy(), reference), reference


def summary(clips: list[Explained], shares: list[float]) -> dict[str, float]:
    """What is told of the explanations of one model."""
    return {
        "reached": float(np.mean([one.prediction.status == "reached" for one in clips])),
        "share of the change on the marker": float(np.mean(shares)),
        "its standard error": float(np.std(shares, ddof=1) / np.sqrt(len(shares))),
    }


def measure(domain: Domain, kind: str, backbone: Backbone) -> dict[str, float]:
    """One target model: its reliance, its explanations' share on the marker, and the best that share can be."""
    run = domain.runs / kind
    found, planted = explained(run), planted_in(run)
    clips = [planted.interventions(one.factors, one.asked) for one in found]
    shares, best = [], []
    for one, four in zip(found, clips, strict=True):
        share, reference = share_of(one, backbone)
        shares.append(share)
        best.append(share_on_marker(restored(backbone, four[1] if kind == "relying" else four[2]), reference))
    model = domain.load(str(domain.weights / kind)).freeze()
    return {
        "clips": len(found),
        "reliance on the marker": reliance(model, clips, [planted.goal(one.asked) for one in found]),
        **summary(found, shares),
        "ceiling": float(np.mean(best)),
    }


def row(name: str, found: dict[str, float]) -> str:
    """A model's line of the table."""
    share, error = found["share of the change on the marker"], found["its standard error"]
    values = (
        f"{found['clips']:.0f}",
        f"{found['reliance on the marker']:.3f}",
        f"{found['reached']:.2f}",
        f"{share:.3f} ± {error:.3f}",
        f"{found['ceiling']:.3f}",
    )
    return f"| {name} | {' | '.join(values)} |"


def table(rows: dict[str, str]) -> str:
    """Markdown, a row per model, in the order of the phantoms."""
    names = [f"{domain}, {kind}" for domain in DOMAINS for kind in KINDS]
    head = [
        "Simulated clips; share: mean ± standard error over clips; made by `python benchmarks/shortcut.py`.",
        "",
        f"| M | {' | '.join(COLUMNS)} |",
        "|---" * (1 + len(COLUMNS)) + "|",
    ]
    return "\n".join([*head, *(rows[name] for name in names if name in rows)]) + "\n"


def read_rows(text: str) -> dict[str, str]:
    """The lines of a table that :func:`table` made, by model."""
    lines = [line for line in text.splitlines() if line.startswith("| ") and ", " in line.split(" | ")[0]]
    return {line.split(" | ")[0].removeprefix("| "): line for line in lines}


def main() -> None:
    """Measure the phantoms that are named and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("phantoms", nargs="+", choices=list(DOMAINS))
    rows = read_rows(RESULTS.read_text(encoding="utf-8"))
    for name in parser.parse_args().phantoms:
        domain = DOMAINS[name]
        backbone = ltx_backbone(domain.backbone).eval()
        for kind in KINDS:
            rows[f"{name}, {kind}"] = row(f"{name}, {kind}", measure(domain, kind, backbone))
            print(rows[f"{name}, {kind}"], flush=True)
    RESULTS.write_text(table(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
