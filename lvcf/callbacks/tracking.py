"""What a verb of Lightning's tells its loggers: the configuration; of predict also figures, clips and trajectories."""

from __future__ import annotations

from typing import Any

from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from lvcf.data.clip import safe_name
from lvcf.measure.clip import facts
from lvcf.measure.summary import summarise
from lvcf.runs.folder import read_predictions
from lvcf.tasks.counterfactual import CounterfactualTask
from lvcf.tracking import RunLogger
from lvcf.wandb_runs.clips import log_clips
from lvcf.wandb_runs.names import remember


class RunTracking(Callback):
    """The command line adds it behind the other callbacks wherever there is a logger.

    Clips are logged at the end and from the written folder, so that a resumed run logs all of them.

    Args:
        configuration: of the verb, nested.
    """

    def __init__(self, configuration: dict[str, Any]) -> None:
        self.configuration = configuration

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Log a training's configuration; predict's waits until the clips' names are known."""
        if stage != "predict":
            self._log_configuration(trainer, [])

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the configuration; keep with the run folder where it is logged."""
        clips: Any = trainer.predict_dataloaders.dataset  # type: ignore[union-attr]  # set before predict starts
        if isinstance(pl_module, CounterfactualTask) and trainer.is_global_zero:
            for logger in _wandb(trainer):
                logger.place = remember(pl_module.output, logger.place)
        self._log_configuration(trainer, [safe_name(name) for name in clips.ids])

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log what is known without measuring: adherence and cost to every logger, clips and trajectories to W&B."""
        if not isinstance(pl_module, CounterfactualTask) or not trainer.is_global_zero:
            return
        predictions = read_predictions(pl_module.output)
        metrics = summarise([facts(prediction) for prediction in predictions])
        figures = {key: value for key, value in metrics.items() if isinstance(value, int | float)}
        for logger in trainer.loggers:
            logger.log_metrics(figures)
        for logger in _wandb(trainer):
            log_clips(logger.experiment, predictions, logger.place)

    def _log_configuration(self, trainer: Trainer, clips: list[str]) -> None:
        for logger in trainer.loggers:
            content = self.configuration
            if isinstance(logger, RunLogger):
                content = logger.place.configuration(content, clips)
            logger.log_hyperparams(content)


def _wandb(trainer: Trainer) -> list[RunLogger]:
    return [logger for logger in trainer.loggers if isinstance(logger, RunLogger)]
