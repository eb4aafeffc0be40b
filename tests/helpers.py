"""Running lvcf as a user does, on tiny folders."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

from lvcf.cli import main
from lvcf.cli.lightning import TRAINS, with_sections

ROOT = Path(__file__).parent.parent
FULL_METHOD = "predict --config phantom.yaml"


def predict_arguments(data: Path, backbone: Path, target: Path, output: Path, *more: str) -> list[str]:
    """``lvcf predict --config phantom.yaml`` with everything tiny; later options win."""
    return [
        "predict",
        "--config",
        "phantom.yaml",
        f"--model.backbone.weights={backbone}",
        f"--model.target_model.weights={target}",
        f"--model.output={output}",
        f"--data.root={data}",
        "--data.size=32",
        "--data.batch_size=2",
        "--model.steps=3",
        "--trainer.precision=32-true",
        "--trainer.accelerator=cpu",
        "--trainer.enable_progress_bar=false",
        "--threads=1",
        *more,
    ]


class ParseOnly(LightningCLI):
    """Checks every class path, argument name and type without making any object."""

    def add_arguments_to_parser(self, parser: Any) -> None:
        parser.add_argument("--threads", type=int)
        parser.add_argument("--shard", type=str)

    def instantiate_classes(self) -> None:
        pass

    def _run_subcommand(self, subcommand: str) -> None:
        pass


def parse(arguments: Sequence[str]) -> Any:
    """The configuration that a command line of fit, validate, test, predict or repair amounts to.

    Raises:
        ArgumentError: it does not parse.
    """
    asked, verb = arguments[0], TRAINS.get(arguments[0], arguments[0])
    cli = ParseOnly(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=None,
        parser_kwargs={"exit_on_error": False, verb: {"exit_on_error": False}},
        args=[verb, *with_sections(asked, list(arguments[1:]))],
    )
    return cli.config[verb]


def fails(capfd: Any, arguments: Sequence[str], code: int = 2) -> str:
    """Run and expect a user's mistake: the exit code, one line on stderr, no traceback; returns the line."""
    capfd.readouterr()
    assert main(list(arguments)) == code
    lines = told(capfd.readouterr().err)
    assert len(lines) == 1, lines
    assert lines[0].startswith(f"lvcf {arguments[0]}: ")
    return lines[0]


def told(stderr: str) -> list[str]:
    """What lvcf itself says on stderr; Lightning's own INFO lines and progress bars are left out."""
    assert "Traceback" not in stderr
    noise = (
        "INFO",
        "💡",
        "GPU available",
        "TPU available",
        "Seed set",
        "Loading weights",
        "simulate echo",
        "evaluate:",
        "steer:",
    )
    lines = [part for line in stderr.splitlines() for part in line.split("\r")]
    return [line for line in lines if line.strip() and not line.strip().startswith(noise)]


def results(run: Path) -> dict[str, dict[str, Any]]:
    """Every written result.json by folder name."""
    return {p.parent.name: json.loads(p.read_text()) for p in sorted((run / "predictions").glob("*/result.json"))}


def subset(root: Path, to: Path, n: int) -> Path:
    """The first ``n`` clips of a simulated set."""
    (to / "Videos").mkdir(parents=True)
    for name in ("FileList.csv", "Factors.csv"):
        with (root / name).open(newline="") as stream:
            rows = list(csv.DictReader(stream))[:n]
        rewrite(to / name, rows)
    for row in rows:
        shutil.copy(root / "Videos" / f"{row['FileName']}.avi", to / "Videos")
    return to


def rewrite(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
