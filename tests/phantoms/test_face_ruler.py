"""The measurement in the pixels against the known truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lvcf.data.ferv39k import EXPRESSIONS
from lvcf.phantoms.face.factors import ACTION_UNITS, APEX, FaceFactors
from lvcf.phantoms.face.ruler import Measurement, measure
from lvcf.phantoms.face.set import through_codec
from lvcf.phantoms.face.simulate import render

TIME = 1.875


def person(index: int) -> FaceFactors:
    return FaceFactors.sample(np.random.default_rng([4711, index]))


def shown(f: FaceFactors) -> np.ndarray:
    return through_codec(render(f, np.array([TIME])))[0]


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_units_and_expression_are_read_from_a_frame_of_the_set(expression) -> None:
    f = person(EXPRESSIONS.index(expression)).do(expression=expression)
    measured = measure(shown(f), f, TIME)
    assert measured.expression == expression
    assert np.abs(measured.action_units - f.action_units(TIME)).mean() < 0.04
    assert measured.residual < 4.0


@pytest.mark.parametrize("blur", [1.5, 3.5])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_soft_and_noisy_frame_is_read_too(expression, blur) -> None:
    """What a decoder returns: detail lost, some grain, another brightness."""
    f = person(20 + EXPRESSIONS.index(expression)).do(expression=expression)
    soft = gaussian_filter(shown(f).astype(float), (blur, blur, 0.0)) + 6.0
    soft += np.random.default_rng(0).normal(0.0, 5.0, soft.shape)
    assert measure(np.clip(soft, 0, 255).round().astype(np.uint8), f, TIME).expression == expression


def test_the_ruler_does_not_know_what_the_clip_should_show() -> None:
    f = person(3).do(expression="Happy")
    told_otherwise = f.do(expression="Angry", intensity=0.7, onset=0.4, rise=0.9)
    one, other = (measure(shown(f), g, TIME) for g in (f, told_otherwise))
    assert one.action_units.tolist() == other.action_units.tolist()
    assert one.expression == "Happy"


def test_a_half_grown_expression_has_smaller_units() -> None:
    f = person(5).do(expression="Surprise")
    half = f.onset + 0.5 * f.rise
    frame = through_codec(render(f, np.array([half])))[0]
    measured = measure(frame, f, half)
    assert measured.action_units == pytest.approx(f.action_units(half), abs=0.1)
    jaw = ACTION_UNITS.index("jaw_drop")
    assert 0.3 < measured.action_units[jaw] < 0.7 * f.action_units(TIME)[jaw]


@pytest.mark.parametrize("gain", [0.5, 1.0])
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_the_nearest_prototype_names_the_expression(expression, gain) -> None:
    measured = Measurement(gain * APEX[expression], 0.0)
    assert measured.expression == expression
    assert measured.distances[expression] == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_a_trace_of_an_expression_is_neutral(expression) -> None:
    assert Measurement(0.1 * APEX[expression], 0.0).expression == "Neutral"


@pytest.mark.slow
def test_at_least_95_percent_of_true_clips_are_named_rightly() -> None:
    """Ten people under all seven expressions, through the set's codec."""
    clips = [person(100 + i).do(expression=name) for i in range(10) for name in EXPRESSIONS]
    right = [measure(shown(f), f, TIME).expression == f.expression for f in clips]
    assert np.mean(right) >= 0.95
