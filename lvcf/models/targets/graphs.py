"""Files that carry their own graph (torch.export, TorchScript), read so that nothing runs and no file is touched.

Whoever made the file is trusted with what it computes of a clip, and with nothing else: pickles, compiled code and
operators that take the name of a file are refused before the file is loaded.  (TorchScript runs code while loading.)
"""

from __future__ import annotations

import ast
import json
import os
import re
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from lvcf.errors import UserError, said

PLAIN_ENTRY = re.compile(
    r"models/[^/]+\.json|data/weights/(weight_\d+|[^/]+\.json)|data/constants/(tensor_\d+|[^/]+\.json)"
    r"|data/sample_inputs/[^/]+\.pt|extra/.*|\.data/.*|archive_format|archive_version|byteorder|version"
)
"""What a .pt2 archive of graph and tensors holds; compiled code and objects of other kinds have other names."""
PLAIN_SYNTAX = (
    *(ast.Expression, ast.Call, ast.keyword, ast.Name, ast.Load, ast.Constant),
    *(ast.BinOp, ast.UnaryOp, ast.Compare, ast.operator, ast.unaryop, ast.cmpop),
)
"""What a size in a graph is written with, such as ``2*Symbol('s0', positive=True) + 1``: loading evaluates it."""
COMPUTING = ("aten", "prim", "prims", "quantized", "quantized_decomposed", "torchvision")
"""Namespaces of operators that compute; others read files, send, or run other code."""
HIGHER_ORDER = ("cond", "while_loop", "scan", "map_impl", "wrap_with_set_grad_enabled", "wrap_with_autocast")
SIZES = re.compile(
    r"_operator\.(eq|ne|[lg][et]|neg|pos|add|sub|mul|pow|floordiv|truediv|mod|and_|or_|lshift|rshift|getitem)"
    r"|math\.[a-z0-9_]+|torch\._?sym_[a-z_]+"
)
"""Functions that a graph computes sizes with."""
CLASSES = ("quantized", "rnn")
"""Of TorchScript's classes written in C++, those that hold weights."""
FOREIGN_CLASS = re.compile(rb"torch[.\n]classes[.\n](?!" + "|".join(CLASSES).encode() + rb")[^\s]*")


