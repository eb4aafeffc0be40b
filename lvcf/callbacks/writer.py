"""The prediction writer: one folder per clip, whole or not there; a run that was killed goes on."""

from __future__ import annotations

import hashlib
import json
import sys
from contextlib import ExitStack
from datetime import timedelta
from typing import Any

import torch
import yaml
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import distributed

from lvcf.data.clip import Batch, safe_name, to_frames
from lvcf.datamodules.base import clips_of_shard
from lvcf.edits import Edit
from lvcf.errors import UserError
from lvcf.explanation import VERSIONED, explained, failure
from lvcf.presets import method_label
from lvcf.runs.ranks import orphaned
from lvcf.runs.shapes import SCHEMA_VERSION
from lvcf.runs.shards import without_shard
from lvcf.runs.writer import opened, versions
from lvcf.tasks.counterfactual import CounterfactualTask

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
        self.method = method_label(trainer.callbacks, _task(pl_module).settings.prompt)  # type: ignore[attr-defined]
        problem = self._open(trainer, _task(pl_module)) if trainer.is_global_zero else ""
        problem = trainer.strategy.broadcast(problem)  # the others wait for the folder here
        if problem:
            raise UserError(problem)
        if trainer.world_size > 1:
            self._ranks = distributed.new_group(backend="gloo", timeout=SLOWEST)

    def _open(self, trainer: Trainer, task: CounterfactualTask) -> str:
        """Make the run's folder with its manifest; returns what is wrong, or nothing."""
        manifest = self._manifest(trainer, task)
        clips = clips_of_shard(trainer.datamodule, len(manifest["ids"]))  # type: ignore[attr-defined]  # of the trainer
        run = opened(task.output, manifest, task.configuration, "--model.output", clips)
        try:
            self._lock.enter_context(run)
        except UserError as error:
            return str(error)
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
            "seed": task.settings.seed,
            "target": task.sampler.request.text,
            "tolerance": task.settings.tolerance,
            "prompt": task.settings.prompt,
            "method": self.method,
            "settings": task.settings.recorded(),
            "configuration": fingerprint(task.configuration),
            "target_model": type(task.target_model).__name__,
            "backbone": type(task.backbone).__name__,
            "command": " ".join(["lvcf", *without_shard(sys.argv[1:])]),
            "notice": [text for text in (task.backbone.notice, getattr(clips, "notice", "")) if text],
            "data": str(getattr(clips, "root", "")),
            "versions": versions(*VERSIONED),
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
                trace = {"traceback": task.tracebacks[name]} if name in task.tracebacks else {}
                failure(name, problem, seed=task.settings.seed, **trace).write(task.output)
        for edit in outputs:
            if not task.is_done(edit.id):
                row = batch["id"].index(edit.id)
                known = {"fps": float(batch["fps"][row]), "label": float(batch["label"][row])}
                factual = to_frames(batch["video"][row])
                known["seed"] = task.settings.seed
                explained(edit, factual, task.target_model, self.method, **known).write(task.output)


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
