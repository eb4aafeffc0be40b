"""fit, validate, test and predict: LightningCLI over a verb's section of a configuration file."""

from __future__ import annotations

import os
import re
import sys
import warnings
from argparse import ArgumentError
from collections import Counter
from pathlib import Path

import torch
import yaml
from jsonargparse.typing import PositiveInt
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.memory import is_oom_error

import lvcf.datamodules.echonet
import lvcf.datamodules.ferv39k
import lvcf.datamodules.predictions
import lvcf.datamodules.ssv2
import lvcf.datamodules.video_folder  # noqa: F401  # makes the classes known by their bare names
from lvcf.callbacks.tracking import RunTracking
from lvcf.configuration import read_section
from lvcf.errors import UserError, cause_of
from lvcf.run_folder import read_predictions
from lvcf.tasks.counterfactual import CounterfactualTask
from lvcf.tracking import check_loggers, complete

QUIET = (
    r".*LightningCLI's args parameter.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*does not have many workers.*",
    r".*Cannot dispatch to fused implementation.*",
)
"""Warnings of the libraries that a user can do nothing about."""
CALLBACK = re.compile(r"--trainer\.callbacks\.[A-Z]\w*(\.\w+)+=.*")
"""One argument of one callback of the configuration; the parser itself knows only the list's last one."""


class LvcfCLI(LightningCLI):
    """LightningCLI with any task and any data module, and the number of CPU threads as an option."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """``--threads``: results are bit-identical at one thread count only, so it is part of the configuration."""
        parser.add_argument("--threads", type=PositiveInt | None, default=None, help="CPU threads of one process")

    def before_instantiate_classes(self) -> None:
        """Set the threads before any model runs; complete W&B loggers."""
        config = self.config[self.subcommand]
        output = config.model.get("init_args.output")  # a user's own task may have none
        complete(config.trainer.logger, str(self.subcommand), Path(output) if output else None)
        threads = config.threads
        if threads is not None:
            torch.set_num_threads(threads)
            os.environ["OMP_NUM_THREADS"] = str(threads)  # else the launcher of several processes sets another number

    def instantiate_classes(self) -> None:
        """Make the objects; refuse a precision that the device lacks before anything is computed."""
        super().instantiate_classes()
        if self.subcommand == "predict":
            check_loggers(self.trainer.loggers)
        if self.trainer.loggers:
            self.trainer.callbacks.append(RunTracking(yaml.safe_load(self._written())))  # type: ignore[attr-defined]
        check_precision(str(self.trainer.precision), self.trainer.strategy.root_device)

    def before_predict(self) -> None:
        """Hand the whole configuration to the task, whose writer keeps it with the run; have M tried."""
        if isinstance(self.model, CounterfactualTask):
            self.model.configuration, self.model.check_model = self._written(), True

    def _written(self) -> str:
        """The verb's whole configuration as YAML."""
        text: str = self._parser(self.subcommand).dump(self.config[self.subcommand])
        return text


def run(verb: str, arguments: list[str]) -> int:
    """Run ``verb``; returns the exit code: 1 if predict finished but a clip failed."""
    sys.path.append(str(Path.cwd()))  # a user's own model lies where the command is typed
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    cli = _lightning([verb, *with_sections(verb, arguments)])
    if verb == "predict" and isinstance(cli.model, CounterfactualTask) and cli.trainer.is_global_zero:
        return summarise(cli.model)
    return 0


def _lightning(arguments: list[str]) -> LvcfCLI:
    """Parse and run.

    Raises:
        UserError: an argument is wrong; the message is the parser's own, in one line.
    """
    try:
        return LvcfCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=None,
            trainer_defaults={"inference_mode": False},
            auto_configure_optimizers=False,
            parser_kwargs={"exit_on_error": False, arguments[0]: {"exit_on_error": False}},
            args=arguments,
        )
    except ArgumentError as error:
        raise UserError(" ".join(str(error).split())[:600]) from error
    except RuntimeError as error:
        if is_oom_error(error):
            raise UserError("out of memory; lower --data.batch_size, or set --trainer.precision bf16-mixed") from error
        raise
    except ValueError as error:
        raise cause_of(error) from error


def check_precision(precision: str, device: torch.device) -> None:
    """Where torch's autocast would fail in the first step.

    Raises:
        UserError: bfloat16 on a GPU without it.
    """
    if precision.startswith("bf16") and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        name = torch.cuda.get_device_name(device)
        raise UserError(f"--trainer.precision {precision}: {name} has no bfloat16; choose 16-mixed or 32-true")


def with_sections(verb: str, arguments: list[str]) -> list[str]:
    """Replace every ``--config NAME`` by the text of the verb's section of that file.

    ``--trainer.callbacks.CLASS.ARGUMENT=VALUE`` changes the callback of that class in the section.

    Raises:
        UserError: a section is not there, or no section has such a callback.
    """
    changes = [argument for argument in arguments if CALLBACK.fullmatch(argument)]
    arguments = [argument for argument in arguments if argument not in changes]
    replaced: list[str] = []
    for i, argument in enumerate(arguments):
        if argument.startswith("--config="):
            replaced += ["--config", _section(argument.partition("=")[2], verb, changes)]
        elif i > 0 and arguments[i - 1] == "--config":
            replaced.append(_section(argument, verb, changes))
        else:
            replaced.append(argument)
    return replaced


def _section(name: str, verb: str, changes: list[str]) -> str:
    """The verb's section of a file as YAML, its callbacks changed."""
    section = read_section(name, verb)
    callbacks = {c["class_path"].rpartition(".")[2]: c for c in section.get("trainer", {}).get("callbacks", [])}
    for change in changes:
        option, _, value = change.partition("=")
        _, _, known, *path = option.split(".")
        if known not in callbacks:
            raise UserError(f"{option}: {name} has no callback {known}; there are {', '.join(callbacks) or 'none'}")
        node = callbacks[known].setdefault("init_args", {})
        for step in path[:-1]:
            node = node.setdefault(step, {})
            node = node.setdefault("init_args", {}) if "class_path" in node else node
        node[path[-1]] = yaml.safe_load(value)
    return yaml.safe_dump(section)


def summarise(task: CounterfactualTask) -> int:
    """Print how the run went and what to do next; 1 if a clip failed."""
    predictions = read_predictions(task.output)
    count = Counter(str(p.result["status"]) for p in predictions)
    told = ", ".join(f"{n} {status}" for status, n in sorted(count.items()))
    print(f"{task.output}: {len(predictions)} clips: {told}")
    for prediction in predictions:
        if prediction.result["status"] != "reached":
            print(f"  {prediction.id}: {prediction.result['status']}: {prediction.result['hint']}")
    print(f"next: lvcf evaluate {task.output} && lvcf report {task.output}")
    return int(count["failed"] > 0)
