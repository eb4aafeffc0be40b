"""Lightning's checkpoints: read from files of this machine, and without running what a file holds."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io.torch_io import TorchCheckpointIO

from lvcf.errors import UserError

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
