"""Weights & Biases for Lightning's verbs: online with an account, offline without; nothing is uploaded unasked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only

from lvcf.errors import UserError
from lvcf.wandb_runs.names import Place
from lvcf.wandb_runs.start import default_project, mode, settings


class RunLogger(WandbLogger):
    """A WandbLogger that knows what its run calls clips, and ends with the verb.

    Args:
        place: project, group, name and whether clips' names are hashed.
        save_dir: where offline runs and local files go, below ``wandb/``.
        job_type: the verb.
    """

    def __init__(self, place: Place, save_dir: Path, job_type: str | None) -> None:
        self.place = place
        super().__init__(
            project=place.project,
            group=place.group or None,
            name=place.name or None,
            job_type=job_type,
            save_dir=save_dir,
            offline=mode() == "offline",
            settings=settings(save_dir, place.hash_ids),
        )

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """End the run, if it was begun: the next verb in this process begins its own."""
        import wandb

        super().finalize(status)
        if wandb.run is not None:
            wandb.run.finish(exit_code=int(status != "success"))


def wandb_logger(
    project: str | None = None,
    name: str | None = None,
    save_dir: Path | None = None,
    group: str | None = None,
    job_type: str | None = None,
    hash_ids: bool = True,
) -> WandbLogger:
    """A logger that writes to the account in WANDB_API_KEY or ~/.netrc, or else offline (``wandb sync`` later).

    On the command line what is left out follows from the verb and its output folder (:func:`complete`).

    Args:
        project: the W&B project; by default WANDB_PROJECT, or lvcf.
        name: the run's name.
        save_dir: where offline runs and local files go, by default ``runs``.
        group: runs that belong together.
        job_type: the verb.
        hash_ids: call clips by salted hashes of their names, hide the data's paths, and leave out what the client
            collects by itself (console output, command line, git state, machine).
    """
    folder = (save_dir or Path("runs")).resolve()  # the client writes from a process with a folder of its own
    folder.mkdir(parents=True, exist_ok=True)
    place = Place(project or default_project(), group or "", name or "", hash_ids, "")
    return RunLogger(place, folder, job_type)


def complete(logger: Any, verb: str, output: Path | None) -> None:
    """Fill in what the command line left out of every :func:`wandb_logger` in ``trainer.logger``, in place.

    Args:
        logger: the parsed ``trainer.logger``.
        verb: becomes the job type.
        output: the task's output: its name is the run's and the group's.  predict writes below it.
    """
    for entry in logger if isinstance(logger, list) else [logger]:
        if isinstance(entry, Namespace) and entry.class_path == f"{__name__}.{wandb_logger.__name__}":
            name = entry.init_args.name or (output.resolve().name if output else None)
            known = {"name": name, "group": name, "job_type": verb, "save_dir": output if verb == "predict" else None}
            for key, value in known.items():
                entry.init_args[key] = entry.init_args[key] or value


def check_loggers(loggers: list[Logger]) -> None:
    """Before predict's loggers begin their runs.

    Raises:
        UserError: one would log to W&B under the clips' names without having been asked to.
    """
    if any(isinstance(logger, WandbLogger) and not isinstance(logger, RunLogger) for logger in loggers):
        raise UserError(
            "trainer.logger WandbLogger: it would log the clips' names; choose lvcf.tracking.wandb_logger, and its "
            "hash_ids=false if the names may be logged"
        )
