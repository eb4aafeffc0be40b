"""The parser's errors in one line: which argument, what it takes, and what it was given; what it lets pass."""

from __future__ import annotations

import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any

from jsonargparse import Namespace
from jsonargparse._parameter_resolvers import ParamData, get_signature_parameters  # the parser's own, not exported

from lvcf.errors import UserError, cause_of, nearest

KEY = re.compile(r'Parser key "([^"]+)":\s*')
CLASS = re.compile(r"Problem with given class_path '([^']+)':")
EXPECTED = re.compile(r"Expected an? (.+?)(?:\. Got value: (.*))?")
UNKNOWN = re.compile(r"Option '([^']+)' is not accepted")
GIVEN = re.compile(r"Given value: (?:NestedArg\(key='[^']*', val=(.*)\)|(.*))")
MISSING = "the following arguments are required"
NOISE = re.compile(
    r"Does not validate against any|Subtypes:|Errors:|Given value|Expected a path but|Expected a <class 'NoneType'>|"
    r"Subclass types expect|a class path \(str\)|a dict with"
)
"""Lines that say nothing of the cause."""
FORMER = ("path", "checkpoint", "weights")
"""What a target model's file was called."""
GONE = {"attributes": "leave it out; lvcf.phantoms.face.attribute_set.FaceAttributesDataModule is what true was"}
"""Options that older configurations have, and what to write instead."""
LONGEST = 600
Line = tuple[int, str]
"""Its indentation, a dash counted in, and its words."""


def one_line(error: Exception) -> str:
    """The deepest cause in a message of jsonargparse, which nests one attempt in the other.

    ``model.target_model.takes.frames: an int, not [8, 8]``
    """
    if (cause := cause_of(error)) is not error:
        return str(cause)
    text = str(error)
    lines = [_line(row) for row in text.splitlines() if row.strip()]
    causes = [line for line in lines if not NOISE.match(line[1])]
    if not causes:
        return " ".join(text.split())[:LONGEST]
    deepest = max(causes, key=lambda line: line[0])
    given = next((found for row in text.splitlines() if (found := GIVEN.fullmatch(row.strip()))), None)
    value = (given[1] or given[2] or "").strip("'") if given else ""
    above = _above(lines, deepest)
    key = ".".join(found[1] for words in (*above, deepest[1]) if (found := KEY.match(words)))
    return f"{key}: {_cause(causes, deepest, above, value)}".removeprefix(": ")[:LONGEST]


def _line(row: str) -> Line:
    words = row.strip().removeprefix("- ")
    return len(row) - len(row.lstrip()), words


def _above(lines: list[Line], line: Line) -> list[str]:
    """The lines that hold this one, the outermost first."""
    depth, found = line[0], []
    for indent, words in reversed(lines[: lines.index(line)]):
        if indent < depth:
            depth = indent
            found.append(words)
    return found[::-1]


def _cause(causes: list[Line], deepest: Line, above: list[str], value: str) -> str:
    indent, words = deepest
    if unknown := UNKNOWN.fullmatch(words):
        classes = [found[1] for line in above if (found := CLASS.match(line))]
        return _not_accepted(unknown[1], classes[-1] if classes else "")
    if MISSING in words:
        return f"{words}; give them, or a configuration with --config, such as --config phantom.yaml"
    siblings = [EXPECTED.fullmatch(text) for depth, text in causes if depth == indent]
    kinds = [found for found in siblings if found]
    if not EXPECTED.fullmatch(words):
        said = KEY.sub("", words) or "takes something else"
        return said if not value or value in said.split() else f"{said}, not {_shortened(value)}"
    value = next((found[2] for found in kinds if found[2]), value)
    return f"{' or '.join(dict.fromkeys(_kind(found[1]) for found in kinds))}, not {_shortened(value)}"


def _kind(text: str) -> str:
    """``<class 'int'>`` as ``an int``; a Literal as its values."""
    if found := re.fullmatch(r"<class '(?:.*\.)?(\w+)'>", text):
        return f"{'an' if found[1][0] in 'aeio' else 'a'} {found[1]}"
    if found := re.fullmatch(r"typing\.Literal\[(.*)\]", text):
        return f"one of {found[1].replace(chr(39), '')}"
    if text.startswith("dot import path string"):
        return "the path of a class, such as MODULE.CLASS"
    return text


def _not_accepted(name: str, path: str) -> str:
    """An argument that a class does not have, with those that it has."""
    module, _, last = path.rpartition(".")
    if not module:
        return f"option '{name}' is not accepted"
    known = [*arguments_of(_found(path))]
    near = "file" if name in FORMER and "file" in known else nearest(name, known)
    hint = GONE.get(name) or (f"did you mean '{near}'?" if near else f"it has {', '.join(known)}")
    return f"{last} has no option '{name}'; {hint}"


def arguments_of(of: Any) -> dict[str, ParamData]:
    """The arguments of a class or function by name, those too that it hands on by ``**``: what the parser takes."""
    return {one.name: one for one in get_signature_parameters(of)}


def _shortened(value: str) -> str:
    return value if len(value) <= 100 else f"{value[:100]}..."


def refuse_empty(configuration: Namespace, of: Any = None) -> None:
    """Refuse an entry with nothing behind its colon where its class takes no None; the parser lets it pass.

    Args:
        configuration: as parsed; parts with ``class_path`` and ``init_args`` may lie in one another and in lists.
        of: the class or function whose arguments the outermost entries are, if they are any.

    Raises:
        UserError: naming the first one by its whole key.
    """
    for key in _empty(configuration, _hints(of), ""):
        raise UserError(f"{key}: is empty; give a value, or leave it out")


def _empty(values: Namespace | None, hints: dict[str, Any], above: str) -> Iterator[str]:
    """Keys whose value is None although their hint does not say so; those without a hint may be anything."""
    for name, value in vars(values).items() if values else ():
        key = f"{above}{name}"
        if value is None and name in hints and not _may_be_none(hints[name]):
            yield key
        for entry, place in _parts(value, key):
            path = entry.get("class_path")
            of, arguments = (_found(path), entry.get("init_args")) if path else (hints.get(name), entry)
            yield from _empty(arguments, _hints(of), f"{place}.")


def _parts(value: Any, key: str) -> list[tuple[Namespace, str]]:
    """The parts of a value that have keys of their own, each with its place."""
    if isinstance(value, Namespace):
        return [(value, key)]
    entries = value if isinstance(value, list) else []
    return [(entry, f"{key}[{n}]") for n, entry in enumerate(entries) if isinstance(entry, Namespace)]


def _found(path: str) -> Any:
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name, None)
    except ImportError:  # a class's own method
        return None


def _hints(of: Any) -> dict[str, Any]:
    """What the arguments of a class or function may be; nothing where that cannot be told."""
    known = arguments_of(of).values() if callable(of) else ()
    return {
        one.name: one.annotation
        for one in known
        if one.annotation is not inspect.Parameter.empty and one.default is not None
    }


def _may_be_none(hint: Any) -> bool:
    return hint in (Any, None, type(None)) or any(_may_be_none(part) for part in typing.get_args(hint))
