"""Reading a finished run: its manifest, configuration and written predictions."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from lightning.pytorch.cli import instantiate_class
from numpy.typing import NDArray

from lvcf.data.video import Frames, read_video
from lvcf.errors import UserError


@dataclass
class Prediction:
    """One written clip: ``result.json`` and, unless it failed, its videos ``(T, H, W, 3)`` and mask ``(T, H, W)``."""

    folder: Path
    result: dict[str, Any]

    @property
    def id(self) -> str:
        """The clip's name."""
        return str(self.result["id"])

    @property
    def failed(self) -> bool:
        """Whether there is nothing but the reason."""
        return bool(self.result["status"] == "failed")

    def factual(self) -> Frames:
        """The input clip."""
        return read_video(self.folder / "factual.mkv").frames

    def counterfactual(self) -> Frames:
        """The refined edit."""
        return read_video(self.folder / "counterfactual.mkv").frames

    def mask(self) -> NDArray[np.bool_]:
        """Where the edit was let through."""
        stored: NDArray[np.uint8] = np.load(self.folder / "mask.npz")["mask"]
        return stored > 127


def read_manifest(run: Path) -> dict[str, Any]:
    """The run's ``manifest.json``.

    Raises:
        UserError: there is none.
    """
    path = run / "manifest.json"
    if not path.is_file():
        raise UserError(f"{path}: not found; point to the folder of an lvcf predict run")
    manifest: dict[str, Any] = json.loads(path.read_text())
    return manifest


def read_predictions(run: Path) -> list[Prediction]:
    """The finished clips, in the manifest's order.

    Raises:
        UserError: none is there.
    """
    folders = [run / "predictions" / name for name in read_manifest(run)["ids"]]
    done = [f for f in folders if (f / "result.json").is_file()]
    if not done:
        raise UserError(f"{run}: no finished clip; run lvcf predict first")
    return [Prediction(f, json.loads((f / "result.json").read_text())) for f in done]


def read_configuration(run: Path) -> dict[str, Any]:
    """The arguments ``lvcf predict`` ran with, from ``config.yaml``."""
    content: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    return content


def build(spec: dict[str, Any]) -> Any:
    """Make the object that a ``class_path`` / ``init_args`` entry describes, nested ones first."""
    arguments = {
        k: build(v) if isinstance(v, dict) and "class_path" in v else v for k, v in spec.get("init_args", {}).items()
    }
    return instantiate_class((), {"class_path": spec["class_path"], "init_args": arguments})
