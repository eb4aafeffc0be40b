"""Sweeps: valid for W&B, and the command lines that its agent makes of them are ours to parse."""

from __future__ import annotations

import itertools
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args

from lvcf.configuration import config_folder
from tests.helpers import parse

SWEEPS = sorted((config_folder() / "sweeps").glob("*.yaml"))
KEYS = {"name", "description", "program", "method", "metric", "parameters", "command", "run_cap"}
"""Of github.com/wandb/sweeps, src/sweeps/config/schema.json: the keys in use here; it allows no unknown ones."""
PARAMETERS = ({"values"}, {"distribution", "min", "max"})


def read(path: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(path.read_text())
    return content


def trials(sweep: dict[str, Any]) -> list[dict[str, Any]]:
    """Every trial of a grid; of a distribution its ends."""
    spaces = [p["values"] if "values" in p else [p["min"], p["max"]] for p in sweep["parameters"].values()]
    return [dict(zip(sweep["parameters"], chosen, strict=True)) for chosen in itertools.product(*spaces)]


def commands(sweep: dict[str, Any], trial: dict[str, Any], folder: Path) -> list[list[str]]:
    """What the agent's command runs: its own expansion, in a shell whose lvcf writes its arguments down."""
    (folder / "lvcf").write_text('#!/bin/sh\nprintf "%s\\n" "$@" >> said\nprintf "\\0" >> said\n')
    (folder / "lvcf").chmod(0o755)
    macros = create_sweep_command_args({"args": {name: {"value": value} for name, value in trial.items()}})
    line: list[str] = []
    for word in create_sweep_command(sweep["command"]):
        line += macros[word[2:-1]] if word.startswith("${") else [word]
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "WANDB_RUN_ID": "abcd1234"}
    subprocess.run(line, cwd=folder, env=environment, check=True)
    return [call.split("\n")[:-1] for call in (folder / "said").read_text().split("\0")[:-1]]


def at(config: Any, parameter: str) -> Any:
    """A dotted parameter's value in a parsed configuration, as W&B's own dots name it."""
    node = config
    for step in parameter.split("."):
        if isinstance(node, list):
            (node,) = (entry for entry in node if entry.class_path.endswith(f".{step}"))
            continue
        node = node.init_args if "class_path" in node else node
        node = node[step]
    return node


def test_there_are_sweeps() -> None:
    assert {path.name for path in SWEEPS} >= {"phantom_guidance.yaml", "phantom_target.yaml"}


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_a_sweep_is_valid(path) -> None:
    sweep = read(path)
    assert set(sweep) <= KEYS
    assert sweep["method"] in ("grid", "random", "bayes")
    assert set(sweep["metric"]) == {"name", "goal"}
    assert sweep["metric"]["goal"] in ("minimize", "maximize")
    assert sweep["parameters"]
    for name, parameter in sweep["parameters"].items():
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name)
        assert set(parameter) in PARAMETERS
        assert isinstance(parameter.get("values", []), list)
        if "distribution" in parameter:
            assert sweep["method"] != "grid"  # a grid has no end of a distribution's values
            assert 0 < parameter["min"] < parameter["max"]
    assert "${args}" in sweep["command"]


@pytest.mark.parametrize("path", SWEEPS, ids=lambda p: p.stem)
def test_the_agents_commands_parse_and_carry_the_trials_settings(path, tmp_path) -> None:
    sweep = read(path)
    for number, trial in enumerate((trials(sweep)[0], trials(sweep)[-1])):
        folder = tmp_path / str(number)
        folder.mkdir()
        first, *others = commands(sweep, trial, folder)
        config = parse(first)
        assert {name: at(config, name) for name in trial} == trial
        assert config.model.init_args.output == Path(f"runs/sweeps/{path.stem}/abcd1234")
        # exactly one of the verbs logs: the agent's run id is for one run
        logs = [bool(config.trainer.logger), *("--logger" in other for other in others)]
        assert logs.count(True) == 1
        assert [other[0] for other in others] == (["evaluate"] if first[0] == "predict" else [])
        assert all(Path(other[1]) == config.model.init_args.output for other in others)


def test_a_sweep_of_guidance_varies_what_it_says() -> None:
    assert len(trials(read(config_folder() / "sweeps" / "phantom_guidance.yaml"))) == 12
