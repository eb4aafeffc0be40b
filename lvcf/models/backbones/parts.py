"""The parts in a pipeline's folder: files that can be read, weights that fit, and no code of the folder's own."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from lvcf.errors import UserError, said

PARTS = ("vae", "transformer", "text_encoder", "tokenizer", "scheduler")
DENOISERS = ("transformer", "transformer_2")
MORE_PARTS = (
    *("transformer_2", "text_encoder_2", "tokenizer_2", "guider", "connectors"),
    *("image_encoder", "image_processor", "feature_extractor"),
)
"""Those that some pipelines have besides."""
NOT_LOADED = ("audio_vae", "vocoder")
"""Those that some have, and that draw no pixel: they go with the others, from folder to folder."""
LARGEST = 10_000_000
"""No whole number in a part's configuration is larger: sizes, layers, training steps."""
WEIGHTS = re.compile(
    r"(?:diffusion_pytorch_model|pytorch_model|model)(?:\.(?P<variant>[\w-]+?))??(?:-\d+-of-\d+)?\.(?:safetensors|bin)"
)
"""File names of weights, as both libraries write them; a variant such as fp16 has its own."""


def read_index(folder: Path) -> dict[str, Any]:
    """A pipeline's ``model_index.json``.

    Raises:
        UserError: it is missing or damaged.
    """
    path = folder / "model_index.json"
    if not path.is_file():
        raise UserError(f"{folder}: holds no model_index.json; point to a whole backbone's folder")
    index = {"_class_name": "pipeline without a name", "_notice": "", **_mapping(path, str(path))}
    texts = [key for key in ("_class_name", "_notice") if not isinstance(index[key], str)]
    odd = [*texts, *(part for part in (*PARTS, *MORE_PARTS, "unet") if not _names_a_class(index.get(part)))]
    if odd:
        raise UserError(f"{path}: damaged ({odd[0]} is {index[odd[0]]}); copy or download it again")
    return index


def names(index: dict[str, Any], part: str) -> bool:
    """Whether a pipeline has a part."""
    return bool((index.get(part) or [None])[0])


def parts_of(index: dict[str, Any]) -> tuple[str, ...]:
    """Those that every pipeline has, and those that this one has besides."""
    return (*PARTS, *(part for part in MORE_PARTS if names(index, part)))


def check_configurations(folder: Path, parts: Iterable[str] = PARTS) -> None:
    """Refuse, before anything is built of them, configurations that cannot be and those that name code to run.

    Args:
        folder: of a pipeline, or of a part.
        parts: the folders in it; an empty name is ``folder`` itself.

    Raises:
        UserError: a file is damaged, names code of its own (``auto_map``), or has a number that is too large.
    """
    for part in parts:
        for path in sorted((folder / part).glob("*config.json")):
            name = str(path.relative_to(folder))
            config = _mapping(path, name)
            if "auto_map" in config:
                raise UserError(
                    f"{name}: names code to be run (auto_map), which is never done; use weights of stock classes"
                )
            if path.name in ("config.json", "scheduler_config.json"):
                _check_numbers(config, name)


def load_tokenizer(weights: str | Path, **options: Any) -> PreTrainedTokenizerBase:
    """A tokenizer of a folder or hub id; no code that comes with it is run, and nobody is asked.

    Raises:
        UserError: it does not load, and sentencepiece, which a published one needs, is not installed.
    """
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(weights, trust_remote_code=False, **options)
    except Exception as error:  # transformers then tries other formats, and complains of those
        if find_spec("sentencepiece"):
            raise
        raise UserError("its tokenizer needs sentencepiece; pip install lvcf[backbones]") from error
    return tokenizer


def load_model(kind: Any, weights: str | Path, part: str, **options: Any) -> Any:
    """A part with all of its tensors and no others: both libraries would warn, and fill missing ones with noise.

    Where a folder holds a variant of the weights alone, such as ``*.fp16.safetensors``, that is loaded.

    Args:
        kind: a model class of diffusers or transformers.
        weights: a pipeline's folder or hub id.
        part: the folder in it; empty for the pipeline's folder itself.
        options: of ``from_pretrained``.

    Raises:
        ValueError: tensors are missing, or have no place in the model that its configuration describes.
    """
    name, folder = part or kind.__name__, Path(weights) / part
    if folder.is_dir():
        options["variant"] = variant_of(folder, name)
        _check_layers(folder, name)
    if issubclass(kind, PreTrainedModel):
        options["trust_remote_code"] = False
    with quietly():
        model, info = kind.from_pretrained(weights, subfolder=part, output_loading_info=True, **options)
    if missing := sorted(info["missing_keys"]):
        raise ValueError(f"{name} lacks {len(missing)} tensors, such as {missing[0]}")
    if surplus := sorted(info["unexpected_keys"]):
        raise ValueError(
            f"{name} has {len(surplus)} tensors that its config.json has no place for, such as {surplus[0]}"
        )
    return model.eval()


