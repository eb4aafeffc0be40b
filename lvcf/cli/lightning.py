"""fit, validate, test, predict and repair: LightningCLI over a verb's section of a configuration file."""

from __future__ import annotations

import os
import re
import sys
import traceback
import warnings
from argparse import ArgumentError
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import PositiveInt
from lightning import LightningDataModule, LightningModule
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import Callback, RichProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.memory import is_oom_error

import lvcf.datamodules.echonet
import lvcf.datamodules.ferv39k
import lvcf.datamodules.predictions
import lvcf.datamodules.repair
import lvcf.datamodules.ssv2
import lvcf.datamodules.video_folder  # noqa: F401  # makes the classes known by their bare names
from lvcf.callbacks.progress import StepsProgressBar
from lvcf.callbacks.tracking import RunTracking
from lvcf.callbacks.treatment import TellTreatment
from lvcf.callbacks.writer import PredictionWriter
from lvcf.checkpoint import LockedCheckpoints, SafeCheckpoints, check_path
from lvcf.checks import check_devices, check_threads
from lvcf.cli.closing import closing_words
from lvcf.cli.help import first_words
from lvcf.configuration import MEASURING, with_sections
from lvcf.datamodules.base import ClipDataModule, clips_of_shard
from lvcf.errors import UserError, cause_of, said
from lvcf.parsing import one_line, refuse_empty
from lvcf.runs.folder import made, read_manifest, read_predictions
from lvcf.runs.shards import Shard, parse_shard
from lvcf.tasks.counterfactual import CounterfactualTask
from lvcf.tracking import check_loggers, complete

QUIET = (
    r".*LightningCLI's args parameter.*",
    r".*isinstance\(treespec, LeafSpec\).*",
    r".*does not have many workers.*",
    r".*Cannot dispatch to fused implementation.*",
    r".*is smaller than the logging interval.*",
    r".*module\(s\) in eval mode at the start of training.*",
)
"""Warnings of the libraries that a user can do nothing about."""
NO_CHECKPOINT = r".*there is no last checkpoint available.*"
"""Lightning's warning before it begins anew although it was told to go on."""
TRAINS = {"repair": "fit"}
"""Verbs that train as ``fit`` does, by a section of their own."""
LIBRARIES = ("lightning", "lightning_fabric", "lightning_utilities", "jsonargparse", "torch", "numpy", "yaml")
REFUSED = (
    MisconfigurationException,
    ValueError,
    TypeError,
    ArithmeticError,
    LookupError,
    AttributeError,
    ImportError,
    NotImplementedError,
    UserWarning,
    RecursionError,
    yaml.YAMLError,
)
"""What the libraries raise about an argument."""


