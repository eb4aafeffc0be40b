"""Methods by name: which callbacks take part in sampling, with which settings, and what a method is called.

A method is a case of a shipped ablation (``configs/ablations/phantom.yaml`` and its like), so that the Python API, the
configurations and the grids share one definition.
"""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jsonargparse import ArgumentParser

from lvcf.checks import check_choice
from lvcf.configuration import read_section
from lvcf.errors import UserError
from lvcf.parsing import one_line
from lvcf.sampling import SamplingCallback

DOMAINS = ("phantom", "face", "motion")
"""Shipped configurations that have an ablation of the same name."""


@dataclass(frozen=True)
class Method:
    """What a method is.

    Attributes:
        callbacks: their ``class_path`` and ``init_args``, in the order in which they take part.
        settings: what differs of :class:`~lvcf.settings.Settings`.
    """

    callbacks: list[dict[str, Any]]
    settings: dict[str, Any] = field(default_factory=dict)


def methods(domain: str = "phantom") -> dict[str, Method]:
    """The methods of a domain by name, as its ablation tries them, without the rows that are no method.

    Args:
        domain: ``phantom``, ``face`` or ``motion``: block weights and mask shares are the backbone's own.

    Raises:
        UserError: there is no such domain.
    """
    check_choice("domain", domain, DOMAINS)
    plan = read_section(f"ablations/{domain}.yaml", "ablate")
    return {
        name: Method(case["callbacks"], case.get("model", {}))
        for name, case in plan["cases"].items()
        if name not in plan["controls"]
    }


def callbacks_of(
    method: str | Iterable[SamplingCallback], domain: str
) -> tuple[list[SamplingCallback], dict[str, Any]]:
    """A method's callbacks, made, and its settings.

    Raises:
        UserError: there is no such method.
    """
    if not isinstance(method, str):
        return list(method), {}
    known = methods(domain)
    check_choice("method", method, list(known))
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--callbacks", type=list[SamplingCallback])
    try:
        made = parser.instantiate(parser.parse_object({"callbacks": known[method].callbacks}))
    except ArgumentError as error:
        raise UserError(one_line(error)) from error
    return list(made.callbacks), known[method].settings


def method_label(callbacks: Iterable[Any], prompt: str) -> str:
    """``AGG + ADS + MSPR + last correction``, in the order of the callbacks; ``prompt only`` where M takes no part.

    Args:
        callbacks: of the run; those that do not sample, or have no part in the result, are left out.
        prompt: neutral or target.
    """
    labels = [callback.label() for callback in callbacks if isinstance(callback, SamplingCallback)]
    return " + ".join(filter(None, labels)) or ("prompt only" if prompt == "target" else "guidance off")
