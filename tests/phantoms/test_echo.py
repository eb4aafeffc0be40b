"""The echo phantom's causal model: what an intervention moves, and what it must not."""

from __future__ import annotations

from dataclasses import asdict, fields

import numpy as np
import pytest

from lvcf.data.video import clip_indices
from lvcf.phantoms.echo.ruler import measure
from lvcf.phantoms.echo.set import frame_times
from lvcf.phantoms.echo.simulate import (
    FPS,
    MARKER,
    MM_PER_PIXEL,
    SECTOR_DEPTH,
    SECTOR_HALF_ANGLE,
    SECTOR_TIP,
    SHAPE_AREA,
    SIZE,
    EchoFactors,
    Ventricle,
    bullet,
    deformation,
    ejected,
    render,
)

TIMES = frame_times()[clip_indices(frame_times(), 16, 8.0)]


def factors(seed: int = 0, **changes) -> EchoFactors:
    drawn = EchoFactors.sample(np.random.default_rng(seed))
    return EchoFactors(**{**asdict(drawn), **changes})


def outside_sector() -> np.ndarray:
    rows, columns = np.mgrid[0:SIZE, 0:SIZE]
    dx, dy = columns - SECTOR_TIP[0], rows - SECTOR_TIP[1]
    depth, angle = np.hypot(dx, dy), np.abs(np.arctan2(dx, dy))
    return (depth > SECTOR_DEPTH + 1) | (angle * depth > SECTOR_HALF_ANGLE * depth + 1)


def test_the_same_factors_give_the_same_bytes_and_frames_are_independent() -> None:
    clip = render(factors(), TIMES[:6])
    assert clip.shape == (6, SIZE, SIZE)
    assert clip.dtype == np.uint8
    assert clip.tobytes() == render(factors(), TIMES[:6]).tobytes()
    assert clip[4].tobytes() == render(factors(), TIMES[4:5])[0].tobytes()
    assert clip.tobytes() != render(factors(1), TIMES[:6]).tobytes()


def test_do_with_the_same_ef_is_the_identity() -> None:
    f = factors()
    assert f.do(f.ef) == f
    assert render(f.do(f.ef), TIMES[:3]).tobytes() == render(f, TIMES[:3]).tobytes()


def test_do_changes_ef_and_nothing_exogenous() -> None:
    f = factors(marker="ef")
    changed = {field.name for field in fields(f) if getattr(f, field.name) != getattr(f.do(20.0), field.name)}
    assert changed == {"ef"}


def test_do_leaves_what_does_not_move() -> None:
    f = factors(ef=70.0)
    one, other = render(f, TIMES), render(f.do(20.0), TIMES)
    assert (one != other).any()
    still = outside_sector()
    assert still.mean() > 0.3
    assert (one[:, still] == other[:, still]).all()
    assert (one[:, still] == 0).all()


def test_the_end_diastolic_frame_is_the_same_under_every_ef() -> None:
    """At s(t) = 0 the volume is EDV whatever the EF, so the frame is too, byte for byte."""
    f = factors(phase=0.0)
    assert float(ejected(np.asarray(0.0))) == 0.0
    frames = [render(f.do(ef), np.array([0.0]))[0].tobytes() for ef in (10.0, 45.0, 80.0)]
    assert len(set(frames)) == 1


def test_a_larger_change_of_ef_changes_more() -> None:
    f = factors(ef=60.0)
    base = render(f, TIMES).astype(float)
    changes = [np.abs(render(f.do(ef), TIMES) - base).mean() for ef in (55.0, 40.0, 15.0)]
    assert changes[0] < changes[1] < changes[2]


def test_the_beat_goes_from_end_diastole_to_end_systole_and_back() -> None:
    phase = np.linspace(0.0, 1.0, 1001)
    s = ejected(phase)
    assert s[0] == s[-1] == 0.0
    assert s.min() == pytest.approx(0.0, abs=1e-12)
    assert s.max() == pytest.approx(1.0)
    assert 0.3 < phase[s.argmax()] < 0.5
    assert np.abs(np.diff(s)).max() < 0.01  # continuous
    np.testing.assert_allclose(ejected(phase + 3.0), s, atol=1e-12)


@pytest.mark.parametrize("ratio", [1.0, 0.8, 0.4, 0.15])
def test_width_squared_times_length_is_the_volume(ratio) -> None:
    width, length = deformation(ratio)
    assert width**2 * length == pytest.approx(ratio)
    assert width < length or ratio == 1.0  # the wall moves more than the valve plane