class LvcfCLI(LightningCLI):
    """LightningCLI with any task and any data module, and the number of CPU threads as an option."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        with _one_line(self):
            super().__init__(*args, **kwargs)

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """``--threads``: results are bit-identical at one thread count only, so it is part of the configuration."""
        int_before_float(parser)
        parser.add_argument("--threads", type=PositiveInt | None, default=None, help="CPU threads of one process")

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        """``--shard`` is of ``lvcf predict`` alone."""
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            about = "the i-th of n parts of the run's batches, i from 1: for job arrays"
            parser.add_argument("--shard", type=str, metavar="i/n", default="1/1", help=about)
        return parser

    def _parse_ckpt_path(self) -> None:
        """Refuse what is no file; Lightning would also let a file's hyperparameters replace the command line's."""
        config = self.config[self.config.subcommand]
        check_path(config.ckpt_path)
        if self.config.subcommand in MEASURING and config.ckpt_path is None and not _has_weights(config.model):
            raise UserError(
                "measures what a training made: give its checkpoint with --ckpt_path (last: its newest), or a model's "
                "weights"
            )
        if config.weights_only is False:
            raise UserError("--weights_only false: lvcf runs no code out of a checkpoint; leave it out")

    def before_instantiate_classes(self) -> None:
        """Refuse empty entries; set the threads before any model runs; complete W&B loggers."""
        config = self.config[self.subcommand]
        refuse_empty(config)
        self.shard = parse_shard(config.pop("shard", "1/1"))  # the run's configuration is that of all shards
        output = config.model.get("init_args.output")  # a user's own task may have none
        complete(config.trainer.logger, str(self.subcommand), Path(output) if output else None)
        check_devices(config.trainer.devices, config.trainer.accelerator)
        threads = config.threads
        if threads is not None:
            check_threads(threads)
            torch.set_num_threads(threads)
            os.environ["OMP_NUM_THREADS"] = str(threads)  # else the launcher of several processes sets another number

    def instantiate_classes(self) -> None:
        """Make the objects; refuse what the device or the task cannot do before anything is computed."""
        super().instantiate_classes()
        self.trainer.strategy.checkpoint_io = SafeCheckpoints()
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]
        callbacks[:] = [StepsProgressBar() if type(one) is RichProgressBar else one for one in callbacks]
        if self.subcommand == "fit":
            callbacks.append(LockedCheckpoints())
        if self.subcommand == "predict":
            check_loggers(self.trainer.loggers)
            callbacks.append(TellTreatment())
        if self.trainer.loggers:
            callbacks.append(RunTracking(yaml.safe_load(self._written())))
        check_precision(str(self.trainer.precision), self.trainer.strategy.root_device)
        if isinstance(self.model, CounterfactualTask):
            check_counterfactual(str(self.trainer.precision), self.config[self.subcommand].trainer.inference_mode)
            if not any(isinstance(callback, PredictionWriter) for callback in callbacks):
                raise UserError("trainer.callbacks: no PredictionWriter among them, so nothing would be kept; add one")

    def before_predict(self) -> None:
        """Hand the whole configuration to the task, whose writer keeps it with the run; have M tried.

        Raises:
            UserError: a data module that is no ``ClipDataModule`` is to be divided.
        """
        if isinstance(self.model, CounterfactualTask):
            self.model.configuration, self.model.check_model = self._written(), True
        if isinstance(self.datamodule, ClipDataModule):
            self.datamodule.shard = self.shard
        elif self.shard != (1, 1):
            name = type(self.datamodule).__name__
            raise UserError(f"--shard: {name} is no ClipDataModule, so it has no parts; leave --shard out")

    def after_fit(self) -> None:
        """Say what was saved and what uses it."""
        if self.trainer.is_global_zero:
            print(*closing_words(self.model, self.datamodule, self.trainer.callback_metrics), sep="\n")

    def predict(self, **options: Any) -> None:
        """Predict without keeping the edits in memory: they are written."""
        self.trainer.predict(**{**options, "return_predictions": False})

    def settings(self) -> dict[str, Any]:
        """The verb's own settings and the trainer's, by option; none before they are parsed."""
        if not hasattr(self, "config"):
            return {}
        verb = self.config[self.config.subcommand]
        found = {f"--{key}": value for key, value in vars(verb).items() if key not in ("config", "trainer")}
        return found | {f"--trainer.{key}": value for key, value in vars(verb.trainer).items()}

    def _written(self) -> str:
        """The verb's whole configuration as YAML."""
        text: str = self._parser(self.subcommand).dump(self.config[self.subcommand])
        return text


def run(verb: str, arguments: list[str]) -> int:
    """Run ``verb``; returns the exit code: 1 if predict finished but a clip failed."""
    sys.path.append(str(Path.cwd()))  # a user's own model lies where the command is typed
    if {*arguments} & {"-h", "--help"}:
        print(first_words(verb))
    for message in QUIET:
        warnings.filterwarnings("ignore", message)
    warnings.filterwarnings("error", NO_CHECKPOINT)
    cli = _lightning([TRAINS.get(verb, verb), *with_sections(verb, arguments)])
    if verb == "predict" and isinstance(cli.model, CounterfactualTask) and cli.trainer.is_global_zero:
        return summarise(cli.model, cli.datamodule, cli.shard)
    return 0


def int_before_float(parser: ArgumentParser) -> None:
    """Let ``--trainer.limit_predict_batches 1`` be one batch, and not 1.0, all of them.

    ``typing`` hands out a union of the same types that another library made before, whatever the order of its own, and
    the parser takes the first type that fits.
    """
    for action in parser._actions:
        for ordered in (int | float, int | float | None):
            if getattr(action, "_typehint", None) == ordered:  # whatever its order
                action._typehint = ordered  # type: ignore[attr-defined]


def _lightning(arguments: list[str]) -> LvcfCLI:
    """Parse and run.

    Raises:
        UserError: an argument is wrong.
    """
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


