"""Does an explanation hang on what it explains?  The sanity check of Adebayo et al. (2018), on the echo phantom.

    lvcf simulate echo --out runs/data/echo_bench --n 64 --seed 200
    python benchmarks/sanity.py --n 16

The same clips are explained three times, with the full method of ``phantom.yaml`` and the neutral prompt, so that M
alone guides: M itself, M with its weights drawn anew under the same noise, and M itself under another seed.  Every run
asks for the same change of M's reading; clips of which that would lead outside what M can say, in one of the runs
compared, are left out.  Compared are the signed differences to the factual clips, smoothed with 2 px;
beside them those of the edit alone, without what the VAE blurs inside the mask, which every run has in common.
Writes ``benchmarks/results/sanity.md``; what is predicted already is not predicted again.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lvcf.data.echonet import EchoNetDataset
from lvcf.measure.clip import clips_of
from lvcf.metrics.change import change_correlation
from lvcf.metrics.statistics import Values, mean_interval
from lvcf.models.backbones.base import Backbone
from lvcf.models.backbones.ltx import ltx_backbone
from lvcf.models.targets.ejection_fraction import EchoResNet3D, echo_resnet_3d
from lvcf.runs.folder import Prediction, read_predictions

RESULTS = Path("benchmarks/results/sanity.md")
TARGET = "delta:-20"
"""Points of EF; a target that neither the seed nor M's weights draw."""
BATCH = 4
STATISTICS = 16
"""Clips whose readings keep their mean and deviation; the weights do not hang on ``--n``."""
ASKED = {"weights drawn anew": "below 0.3", "another seed": "above 0.7"}


class Alike(NamedTuple):
    """Correlations of two runs' explanations, one per clip; NaN where one of them changes nothing."""

    clips: Values
    edits: Values


@torch.no_grad()
def randomise(model: EchoResNet3D, clips: Tensor, seed: int) -> None:
    """Draw every weight anew, in place, so that the readings of ``clips`` keep their mean and deviation.

    Args:
        model: the target model.
        clips: ``(n, 3, T, H, W)`` in [-1, 1], two or more.
        seed: of the weights.
    """
    wanted = scores(model, clips)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for module in model.modules():
            if isinstance(module, nn.GroupNorm):  # its own initial values are the same for every seed
                nn.init.normal_(module.weight, 1.0, 0.1)
                nn.init.normal_(module.bias, 0.0, 0.1)
            elif isinstance(module, nn.Conv3d | nn.Linear):
                module.reset_parameters()
    found = scores(model, clips)
    gain = wanted.std() / found.std()
    model.head.weight *= gain
    model.head.bias.copy_(gain * model.head.bias + wanted.mean() - gain * found.mean())


def scores(model: EchoResNet3D, clips: Tensor) -> Tensor:
    """M's readings ``(n,)`` in standard deviations."""
    return torch.cat([model.scores(clip[None])[:, 0] for clip in clips])


def arguments(output: Path, data: Path, n: int, change: str) -> list[str]:
    """Of ``lvcf``, to explain the first ``n`` clips (rounded up to whole batches), with one option changed."""
    model = [f"--model.output={output}", "--model.prompt=neutral", f"--model.target={TARGET}", change]
    batches = [f"--data.root={data}", f"--data.batch_size={BATCH}", f"--trainer.limit_predict_batches={-(-n // BATCH)}"]
    return ["predict", "--config", "phantom.yaml", *model, *batches]


def predict(command: list[str], output: Path) -> list[Prediction]:
    """Run ``lvcf``; what is predicted already is not predicted again."""
    subprocess.run([sys.executable, "-m", "lvcf", *command], check=True)
    return read_predictions(output)


