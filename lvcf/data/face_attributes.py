"""A face's age, gender, beard and baldness: their values, and the words of prompts that say them."""

from __future__ import annotations

from itertools import product

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "age": ("young", "old"),
    "gender": ("woman", "man"),
    "beard": ("no", "yes"),
    "baldness": ("no", "yes"),
}
"""Every attribute's values."""


def person(values: dict[str, str]) -> str:
    """The attributes in a prompt's words, e.g. ``"old bald man with a beard"``; what is absent is not said."""
    bald, beard = (values[name] == "yes" for name in ("baldness", "beard"))
    return " ".join([values["age"], *["bald"] * bald, values["gender"], *["with a beard"] * beard])


def combinations() -> list[dict[str, str]]:
    """All combinations of the attributes' values, the last attribute fastest."""
    return [dict(zip(ATTRIBUTES, values, strict=True)) for values in product(*ATTRIBUTES.values())]


def index_of(values: dict[str, str]) -> int:
    """A combination's place in :func:`combinations`."""
    return combinations().index({name: values[name] for name in ATTRIBUTES})
