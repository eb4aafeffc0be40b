"""Plots are small inline SVG that says in words what it shows."""

from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from math import inf

import pytest

from lvcf.report.plots import Outcome, curves_plot, guidance_plot, prediction_plot, target_scatter
from lvcf.report.svg import Axes, ticks

TRAJECTORY = [
    {"step": 0, "t": 0.9, "weight": 0.3, "loss": 2.0, "prediction": 55.0},
    {"step": 1, "t": 0.5, "weight": 0.1, "loss": 0.2, "prediction": 33.0},
]


def _marks(svg: str, tag: str, kind: str) -> list[ElementTree.Element]:
    return [e for e in ElementTree.fromstring(svg).iter(tag) if kind in e.attrib.get("class", "").split()]


def test_prediction_has_units_a_target_band_and_one_dot_per_step() -> None:
    svg = prediction_plot(TRAJECTORY, 28.0, 32.0, "%")
    assert "reading (%)" in svg
    assert "target 28 to 32 %" in svg
    assert len(_marks(svg, "circle", "dot")) == 2
    assert float(_marks(svg, "rect", "target-band")[0].attrib["height"]) > 5


def test_a_target_open_to_one_side_stays_in_the_plot() -> None:
    band = _marks(prediction_plot(TRAJECTORY, -inf, 40.0, "%"), "rect", "target-band")[0]
    assert 0 < float(band.attrib["height"]) < 236


def test_one_step_and_a_loss_of_zero_are_drawn() -> None:
    row = {"step": 0, "t": 0.9, "weight": 0.0, "loss": 0.0, "prediction": 30.0}
    assert "nan" not in prediction_plot([row], 30.0, 30.0, "%") + guidance_plot([row])


@pytest.mark.parametrize("truth", [True, False])
def test_areas_mark_the_phases_and_show_the_truth_where_it_is_known(truth: bool) -> None:
    curves = {
        "what": "ventricle area",
        "unit": "px^2",
        "factual": [900.0, 500.0, 800.0],
        "counterfactual": [900.0, 700.0, 850.0],
        "ed": 0,
        "es": 1,
    }
    svg = curves_plot(curves | ({"truth": [900.0, 720.0, 860.0]} if truth else {}), 8.0)
    assert "area (px²)" in svg
    assert ">ED<" in svg
    assert ">ES<" in svg
    assert len(_marks(svg, "polyline", "truth")) == int(truth)


def test_the_scatter_tells_status_by_shape_and_escapes_ids() -> None:
    outcomes = [Outcome("<a>", "reached", 30, 30, 62, 30.5), Outcome("b", "not_reached", 70, 80, 28, 63)]
    svg = target_scatter(outcomes, "%")
    assert "<a>" not in svg
    assert "&lt;a&gt;" in svg
    assert len(_marks(svg, "circle", "reached")) == len(_marks(svg, "path", "not_reached")) == 1


def test_ticks_are_round_and_axes_put_larger_values_higher() -> None:
    assert ticks(12.0, 63.0) == [20.0, 40.0, 60.0]
    axes = Axes(40, 30, 100, 50, (0, 10), (0, 1))
    assert axes.at(0, 0) == (40, 80)
    assert axes.at(10, 1) == (140, 30)
