"""``lvcf steer --config FILE``: counterfactual videos by a black-box editor, its prompt steered by a causal graph."""

from __future__ import annotations

import sys
from argparse import ArgumentError
from pathlib import Path

import torch
from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import PositiveInt

from lvcf.addresses import shown_address
from lvcf.checks import check_threads
from lvcf.configuration import with_sections
from lvcf.errors import UserError, cause_of
from lvcf.parsing import one_line, refuse_empty
from lvcf.runs.folder import read_predictions
from lvcf.runs.shards import parse_shard
from lvcf.runs.writer import alone
from lvcf.steering.evaluate import tabulate
from lvcf.steering.figures import facts
from lvcf.steering.replay import replay
from lvcf.steering.run import SteeringRun
from lvcf.steering.terminal import print_methods


def main(args: list[str]) -> int:
    """Steer what is not done yet and print the table, or replay a run; returns 1 if a clip failed or differs."""
    if args[:1] == ["--replay"]:
        return _replay(args[1:])
    sys.path.append(str(Path.cwd()))  # a user's own editor lies where the command is typed
    run = _parse(args)
    failures = run.run()
    _print(run.output)
    return int(failures > 0)


def _replay(folders: list[str]) -> int:
    if len(folders) != 1:
        raise UserError("--replay: give the run's folder alone, such as runs/face_steer")
    differing = replay(Path(folders[0]))
    print(f"{folders[0]}: the records run again" + (f"; other histories: {', '.join(differing)}" if differing else ""))
    return int(bool(differing))


def make_parser() -> ArgumentParser:
    """What ``lvcf steer`` understands; of two configurations the later one counts where both say something."""
    about = f"{__doc__}  lvcf steer --replay RUN runs a record again, offline."
    parser = ArgumentParser(prog="lvcf steer", description=about, exit_on_error=False, print_config=None)
    parser.add_argument("--config", action="config", help="a configuration, e.g. steering/face.yaml")
    parser.add_argument("--threads", type=PositiveInt, default=torch.get_num_threads(), help="CPU threads")
    parser.add_argument("--shard", metavar="i/n", default="1/1", help="the i-th of n parts of the clips, i from 1")
    parser.add_class_arguments(SteeringRun)
    return parser


def _parse(args: list[str]) -> SteeringRun:
    """The run that a command line describes.

    Raises:
        UserError: an argument is wrong; the message is the parser's own, in one line.
    """
    parser = make_parser()
    try:
        configuration = parser.parse_args(with_sections("steer", args))
        refuse_empty(configuration, SteeringRun)
        shard = parse_shard(configuration.pop("shard"))  # the run's configuration is that of all shards
        check_threads(configuration.threads)
        torch.set_num_threads(configuration.threads)
        made = parser.instantiate(configuration)
    except ArgumentError as error:
        raise UserError(one_line(error)) from error
    except Exception as error:  # a user's own class may raise anything
        if (cause := cause_of(error)) is error:
            raise
        raise cause from error
    arguments = {name: value for name, value in vars(made).items() if name not in ("config", "threads")}
    run = SteeringRun(**arguments)
    run.shard, run.configuration = shard, parser.dump(_without_keys(configuration))
    return run


def _without_keys(configuration: Namespace) -> Namespace:
    """The configuration as the run's folder may keep it: addresses without what may hold a key."""
    shown = configuration.clone()
    for name, value in shown.items():
        if isinstance(value, str) and value.lower().startswith(("http://", "https://")):
            shown[name] = shown_address(value)
    return shown


def _print(output: Path) -> None:
    """The judge's table, and what became of every clip that failed; ``lvcf evaluate`` also measures the videos."""
    with alone(output):
        rows = [facts(prediction.result) for prediction in read_predictions(output)]
        metrics = tabulate(output, rows, {})
    print_methods(output, metrics, rows)
