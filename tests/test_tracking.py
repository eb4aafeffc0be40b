"""Weights & Biases without an account: everything stays on this machine."""

from __future__ import annotations

import pytest

from lvcf import tracking
from lvcf.tracking import wandb_logger


@pytest.fixture(autouse=True)
def nobody(tmp_path, monkeypatch) -> None:
    """A home without a ~/.netrc, and no key."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "NETRC"):
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
    assert tracking._has_account() == known


def test_a_key_in_the_environment_is_an_account(monkeypatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert tracking._has_account()
    monkeypatch.setenv("WANDB_API_KEY", "")
    assert not tracking._has_account()


def test_without_an_account_a_run_is_written_here(tmp_path) -> None:
    import wandb

    logger = wandb_logger("lvcf-test", "denoiser", tmp_path / "logs")
    try:
        logger.log_metrics({"train/loss": 0.5}, step=1)
        logger.log_metrics({"train/loss": 0.4}, step=2)
        assert logger.experiment.settings._offline
    finally:
        wandb.finish()
    (written,) = (tmp_path / "logs").rglob("offline-run-*/*.wandb")
    assert b"train/loss" in written.read_bytes()
