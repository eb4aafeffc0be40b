"""Lightning's checkpoints: read from files of this machine without running what a file holds, and not mixed."""

from __future__ import annotations

import pickle
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from lightning import LightningModule, Trainer
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO
from lightning.pytorch.callbacks import Callback, ModelCheckpoint

from lvcf.errors import UserError
from lvcf.runs.lock import locked

NAMED = ("last", "best", "hpc")
"""What Lightning finds by itself."""
EXPECTED = ("state_dict", "pytorch-lightning_version")
DAMAGED = "--ckpt_path {}: is damaged or cut off; take an earlier checkpoint"


def check_path(path: str | None) -> None:
    """Before any model is loaded.

    Raises:
        UserError: ``--ckpt_path`` is an address, or no file is there.
    """
    if path is None or path in NAMED:
        return
    if "://" in path or path.startswith("registry"):
        raise UserError(f"--ckpt_path {path}: is no file; download it, look at it, and give its path")
    if not Path(path).exists():
        raise UserError(f"--ckpt_path {path}: not found; give the path of a checkpoint, or 'last'")


class SafeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoint files, tensors and plain values alone."""

    def load_checkpoint(
        self, path: str | Path, map_location: Any = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint onto the CPU; never unpickles.

        Raises:
            UserError: it is no whole checkpoint, or holds other objects.
        """
        try:
            content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            raise UserError(
                f"--ckpt_path {path}: holds other objects than tensors, or is no checkpoint; it is not loaded"
            ) from error
        except OSError as error:
            if error.filename is not None:
                raise
            raise UserError(DAMAGED.format(path)) from error
        except (RuntimeError, EOFError, LookupError, ValueError, AttributeError) as error:
            raise UserError(DAMAGED.format(path)) from error
        if not isinstance(content, dict) or not {*EXPECTED} <= {*content}:
            raise UserError(f"--ckpt_path {path}: is no checkpoint of a training: it lacks {' and '.join(EXPECTED)}")
        return content


class LockedCheckpoints(Callback):
    """One training at a time writes into a folder of checkpoints: of two, each would remove what the other needs."""

    def __init__(self) -> None:
        self._locks = ExitStack()

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Hold the folders; ModelCheckpoint has found its own by now.

        Raises:
            UserError: another training holds one.
        """
        folders = {one.dirpath for one in trainer.checkpoint_callbacks if isinstance(one, ModelCheckpoint)}
        for folder in folders if trainer.is_global_zero else ():
            if folder and "://" not in str(folder):
                self._locks.enter_context(locked(Path(folder), "--trainer.callbacks.ModelCheckpoint.dirpath"))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Let others write there."""
        self._locks.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Let others write there."""
        self._locks.close()