@pytest.mark.parametrize("seed", range(4))
def test_the_end_diastolic_shape_holds_edv_by_the_area_length_formula(seed) -> None:
    """V = 8 A^2 / (3 pi L), with the outline's area integrated here."""
    f = factors(seed)
    shape = Ventricle.of(f)
    q = np.linspace(0.0, 1.0, 4001)
    area = np.trapezoid(2 * shape.width * bullet(q), q * shape.length)
    assert area == pytest.approx(2 * SHAPE_AREA * shape.width * shape.length, rel=1e-4)
    volume = 8 * area**2 / (3 * np.pi * shape.length) * MM_PER_PIXEL**3 / 1000
    assert volume == pytest.approx(f.edv, rel=1e-3)
    assert 2 * shape.width / shape.length == pytest.approx(f.aspect)


def test_image_and_local_coordinates_are_inverse() -> None:
    shape = Ventricle.of(factors(3))
    a, u = np.array([0.0, 30.0, 60.0]), np.array([5.0, -12.0, 0.0])
    back = shape.to_local(*shape.to_image(a, u))
    np.testing.assert_allclose(back, (a, u), atol=1e-9)


@pytest.mark.parametrize("ef", [15.0, 50.0, 80.0])
def test_the_volume_in_the_pixels_follows_edv_times_one_minus_ef_s(ef) -> None:
    f = factors(5, ef=ef)
    wanted = 1 - ef / 100 * ejected(f.phase + TIMES * f.heart_rate / 60)
    measured = measure(render(f, TIMES), Ventricle.of(f)).volume_ratio
    assert np.abs(measured - wanted).mean() < 0.05
    if ef > 30:
        assert np.corrcoef(measured, wanted)[0, 1] > 0.97


def test_the_marker_shows_ef_and_only_where_it_is_planted() -> None:
    plain = factors(2)
    for ef in (20.0, 73.5):
        marked = factors(2, ef=ef, marker="ef")
        clip = render(marked, TIMES[:2])
        assert np.unique(clip[(slice(None), *MARKER)]).tolist() == [round(ef / 100 * 255)]
        without = render(plain.do(ef), TIMES[:2])
        clip[(slice(None), *MARKER)] = without[(slice(None), *MARKER)]
        assert (clip == without).all()
    told = render(factors(2, ef=20.0, marker="73.5"), TIMES[:2])
    assert np.unique(told[(slice(None), *MARKER)]).tolist() == [round(0.735 * 255)]
    told[(slice(None), *MARKER)] = 0
    assert (told == render(plain.do(20.0), TIMES[:2])).all()


def test_a_marker_that_was_set_stays_and_one_that_follows_follows() -> None:
    f = factors(2, ef=40.0, marker="ef")
    assert f.do(ef=60.0).told == 60.0
    assert f.do(marker="73.5").do(ef=60.0).told == 73.5
    assert f.do(ef=60.0, marker="ef") == f.do(60.0)


def test_rows_of_older_sets_are_read() -> None:
    row = factors(2).to_row()
    assert EchoFactors.from_row(row | {"marker": "0"}).marker == "none"
    assert EchoFactors.from_row(row | {"marker": "1"}).marker == "ef"


def test_the_marker_lies_outside_the_sector() -> None:
    unmarked = render(factors(2, gain=1.15), TIMES)
    assert (unmarked[(slice(None), *MARKER)] == 0).all()


@pytest.mark.parametrize("marker", ["none", "ef", "12.34"])
def test_a_row_of_factors_round_trips_exactly(marker) -> None:
    for seed in range(20):
        f = EchoFactors.sample(np.random.default_rng(seed), marker=marker)
        assert EchoFactors.from_row({**f.to_row(), "FileName": "x"}) == f
    odd = factors(ef=1 / 3, gain=1e-17 + 0.1)
    assert EchoFactors.from_row(odd.to_row()) == odd


def test_factors_are_independent_draws_within_their_ranges() -> None:
    drawn = [EchoFactors.sample(np.random.default_rng([9, i])) for i in range(600)]
    ef, edv, rate = (np.array([getattr(f, name) for f in drawn]) for name in ("ef", "edv", "heart_rate"))
    assert 8 <= ef.min() < 12
    assert 83 < ef.max() <= 87
    assert ef.mean() == pytest.approx(47.5, abs=3)
    for other in (edv, rate, np.array([f.gain for f in drawn])):
        assert abs(np.corrcoef(ef, other)[0, 1]) < 0.12


def test_frames_lie_on_the_fifty_fps_grid() -> None:
    assert frame_times()[1] == pytest.approx(1 / FPS)
