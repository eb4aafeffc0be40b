"""Weights from other projects' checkpoints: tensors and numbers only, whatever was wrapped around the network."""

from __future__ import annotations

import pickle
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lvcf.errors import UserError

CONTAINERS = ("state_dict", "model_state_dict", "model")
"""Where training scripts keep the weights: echonet/dynamic and Lightning, S2D, VideoMAE."""
SHOWN = 3
"""Keys that an error names; it counts the rest."""


def load_weights(network: nn.Module, path: Path) -> None:
    """Load a checkpoint into ``network``, in place; prefixes such as ``module.`` (DataParallel) are removed.

    Nothing but tensors, containers, strings and numbers is unpickled.

    Raises:
        UserError: the file is missing, damaged or holds other objects, or its keys or shapes are not the network's.
    """
    fill(network, read_weights(path), path)


def fill(network: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    """Load weights that were read from ``path`` into ``network``, in place; a prefix is removed.

    Raises:
        UserError: their keys or shapes are not the network's.
    """
    wanted = network.state_dict()
    weights = _without_prefix(found, wanted)
    problems = {
        "missing": sorted(wanted.keys() - weights.keys()),
        "unexpected": sorted(weights.keys() - wanted.keys()),
        "of another shape": [k for k in wanted if k in weights and weights[k].shape != wanted[k].shape],
    }
    told = "; ".join(f"{_some(keys)} {kind}" for kind, keys in problems.items() if keys)
    if told:
        raise UserError(f"{path}: no weights of {type(network).__name__} ({told}); name the network it was saved from")
    network.load_state_dict(weights)


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, as written.

    Raises:
        UserError: the file is missing, damaged, holds other objects, or no tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; give the path of a checkpoint file")
    try:
        with torch.serialization.safe_globals(_numpy_numbers()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: refused: it is damaged or holds more than tensors and numbers ({_reason(error)}); save the "
            "network's state_dict() alone"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: no checkpoint ({_reason(error)}); copy it again") from error
    for container in CONTAINERS:
        if isinstance(content, dict) and isinstance(content.get(container), dict):
            content = content[container]
    tensors = {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}
    if not tensors:
        raise UserError(f"{path}: holds no weights, neither at its top nor under {', '.join(CONTAINERS)}")
    return tensors


def _without_prefix(weights: dict[str, Tensor], wanted: dict[str, Tensor]) -> dict[str, Tensor]:
    """Drop what stands before most of the network's names, e.g. ``module.`` or ``model.model.``."""
    before: Counter[str] = Counter()
    for key in weights:
        starts = [0, *(place + 1 for place, letter in enumerate(key) if letter == ".")]
        before.update(key[:start] for start in starts if key[start:] in wanted)
    prefix = max(before, key=lambda text: (before[text], -len(text)), default="")
    return {key.removeprefix(prefix): value for key, value in weights.items()}


def _some(keys: list[str]) -> str:
    rest = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
    return ", ".join(keys[:SHOWN]) + rest


def _reason(error: Exception) -> str:
    """An exception in a few words; of the unpickler's, the object it refused and not its advice to load unsafely."""
    text = " ".join(str(error).split())
    if match := re.search(r"GLOBAL (\S+)", text):
        return match[1]
    told = text.partition("WeightsUnpickler error: ")[2].partition(" Check the")[0] or text
    return told[:120] or type(error).__name__


def _numpy_numbers() -> list[Any]:
    """What a number left by numpy or scikit-learn unpickles with (echonet/dynamic keeps its R2 so)."""
    scalar = np.float64(0.0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.bool_)]
    return [(scalar, "numpy.core.multiarray.scalar"), scalar, np.dtype, *kinds]
