"""The distance to what a phantom can paint: none of a true clip, little of a soft one, much of what is no such clip."""

from __future__ import annotations

import re
from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from lvcf.metrics.plausible import sharpness
from lvcf.metrics.truth import truly_changed
from lvcf.phantoms.echo import truth as echo_truth
from lvcf.phantoms.echo.simulate import EchoFactors
from lvcf.phantoms.echo.truth import EchoTruth
from lvcf.phantoms.echo.world import EchoWorld
from lvcf.phantoms.face import truth as face_truth
from lvcf.phantoms.face.factors import FaceFactors
from lvcf.phantoms.face.truth import FaceTruth
from lvcf.phantoms.face.world import FaceWorld
from lvcf.phantoms.manifold import find_nearest, plausible
from lvcf.phantoms.motion import truth as motion_truth
from lvcf.phantoms.motion.set import LABELS
from lvcf.phantoms.motion.simulate import MotionFactors
from lvcf.phantoms.motion.truth import MotionTruth
from lvcf.phantoms.motion.world import MotionWorld
from tests.helpers import ROOT

CLIP = {"frames": 16, "fps": 8.0}


def echo():
    factors = EchoFactors.sample(np.random.default_rng(3)).do(ef=70.0)
    asked, own = (EchoTruth(factors, {**CLIP, "target": {"low": ef, "high": ef}}) for ef in (30.0, 70.0))
    return EchoWorld(factors, asked.times, 30.0), asked, own.video


def face():
    factors = FaceFactors.sample(np.random.default_rng(3)).do(expression="Happy")
    asked, own = (FaceTruth(factors, {**CLIP, "target": {"text": name}}) for name in ("Surprise", "Happy"))
    return FaceWorld(factors, asked.times), asked, own.video


def motion():
    factors = MotionFactors.sample(np.random.default_rng(3), "push_left")
    asked, own = (MotionTruth(factors, {**CLIP, "target": {"text": LABELS[place]}}) for place in (4, 6))
    return MotionWorld(factors, asked.times), asked, own.video


WORLDS = {"echo": echo, "face": face, "motion": motion}


@cache
def case(name):
    """A phantom's world, what is true, the factual clip, and the voxels that truly change."""
    world, truth, factual = WORLDS[name]()
    return world, truth, factual, truly_changed(factual, truth.video)


def blurred(clip, sigma):
    return np.round(gaussian_filter(clip.astype(np.float64), (0.0, sigma, sigma, 0.0))).astype(np.uint8)


def patched(name):
    """Something of the clip, but from elsewhere, where something changes."""
    _, truth, _, region = case(name)
    clip = truth.video.copy()
    clip[region] = np.roll(truth.video, 37, axis=2)[region]
    return clip


CLIPS = {
    "true": lambda name: case(name)[1].video,
    "factual": lambda name: case(name)[2],
    "soft": lambda name: blurred(case(name)[1].video, 1.0),
    "softer": lambda name: blurred(case(name)[1].video, 2.0),
    "half": lambda name: ((case(name)[1].video.astype(np.float64) + case(name)[2]) / 2).astype(np.uint8),
    "patched": patched,
}


@cache
def found(name, kind):
    world, _, _, region = case(name)
    return find_nearest(world, CLIPS[kind](name), region)


each = pytest.mark.parametrize("name", WORLDS)


@each
def test_a_true_clip_and_the_factual_one_can_be_painted(name) -> None:
    assert found(name, "true").levels == found(name, "true").raw == 0.0
    assert found(name, "factual").levels == 0.0


@each
def test_the_more_is_wrong_the_farther_it_is(name) -> None:
    soft, softer, half, patch = (found(name, kind).levels for kind in ("soft", "softer", "half", "patched"))
    assert 0.0 < soft < softer < patch
    assert half > soft  # half of each of two clips is no clip


@each
def test_the_nearest_clip_names_what_is_shown(name) -> None:
    shown, truth = found(name, "soft").factors, case(name)[1]
    if name == "echo":
        assert abs(shown.ef - 30.0) < 2.5
    else:
        assert truth.target == (shown.expression if name == "face" else shown.action)


@each
def test_a_class_counts_only_on_the_manifold(name) -> None:
    soft = found(name, "soft")
    near, far = (plausible(soft, limit, lambda factors: True) for limit in (soft.levels, 0.99 * soft.levels))
    assert (near["plausible/on_manifold"], near["plausible/strict_class"]) == (1.0, 1.0)
    assert (far["plausible/on_manifold"], far["plausible/strict_class"]) == (0.0, 0.0)
    wrong = plausible(soft, soft.levels, lambda factors: False)
    assert (wrong["plausible/on_manifold"], wrong["plausible/strict_class"]) == (1.0, 0.0)


@each
def test_where_nothing_changed_there_is_nothing_to_say(name) -> None:
    world, truth, _, region = case(name)
    assert find_nearest(world, truth.video, np.zeros_like(region)) is None
    assert all(np.isnan(value) for value in plausible(None, 1.0, lambda factors: True).values())


@each
def test_every_figure_of_a_comparison_that_needs_the_phantoms_pixels_is_named(name) -> None:
    _, truth, factual, region = case(name)
    told = truth.compare(factual, truth.video, region)
    assert set(truth.ruled) <= set(told)
    assert told["plausible/off_manifold"] == 0.0
    assert told["plausible/sharpness"] == 1.0
    assert told.get("plausible/strict_class", 1.0) == 1.0


@each
def test_sharpness_falls_with_blur_and_rises_with_noise(name) -> None:
    _, truth, _, region = case(name)
    soft, softer = (sharpness(blurred(truth.video, sigma), truth.video, region) for sigma in (1.0, 2.0))
    grain = np.random.default_rng(0).normal(0.0, 8.0, truth.video.shape)
    noisy = np.clip(truth.video + grain, 0, 255).astype(np.uint8)
    assert softer < soft < 0.9
    assert sharpness(noisy, truth.video, region) > 1.1
    assert np.isnan(sharpness(truth.video, truth.video, np.zeros_like(region)))


def test_the_limit_is_the_measured_one() -> None:
    table = (ROOT / "benchmarks" / "results" / "manifold_limit.md").read_text()
    measured = {
        row[0]: float(row[2]) for row in re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \|$", table, re.MULTILINE)
    }
    assert measured == {"echo": echo_truth.LIMIT, "face": face_truth.LIMIT, "motion": motion_truth.LIMIT}
