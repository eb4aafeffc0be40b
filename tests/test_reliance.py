"""What a target model reads, against what it was made to read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.reliance import CLASSES, PHANTOMS, Clips, measure, reliance
from lvcf.models.targets.base import TargetModel


def test_reliance_is_the_held_factors_share_of_the_variance() -> None:
    generator = torch.Generator().manual_seed(0)
    held, rest, again = torch.randn(3, 100_000, 1, generator=generator)
    assert reliance(held + 0.5 * rest, held + 0.5 * again) == pytest.approx(1 / 1.25, abs=0.01)
    assert reliance(held, held) == pytest.approx(1.0)
    assert reliance(rest, again) == pytest.approx(0.0, abs=0.01)


class _MeanBrightness(TargetModel):
    """Reads the first voxel and, ``leaning`` times, what is not the attribute."""

    task, unit, scale, bounds = "regression", "%", 1.0, (-9.0, 9.0)

    def __init__(self, leaning: float) -> None:
        super().__init__()
        self.leaning = leaning

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        return video[:, 0, 0, 0, 0] + self.leaning * video[:, 1].mean(dim=(1, 2, 3))


def test_the_figures_of_a_model_that_is_known() -> None:
    generator = torch.Generator().manual_seed(1)
    own = torch.rand(64, 3, 2, 4, 4, generator=generator)
    held = own.clone()
    held[:, 1] = torch.rand(64, 2, 4, 4, generator=generator)
    darker = own.clone()
    darker[:, 1] -= 0.1
    clips = Clips(own, held, {"codec": darker}, [])
    assert measure(_MeanBrightness(0.0), clips) == pytest.approx(
        {"reliance on the attribute": 1.0, "moved by codec": 0.0}
    )
    leaning = measure(_MeanBrightness(20.0), clips)
    assert leaning["moved by codec"] == pytest.approx(2.0, abs=1e-4)
    assert leaning["reliance on the attribute"] < 0.5


@pytest.mark.parametrize(
    ("name", "attribute", "other_factor"),
    [("echo", "ef", "gain"), ("face", "expression", "light"), ("motion", "action", "x")],
)
def test_holding_an_attribute_holds_it_alone(name, attribute, other_factor) -> None:
    phantom, rng = PHANTOMS[name], np.random.default_rng(0)
    own, other = phantom.draw(rng), phantom.draw(rng)
    held = phantom.held(other, own)
    assert getattr(held, attribute) == getattr(own, attribute) != getattr(other, attribute)
    assert getattr(held, other_factor) == getattr(other, other_factor) != getattr(own, other_factor)
    assert name == "echo" or getattr(own, attribute) in CLASSES[name]
