"""Finding configuration files, a verb's section in them, and what a command line changes of it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from lvcf.errors import UserError

PACKAGE = Path(__file__).parent
LARGEST = 2**20
"""Bytes of a configuration; the shipped ones have a few thousand."""
MOST = 100_000
"""Entries of a configuration, what an anchor stands for counted wherever it is used."""
CALLBACK = re.compile(r"--trainer\.callbacks\.[A-Z]\w*(\.\w+)+")
"""One argument of one callback of the configuration; the parser itself knows only the list's last one."""

MEASURING = ("validate", "test")
"""Verbs that measure what the section ``fit:`` trains; they need none of their own."""
FOLDERS = ("output", "root", "cache")
"""Arguments of which an empty one would mean the working folder."""

Node = dict[str, Any]


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


def shipped_sections(verb: str) -> Iterator[tuple[str, Node]]:
    """Every shipped file's section of ``verb``, with the name that ``--config`` takes."""
    for path in sorted(config_folder().rglob("*.yaml")):
        section = yaml.safe_load(path.read_text(encoding="utf-8")).get(verb)
        if section:
            yield str(path.relative_to(config_folder())), section


def find_weights(name: str | Path) -> Path:
    """``name`` as a folder from the working directory, else among the shipped weights (e.g. ``phantom/backbone``).

    Raises:
        UserError: neither exists.
    """
    for candidate in (Path(name), PACKAGE / "weights" / name):
        if candidate.is_dir():
            return candidate
    trained = (file for file, section in shipped_sections("fit") if _output(section) == str(name))
    how = next((f"lvcf fit --config {file} makes it" for file in trained), "train it: make help lists how")
    raise UserError(f"{name}: no such weights folder here or among the shipped ones; {how}")


def _output(section: Node) -> str:
    """Where a training of a shipped file saves."""
    return str(section["model"]["init_args"]["output"])


def read_section(name: str, verb: str) -> Node:
    """The section of ``verb`` in a configuration file; of validate and test the training's, if they have none.

    Raises:
        UserError: the file is missing, is no YAML mapping, is far too large, or has no such section.
    """
    path = find_config(name)
    if path.stat().st_size > LARGEST:
        raise UserError(f"{path}: is larger than {LARGEST} bytes, so it is no configuration; name another file")
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        entries = _entries(content, set(), {})
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as YAML ({' '.join(str(error).split())[:300]})") from error
    if entries > MOST:
        raise UserError(f"{path}: its anchors make more than {MOST} entries; write fewer")
    if isinstance(content, dict) and verb not in content and verb in MEASURING and "fit" in content:
        verb = "fit"
    if not isinstance(content, dict) or not isinstance(content.get(verb), dict):
        sections = [str(key) for key in content if str(key)[:1].islower()] if isinstance(content, dict) else ["none"]
        raise UserError(f"{path}: has no section '{verb}:' (sections there: {', '.join(sections)})")
    section: Node = content[verb]
    _check_shape(path, verb, section)
    return section


def _entries(node: Any, inside: set[int], known: dict[int, int]) -> int:
    """How many entries a YAML node has when its anchors are written out.

    Args:
        node: any YAML value.
        inside: the ids of the mappings and lists that hold it.
        known: counts by id.

    Raises:
        ValueError: it holds itself.
    """
    if not isinstance(node, dict | list):
        return 1
    if id(node) in inside:
        raise ValueError("an anchor stands inside itself")
    if id(node) not in known:
        children = [*node, *node.values()] if isinstance(node, dict) else node
        known[id(node)] = 1 + sum(_entries(child, inside | {id(node)}, known) for child in children)
    return known[id(node)]


def _check_shape(path: Path, verb: str, section: Node) -> None:
    """The keys are words, and ``trainer:`` has arguments.

    Raises:
        UserError: they are not.
    """
    trainer = section.get("trainer")
    if not isinstance(trainer, dict | None):
        raise UserError(f"{path}: 'trainer: {trainer}' of '{verb}:' is no mapping of arguments; correct it")
    for where, node in (verb, section), ("trainer", trainer or {}):
        for key in node:
            if not isinstance(key, str) or not key:
                raise UserError(f"{path}: the key {key!r} of '{where}:' is no word; correct it")
    for where, part in ("", section), ("model.", section.get("model")), ("data.", section.get("data")):
        for key, value in _arguments(part).items():
            _check_folder(f"{path}: {where}{key}", key, value)
    callbacks_of(str(path), section)


