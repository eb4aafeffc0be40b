"""Guidance through the tiny decoder against guidance through the VAE's: gradients, time, and what comes out.

    lvcf fit --config phantom/tiny_decoder.yaml
    lvcf ablate --config ablations/tiny_decoder.yaml --n 16
    python benchmarks/tiny_decoder.py

The two gradients are taken at the same points, the clean estimates on the way of ``phantom.yaml`` under AGG (through
the VAE's decoder), at every step.  MAE and the ejection fraction in the pixels are the ablation's; what has not been
run is told as unavailable.  Writes ``benchmarks/results/tiny_decoder.{json,md}``.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning import Trainer
from torch.nn import functional

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.cli.ablate import slug
from lvcf.configuration import read_section
from lvcf.datamodules.echonet import EchoNetDataModule
from lvcf.files import read_optional, write_json
from lvcf.guidance.gradient import target_gradient
from lvcf.guidance.weight import AdaptiveWeight
from lvcf.models.backbones.ltx import ltx_backbone
from lvcf.models.backbones.tiny_decoder import TinyDecoder, load_tiny_decoder
from lvcf.models.targets.ejection_fraction import echo_resnet_3d
from lvcf.sampling import Read, SamplingCallback, SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask

RESULTS = Path("benchmarks/results")
ABLATION = "ablations/tiny_decoder.yaml"
MEASURES = {
    "MAE": "adherence/mae",
    "pixel EF off": "truth/pixel_ef_error",
    "oracle EF off": "truth/oracle_ef_error",
    "s/clip": "cost/seconds",
}


class Compare(SamplingCallback):
    """Takes both gradients at every clean estimate; keeps their cosines by time, and the seconds of each."""

    def __init__(self, tiny: TinyDecoder) -> None:
        self.tiny = tiny
        self.cosines: dict[float, list[float]] = defaultdict(list)
        self.seconds: dict[str, float] = defaultdict(float)

    def on_sampling_start(self, state: SamplingState) -> None:
        self.tiny_read = state.read_through(self.tiny.to(state.z.device))

    def on_clean_estimate(self, state: SamplingState) -> None:
        true = self._gradient(state, "true", state.read)
        tiny = self._gradient(state, "tiny", self.tiny_read)
        cosines = functional.cosine_similarity(true.flatten(1), tiny.flatten(1))
        for t, cosine in zip(state.t.tolist(), cosines.tolist(), strict=True):
            self.cosines[round(t, 3)].append(cosine)

    def _gradient(self, state: SamplingState, name: str, read: Read) -> torch.Tensor:
        started = time.perf_counter()
        seen = state.clean + state.offset
        gradient, _ = target_gradient(state.reader(state.rows, read), seen, state.goal[state.rows])
        if seen.is_cuda:
            torch.cuda.synchronize()
        self.seconds[name] += time.perf_counter() - started
        return gradient


def gradients(tiny: str, data: Path, clips: int, batch_size: int) -> dict[str, Any]:
    """Cosines by time and the ratio of the seconds, over ``clips`` clips of the echo phantom."""
    asked = read_section("phantom.yaml", "predict")["model"]["init_args"]
    settings = {k: v for k, v in asked.items() if k not in ("backbone", "target_model", "output")}
    compare = Compare(load_tiny_decoder(tiny).eval().requires_grad_(False))
    guidance = GradientGuidance(AdaptiveWeight(lambda_min=0.02, lambda_max=0.1, alpha=4.0), samples=1, noise=0.2)
    with tempfile.TemporaryDirectory() as output:
        models = ltx_backbone("phantom/backbone"), echo_resnet_3d("phantom/target")
        task = CounterfactualTask(*models, output=Path(output), **settings)
        trainer = Trainer(
            logger=False,
            inference_mode=False,
            limit_predict_batches=-(-clips // batch_size),
            callbacks=[compare, guidance],
        )
        trainer.predict(task, EchoNetDataModule(root=data, predict_split="all", batch_size=batch_size))
    steps = [
        {"t": t, "n": len(found), "cosine": float(np.mean(found)), "lowest": min(found)}
        for t, found in sorted(compare.cosines.items(), reverse=True)
    ]
    everything = [cosine for found in compare.cosines.values() for cosine in found]
    return {
        "clips": clips,
        "seconds": dict(compare.seconds),
        "time_ratio": compare.seconds["true"] / compare.seconds["tiny"],
        "cosine": float(np.mean(everything)),
        "steps": steps,
    }


def cells() -> dict[str, dict[str, Any]]:
    """What the ablation measured, or that it has not been run."""
    plan = read_section(ABLATION, "ablate")
    rows = {}
    for name in plan["cases"]:
        metrics = read_optional(Path(plan["output"]) / slug(name) / "metrics.json")
        missing = f"unavailable: run lvcf ablate --config {ABLATION}"
        rows[name] = {k: metrics.get(key, "unavailable") if metrics else missing for k, key in MEASURES.items()}
        rows[name]["n"] = metrics["n"] if metrics else 0
    return rows


def table(found: dict[str, Any], rows: dict[str, dict[str, Any]]) -> str:
    """Markdown."""
    lines = [
        "Simulated clips; made by `python benchmarks/tiny_decoder.py`.",
        "",
        f"One gradient (decoder and target model, forwards and backwards) through the VAE's decoder takes "
        f"{found['time_ratio']:.2f} times as long as through the tiny decoder; the cosine of both gradients is "
        f"{found['cosine']:.3f} on the mean of all steps of {found['clips']} clips.",
        "",
        "| t | cosine, mean | lowest |",
        "|---|---|---|",
        *(f"| {step['t']:.3f} | {step['cosine']:.3f} | {step['lowest']:.3f} |" for step in found["steps"]),
        "",
        "| guidance | n | " + " | ".join(MEASURES) + " |",
        "|" + "---|" * (2 + len(MEASURES)),
    ]
    for name, row in rows.items():
        values = [f"{row[k]:.2f}" if isinstance(row[k], float) else str(row[k]) for k in MEASURES]
        lines.append(f"| {name} | {row['n']} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write both files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", default="runs/weights/phantom/tiny_decoder", help="the tiny decoder")
    parser.add_argument("--data", type=Path, default=Path("runs/data/echo_bench"), help="simulated echo clips")
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--batch-size", type=int, default=4)
    options = parser.parse_args()
    found, rows = gradients(options.tiny, options.data, options.clips, options.batch_size), cells()
    write_json(RESULTS / "tiny_decoder.json", {"gradients": found, "guidance": rows})
    (RESULTS / "tiny_decoder.md").write_text(table(found, rows))
    print(table(found, rows))


if __name__ == "__main__":
    main()
