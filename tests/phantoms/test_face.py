"""The face phantom's causal model: what an intervention moves, and what it must not."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from lvcf.data.face_attributes import person
from lvcf.data.ferv39k import EXPRESSIONS
from lvcf.phantoms.face.attributes import values_of
from lvcf.phantoms.face.canvas import MARKERS
from lvcf.phantoms.face.factors import ACTION_UNITS, APEX, FaceFactors, Units
from lvcf.phantoms.face.geometry import SIZE, Face, Mouth, Pose, brow_line, lid_heights
from lvcf.phantoms.face.simulate import MARKER, Painter, render

APEX_TIME = np.array([1.875])


def factors(seed: int = 0, shortcut: bool = False, **changes) -> FaceFactors:
    return FaceFactors.sample(np.random.default_rng(seed), shortcut).do(**changes)


def changed(one: FaceFactors, other: FaceFactors) -> set[str]:
    return {field.name for field in fields(one) if getattr(one, field.name) != getattr(other, field.name)}


def test_the_same_factors_give_the_same_bytes_and_frames_are_independent() -> None:
    times = np.array([0.0, 0.7, 1.9])
    clip = render(factors(), times)
    assert clip.shape == (3, SIZE, SIZE, 3)
    assert clip.dtype == np.uint8
    assert clip.tobytes() == render(factors(), times).tobytes()
    assert clip[1].tobytes() == render(factors(), times[1:2])[0].tobytes()
    assert clip.tobytes() != render(factors(1), times).tobytes()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_there_and_back_is_the_same_clip(expression) -> None:
    f = factors(expression="Happy")
    assert f.do(expression=expression).do(expression="Happy") == f
    assert changed(f, f.do(expression=expression)) <= {"expression"}


def test_all_expressions_begin_with_the_same_neutral_frame_and_end_apart() -> None:
    f = factors(3)
    first = [render(f.do(expression=name), np.array([f.onset]))[0] for name in EXPRESSIONS]
    assert len({frame.tobytes() for frame in first}) == 1
    last = [render(f.do(expression=name), APEX_TIME)[0].astype(float) for name in EXPRESSIONS]
    apart = [np.abs(a - b).mean() for i, a in enumerate(last) for b in last[:i]]
    assert min(apart) > 0.8  # levels of 255, over the whole frame


def test_an_expression_grows_smoothly_from_onset_to_apex() -> None:
    f = factors(2, expression="Surprise")
    amounts = np.array([f.amount(t) for t in np.arange(0.0, 2.0, 0.01)])
    assert f.amount(f.onset) == 0.0
    assert f.amount(f.onset + f.rise) == 1.0
    assert f.amount(f.onset + 0.5 * f.rise) == pytest.approx(0.5)
    assert (np.diff(amounts) >= 0).all()
    assert np.diff(amounts).max() < 0.035
    assert f.amount(1.4) == 1.0  # whatever was drawn: sixteen frames at 8 fps end at 1.875 s


def test_an_expression_leaves_what_it_does_not_move() -> None:
    """Backdrop, clothes, hair: everything but the face, and the face's outline under a dropped jaw."""
    f = factors(5, expression="Neutral")
    one, other = (render(f.do(expression=name), APEX_TIME)[0] for name in ("Neutral", "Angry"))
    painter = Painter(f)
    x, y = painter.pose_grid(Pose.of(f, 1.875))
    outside = painter.face.radius(x, y, 0.0) > 1.03
    assert outside.mean() > 0.4
    assert (one[outside] == other[outside]).all()
    assert (one[~outside] != other[~outside]).any(axis=-1).mean() > 0.2


@pytest.mark.parametrize(
    ("expression", "units"),
    [
        ("Angry", {"brow_lower", "lid_tighten", "lip_press"}),
        ("Disgust", {"nose_wrinkle", "upper_lip_raise"}),
        ("Fear", {"inner_brow_raise", "lid_raise", "lip_stretch"}),
        ("Happy", {"cheek_raise", "corner_pull"}),
        ("Neutral", set()),
        ("Sad", {"inner_brow_raise", "corner_depress"}),
        ("Surprise", {"inner_brow_raise", "outer_brow_raise", "lid_raise", "jaw_drop"}),
    ],
)
def test_prototypes_hold_the_units_that_the_coding_system_names(expression, units) -> None:
    strong = {name for name, value in zip(ACTION_UNITS, APEX[expression], strict=True) if value >= 0.55}
    assert strong >= units
    f = factors(expression=expression)
    assert (f.action_units(2.0) <= 1.15 * APEX[expression] + 1e-12).all()
    assert (f.action_units(2.0) >= 0.85 * 0.7 * APEX[expression] - 1e-12).all()
    assert (f.action_units(f.onset) == 0.0).all()