def _arguments(node: Any) -> Node:
    """What a section, or a class in it, is given."""
    given = node.get("init_args", node) if isinstance(node, dict) else None
    return given if isinstance(given, dict) else {}


def callbacks_of(name: str, section: Node) -> list[Node]:
    """The entries of a section's ``trainer.callbacks``, each with its ``class_path``; there may be none.

    Raises:
        UserError: they are no list of classes.
    """
    found = (section.get("trainer") or {}).get("callbacks")
    entries = [] if found is None else found if isinstance(found, list) else [found]
    nodes = [{"class_path": entry} if isinstance(entry, str) else entry for entry in entries]
    for node in nodes:
        if not isinstance(node, dict) or not isinstance(node.get("class_path"), str):
            raise UserError(f"{name}: trainer.callbacks: '{node}' is no class; write '- class_path: MODULE.CLASS'")
    return nodes


def with_sections(verb: str, arguments: list[str]) -> list[str]:
    """Replace every ``--config NAME`` by the text of the verb's section of that file, in front of all other options.

    The parser lets what comes later count, and the command line must count, wherever it names the file.
    ``--trainer.callbacks.CLASS.ARGUMENT VALUE`` changes the callback of that class in the section.

    Raises:
        UserError: a section is not there, or no section has such a callback.
    """
    names: list[str] = []
    changes: list[tuple[str, str]] = []
    others: list[str] = []
    rest = iter(arguments)
    for argument in rest:
        option, given, value = argument.partition("=")
        if option not in ("--config", "-c") and not CALLBACK.fullmatch(option):
            others.append(argument)
            continue
        value = value if given else next(rest, "")
        if not value and not given:
            raise UserError(f"{option}: a value is missing behind it")
        if CALLBACK.fullmatch(option):
            changes.append((option, value))
        else:
            names.append(value)
    for argument, following in itertools.pairwise([*others, "."]):
        option, given, value = argument.partition("=")
        _check_folder(option, option.rpartition(".")[2].removeprefix("--"), value if given else following)
    if changes and not names:
        raise UserError(f"{changes[0][0]}: changes a callback of a configuration; give --config FILE as well")
    return [text for name in names for text in ("--config", _section(name, verb, changes))] + others


def _check_folder(where: str, name: str, value: Any) -> None:
    if name in FOLDERS and isinstance(value, str) and not value.strip():
        raise UserError(f"{where}: names no folder; give one, or '.' for the working folder")


def _section(name: str, verb: str, changes: list[tuple[str, str]]) -> str:
    """The verb's section of a file as YAML, its callbacks changed."""
    section = read_section(name, verb)
    if changes:
        callbacks = callbacks_of(name, section)
        by_class = {node["class_path"].rpartition(".")[2]: node for node in callbacks}
        for option, value in changes:
            _change(by_class, option, value, name)
        section["trainer"]["callbacks"] = callbacks
    return yaml.safe_dump(section)


def _change(callbacks: dict[str, Node], option: str, value: str, name: str) -> None:
    """Set one argument of one callback, in place."""
    _, _, known, *path = option.split(".")
    if known not in callbacks:
        raise UserError(f"{option}: {name} has no callback {known}; there are {', '.join(callbacks) or 'none'}")
    node = arguments_of(callbacks[known], option)
    for step in path[:-1]:
        inner = node.get(step)
        node[step] = {"class_path": inner} if isinstance(inner, str) else {} if inner is None else inner
        node = arguments_of(node[step], option)
    try:
        node[path[-1]] = yaml.safe_load(value)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{option}: '{value[:100]}' is not readable as YAML; put it in quotes") from error


def arguments_of(node: Any, option: str) -> Node:
    """The arguments of a class's entry in place, or the entry itself where it names no class.

    Raises:
        UserError: it is a value without arguments.
    """
    found = node
    if isinstance(node, dict) and "class_path" in node:
        if node.get("init_args") is None:
            node["init_args"] = {}
        found = node["init_args"]
    if not isinstance(found, dict):
        raise UserError(f"{option}: leads through {found!r}, which has no arguments; correct the name")
    return found
