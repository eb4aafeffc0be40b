"""The measurement in the pixels against the known truth."""

from __future__ import annotations

import numpy as np
import pytest

from lvcf.data.video import clip_indices
from lvcf.phantoms.echo.ruler import measure
from lvcf.phantoms.echo.set import frame_times
from lvcf.phantoms.echo.simulate import EchoFactors, Ventricle, ejected, render

TIMES = frame_times()[clip_indices(frame_times(), 16, 8.0)]


@pytest.fixture(scope="module")
def measured() -> list[tuple[EchoFactors, object]]:
    drawn = [EchoFactors.sample(np.random.default_rng([321, i])) for i in range(10)]
    return [(f, measure(render(f, TIMES), Ventricle.of(f))) for f in drawn]


def test_ef_is_within_three_points_on_clean_clips(measured) -> None:
    """Against the EF that 16 frames can show: the sampled extremes of the volume, which are known."""
    errors, shown = [], []
    for f, m in measured:
        volume = 1 - f.ef / 100 * ejected(f.phase + TIMES * f.heart_rate / 60)
        shown.append(100 * (1 - volume.min() / volume.max()))
        errors.append(m.ef - f.ef)
    assert np.abs(errors).mean() < 3.0
    assert np.corrcoef([m.ef for _, m in measured], shown)[0, 1] > 0.98
    assert abs(np.mean(errors)) < 2.5


def test_end_diastole_and_end_systole_are_found(measured) -> None:
    for f, m in measured:
        s = ejected(f.phase + TIMES * f.heart_rate / 60)
        if f.ef > 30:
            assert s[m.ed] < 0.15
            assert s[m.es] > 0.85


def test_the_area_at_end_diastole_is_that_of_the_shape(measured) -> None:
    for f, m in measured:
        s = ejected(f.phase + TIMES * f.heart_rate / 60)
        shape = Ventricle.of(f)
        wanted = 2 * shape.width * shape.length * 0.79  # SHAPE_AREA, from the outline's definition
        assert m.area[s.argmin()] == pytest.approx(wanted, rel=0.12)


def test_an_intervention_is_read_back_from_the_pixels() -> None:
    f = EchoFactors.sample(np.random.default_rng(77))
    shape = Ventricle.of(f)
    readings = [measure(render(f.do(ef), TIMES), shape).ef for ef in (15.0, 35.0, 55.0, 75.0)]
    assert readings == sorted(readings)
    assert np.abs(np.array(readings) - [15.0, 35.0, 55.0, 75.0]).mean() < 5.0


def test_a_still_heart_has_no_ejection() -> None:
    f = EchoFactors.sample(np.random.default_rng(4))
    frame = render(f, np.array([0.0]))
    assert measure(np.repeat(frame, 4, axis=0), Ventricle.of(f)).ef == pytest.approx(0.0, abs=1e-9)