@contextmanager
def _one_line(cli: LvcfCLI) -> Iterator[None]:
    """What the parser and Lightning raise about an argument becomes a sentence; a defect stays what it is.

    Raises:
        UserError: an argument is wrong.
    """
    try:
        yield
    except ArgumentError as error:
        raise UserError(one_line(error)) from error
    except UserError:
        raise
    except Exception as error:
        cause = cause_of(error)
        if cause is not error:
            raise cause from error
        if isinstance(error, RuntimeError) and is_oom_error(error):
            raise UserError("out of memory; lower --data.batch_size, or set --trainer.precision bf16-mixed") from error
        if "Error(s) in loading state_dict" in str(error) and _of_a_library(error):
            raise UserError(f"--ckpt_path: is of another model ({said(error)})") from error
        system = isinstance(error, OSError) and error.errno is None
        if (isinstance(error, REFUSED) or system) and _of_a_library(error):
            raise UserError(refusal(error, cli.settings())) from error
        raise


def _has_weights(model: Namespace) -> bool:
    """Whether a part of the model is read from a folder."""
    return any(key.rpartition(".")[2] == "weights" and value for key, value in model.items())


def _of_a_library(error: Exception) -> bool:
    """Whether an error comes from a library that read an argument, and not by way of a step, a data set or a model."""
    names = [str(frame.f_globals.get("__name__", "")) for frame, _ in traceback.walk_tb(error.__traceback__)]
    known = (*LIBRARIES, *sys.stdlib_module_names)
    return "Original Traceback" not in str(error) and all(
        name == __name__ or name.partition(".")[0] in known for name in names
    )


def refusal(error: Exception, settings: dict[str, Any]) -> str:
    """A library's complaint in one line, behind the settings whose names or values it has.

    Args:
        error: raised by the parser or by Lightning.
        settings: values by option.
    """
    text = said(error)
    known = {option: str(value) for option, value in settings.items() if value is not None}
    named = [o for o in known if re.search(rf"\b{o.rpartition('.')[2].removeprefix('--')}\b", text)]
    words = re.split(r"[\s`'\"=(),:]+", text)
    told = [
        f"{o} {known[o][:80]}" for o in named or [o for o, value in known.items() if len(value) > 1 and value in words]
    ]
    return ": ".join([*([", ".join(told)] if told else []), text])


def check_counterfactual(precision: str, inference_mode: bool) -> None:
    """What a search by gradients on a float32 decoder cannot do.

    Raises:
        UserError: the precision is of the weights, or gradients are switched off.
    """
    if precision.endswith("-true") and precision != "32-true":
        raise UserError(f"--trainer.precision {precision}: counterfactuals need float32 weights; choose bf16-mixed")
    if inference_mode:
        raise UserError("--trainer.inference_mode true: guidance needs gradients; leave it out")


def check_precision(precision: str, device: torch.device) -> None:
    """Where torch's autocast would fail in the first step.

    Raises:
        UserError: bfloat16 on a GPU without it.
    """
    if precision.startswith("bf16") and device.type == "cuda" and not torch.cuda.is_bf16_supported():
        name = torch.cuda.get_device_name(device)
        raise UserError(f"--trainer.precision {precision}: {name} has no bfloat16; choose 16-mixed or 32-true")


def summarise(task: CounterfactualTask, data: LightningDataModule, shard: Shard) -> int:
    """Print how this process's part of the run went and what to do next; 1 if one of its clips failed."""
    names = read_manifest(task.output)["ids"]
    ours = clips_of_shard(data, len(names))
    predictions = read_predictions(task.output, names[ours.start : ours.stop])
    count = Counter(str(p.result["status"]) for p in predictions)
    told = ", ".join(f"{n} {status}" for status, n in sorted(count.items()))
    sharded = shard != (1, 1)
    part = " shard {}/{}:".format(*shard) if sharded else ""
    print(f"{task.output}:{part} {len(predictions)} clips: {told}")
    for prediction in predictions:
        if prediction.result["status"] != "reached":
            print(f"  {prediction.id}: {prediction.result['status']}: {prediction.result['hint']}")
    if sharded and (done := made(task.output, names)) < len(names):
        print(f"{done} of {len(names)} clips are there; lvcf evaluate and lvcf report when all shards are done")
    else:
        print(f"next: lvcf evaluate {task.output} && lvcf report {task.output}")
    return int(count["failed"] > 0)
