"""Every figure that lvcf measures has a name, a sentence, and a direction where it has one."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import lvcf
from lvcf.measure.columns import COLUMNS
from lvcf.measure.names import ABOUT, FIGURES, HIGHER, LOWER, figure_of

PACKAGE = Path(lvcf.__file__).parent
GROUPS = "|".join(ABOUT)
WRITTEN = re.compile(rf'"((?:{GROUPS})/[a-z0-9_]+)"')
"""Keys as string literals; those with placeholders are in the second test."""


def test_every_key_in_the_code_that_measures_is_described() -> None:
    places = [
        PACKAGE / "cli" / "evaluate.py",
        *(PACKAGE / "measure").glob("*.py"),
        PACKAGE / "steering" / "measures.py",
        *PACKAGE.glob("phantoms/**/*.py"),
    ]
    keys = {key for path in places for key in WRITTEN.findall(path.read_text(encoding="utf-8"))}
    assert len(keys) > 40
    # beginnings of keys
    stems = {"truth/pixel_", "truth/share_", "truth/path_", "truth/action_unit", "adherence/valid_"}
    assert {key for key in keys - stems if key not in FIGURES} == set()


def test_every_column_of_the_tables_is_described() -> None:
    assert {key for key in COLUMNS.values() if key not in FIGURES} == set()


@pytest.mark.parametrize(
    ("key", "name", "better", "setting"),
    [
        ("realism/fvd[oracle,n=8+8,frames=16,112x112]", "FVD", LOWER, "oracle, n = 8+8, frames = 16, 112x112"),
        ("realism/fid_floor[a]", "FID floor", "", "a"),
        ("explanation/change_correlation[randomised]", "likeness to another run's change", "", "randomised"),
        ("fidelity/lpips_vgg", "LPIPS, VGG", LOWER, ""),
        ("proximity/changed_over_8_levels", "changed voxels", LOWER, ""),
        ("adherence/valid_reencoded", "valid when re-encoded", HIGHER, ""),
        ("adherence/r2", "R²", HIGHER, ""),
        ("something/new_ssim_thing", "new SSIM thing", "", ""),
    ],
)
def test_keys_read_as_words(key: str, name: str, better: str, setting: str) -> None:
    figure = figure_of(key)
    assert (figure.name, figure.better, figure.setting) == (name, better, setting)


def test_directions_are_those_of_the_documentation() -> None:
    """The tables of docs/metrics say higher or lower; where they name a key in full, both agree."""
    rows = re.findall(
        r"^\| `([a-z]+/[a-z0-9_]+)(?:\[\.\.\.\])?`[^|]*\|.*\| (higher|lower)[^|]*\|", _documents(), re.MULTILINE
    )
    assert len(rows) > 12
    assert {key: FIGURES[key].better for key, _ in rows if key in FIGURES} == {k: b for k, b in rows if k in FIGURES}


def _documents() -> str:
    pages = sorted((Path(__file__).parents[2] / "docs" / "metrics").glob("*.md"))
    return "\n".join(page.read_text(encoding="utf-8") for page in pages)
