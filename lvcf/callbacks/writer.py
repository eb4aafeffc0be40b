"""The prediction writer: one folder per clip, whole or not there; a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sys
from contextlib import ExitStack
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor, distributed

from lvcf.callbacks.sampling import finite
from lvcf.data.clip import Batch, safe_name, to_clip, to_frames
from lvcf.data.video import Frames, read_video, write_lossless, write_preview
from lvcf.errors import UserError, told
from lvcf.files import write_json
from lvcf.lock import locked
from lvcf.methods import method_label
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.check import of_the_setup
from lvcf.ranks import orphaned
from lvcf.report.panel import panel_frames
from lvcf.run_folder import read_record
from lvcf.tasks.counterfactual import CounterfactualTask
from lvcf.tasks.edits import Edit

SCHEMA_VERSION = 2
VERSIONED = ("lvcf", "torch", "lightning", "diffusers", "transformers")
UNCOMPARED = ("command", "versions", "threads", "ranks", "configuration", "data", "notice")
"""Entries of the manifest that may differ in a resumed run, or that are looked at last."""
SLOWEST = timedelta(days=365)
"""How long ranks wait for the last one; the process group's own half an hour may be less than one batch."""


class PredictionWriter(Callback):
    """Writes every clip's ``predictions/<id>/`` and the run's ``manifest.json``."""

    def __init__(self) -> None:
        self.method = ""  # after the callbacks that take part in sampling, for tables and the report
        self._ranks: Any = None  # the process group they meet in at the end
        self._lock = ExitStack()  # on the run's folder

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Tell the data module which clips are done, so that only the others are divided among the ranks."""
        if stage == "predict":
            trainer.datamodule.is_finished = _task(pl_module).is_done  # type: ignore[attr-defined]  # of the trainer

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the manifest, or check that a half-done run here is this one; rank 0 does, for all.

        Raises:
            UserError: the folder holds another run, or cannot be written.
        """
        self.method = method_label(trainer.callbacks, _task(pl_module).prompt)  # type: ignore[attr-defined]
        problem = self._open(trainer, _task(pl_module)) if trainer.is_global_zero else ""
        problem = trainer.strategy.broadcast(problem)  # the others wait for the folder here
        if problem:
            raise UserError(problem)
        if trainer.world_size > 1:
            self._ranks = distributed.new_group(backend="gloo", timeout=SLOWEST)

    def _open(self, trainer: Trainer, task: CounterfactualTask) -> str:
        """Make the run's folder with its manifest; returns what is wrong, or nothing."""
        manifest, path = self._manifest(trainer, task), task.output / "manifest.json"
        try:
            task.make_output()
            self._lock.enter_context(locked(task.output))
            if path.exists():
                _check_same(path, read_record(path), manifest)
        except UserError as error:
            return str(error)
        write_json(path, manifest)
        (task.output / "config.yaml").write_text(task.configuration, encoding="utf-8")
        return ""

    def on_predict_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """Nothing is half done now, so it is the place to stop.

        Raises:
            UserError: SIGTERM came, or rank 0 was killed.
        """
        if trainer.received_sigterm or orphaned():
            raise UserError("stopped from outside; the same command goes on where it stopped")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Wait for the other ranks: after this, the whole run is written.

        Raises:
            UserError: a rank was killed.
        """
        if self._ranks is None:
            return
        try:
            distributed.monitored_barrier(self._ranks, timeout=SLOWEST)
        except RuntimeError as error:
            raise UserError("another process of the run has ended early; the same command does what is left") from error

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let others write into the folder."""
        self._lock.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let others write into the folder."""
        self._lock.close()

    def _manifest(self, trainer: Trainer, task: CounterfactualTask) -> dict[str, Any]:
        clips: Any = trainer.predict_dataloaders.dataset  # type: ignore[union-attr]  # set before predict starts
        data: Any = trainer.datamodule  # type: ignore[attr-defined]  # of the trainer, not of its type
        return {
            "schema_version": SCHEMA_VERSION,
            "ids": [safe_name(name) for name in clips.ids],
            "batch_size": data.batch_size,
            "threads": torch.get_num_threads(),
            "ranks": trainer.world_size,
            "seed": task.seed,
            "target": task.request.text,
            "tolerance": task.tolerance,
            "prompt": task.prompt,
            "method": self.method,
            "settings": task.settings(),
            "configuration": fingerprint(task.configuration),
            "target_model": type(task.target_model).__name__,
            "backbone": type(task.backbone).__name__,
            "command": " ".join(["lvcf", *sys.argv[1:]]),
            "notice": [text for text in (task.backbone.notice, getattr(clips, "notice", "")) if text],
            "data": str(getattr(clips, "root", "")),
            "versions": {name: version(name) for name in VERSIONED},
        }

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: list[Edit],
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write what is not there yet."""
        task = _task(pl_module)
        for name, problem in zip(batch["id"], batch["error"], strict=True):
            if problem and not task.is_done(name):
                self._write_failed(task, name, problem)
        for edit in outputs:
            folder = task.output / "predictions" / safe_name(edit.id)
            if not task.is_done(edit.id):
                row = batch["id"].index(edit.id)
                known = {"fps": float(batch["fps"][row]), "label": _label(task, float(batch["label"][row]))}
                problem = self._write(task, folder, edit, to_frames(batch["video"][row]), known)
                if problem:
                    self._write_failed(task, edit.id, problem)

    def _write_failed(self, task: CounterfactualTask, name: str, problem: str) -> None:
        folder = task.output / "predictions" / safe_name(name)
        folder.mkdir(parents=True, exist_ok=True)
        facts = {"schema_version": SCHEMA_VERSION, "id": safe_name(name), "status": "failed", "hint": problem}
        trace = {"traceback": task.tracebacks[name]} if name in task.tracebacks else {}
        write_json(folder / "result.json", {**facts, "seed": task.seed, **trace})

    def _write(self, task: CounterfactualTask, folder: Path, edit: Edit, factual: Frames, known: dict[str, Any]) -> str:
        """Write the clip's folder; returns why M has no verdict on it, and then nothing is left, or nothing."""
        partial = folder.with_name(f".{folder.name}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        counterfactual = to_frames(edit.video)
        mask = (edit.mask[0].cpu().numpy() * 255.0).round().astype(np.uint8)
        fps = known["fps"]
        write_lossless(partial / "factual.mkv", factual, fps)
        write_lossless(partial / "counterfactual.mkv", counterfactual, fps)
        output, problem = _reading(task, edit, partial)
        if problem:
            shutil.rmtree(partial)
            return problem
        np.savez_compressed(partial / "mask.npz", mask=mask)
        write_preview(partial / "panel.mp4", panel_frames(factual, counterfactual, mask / 255.0), fps)
        known |= {"mask_share": float((mask > 127).mean())}
        write_json(partial / "result.json", self._facts(task, edit, output, known))
        shutil.rmtree(folder, ignore_errors=True)  # a failed attempt's
        partial.replace(folder)
        return ""

    def _facts(self, task: CounterfactualTask, edit: Edit, output: Tensor, known: dict[str, Any]) -> dict[str, Any]:
        """``result.json``, given M's output on the saved file."""
        after = float(edit.goal.reading(output)[0])
        reached = bool(edit.goal.reached(output)[0])
        model = task.target_model
        return {
            "schema_version": SCHEMA_VERSION,
            "id": safe_name(edit.id),
            "status": "reached" if reached else "not_reached",
            "hint": "" if reached else _hint(edit, after, model),
            "task": model.task,
            "unit": model.unit if model.task == "regression" else "probability",
            **edit.facts,
            "prediction_after": after,
            "class_after": model.class_of(output[0], float(edit.goal.low)),
            "seed": task.seed,
            "method": self.method,
            **known,
            "frames": edit.video.shape[1],
            "versions": {name: version(name) for name in VERSIONED},
        }


def _reading(task: CounterfactualTask, edit: Edit, folder: Path) -> tuple[Tensor, str]:
    """M's output ``(1, ...)`` on the saved counterfactual, and why that is no verdict, or nothing."""
    saved = to_clip(read_video(folder / "counterfactual.mkv").frames, edit.video.shape[-1])
    try:
        output = task.judge(saved[None].to(task.device))
    except Exception as error:  # M may be anybody's
        if of_the_setup(error):
            raise
        return torch.zeros(0), f"the target model fails on the saved counterfactual: {told(error)}"
    if not finite(output).all():
        return output, "the target model's output is not a finite number on the saved counterfactual"
    return output, ""


def fingerprint(configuration: str) -> str:
    """Of what decides the result: models, data, callbacks, precision; not where it goes or on how many threads."""
    if not configuration:
        return ""
    content = yaml.safe_load(configuration)
    model = content["model"]
    model["init_args"] = {k: v for k, v in model["init_args"].items() if k != "output" and v is not None}
    content["data"].get("init_args", {}).pop("num_workers", None)
    trainer = {key: content["trainer"].get(key) for key in ("callbacks", "precision")}
    kept = {"model": model, "data": content["data"], "trainer": trainer}
    return hashlib.sha256(json.dumps(kept, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _task(module: LightningModule) -> CounterfactualTask:
    if not isinstance(module, CounterfactualTask):
        raise UserError(
            f"the prediction writer needs a CounterfactualTask, not {type(module).__name__}; correct model:"
        )
    return module


def _check_same(path: Path, old: dict[str, Any], new: dict[str, Any]) -> None:
    """A resumed run must be the same run: other noise, batches or settings would mix two experiments."""
    named = [key for key in new if key not in UNCOMPARED]
    differing = [key for key in named if old.get(key) != new[key]]
    differing = differing or [key for key in ("data", "configuration") if old.get(key) != new[key]]
    if differing:
        other = ", ".join(differing)
        raise UserError(f"{path.parent}: holds a run with another {other}; choose another --model.output or delete it")


def _label(task: CounterfactualTask, label: float) -> str | float | None:
    """The clip's label: a class's name, or a value; None where it is unknown, or M knows no such class."""
    labels = task.target_model.labels
    if task.target_model.task == "regression":
        return label if math.isfinite(label) else None
    return labels[int(label)] if label in range(len(labels)) else None


def _hint(edit: Edit, after: float, model: TargetModel) -> str:
    text = edit.facts["target"]["text"]
    reading = f"reads {after:.1f} {model.unit} on the saved clip, target {text}"
    if model.task == "classification":
        reading = f"gives '{text}' a probability of {after:.2f} on the saved clip"
    return (
        f"the model {reading}; try more --model.steps, a larger guidance weight, the prompt 'target', or the "
        "LastCorrection callback"
    )
