"""Which readings the adaptive denoising schedule believes."""

from __future__ import annotations

import pytest

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.schedule import AdaptiveDenoisingSchedule
from lvcf.guidance.weight import ConstantWeight
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import Capture, GaussianBackbone, LinearTarget, make_clips, predict

STEPS = 10


def times(tmp_path, **options) -> list[float]:
    """Times of the steps of a clip that is within tolerance from the first."""
    task = CounterfactualTask(
        GaussianBackbone(), LinearTarget(), "0..100", tmp_path, steps=STEPS, strength=1.0, tolerance=0.5
    )
    capture = Capture()
    guidance = GradientGuidance(ConstantWeight(0.05), samples=1)
    predict(task, make_clips(1), [guidance, AdaptiveDenoisingSchedule(3, **options), capture])
    return [round(step[0], 3) for step in capture.times]


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({}, [1.0, 0.9, 0.6, 0.3, 0.1]),
        ({"trusted": 0.6}, [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.2, 0.1]),
        ({"held": 2}, [1.0, 0.9, 0.8, 0.5, 0.2, 0.1]),
        ({"trusted": 0.6, "held": 3}, [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.1]),
        ({"trusted": 0.0}, [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
    ],
)
def test_long_strides_begin_when_a_reading_is_believed(tmp_path, options, wanted) -> None:
    assert times(tmp_path, **options) == wanted