@contextmanager
def quietly() -> Iterator[None]:
    """Without the libraries' warnings."""
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def class_name(folder: Path) -> str:
    """Of the model in a part's folder.

    Raises:
        UserError: its configuration is missing, damaged, or names none.
    """
    path = folder / "config.json"
    if not path.is_file():
        raise UserError(f"{folder}: holds no config.json; point to a VAE's or a whole backbone's folder")
    name = _mapping(path, str(path)).get("_class_name")
    if not isinstance(name, str):
        raise UserError(f"{path}: names no class (_class_name); copy or download it again")
    return name


def load_part(kind: Any, folder: Path) -> Any:
    """A model in float32 from its own folder.

    Raises:
        UserError: it does not load; the message names the folder.
    """
    try:
        check_configurations(folder, [""])
        return load_model(kind, folder, "", torch_dtype=torch.float32)
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    except Exception as error:  # a library's constructor on a file's values: they share no base class
        raise UserError(f"{folder}: the {kind.__name__} does not load ({said(error)})") from error


def variant_of(folder: Path, name: str) -> str | None:
    """The one variant of a part's weights that its folder holds; None where the plain ones are there.

    Raises:
        ValueError: there are no weights, or several variants and no plain ones.
    """
    found = {match["variant"] for path in folder.iterdir() if (match := WEIGHTS.fullmatch(path.name))}
    if None in found:
        return None
    if len(found) != 1:
        several = f"several variants of its weights ({', '.join(sorted(found))}) and no plain ones; remove all but one"
        raise ValueError(f"{name} holds {several if found else 'no weights'}")
    return str(found.pop())


def check_shards(folder: Path, parts: Iterable[str] = PARTS) -> None:
    """Say which file is missing of weights that were saved in several.

    Raises:
        UserError: so it is, or the list of files is damaged.
    """
    for part in parts:
        for listing in (folder / part).glob("*.safetensors.index.json"):
            files = _mapping(listing, str(listing)).get("weight_map")
            if not isinstance(files, dict):
                raise UserError(f"{listing}: damaged (no weight_map); copy or download it again")
            for shard in sorted(set(map(str, files.values()))):
                if not (listing.parent / shard).is_file():
                    raise UserError(f"{listing.parent / shard}: this shard is missing; copy or download it again")


def _mapping(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{name}: damaged ({error}); copy or download it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{name}: damaged (no mapping); copy or download it again")
    return content


def _names_a_class(entry: Any) -> bool:
    """Library and class, or neither; a part may be left out."""
    if entry is None:
        return True
    return isinstance(entry, list) and len(entry) == 2 and all(name is None or isinstance(name, str) for name in entry)


def _check_numbers(config: Any, name: str, key: str = "") -> None:
    if isinstance(config, dict):
        for inner, value in config.items():
            _check_numbers(value, name, inner)
    elif isinstance(config, list):
        for value in config:
            _check_numbers(value, name, key)
    elif isinstance(config, int) and abs(config) > LARGEST:
        raise UserError(f"{name}: {key} {config} cannot be; copy or download it again")


def _check_layers(folder: Path, name: str) -> None:
    """Refuse more layers than there are tensors: a model of so many would be built for hours.

    Raises:
        ValueError: so it is.
    """
    files = sorted(folder.glob("*.safetensors"))
    if not files or not (folder / "config.json").is_file():
        return
    tensors = 0
    for file in files:
        with safe_open(file, framework="pt") as stored:
            tensors += len(stored.keys())
    for key, value in _mapping(folder / "config.json", f"{name}/config.json").items():
        counts = value if isinstance(value, list) else [value]
        layers = [n for n in counts if isinstance(n, int) and re.search("layers|blocks", key)]
        if max(len(counts), *layers, 0) > tensors:
            raise ValueError(f"{name}/config.json says {key} {str(value)[:80]}, its weights have {tensors} tensors")
