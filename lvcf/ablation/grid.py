"""Dotted keys of a grid: which argument of a ``predict`` section they mean."""

from __future__ import annotations

import importlib
from typing import Any

from lvcf.errors import UserError, nearest
from lvcf.parsing import arguments_of

Node = dict[str, Any]
"""A ``class_path`` with its ``init_args``."""

SET_ELSEWHERE = {"model.prompt": "prompts:", "model.output": "output:", "model.noise_seed": "noises:"}


def put(section: Node, key: str, value: Any) -> None:
    """Set one argument in place.

    Args:
        section: a ``predict`` section.
        key: ``model.ARGUMENT``, ``data.ARGUMENT`` or ``CALLBACK.ARGUMENT`` with the callback's class name, such as
            ``GradientGuidance.samples``; an argument that is a class itself is passed through, as in
            ``GradientGuidance.weight.lambda_max``.
        value: what it becomes.

    Raises:
        UserError: the section has no such callback, or the class no such argument.
    """
    first, *names = key.split(".")
    nodes: dict[str, Node] = {c["class_path"].rpartition(".")[2]: c for c in section["trainer"]["callbacks"]}
    nodes |= {"model": section["model"], "data": section["data"]}
    if first not in nodes or not names:
        near = nearest(first, list(nodes))
        hint = (
            f"did you mean '{near}'?" if near and near != first else f"begin with one of {', '.join(nodes)}, then '.'"
        )
        raise UserError(f"grid key '{key}': names no argument of a callback, the model or the data; {hint}")
    if key in SET_ELSEWHERE:
        raise UserError(f"grid key '{key}': is set by '{SET_ELSEWHERE[key]}' of the ablation")
    node = nodes[first]
    for name in names[:-1]:
        _check(node, name, key)
        inner = node.get("init_args", {}).get(name)
        if not isinstance(inner, dict) or "class_path" not in inner:
            raise UserError(f"grid key '{key}': '{name}' is no class with arguments in the base's file")
        node = inner
    _check(node, names[-1], key)
    node.setdefault("init_args", {})[names[-1]] = value


def _check(node: Node, name: str, key: str) -> None:
    """An argument that the file does not mention is looked up in the class, which takes seconds to load."""
    if name in node.get("init_args", {}):
        return
    module, _, class_name = node["class_path"].rpartition(".")
    known = [*arguments_of(getattr(importlib.import_module(module), class_name))]
    if name not in known:
        near = nearest(name, known)
        hint = f"did you mean '{near}'?" if near else f"it has {', '.join(known)}"
        raise UserError(f"grid key '{key}': {class_name} has no argument '{name}'; {hint}")
