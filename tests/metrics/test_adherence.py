"""Which clips count as flipped."""

from __future__ import annotations

import math

from lvcf.measure.table import flipped, flipped_from_right


def test_only_clips_asked_for_another_class_can_flip_and_only_right_ones_count_there() -> None:
    said = [("sad", "happy"), ("sad", "sad"), ("happy", "happy")]
    every = [flipped(before, after, "happy") for before, after in said]
    assert every[:2] == [1.0, 0.0]
    assert math.isnan(every[2])
    right = [flipped_from_right(*said[i], "happy", label) for i, label in enumerate(["angry", "sad", "happy"])]
    assert [math.isnan(value) for value in right] == [True, False, True]
    assert right[1] == 0.0
