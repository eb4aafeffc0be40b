"""Effectiveness, composition and reversibility of an editor: what is left of a clip when nothing, or all, is undone.

After Monteiro et al. (2023) and Melistas et al. (2024), in whose table Causal-Adapter (Tong et al. 2026) is reported.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

from torch import Tensor

from lvcf.files import Json
from lvcf.steering.editors.base import Editor


def effectiveness(results: Iterable[Json], domains: dict[str, Sequence[str]]) -> dict[str, float]:
    """F1 of every attribute by the evaluating judge, over edits; the last value of a domain is the positive one.

    Args:
        results: ``result.json`` of some edits; those without an evaluation say nothing.
        domains: the variables and their values.

    Returns:
        By attribute, NaN where no value is positive, neither wanted nor seen.
    """
    answers = [one for result in results if isinstance(result.get("evaluation"), list) for one in result["evaluation"]]
    by_name = {name: [one for one in answers if one["attribute"] == name] for name in domains}
    return {
        name: f1(
            [one["observed"] == domain[-1] for one in by_name[name]],
            [one["expected"] == domain[-1] for one in by_name[name]],
        )
        for name, domain in domains.items()
    }


def f1(seen: Sequence[bool], wanted: Sequence[bool]) -> float:
    """2 TP / (2 TP + FP + FN); NaN where nothing is positive."""
    both = sum(one and other for one, other in zip(seen, wanted, strict=True))
    return 2 * both / total if (total := sum(seen) + sum(wanted)) else math.nan


def composed(editor: Editor, clip: Tensor, prompt: str, seed: int) -> Iterator[Tensor]:
    """The clip edited to what it shows already, that edit again, and so on.

    Args:
        editor: edits.
        clip: the factual clip ``(3, T, H, W)`` in [-1, 1].
        prompt: what it shows.
        seed: of the first edit; the next has the next.
    """
    while True:
        clip = editor.edit(editor.prepare(clip, prompt), prompt, "", seed)
        yield clip
        seed += 1


def returned(editor: Editor, edited: Tensor, prompt: str, source_prompt: str, seed: int) -> Tensor:
    """A counterfactual edited back: what the editor was told becomes the source, and the source what is wanted.

    Args:
        editor: edits.
        edited: the counterfactual ``(3, T, H, W)`` in [-1, 1].
        prompt: that it was made with.
        source_prompt: what the factual clip shows.
        seed: of the edit.
    """
    return editor.edit(editor.prepare(edited, prompt), source_prompt, "", seed)
