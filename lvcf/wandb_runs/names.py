"""What a W&B run calls its clips: salted hashes instead of their names, unless the names are asked for."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lvcf.errors import UserError
from lvcf.files import read_optional, write_json

HIDDEN = "(hidden: hash_ids)"
"""Stands for a path of the data in a logged configuration: folders are named after patients too."""
PATHS = ("root", "table", "cache")
"""Arguments that are paths of the data, wherever they stand."""
FILE = "wandb.json"


@dataclass(frozen=True)
class Place:
    """Where the W&B runs of one run folder go; the folder keeps it, so that every verb on it agrees.

    Attributes:
        project: the W&B project.
        group: the ablation's name, or the run's own.
        name: the run's name, the same for every verb: the job type tells them apart.
        hash_ids: whether clips are called by salted hashes of their names.
        salt: what the hashes start from; it never leaves the folder.
    """

    project: str
    group: str
    name: str
    hash_ids: bool
    salt: str

    def call(self, clip: str) -> str:
        """What the run calls a clip: the first 12 hexadecimal digits of SHA-256 over salt and name, or the name."""
        return hashlib.sha256(f"{self.salt}{clip}".encode()).hexdigest()[:12] if self.hash_ids else clip

    def configuration(self, content: Any, clips: Iterable[str] = ()) -> Any:
        """A nested configuration without the data's paths and without the names of ``clips``."""
        if not self.hash_ids:
            return content
        known = sorted(map(_spelling, clips), key=len, reverse=True)
        word = re.compile(rf"(?<![^\W_])(?:{'|'.join(known)})(?![^\W_])") if known else None
        return _hidden(content, word, of_data=False)


def remember(folder: Path, place: Place) -> Place:
    """Keep ``place`` in the run folder with its own salt, or the one that is there, or a new one."""
    known = read_optional(folder / FILE) or {}
    place = replace(place, salt=place.salt or known.get("salt") or secrets.token_hex(16))
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / FILE, asdict(place))
    return place


def recall(folder: Path) -> Place | None:
    """What the folder was logged as; None if it never was.

    Raises:
        UserError: the file is damaged.
    """
    known = read_optional(folder / FILE)
    try:
        return Place(**known) if known else None
    except TypeError as error:
        raise UserError(f"{folder / FILE}: damaged ({error}); remove it, and the clips get new hashes") from error


def _spelling(clip: str) -> str:
    """A pattern for every text that :func:`lvcf.data.clip.safe_name` turns into ``clip``."""
    return re.escape(clip).replace("_", r"[\W_]")


def _hidden(value: Any, word: re.Pattern[str] | None, of_data: bool) -> Any:
    if isinstance(value, dict):
        return {
            key: HIDDEN if key in PATHS and isinstance(item, str) else _hidden(item, word, of_data or key == "data")
            for key, item in value.items()
        }
    if isinstance(value, list):
        return [_hidden(item, word, of_data) for item in value]
    if not isinstance(value, str):
        return value
    if of_data and "/" in value:
        return HIDDEN
    return word.sub(HIDDEN, value) if word else value
