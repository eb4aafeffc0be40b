"""Weights & Biases for fit and ablate: online with an account, offline without; nothing is uploaded unasked."""

from __future__ import annotations

import netrc
import os
from pathlib import Path

from lightning.pytorch.loggers import WandbLogger


def wandb_logger(project: str, name: str, save_dir: Path) -> WandbLogger:
    """A logger that writes to the account in WANDB_API_KEY or ~/.netrc, or else offline (``wandb sync`` later).

    Args:
        project: the W&B project.
        name: the run's name.
        save_dir: where offline runs and local files go.
    """
    save_dir.mkdir(parents=True, exist_ok=True)
    return WandbLogger(project=project, name=name, save_dir=save_dir, offline=not _has_account())


def _has_account() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
