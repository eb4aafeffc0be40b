"""Models of several heads: the tensors that a forward returns, by name, and the one that is explained."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass

from torch import Tensor

from lvcf.errors import line, nearest
from lvcf.models.targets.check import MisfitError


def named(output: object) -> dict[str, Tensor]:
    """The tensors that a forward returned, by name; a single tensor has none.

    Names are a mapping's keys (such as transformers' ``ModelOutput``), the fields of a named tuple or a dataclass, and
    the places ``0``, ``1`` ... in a plain tuple or list.
    """
    pairs: Iterable[tuple[object, object]] = ()
    if isinstance(output, Mapping):
        pairs = output.items()
    elif isinstance(output, tuple | list):
        pairs = zip(getattr(output, "_fields", range(len(output))), output, strict=True)
    elif is_dataclass(output):
        pairs = [(entry.name, getattr(output, entry.name)) for entry in fields(output)]
    return {str(name): value for name, value in pairs if isinstance(value, Tensor)}


def chosen(output: object, name: str) -> Tensor:
    """The tensor of that name; without a name, the only one there is.

    Raises:
        MisfitError: see :func:`chosen_name`; or there is no tensor at all, or one that has no name.
    """
    if isinstance(output, Tensor):
        if name:
            raise MisfitError(f"output {name}: it returns one tensor, which has no name; leave output out")
        return output
    found = named(output)
    if not found:
        raise MisfitError(f"returns a {type(output).__name__} without a tensor; return the logits or the value")
    return found[chosen_name(list(found), name)]


def chosen_name(names: Sequence[str], name: str) -> str:
    """The output to explain; the only one there is if none is named.

    Raises:
        MisfitError: there is none of that name, or none is named where there are several; it lists them.
    """
    if name in names:
        return name
    known = line(", ".join(names)) or "none"
    if name:
        near = nearest(name, names)
        fix = f"did you mean {near}? it has {known}" if near else f"it has {known}"
        raise MisfitError(f"output {name}: there is none of that name; {fix}")
    if len(names) != 1:
        count = "several outputs" if names else "no output"
        raise MisfitError(f"returns {count} ({known}); name the one to explain: answer.output")
    return names[0]


def heads(output: object, clips: int) -> dict[str, Tensor]:
    """Those outputs that say something of each of ``clips`` clips, as rows ``(B, K)`` of floats."""
    found = {name: head for name, head in named(output).items() if head.is_floating_point()}
    return {
        name: head.reshape(clips, -1) for name, head in found.items() if head.shape[:1] == (clips,) and head.dim() < 3
    }
