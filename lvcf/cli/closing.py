"""What lvcf fit says at its end: what was saved where, how good it is, and the command that uses it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from lightning import LightningDataModule, LightningModule
from torch import Tensor

from lvcf.configuration import Node, shipped_sections
from lvcf.models.targets.saving import option_of
from lvcf.tasks.autoencoder import AutoencoderTask
from lvcf.tasks.denoiser import DenoiserTask
from lvcf.tasks.repair import RepairTask
from lvcf.tasks.target import TargetTask
from lvcf.tasks.tiny_decoder import TinyDecoderTask

PREDICT, DENOISER = "own/predict.yaml", "own/denoiser.yaml"
"""For what no shipped configuration reads."""
CARRIED = ("root", "frames", "fps", "size", "fit")
"""Arguments of a training's clips that the next command has to be given too."""


def closing_words(task: LightningModule, data: LightningDataModule, metrics: Mapping[str, Tensor]) -> list[str]:
    """Lines to print after a training; of a task that is not lvcf's own, none.

    Args:
        task: the trained one.
        data: its data module.
        metrics: measured last, by name.
    """
    told = _told(task, getattr(data, "clips", data))
    if not told:
        return []
    kind, following = told
    repaired = _repaired(task) if isinstance(task, RepairTask) else []
    measured = ", ".join(f"{k} {float(v):.4g}" for k, v in sorted(metrics.items()) if k.startswith("val/"))
    return [f"saved {_output(task)}: {kind}{f' ({measured})' if measured else ''}", *repaired, f"next: {following}"]


def _told(task: LightningModule, clips: Any) -> tuple[str, str] | None:
    """What was saved, and what to do with it."""
    if isinstance(task, AutoencoderTask):
        return "the VAE", _train_denoiser(_output(task), clips)
    if isinstance(task, DenoiserTask):
        kind = "the denoiser's LoRA" if task.lora_rank else "the backbone"
        return kind, _explain(_output(task), "lora" if task.lora_rank else "weights", clips)
    if isinstance(task, TargetTask):
        use = f"explain it by lvcf predict with {option_of(task.network, task.output)}"
        judge = f", or let it judge as the oracle by lvcf evaluate RUN --oracle {_output(task)}"
        return type(task.network).__name__, use if isinstance(task, RepairTask) else use + judge
    if isinstance(task, TinyDecoderTask):
        use = f"--trainer.callbacks.GradientGuidance.tiny_decoder {_output(task)}"
        return "the tiny decoder", f"let guidance use it by lvcf predict with {use}"
    return None


def _repaired(task: RepairTask) -> list[str]:
    """A line for every held-out set: each figure before and after."""
    return [
        f"held out, {name}: "
        + ", ".join(f"{k} {task.before[name][k]:.3g} -> {v:.3g}" for k, v in after.items() if k != "clips")
        + f" ({after['clips']:.0f} clips)"
        for name, after in task.after.items()
    ]


def _output(task: LightningModule) -> str:
    return shlex.quote(str(task.output))


def _train_denoiser(vae: str, clips: Any) -> str:
    sections = dict(shipped_sections("fit"))
    for name, section in sections.items():
        data = _arguments(section["data"])
        if section["model"]["class_path"].endswith(".DenoiserTask") and data.get("vae") == vae:
            return f"lvcf fit --config {name}{_carried('data.clips', _arguments(data['clips']), clips)}"
    carried = _carried("data.clips", _arguments(_arguments(sections[DENOISER]["data"])["clips"]), clips)
    return f"lvcf fit --config {DENOISER} --data.vae {vae} --model.backbone.vae {vae}{carried}"


def _explain(folder: str, option: str, clips: Any) -> str:
    sections = dict(shipped_sections("predict"))
    for name, section in sections.items():
        if _arguments(_arguments(section["model"])["backbone"]).get(option) == folder:
            return f"lvcf predict --config {name}{_carried('data', _arguments(section['data']), clips)}"
    use = f"--model.backbone.{option} {folder}"
    if option == "lora":
        return f"use it by lvcf predict with {use}, beside the weights that it was trained on"
    return f"lvcf predict --config {PREDICT} {use}{_carried('data', _arguments(sections[PREDICT]['data']), clips)}"


def _arguments(part: Node) -> Node:
    found: Node = part["init_args"]
    return found


def _carried(option: str, known: Node, clips: Any) -> str:
    """What the clips of the training have otherwise than a configuration says."""
    has = vars(clips) | vars(clips).get("options", {})
    given = {name: has.get(name) for name in CARRIED if name in known}
    other = {name: str(value) for name, value in given.items() if value is not None and str(value) != str(known[name])}
    return "".join(f" --{option}.{name} {shlex.quote(value)}" for name, value in other.items())
