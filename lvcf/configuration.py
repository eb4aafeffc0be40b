"""Finding configuration files and a verb's section in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from lvcf.errors import UserError

PACKAGE = Path(__file__).parent


def config_folder() -> Path:
    """The shipped ``configs/``: inside an installed package, beside it in a checkout."""
    inside = PACKAGE / "configs"
    return inside if inside.is_dir() else PACKAGE.parent / "configs"


def find_config(name: str) -> Path:
    """``name`` as a path from the working directory, else among the shipped configurations.

    Raises:
        UserError: neither exists.
    """
    for candidate in (Path(name), config_folder() / name):
        if candidate.is_file():
            return candidate
    shipped = ", ".join(sorted(str(p.relative_to(config_folder())) for p in config_folder().rglob("*.yaml")))
    raise UserError(f"{name}: no such configuration file here or among the shipped ones ({shipped})")


def find_weights(name: str | Path) -> Path:
    """``name`` as a folder from the working directory, else among the shipped weights (e.g. ``phantom/backbone``).

    Raises:
        UserError: neither exists.
    """
    for candidate in (Path(name), PACKAGE / "weights" / name):
        if candidate.is_dir():
            return candidate
    raise UserError(f"{name}: no such weights folder here or among the shipped ones; train it: make help lists how")


def read_section(name: str, verb: str) -> dict[str, Any]:
    """The section of ``verb`` in a configuration file.

    Raises:
        UserError: the file is missing, is no YAML mapping, or has no such section.
    """
    path = find_config(name)
    try:
        content = yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict) or not isinstance(content.get(verb), dict):
        sections = ", ".join(k for k in content if k[0].islower()) if isinstance(content, dict) else "none"
        raise UserError(f"{path}: has no section '{verb}:' (sections there: {sections})")
    section: dict[str, Any] = content[verb]
    return section