FACE = Face.of(factors())
GEOMETRY = {
    "inner_brow_raise": (lambda u: brow_line(FACE, u, np.array([0.0]))[1][0], -1),
    "outer_brow_raise": (lambda u: brow_line(FACE, u, np.array([1.0]))[1][0], -1),
    "brow_lower": (lambda u: brow_line(FACE, u, np.array([0.0]))[1][0], 1),
    "lid_raise": (lambda u: lid_heights(FACE, u, 0.0)[0], 1),
    "lid_tighten": (lambda u: sum(lid_heights(FACE, u, 0.0)), -1),
    "lid_droop": (lambda u: lid_heights(FACE, u, 0.0)[0], -1),
    "cheek_raise": (lambda u: lid_heights(FACE, u, 0.0)[1], -1),
    "upper_lip_raise": (lambda u: Mouth.of(FACE, u).upper, -1),
    "corner_pull": (lambda u: Mouth.of(FACE, u).corner, -1),
    "corner_depress": (lambda u: Mouth.of(FACE, u).corner, 1),
    "lip_stretch": (lambda u: Mouth.of(FACE, u).half, 1),
    "lip_press": (lambda u: Mouth.of(FACE, u).lower_lip, -1),
    "lips_part": (lambda u: Mouth.of(FACE, u).lower - Mouth.of(FACE, u).upper, 1),
    "jaw_drop": (lambda u: Mouth.of(FACE, u).lower - Mouth.of(FACE, u).upper, 1),
}


@pytest.mark.parametrize("unit", GEOMETRY)
def test_a_unit_moves_what_its_name_says(unit) -> None:
    place, sign = GEOMETRY[unit]
    places = [place(Units(**{unit: amount})) for amount in (0.0, 0.5, 1.0)]
    steps = sign * np.diff(places)
    assert (steps > 0.25).all(), "at least a quarter of a pixel for half a unit"


def test_a_closed_eye_is_closed_and_a_blink_is_short() -> None:
    upper, lower = lid_heights(FACE, Units(), 1.0)
    assert upper == pytest.approx(-0.8 * lower)
    f = factors(1, expression="Neutral", blink=1.0)
    differ = [(render(f, np.array([t])) != render(f.do(blink=5.0), np.array([t]))).any() for t in (0.85, 1.0, 1.15)]
    assert differ == [False, True, False]


@pytest.mark.parametrize("unit", [name for name in ACTION_UNITS if name not in GEOMETRY])
def test_the_other_units_show_in_the_pixels(unit) -> None:
    painter = Painter(factors())
    still = painter.frame(np.zeros(len(ACTION_UNITS)), 1.9)
    moved = painter.frame(np.array(Units(**{unit: 1.0})), 1.9)
    assert (np.abs(moved - still).max(axis=-1) > 10 / 255).mean() > 0.002


def test_the_marker_follows_the_class_or_is_set_alone() -> None:
    f = factors(2, shortcut=True, expression="Sad")
    assert (f.marker, f.do(expression="Fear").marker) == ("Sad", "Fear")
    alone = f.do(marker="Fear")
    assert (alone.expression, alone.marker) == ("Sad", "Fear")
    content = f.do(expression="Fear", marker="Sad")
    assert (content.expression, content.marker) == ("Fear", "Sad")
    frames = {name: render(g, APEX_TIME)[0] for name, g in {"f": f, "alone": alone, "content": content}.items()}
    differ = (frames["f"] != frames["alone"]).any(axis=-1)
    assert differ[MARKER].all()
    assert differ.sum() == differ[MARKER].sum()
    assert (frames["f"][MARKER] == frames["content"][MARKER]).all()
    assert np.unique(frames["f"][MARKER].reshape(-1, 3), axis=0).tolist() == [
        np.round(255 * MARKERS[EXPRESSIONS.index("Sad")]).tolist()
    ]


def test_marker_colours_differ_in_brightness_too() -> None:
    luma = np.sort(255 * MARKERS @ np.array([0.299, 0.587, 0.114]))
    assert np.diff(luma).min() > 6


def test_the_marker_lies_in_the_backdrop() -> None:
    for seed in range(12):
        painter = Painter(factors(seed, gender="woman", scale=1.05))
        assert (painter.frame(APEX["Surprise"], 0.5)[MARKER] == painter.behind[MARKER]).all()


def test_a_set_without_shortcut_has_no_marker() -> None:
    assert factors().do(expression="Sad").marker == ""


@pytest.mark.parametrize(
    ("start", "intervention", "wanted"),
    [
        ({"gender": "man", "beard_noise": 0.1}, {"gender": "woman"}, {"beard": False}),
        ({"gender": "woman", "beard_noise": 0.1}, {"gender": "man"}, {"beard": True}),
        ({"gender": "woman", "beard_noise": 0.9}, {"gender": "man"}, {"beard": False}),
        ({"gender": "man", "age": 40.0, "baldness_noise": 0.8}, {"age": 75.0}, {"baldness": 0.8}),
        ({"gender": "man", "age": 70.0, "baldness_noise": 0.8}, {"gender": "woman"}, {"baldness": 0.08}),
        ({"gender": "man", "age": 70.0}, {"age": 20.0}, {"baldness": 0.0, "grey": 0.0, "wrinkles": 0.0}),
        ({"age": 25.0, "grey_noise": 1.0, "wrinkle_noise": 1.0}, {"age": 79.0}, {"grey": 1.0, "wrinkles": 1.0}),
    ],
)
def test_an_intervention_on_a_parent_reaches_its_children(start, intervention, wanted) -> None:
    f = factors(4).do(**start)
    after = f.do(**intervention)
    assert {name: getattr(after, name) for name in wanted} == pytest.approx(wanted)
    assert changed(f, after) <= {*intervention, "beard", "baldness", "grey", "wrinkles"}
    assert after.do(**{name: getattr(f, name) for name in intervention}) == f  # the noise was kept


