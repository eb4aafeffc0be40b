"""The table of docs/backbones.md says of each configuration what tests there are, and no more."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from lvcf.configuration import config_folder
from tests import test_backbone_configs as configs
from tests.helpers import ROOT
from tests.models import test_families as families
from tests.models import test_given_families as given
from tests.models import test_wan_vace as vace

COLUMNS: dict[str, tuple[Callable[..., Any], ...]] = {
    "load": (
        families.test_the_loader_finds_the_family,
        given.test_a_folder_says_that_its_denoiser_takes_given_frames_and_keeps_its_pipeline,
    ),
    "fit": (configs.test_fit_trains_the_denoiser_alone_and_stock_diffusers_loads_the_result,),
    "LoRA": (configs.test_lora_trains_saves_and_adds_up,),
    "predict, evaluate": (configs.test_predict_and_evaluate,),
    "`lvcf.Explainer`": (families.test_the_explainer_takes_it, given.test_given_frames_come_back_exactly),
    "equal to the stock pipeline": (
        families.test_sampling_makes_what_the_stock_pipeline_makes,
        given.test_the_sampler_draws_from_a_first_frame_at_time_0_what_the_stock_pipeline_draws,
        given.test_a_denoiser_that_is_shown_the_first_frame_draws_what_the_stock_pipeline_draws,
    ),
    "first frame kept exactly": (
        given.test_given_frames_come_back_exactly,
        vace.test_the_sampler_shows_it_what_stays_and_that_comes_back_exactly,
    ),
}
"""The tests behind each column: they run for the names that they are parametrised with."""


def names(test: Callable[..., Any]) -> set[str]:
    """The families that a test runs for."""
    marks = [mark for mark in getattr(test, "pytestmark", ()) if mark.args[:1] == ("name",)]
    return {name for mark in marks for name in mark.args[1]}


def test_every_configuration_has_a_row_that_says_what_is_tested() -> None:
    page = (ROOT / "docs" / "backbones.md").read_text()
    lines = page.partition("| configuration | load |")[2].partition("\n\n")[0].splitlines()
    heading = [cell.strip() for cell in lines[0].strip("|").split("|")]
    assert heading == list(COLUMNS)[1:]
    rows = {}
    for line in lines[2:]:
        name, *cells = (cell.strip() for cell in line.strip("|").split("|"))
        rows[re.sub("`", "", name)] = dict(zip(COLUMNS, cells, strict=True))
    assert sorted(rows) == sorted(path.stem for path in (config_folder() / "backbones").glob("*.yaml"))
    for name, row in rows.items():
        for column, tests in COLUMNS.items():
            tested = any(name in names(test) for test in tests)
            assert row[column] == ("yes" if tested else "-"), f"{name}, {column}"
