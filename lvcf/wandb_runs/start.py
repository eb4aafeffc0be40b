"""Opening a W&B run: online with an account, offline without; what the client would collect by itself is left out."""

from __future__ import annotations

import netrc
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lvcf.wandb_runs.names import Place

if TYPE_CHECKING:
    import wandb

PROJECT = "lvcf"


def default_project() -> str:
    """The project where none is named: WANDB_PROJECT, or lvcf."""
    return os.environ.get("WANDB_PROJECT") or PROJECT


def mode() -> Literal["online", "offline"] | None:
    """``online`` with the account in WANDB_API_KEY or ~/.netrc, else ``offline``; None where WANDB_MODE says."""
    if os.environ.get("WANDB_MODE"):
        return None
    return "online" if _has_account() else "offline"


def settings(folder: Path, hash_ids: bool) -> wandb.Settings:
    """The client's settings: with ``hash_ids`` no console output, command line, paths, git state or machine facts.

    The client stages tables' media outside the run, in the home directory; here they stay below ``folder``.
    """
    import wandb

    os.environ.setdefault("WANDB_DATA_DIR", str((folder / "wandb" / "data").resolve()))
    if not hash_ids:
        return wandb.Settings()
    return wandb.Settings(
        console="off",
        disable_code=True,
        disable_git=True,
        x_disable_machine_info=True,
        x_disable_meta=True,
        x_save_requirements=False,
    )


def start(place: Place, job_type: str, folder: Path, configuration: Any) -> wandb.Run:
    """A run of a verb beside Lightning's, written below ``folder``; ``configuration`` is as it may be logged."""
    import wandb

    return wandb.init(
        project=place.project,
        group=place.group,
        name=place.name,
        job_type=job_type,
        dir=folder,
        mode=mode(),
        config=configuration,
        settings=settings(folder, place.hash_ids),
    )


def _has_account() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    try:
        return netrc.netrc().authenticators("api.wandb.ai") is not None
    except (FileNotFoundError, netrc.NetrcParseError):
        return False