@torch.no_grad()
def edit_alone(prediction: Prediction, backbone: Backbone) -> Tensor:
    """final - x - m (d_ref - x): what is left of the signed difference without the VAE's blur inside the mask."""
    final, factual = clips_of(prediction)
    reconstruction = backbone.decode(backbone.encode(factual[None]), factual.shape[1])[0]
    mask = torch.from_numpy(np.load(prediction.folder / "mask.npz")["mask"] / 255.0).float()
    return final - factual - mask * (reconstruction - factual)


def inside(run: list[Prediction]) -> dict[str, Prediction]:
    """The explanations whose target M can say, as it was asked, by the clip's name."""
    return {p.id: p for p in run if not (p.failed or p.result["target_clipped"])}


def compare(ours: list[Prediction], theirs: list[Prediction], backbone: Backbone) -> Alike:
    """How alike two runs' explanations of the same clips are."""
    others, clips, edits = inside(theirs), [], []
    for one in (p for p in inside(ours).values() if p.id in others):
        pair = (one, others[one.id])
        clips.append(change_correlation(*(final - factual for final, factual in map(clips_of, pair))))
        edits.append(change_correlation(*(edit_alone(prediction, backbone) for prediction in pair)))
    return Alike(np.array(clips), np.array(edits))


def shown(values: Values) -> str:
    """The mean over the clips that have a value, with its bootstrap interval."""
    known = values[~np.isnan(values)]
    if not len(known):
        return "unavailable: an explanation of every clip changes nothing"
    found = mean_interval(known)
    told = f"{known.mean():.3f}" + ("" if found is None else f" [{found.low:.3f}, {found.high:.3f}]")
    return told if len(known) == len(values) else f"{told}, n = {len(known)}"


def table(found: dict[str, Alike], reached: dict[str, str], n: int) -> str:
    """Markdown."""
    lines = [
        f"Simulated clips; made by `python benchmarks/sanity.py --n {n}`.  Neutral prompt, target `{TARGET}`; n counts",
        f"the clips of {n} whose target lies within what the model can say, in both runs compared.",
        "",
        "Correlation of an explanation with that of M itself: mean over the clips and its 95 % interval.",
        "",
        "| explanation by | n | signed difference | edit alone | asked for | target reached |",
        "|---|---|---|---|---|---|",
    ]
    for name, alike in found.items():
        figures = f"{shown(alike.clips)} | {shown(alike.edits)}"
        lines.append(f"| {name} | {len(alike.clips)} | {figures} | {ASKED[name]} | {reached[name]} |")
    itself = reached["M itself"]
    return "\n".join([*lines, f"| M itself | {itself.rpartition(' ')[2]} | 1 | 1 | | {itself} |"]) + "\n"


def main() -> None:
    """Predict what is missing, compare, write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=24, help="clips (rounded up to whole batches)")
    parser.add_argument("--data", type=Path, default=Path("runs/data/echo_bench"), help="simulated echo clips")
    parser.add_argument("--output", type=Path, default=Path("runs/sanity"), help="folder of the three runs")
    options = parser.parse_args()
    model, clips = echo_resnet_3d("phantom/target").freeze(), EchoNetDataset(options.data, "all")
    randomise(model, torch.stack([clips[i]["video"] for i in range(min(STATISTICS, len(clips)))]), seed=0)
    model.save_pretrained(options.output / "randomised_target")
    changes = {
        "M itself": "--model.seed=0",
        "weights drawn anew": f"--model.target_model.weights={options.output / 'randomised_target'}",
        "another seed": "--model.seed=1",
    }
    folders = {name: options.output / name.lower().replace(" ", "_") for name in changes}
    runs = {
        name: predict(arguments(folders[name], options.data, options.n, change), folders[name])
        for name, change in changes.items()
    }
    asked = {name: inside(run).values() for name, run in runs.items()}
    reached = {name: f"{sum(p.status == 'reached' for p in run)} of {len(run)}" for name, run in asked.items()}
    backbone = ltx_backbone("phantom/backbone").eval()
    found = {name: compare(runs[name], runs["M itself"], backbone) for name in ASKED}
    text = table(found, reached, len(runs["M itself"]))
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
