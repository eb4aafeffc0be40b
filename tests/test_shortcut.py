"""The table of planted shortcuts: rows that were not measured again stay."""

from __future__ import annotations

import pytest

from benchmarks.shortcut import KINDS, RESULTS, read_rows, row, table
from lvcf.phantoms.reliance import PLANTED

FOUND = {
    "clips": 16,
    "reliance on the marker": 0.98765,
    "reached": 1.0,
    "share of the change on the marker": 0.5,
    "its standard error": 0.0625,
    "ceiling": 0.9,
}


def test_rows_of_phantoms_that_were_not_measured_stay_as_they_are() -> None:
    standing = RESULTS.read_text(encoding="utf-8")
    rows = read_rows(standing)
    assert {f"motion, {kind}" for kind in KINDS} <= set(rows)
    assert table(rows) == standing
    more = table(rows | {"echo, relying": row("echo, relying", FOUND)})
    assert "| echo, relying | 16 | 0.988 | 1.00 | 0.500 ± 0.062 | 0.900 |" in more
    assert read_rows(more).items() >= rows.items()


@pytest.mark.parametrize("kind", PLANTED)
def test_a_target_is_told_to_a_model_and_read_back(kind) -> None:
    planted = PLANTED[kind]
    for target in planted.contents or (12.5, 80.0):
        assert planted.named(planted.goal(target)) == target
