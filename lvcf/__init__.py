"""Latent video counterfactuals: what would have to be different in a video for a model to say otherwise.

``import lvcf`` loads nothing heavy; a name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lvcf.explain import Explainer
    from lvcf.explanation import Explanation
    from lvcf.models.backbones.load import load_backbone
    from lvcf.models.targets.base import TargetModel
    from lvcf.models.targets.wrapping import Answer, ClipInput
    from lvcf.presets import methods
    from lvcf.results import evaluate, load_run

    __version__: str

_HOMES = {
    "Answer": "lvcf.models.targets.wrapping",
    "ClipInput": "lvcf.models.targets.wrapping",
    "Explainer": "lvcf.explain",
    "Explanation": "lvcf.explanation",
    "TargetModel": "lvcf.models.targets.base",
    "evaluate": "lvcf.results",
    "load_backbone": "lvcf.models.backbones.load",
    "load_run": "lvcf.results",
    "methods": "lvcf.presets",
}
__all__ = [
    "Answer",
    "ClipInput",
    "Explainer",
    "Explanation",
    "TargetModel",
    "__version__",
    "evaluate",
    "load_backbone",
    "load_run",
    "methods",
]


def __getattr__(name: str) -> Any:
    """Load a name from its home, at its first use (PEP 562)."""
    if name == "__version__":
        from importlib.metadata import version

        return version("lvcf")
    if name not in _HOMES:
        raise AttributeError(f"module 'lvcf' has no attribute '{name}'")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
