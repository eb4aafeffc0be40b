"""The causal graphs that a steering run keeps in its manifest."""

from __future__ import annotations

from pydantic import ValidationError

from lvcf.errors import UserError
from lvcf.files import Record, damaged
from lvcf.steering.graph import CausalGraph


def stored_graph(manifest: Record, entry: str) -> CausalGraph:
    """The graph under ``graph`` or ``evaluation_graph``.

    Raises:
        UserError: it is damaged.
    """
    try:
        return CausalGraph.model_validate(manifest[entry])
    except ValidationError as error:
        raise damaged(manifest.path, f"{entry}: {error.errors(include_url=False)[0]['msg']}") from error
    except UserError as error:
        raise damaged(manifest.path, f"{entry}: {error}") from error