def load_graph(path: Path) -> nn.Module:
    """A saved graph, read as tensors alone.

    Raises:
        UserError: the file is missing, is no graph, or holds what could run code or touch files.
    """
    if not path.is_file():
        raise UserError(f"{path}: not found; give the file that torch.export.save or torch.jit.save wrote")
    exported = path.suffix == ".pt2"
    kind, saver = ("an exported program", "torch.export.save") if exported else ("TorchScript", "torch.jit.save")
    try:
        with zipfile.ZipFile(path) as archive:
            odd = next(_odd_in_program(archive) if exported else _odd_in_script(archive), "")
    except (zipfile.BadZipFile, ValueError, SyntaxError, OSError, RecursionError, NotImplementedError) as error:
        refused = "no archive of torch.export.save" if exported else "not TorchScript"
        raise UserError(f"{path}: {refused} ({said(error)}); write it again with {saver}") from error
    if odd:
        raise UserError(
            f"{path}: refused: it holds {odd[:80]!r}, which could run code or touch files; export tensors and graph "
            "alone"
        )
    try:
        with _tensors_only(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript's deprecation: the file is the user's
            if exported:
                return torch.export.load(path).module()
            script: nn.Module = torch.jit.load(str(path), map_location="cpu").eval()  # type: ignore[no-untyped-call]
            return script
    except Exception as error:  # both loaders raise whatever their parsers do
        raise UserError(
            f"{path}: not {kind} that loads as tensors alone ({said(error, 160)}); export it again"
        ) from error


def _odd_in_program(archive: zipfile.ZipFile) -> Iterator[str]:
    """What torch.export would unpickle, load as compiled code or evaluate, and operators that do not compute."""
    yield from _twice(archive)
    for entry in archive.namelist():
        if not PLAIN_ENTRY.fullmatch(entry.partition("/")[2]):
            yield entry
        elif entry.endswith(".json") and "/models/" in entry:
            graph = json.loads(archive.read(entry))
            yield from (text for text in _values(graph, "expr_str") if not _is_plain(text))
            yield from (target for target in _values(graph, "target") if not _computes(target))


def _odd_in_script(archive: zipfile.ZipFile) -> Iterator[str]:
    """Operators and classes that do more than compute, in all code that the archive brings: also what runs at loading.

    Raises:
        ValueError: no TorchScript, or its code does not parse.
    """
    if not any(name.endswith(".py") for name in archive.namelist()):
        raise ValueError("it holds no code")
    yield from _twice(archive)
    for entry in archive.namelist():
        content = archive.read(entry) if entry.endswith((".py", ".pkl")) else b""
        if found := FOREIGN_CLASS.search(content):
            yield found[0].decode(errors="replace")
        if entry.endswith(".py"):
            yield from _odd_names(ast.parse(content.decode()))


def _odd_names(code: ast.Module) -> Iterator[str]:
    """Operators told a file's name, however they are reached; ``ops`` and ``torch.classes`` of other namespaces."""
    nodes = list(ast.walk(code))
    spaces = {node.value: node.attr for node in nodes if isinstance(node, ast.Attribute)}
    for node in nodes:
        if isinstance(node, ast.Attribute):
            name: object = node.attr
            if name == "classes" and getattr(node.value, "attr", "") == "torch" and spaces.get(node) not in CLASSES:
                yield f"torch.classes.{spaces.get(node, '')}"
        else:
            name = getattr(node, "value", None)  # such as in getattr(torch, "save")
        if name in touching_files():
            yield str(name)
        if isinstance(node, ast.Name) and node.id == "ops" and spaces.get(node) not in COMPUTING:
            yield f"ops.{spaces.get(node, '')}"


def _computes(target: str) -> bool:
    """Whether a node of an exported program calls an operator that computes."""
    match target.split("."):
        case ["torch", "ops", "higher_order", name]:
            return name in HIGHER_ORDER
        case ["torch", "ops", namespace, name, _overload]:
            return namespace in COMPUTING and name not in touching_files()
    return bool(SIZES.fullmatch(target))


@cache
def touching_files() -> frozenset[str]:
    """Operators that are told the name of a file, of all that this torch knows."""
    schemas = torch._C._jit_get_all_schemas()
    names = (schema.name.partition("::")[2] for schema in schemas if any("file" in a.name for a in schema.arguments))
    return frozenset(names)


def _twice(archive: zipfile.ZipFile) -> Iterator[str]:
    """Entries of one name: another reader might take the other one."""
    names = archive.namelist()
    yield from (name for place, name in enumerate(names) if name in names[:place])


def _is_plain(text: str) -> bool:
    """Whether an expression only names sympy's classes, symbols and numbers: no attribute, function or other string."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError):
        return False
    called = [node.func for node in nodes if isinstance(node, ast.Call)]
    strings = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    return (
        all(isinstance(node, PLAIN_SYNTAX) for node in nodes)
        and all(isinstance(name, ast.Name) and name.id[0].isupper() for name in called)
        and all(string.isidentifier() for string in strings)
    )


def _values(node: Any, name: str) -> Iterator[str]:
    """What stands under a name anywhere in JSON."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key == name:
                yield str(value)
            else:
                yield from _values(value, name)
    elif isinstance(node, list):
        for value in node:
            yield from _values(value, name)


@contextmanager
def _tensors_only() -> Iterator[None]:
    """Every torch.load in here reads tensors only: torch.export falls back to full unpickling by itself."""
    name = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
    before = os.environ.get(name)
    os.environ[name] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before
