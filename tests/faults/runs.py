"""Runs over simulated sets made by hand: the clips as the data sets read them, and any edit of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lvcf.data.clip import SIMULATED, to_clip, to_frames
from lvcf.data.echonet import EchoNetDataset
from lvcf.data.ferv39k import FERV39KDataset
from lvcf.data.ssv2 import SSv2Dataset
from lvcf.data.video import Frames, write_lossless, write_preview
from lvcf.files import write_json
from lvcf.phantoms.truth import read_truths

DATASETS: dict[str, Any] = {"echo": EchoNetDataset, "face": FERV39KDataset, "motion": SSv2Dataset}
Edit = Callable[[Frames, Frames], Frames]
"""From a factual and a true clip, both ``(T, H, W, 3)`` at the run's size, to the counterfactual."""


def nothing(factual: Frames, truth: Frames) -> Frames:
    return factual


def everything(factual: Frames, truth: Frames) -> Frames:
    return truth


def put_run(
    run: Path,
    phantom: str,
    root: Path,
    targets: list[Any],
    edit: Edit = nothing,
    size: int = 112,
    frames: int = 16,
    **facts: Any,
) -> Path:
    """A finished run of the set's first clips, one per target: a value, or the name of a class."""
    dataset = DATASETS[phantom](root, "all", frames=frames, size=size)
    truths = read_truths(root)
    for clip, target in zip((dataset[i] for i in range(len(targets))), targets, strict=True):
        folder = run / "predictions" / clip["id"]
        folder.mkdir(parents=True)
        value = float(target) if phantom == "echo" else 0.0
        result = {
            "id": clip["id"],
            "status": "not_reached",
            "hint": "",
            "task": "regression" if phantom == "echo" else "classification",
            "unit": "%",
            "target": {"low": value, "high": value, "text": str(target)},
            "prediction_before": 0.1,
            "prediction_reference": 0.1,
            "prediction_after": 0.2,
            "class_before": "",
            "class_after": "",
            "trajectory": [],
            "steps": 1,
            "gradient_evaluations": 0,
            "seconds": 1.0,
            "peak_memory_bytes": 2**20,
            "mask_share": 1.0,
            "seed": 0,
            "fps": 8.0,
            "frames": frames,
            **facts,
        }
        factual = to_frames(clip["video"])
        truth = factual if edit is nothing else resized(truths[clip["id"]](result).video, size)
        write_lossless(folder / "factual.mkv", factual, 8.0)
        write_lossless(folder / "counterfactual.mkv", edit(factual, truth), 8.0)
        np.savez_compressed(folder / "mask.npz", mask=np.full(factual.shape[:3], 255, np.uint8))
        write_preview(folder / "panel.mp4", factual, 8.0)
        write_json(folder / "result.json", result)
    manifest = {"ids": dataset.ids[: len(targets)], "tolerance": 1.0, "method": "by hand", "prompt": "neutral"}
    manifest |= {"notice": [SIMULATED], "data": str(root), "target": "", "target_model": "", "backbone": ""}
    write_json(run / "manifest.json", manifest | {"seed": 0, "command": "", "versions": {}})
    return run


def resized(video: Frames, size: int) -> Frames:
    """As the readers do: bicubic, antialiased, to 8 bits."""
    return to_frames(to_clip(video, size))
