"""``python -m lvcf.models.pack FROM TO [PART ...]``: copy trained parts as 16-bit safetensors, with a model card."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file, save_file


class Weights(NamedTuple):
    """What a folder of shipped weights holds.

    Attributes:
        command: the target of make that trains it.
        parts: folders with safetensors.
        trainings: names of the logs of its trainings.
        notice: what the backbone has to say wherever it is used.
        made: how it was made, in Markdown.
    """

    command: str
    parts: tuple[str, ...]
    trainings: tuple[str, ...]
    notice: str
    made: str


ELSEWHERE = ("vae", "text_encoder", "tokenizer", "scheduler")
"""Parts that a denoiser with given frames shares with its backbone, and that are not copied twice."""
SHIPPED = {
    "phantom": Weights(
        "weights",
        ("backbone", "target", "target_right", "oracle", "reader"),
        ("autoencoder", "denoiser", "denoiser_longer", "detail_decoder", "target", "target_right", "oracle", "reader"),
        "The default weights were trained on simulated echocardiograms only; on real ones they are a demonstration.",
        "2000 simulated clips (`lvcf simulate echo --n 2000 --seed 1`, split 80/10/10) and, for the denoiser's second\n"
        "cycle, 4000 more (`--n 4000 --seed 11`); for `target_right` 600 of the first again without the set's codec\n"
        "(`lvcf simulate echo_exact --n 600 --seed 1`), for `reader` 600 of the first and 1200\n"
        "more (`--seed 31`); then\n"
        "`configs/phantom/{autoencoder,target,oracle,denoiser,denoiser_longer,detail_decoder,target_right}.yaml` and\n"
        "`configs/phantom/latent_reader.yaml`.",
    ),
    "face_motion": Weights(
        "weights-face-motion",
        (
            "backbone",
            "given",
            "face_target",
            "face_target_right",
            "face_oracle",
            "face_attributes",
            "face_reader",
            "motion_target",
            "motion_target_right",
            "motion_reader",
        ),
        (
            "autoencoder",
            "denoiser",
            "denoiser_longer",
            "denoiser_do",
            "denoiser_given",
            "detail_decoder",
            "face_target",
            "face_target_right",
            "face_target_right_longer",
            "face_oracle",
            "face_attributes",
            "face_reader",
            "motion_target",
            "motion_target_right",
            "motion_reader",
        ),
        "The weights of the face and motion phantoms were trained on simulated clips only.",
        "the simulated sets that `configs/face_motion/autoencoder.yaml` names; then\n"
        "`configs/face_motion/{autoencoder,denoiser,denoiser_longer,denoiser_do}.yaml`,\n"
        "`configs/face_motion/{denoiser_given,detail_decoder}.yaml` for `given`;\n"
        "`configs/{face,motion}/{target,target_right,latent_reader}.yaml`,\n"
        "`configs/face/{oracle,attributes,target_right_longer}.yaml`;\n"
        "`face_target_right` is the mean of `face_target` and of both trainings after it (`lvcf.models.soup`).\n"
        "Of trainings in pieces, as the configurations tell, the last piece is shown.",
    ),
}
"""Every folder below ``lvcf/weights``, present or to come."""


def pack(source: Path, destination: Path, parts: tuple[str, ...] = ()) -> int:
    """Copy parts of ``source``, a folder named as one of ``SHIPPED``; returns the bytes of the copies.

    Args:
        source: the trained parts.
        destination: where the copies go.
        parts: their names; all of them without.
    """
    shipped = SHIPPED[source.name]
    for part in parts or shipped.parts:
        left_out = ["README.md", *(ELSEWHERE if part == "given" else ())]
        shutil.rmtree(destination / part, ignore_errors=True)
        shutil.copytree(source / part, destination / part, ignore=shutil.ignore_patterns(*left_out))
        for path in (destination / part).rglob("*.safetensors"):
            halves = {k: v.half() if v.dtype == torch.float32 else v for k, v in load_file(path).items()}
            save_file(halves, path, metadata={"format": "pt"})
        for path in (destination / part).rglob("config.json"):
            without = {k: v for k, v in json.loads(path.read_text()).items() if k != "_name_or_path"}
            path.write_text(json.dumps(without, indent=2) + "\n")  # where it was trained is nobody's business
    for index in destination.glob("*/model_index.json"):
        index.write_text(json.dumps({**json.loads(index.read_text()), "_notice": shipped.notice}, indent=2) + "\n")
    card_file = destination / "README.md"
    known = card_file.read_text() if card_file.is_file() else ""
    card_file.write_text(card(source.name, source / "logs", known))
    return sum(path.stat().st_size for path in destination.rglob("*.safetensors"))


def card(name: str, logs: Path, known: str = "") -> str:
    """The model card: data, steps, minutes and the last metrics of every training, read from its log.

    Args:
        name: of the shipped weights.
        logs: of the trainings.
        known: the card so far, which tells of trainings whose log is not there.
    """
    shipped = SHIPPED[name]
    lines = [
        f"---\nlicense: apache-2.0\n---\n# Default weights: {name} (simulated)\n",
        shipped.notice,
        f"\nMade by `make {shipped.command}`: {shipped.made}",
        "16-bit; computed in float32.\n",
        "| training | steps | minutes | last validation, at step |\n|---|---|---|---|",
    ]
    rows_so_far = {line.split(" | ")[0]: line for line in known.splitlines()}
    for training in shipped.trainings:
        if not (logs / training).is_dir():
            lines.append(rows_so_far[f"| {training}"])
            continue
        newest = max((logs / training).glob("version_*/metrics.csv"), key=lambda path: path.stat().st_mtime)
        rows = list(csv.DictReader(newest.open()))
        measured = next(row for row in reversed(rows) if any(v for k, v in row.items() if k.startswith("val/")))
        values = ", ".join(f"{k} {float(v):.4g}" for k, v in measured.items() if k.startswith("val/") and v)
        steps, at = int(rows[-1]["step"]) + 1, int(measured["step"]) + 1
        lines.append(f"| {training} | {steps} | {_minutes(newest)} | {values}, at {at} |")
    return "\n".join(lines) + "\n"


def _minutes(metrics: Path) -> str:
    """From the configuration that a training writes first to the last row of its log."""
    first = metrics.with_name("config.yaml")
    return f"{(metrics.stat().st_mtime - first.stat().st_mtime) / 60:.0f}" if first.exists() else "not logged"


if __name__ == "__main__":
    size = pack(Path(sys.argv[1]), Path(sys.argv[2]), tuple(sys.argv[3:]))
    print(f"{sys.argv[2]}: {size / 1e6:.2f} MB of weights")
