"""Effectiveness, composition and reversibility against closed forms, on editors whose faults are known."""

from __future__ import annotations

import math
from itertools import islice, product

import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor

from lvcf.metrics.change import l1
from lvcf.steering.axioms import composed, effectiveness, f1, returned
from lvcf.steering.editors.base import Editor
from tests.steering.painted import YOUNG_MAN, BandEditor, case, paint

CLIP, LEVEL = torch.zeros(3, 2, 4, 4), 1 / 127.5


class Drifting(Editor):
    """Every edit brightens by some levels, and by two more for every *old* that the prompt says and the source not."""

    identity = "drifting"

    def __init__(self, drift: int) -> None:
        self.drift, self.seeds = drift, list[int]()

    def prepare(self, clip: Tensor, source_prompt: str) -> tuple[Tensor, str]:
        return clip, source_prompt

    def edit(self, state: tuple[Tensor, str], prompt: str, negative: str, seed: int) -> Tensor:
        self.seeds.append(seed)
        clip, source = state
        return clip + LEVEL * (self.drift + 2 * (prompt.count("old") - source.count("old")))


def test_f1_is_the_published_formula() -> None:
    for seen, wanted in product(product((False, True), repeat=3), repeat=2):
        if any(seen) or any(wanted):
            assert f1(seen, wanted) == pytest.approx(f1_score(wanted, seen, zero_division=0.0))
    assert math.isnan(f1([False, False], [False, False]))


def test_effectiveness_is_by_attribute_and_leaves_out_what_nobody_evaluated() -> None:
    def result(**answers: tuple[str, str]) -> dict[str, object]:
        return {"evaluation": [{"attribute": n, "observed": o, "expected": e} for n, (o, e) in answers.items()]}

    edits = [
        result(age=("old", "old"), beard=("no", "no")),
        result(age=("young", "old"), beard=("no", "no")),
        result(age=("old", "young"), beard=("no", "no")),
        {"evaluation": "unavailable: refused"},
        {"status": "failed"},
    ]
    found = effectiveness(edits, {"age": ["young", "old"], "beard": ["no", "yes"]})
    assert found["age"] == pytest.approx(2 / (2 + 1 + 1))
    assert math.isnan(found["beard"])


def test_what_cannot_be_told_is_not_positive() -> None:
    edits = [{"evaluation": [{"attribute": "age", "observed": "cannot tell", "expected": "old"}]}]
    assert effectiveness(edits, {"age": ["young", "old"]}) == {"age": 0.0}


@pytest.mark.parametrize("drift", [0, 3])
def test_composition_adds_up_what_every_edit_adds(drift) -> None:
    editor = Drifting(drift)
    clips = list(islice(composed(editor, CLIP, "an old man", 7), 4))
    assert [l1(clip, CLIP) for clip in clips] == pytest.approx([drift * k for k in (1, 2, 3, 4)], abs=1e-4)
    assert editor.seeds == [7, 8, 9, 10]


@pytest.mark.parametrize("drift", [0, 3])
def test_the_way_back_undoes_the_change_and_not_the_drift(drift) -> None:
    editor = Drifting(drift)
    there = editor.edit(editor.prepare(CLIP, "a man"), "an old, old man", "", 0)
    assert l1(there, CLIP) == pytest.approx(drift + 4, abs=1e-4)
    back = returned(editor, there, "an old, old man", "a man", 1)
    assert l1(back, CLIP) == pytest.approx(2 * drift, abs=1e-4)


def test_an_editor_that_does_as_it_is_told_loses_nothing() -> None:
    asked, editor = case(YOUNG_MAN, age="old"), BandEditor()
    clip = paint(YOUNG_MAN)
    there = editor.edit(editor.prepare(clip, asked.source_prompt), asked.target_prompt, "", 0)
    assert l1(there, clip) > 10.0
    assert l1(returned(editor, there, asked.target_prompt, asked.source_prompt, 0), clip) == pytest.approx(0, abs=1e-4)
    assert l1(next(composed(editor, clip, asked.source_prompt, 0)), clip) == pytest.approx(0, abs=1e-4)