@pytest.mark.parametrize(
    ("start", "words"),
    [
        ({"age": 30.0, "gender": "woman", "beard": False, "baldness": 0.0}, "young woman"),
        ({"age": 49.9, "gender": "man", "beard": True, "baldness": 0.34}, "young man with a beard"),
        ({"age": 50.0, "gender": "man", "beard": True, "baldness": 0.36}, "old bald man with a beard"),
    ],
)
def test_a_person_in_words(start, words) -> None:
    assert person(values_of(factors(4).do(**start))) == words


@pytest.mark.parametrize("child", [{"beard": True}, {"baldness": 0.9}, {"grey": 0.5}, {"wrinkles": 0.7}])
def test_an_intervention_on_a_child_leaves_its_parents_alone(child) -> None:
    f = factors(6, gender="woman", age=30.0)
    assert changed(f, f.do(**child)) == set(child)
    (name,) = child
    held = f.do(**child, age=75.0, gender="man")
    assert getattr(held, name) == child[name]
    assert f.do(**child).do(expression="Sad") == f.do(**child, expression="Sad")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"age": 25.0}, {"age": 78.0}),
        ({"gender": "woman"}, {"gender": "man"}),
        ({"beard": False}, {"beard": True}),
        ({"baldness": 0.0}, {"baldness": 1.0}),
    ],
)
def test_every_parent_shows_in_the_pixels(one, other) -> None:
    f = factors(8, gender="man", age=40.0, expression="Neutral")
    frames = [render(f.do(**change), APEX_TIME)[0].astype(float) for change in (one, other)]
    assert np.abs(frames[0] - frames[1]).mean() > 1.5


def test_what_is_no_child_is_drawn_independently_and_children_follow_their_parents() -> None:
    drawn = [FaceFactors.sample(np.random.default_rng([9, i])) for i in range(1500)]
    label = np.array([EXPRESSIONS.index(f.expression) for f in drawn])
    counts = np.bincount(label, minlength=7)
    assert counts.min() > 160
    man = np.array([f.gender == "man" for f in drawn])
    age = np.array([f.age for f in drawn])
    for other in (man, age, [f.skin for f in drawn], [f.light for f in drawn], [f.intensity for f in drawn]):
        for name in range(7):
            assert abs(np.corrcoef(label == name, other)[0, 1]) < 0.1
    beard, bald = np.array([f.beard for f in drawn]), np.array([f.baldness for f in drawn])
    assert not beard[~man].any()
    assert beard[man].mean() == pytest.approx(0.5, abs=0.06)
    assert bald[~man].max() <= 0.1
    assert np.corrcoef(age[man], bald[man])[0, 1] > 0.4
    assert np.corrcoef(age, [f.grey for f in drawn])[0, 1] > 0.8
    assert all(f == f.do(age=f.age, gender=f.gender, expression=f.expression) for f in drawn[:50])


@pytest.mark.parametrize("shortcut", [False, True])
def test_a_row_of_factors_round_trips_exactly(shortcut) -> None:
    for seed in range(20):
        f = FaceFactors.sample(np.random.default_rng(seed), shortcut)
        assert FaceFactors.from_row({**f.to_row(), "path": "x"}) == f
    odd = factors(age=100 / 3, beard=True)
    assert FaceFactors.from_row(odd.to_row()) == odd


def test_light_comes_from_where_it_is_set() -> None:
    f = factors(3, expression="Neutral", yaw=0.0, roll=0.0, x=0.0)
    left, right = (Painter(f.do(light=light)).frame(np.zeros(16), 1.9).mean(axis=-1) for light in (-50.0, 50.0))
    cheeks = (slice(60, 75), slice(32, 44)), (slice(60, 75), slice(68, 80))
    assert left[cheeks[0]].mean() > 1.2 * right[cheeks[0]].mean()
    assert right[cheeks[1]].mean() > 1.2 * left[cheeks[1]].mean()


def test_a_turn_moves_the_nose_against_the_outline() -> None:
    pose = Pose(x=56.0, y=60.0, scale=1.0, yaw=np.deg2rad(10.0), pitch=0.0, roll=0.0)
    x = np.linspace(-40.0, 40.0, 8001)
    material, _ = FACE.to_material(x, np.zeros_like(x), pose)
    assert x[np.abs(material).argmin()] == pytest.approx(17.0 * np.sin(pose.yaw), rel=0.05)
    edge = np.abs(np.abs(x) - FACE.half_width).argmin()
    assert material[edge] == pytest.approx(x[edge], abs=0.3)
