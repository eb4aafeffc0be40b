"""Weights & Biases for Lightning's verbs: online or offline, and what a training writes."""

from __future__ import annotations

import pytest
import yaml
from jsonargparse import Namespace

from lvcf.cli import main
from lvcf.configuration import config_folder
from lvcf.tracking import complete, wandb_logger
from lvcf.wandb_runs import start
from tests.helpers import parse
from tests.wandb_record import written


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch) -> None:
    """A home without a ~/.netrc, and no key."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_DATA_DIR", "WANDB_PROJECT", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("WANDB_SILENT", "true")


@pytest.mark.parametrize(
    ("text", "known"),
    [
        (None, False),
        ("machine github.com login me password x\n", False),
        ("machine api.wandb.ai login user password 0123456789\n", True),
        ("this is no netrc\n", False),
    ],
)
def test_an_account_is_found_in_netrc(tmp_path, text, known) -> None:
    if text is not None:
        (tmp_path / "home" / ".netrc").write_text(text)
        (tmp_path / "home" / ".netrc").chmod(0o600)
    assert start._has_account() == known


def test_a_key_in_the_environment_is_an_account(monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert start._has_account()
    monkeypatch.setenv("WANDB_API_KEY", "")
    assert not start._has_account()


def test_without_an_account_a_run_is_written_here(tmp_path) -> None:
    import wandb

    logger = wandb_logger("lvcf-test", "denoiser", tmp_path / "logs")
    try:
        logger.log_metrics({"train/loss": 0.5}, step=1)
        logger.log_metrics({"train/loss": 0.4}, step=2)
        assert logger.experiment.settings._offline
    finally:
        wandb.finish()
    (one,) = written(tmp_path / "logs")
    assert [row["train/loss"] for row in one.history if "train/loss" in row] == [0.5, 0.4]
    assert (one.run.project, one.run.display_name) == ("lvcf-test", "denoiser")


@pytest.mark.parametrize(
    ("environment", "wanted"),
    [
        ({}, "offline"),
        ({"WANDB_API_KEY": "0" * 40}, "online"),
        ({"WANDB_API_KEY": "0" * 40, "WANDB_MODE": "offline"}, None),
        ({"WANDB_MODE": "disabled"}, None),
    ],
)
def test_an_account_uploads_and_wandb_mode_has_the_last_word(environment, wanted, monkeypatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert start.mode() == wanted


def test_what_the_client_collects_by_itself_is_left_out_unless_names_may_be_logged(tmp_path) -> None:
    hashed, shown = start.settings(tmp_path, True), start.settings(tmp_path, False)
    assert (hashed.console, hashed.x_disable_meta, hashed.disable_git) == ("off", True, True)
    assert not shown.x_disable_meta


def test_the_command_line_completes_a_logger_from_the_verb_and_its_output(tmp_path) -> None:
    arguments = ["predict", "--config", "phantom.yaml", "--trainer.logger=lvcf.tracking.wandb_logger"]
    logger = parse(arguments).trainer.logger
    complete(logger, "predict", tmp_path / "runs" / "mine")
    known = logger.init_args
    assert (known.name, known.group, known.job_type) == ("mine", "mine", "predict")
    assert known.save_dir == tmp_path / "runs" / "mine"
    assert known.hash_ids
    logger = parse([*arguments, "--trainer.logger.name=first", "--trainer.logger.group=table1"]).trainer.logger
    complete(logger, "fit", tmp_path / "weights")
    known = logger.init_args
    assert (known.name, known.group, known.job_type, known.save_dir) == ("first", "table1", "fit", None)


@pytest.mark.parametrize("logger", [False, True, None, [], [Namespace(class_path="CSVLogger", init_args=Namespace())]])
def test_other_loggers_stay_as_they_are(logger, tmp_path) -> None:
    before = str(logger)
    complete(logger, "fit", tmp_path)
    assert str(logger) == before


def test_a_training_logs_its_configuration_without_paths_and_its_losses(tmp_path, echo_root, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["fit", "--config", "phantom/target.yaml", "--model.network.channels=[8,8,16]", "--data.size=32"]
    arguments += [f"--data.root={echo_root}", "--data.batch_size=2", "--model.output=weights/small", "--threads=1"]
    arguments += ["--trainer.max_steps=2", "--trainer.log_every_n_steps=1", "--trainer.precision=32-true"]
    arguments += ["--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false", "--trainer.callbacks=[]"]
    arguments += ["--trainer.limit_val_batches=0"]  # R2 needs more clips than the set's one
    assert main([*arguments, "--data.num_workers=0", "--trainer.logger=lvcf.tracking.wandb_logger"]) == 0
    (one,) = written(tmp_path / "runs")
    assert (one.run.project, one.run.display_name, one.run.job_type) == ("lvcf", "small", "fit")
    assert one.config["model"]["init_args"]["network"]["init_args"]["channels"] == [8, 8, 16]
    assert str(echo_root) not in yaml.safe_dump(one.config)
    assert [row["trainer/global_step"] for row in one.history if "train/loss" in row] == [0, 1]


def test_no_shipped_configuration_asks_for_wandb() -> None:
    """With an account it would upload what nobody asked it to; a sweep is W&B's own."""
    asking = {p for p in config_folder().rglob("*.yaml") if "wandb" in p.read_text()}
    assert {p.parent.name for p in asking} == {"sweeps"}
