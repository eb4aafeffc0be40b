"""README and pages hold the tables that ``benchmarks/tables.py`` makes of the results, and no others."""

from __future__ import annotations

import csv
import re

import pytest

from benchmarks.tables import PLACE, RESULTS, TABLES, filled, pages
from tests.helpers import ROOT

TEXTS = {path: path.read_text() for path in pages()}
SORTS = ("imulated", "Real clip", "Random weights")
"""What a table says of its numbers: simulated, of a real clip, or no clip at all."""


@pytest.mark.parametrize("page", [path for path, text in TEXTS.items() if PLACE.search(text)], ids=lambda p: p.name)
def test_a_page_has_the_tables_of_the_results(page) -> None:
    assert TEXTS[page] == filled(TEXTS[page]), "run python benchmarks/tables.py"


def test_a_digit_edited_in_a_page_is_seen() -> None:
    readme = TEXTS[ROOT / "README.md"]
    assert "29.61 ± 1.85" in readme
    assert filled(readme.replace("29.61 ± 1.85", "29.62 ± 1.85")) == readme


def test_every_table_stands_on_a_page_once() -> None:
    placed = [place[1] for text in TEXTS.values() for place in PLACE.finditer(text)]
    assert sorted(placed) == sorted(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_says_what_made_it_and_of_what(name) -> None:
    text = TABLES[name]()
    assert re.search(r"made by `(make|python|lvcf) [^`]+`", text)
    assert any(sort in text for sort in SORTS)


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_no_measured_table_is_written_by_hand(page) -> None:
    rest = PLACE.sub("", TEXTS[page])
    assert not [line for line in rest.splitlines() if line.startswith("|") and "±" in line]


def test_a_digest_rounds_the_results() -> None:
    with (RESULTS / "phantom.csv").open(newline="") as stream:
        (row,) = (row for row in csv.DictReader(stream) if row["method"] == "full, target")
    (line,) = (line for line in TABLES["brief"]().splitlines() if line.startswith("| full, target |"))
    n, mae, ssim, truth, share, pixels, ruler, oracle = line.strip("| ").split(" | ")[1:]
    assert n == row["n"]
    assert float(mae.split()[0]) == pytest.approx(float(row["MAE"]), abs=0.005)
    assert float(mae.split()[2]) == pytest.approx(float(row["MAE se"]), abs=0.005)
    assert float(ssim.split()[0]) == pytest.approx(float(row["SSIM"]), abs=0.0005)
    assert float(truth) == pytest.approx(float(row["SSIM of truth"]), abs=0.0005)
    assert float(share.split()[0]) == pytest.approx(float(row["share, smooth"]), abs=0.005)
    for shown, name in ((pixels, "pixel EF off"), (ruler, "ruler off"), (oracle, "oracle EF off")):
        assert float(shown.split()[0]) == pytest.approx(float(row[name]), abs=0.05)
