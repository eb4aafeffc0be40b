"""Weights from other projects' checkpoints: tensors and numbers only, whatever was wrapped around the network."""

from __future__ import annotations

import pickle
import re
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from lvcf.errors import UserError

CONTAINERS = ("state_dict", "model_state_dict", "model")
"""Where training scripts keep the weights: echonet/dynamic and Lightning, S2D, VideoMAE."""
SHOWN = 3
"""Keys that an error names; it counts the rest."""


def load_weights(network: nn.Module, path: Path, key: str | None = None) -> None:
    """Load a checkpoint into ``network``, in place; prefixes such as ``module.`` (DataParallel) are removed.

    Nothing but tensors, containers, strings and numbers is unpickled.

    Raises:
        UserError: the file is missing, damaged or holds other objects, or its keys or shapes are not the network's.
    """
    fill(network, read_weights(path, key), path)


def fill(network: nn.Module, found: dict[str, Tensor], path: Path) -> None:
    """Load weights that were read from ``path`` into ``network``, in place; a prefix is removed.

    What stands beside the prefix, such as a loss's class weights, is left out with a warning.

    Raises:
        UserError: their keys or shapes are not the network's, or the network is there more than once.
    """
    wanted = network.state_dict()
    prefix = _prefix(found, wanted, path)
    weights = {key.removeprefix(prefix): value for key, value in found.items() if key.startswith(prefix)}
    beside = [key for key in found if not key.startswith(prefix)]
    missing = sorted(wanted.keys() - weights.keys())
    problems = {
        "missing": missing,
        "unexpected": sorted([*(weights.keys() - wanted.keys()), *(beside if missing else [])]),
        "of another shape": [k for k in wanted if k in weights and weights[k].shape != wanted[k].shape],
    }
    told = "; ".join(f"{_some(keys)} {kind}" for kind, keys in problems.items() if keys)
    if told:
        raise UserError(f"{path}: no weights of {type(network).__name__} ({told}); name the network it was saved from")
    network.load_state_dict(weights)
    if beside:
        warnings.warn(f"{path}: {len(beside)} tensors beside the network were left out: {_some(beside)}", stacklevel=2)


def read_weights(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, as written.

    Args:
        path: the file.
        key: the mapping in it that has them, or the start of their names; None looks in the usual places.

    Raises:
        UserError: the file is missing, damaged, holds other objects, no tensors, or the same ones twice.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; give the path of a checkpoint file")
    try:
        content = _content(path)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path}: refused: it is damaged or holds more than tensors and numbers ({_reason(error)}); save the "
            "network's state_dict() alone"
        ) from error
    except (RuntimeError, OSError, EOFError, ValueError, TypeError, KeyError, AttributeError, SafetensorError) as error:
        raise UserError(f"{path}: no checkpoint ({_reason(error)}); copy it again") from error
    content = content if isinstance(content, dict) else {}
    tensors = _chosen(content, key) if key else _usual(content, path)
    if not tensors:
        known = ", ".join(str(name) for name in list(content)[:8])
        places = f"under {key}" if key else f"neither at its top nor under {', '.join(CONTAINERS)}"
        raise UserError(f"{path}: holds no weights {places} (it has {known or 'nothing'}); name their checkpoint_key")
    return tensors


def _content(path: Path) -> Any:
    """What a file holds: safetensors by their ending, else what ``torch.save`` wrote."""
    if path.suffix == ".safetensors":
        return load_file(path)
    with torch.serialization.safe_globals(_numpy_numbers()):
        return torch.load(path, map_location="cpu", weights_only=True)


def _usual(content: dict[str, Any], path: Path) -> dict[str, Tensor]:
    for container in CONTAINERS:
        if isinstance(content.get(container), dict):
            chosen = content[container]
            names = _names(chosen)
            rivals = [k for k, v in content.items() if k != container and names and _names(v) == names]
            if rivals:
                raise UserError(
                    f"{path}: holds weights under {container} and {rivals[0]}; choose by checkpoint_key, or save one "
                    "alone"
                )
            content = chosen
    return _tensors(content)


def _chosen(content: dict[str, Any], key: str) -> dict[str, Tensor]:
    """The mapping of that name, or the tensors whose names begin so, without it."""
    if isinstance(content.get(key), dict):
        return _tensors(content[key])
    for container in CONTAINERS:
        content = content[container] if isinstance(content.get(container), dict) else content
    start = key if key.endswith(".") else f"{key}."
    return {name.removeprefix(start): v for name, v in _tensors(content).items() if name.startswith(start)}


def _tensors(content: Any) -> dict[str, Tensor]:
    return {k: v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, dict) else {}


def _names(content: Any) -> set[str]:
    return {name.removeprefix("module.") for name in _tensors(content)}


def _prefix(weights: dict[str, Tensor], wanted: dict[str, Tensor], path: Path) -> str:
    """What stands before most of the network's names, e.g. ``module.`` or ``model.model.``.

    Raises:
        UserError: the whole network is there under several.
    """
    before: Counter[str] = Counter()
    for key in weights:
        starts = [0, *(place + 1 for place, letter in enumerate(key) if letter == ".")]
        before.update(key[:start] for start in starts if key[start:] in wanted)
    whole = [prefix for prefix, count in before.items() if count == len(wanted)]
    if len(whole) > 1:
        told = " and ".join(f"'{prefix}'" for prefix in whole[:SHOWN])
        raise UserError(f"{path}: holds the network {len(whole)} times, under {told}; choose by checkpoint_key")
    return max(before, key=lambda text: (before[text], -len(text)), default="")


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
