"""How much a model relies on the planted marker, of models that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lvcf.models.targets.base import TargetModel
from lvcf.phantoms.motion.reliance import interventions, reliance, reliance_on_marker, render_clip, share_on_marker
from lvcf.phantoms.motion.set import LABELS, draw_factors, simulate
from lvcf.phantoms.motion.simulate import ACTIONS, MARKER, marker_colour

FACTORS = draw_factors(2, seed=5, marker="label")


class Marker(TargetModel):
    """Reads the marker and nothing else."""

    task, labels = "classification", LABELS

    def __init__(self) -> None:
        super().__init__()
        colours = np.array([marker_colour(action) for action in ACTIONS], dtype=np.float32)
        self.colours = nn.Parameter(torch.from_numpy(colours) * 2.0 - 1.0)

    def forward(self, video: Tensor) -> Tensor:
        seen = video[..., MARKER[0], MARKER[1]].mean((2, 3, 4))
        return -20.0 * (seen[:, None] - self.colours).square().sum(-1)


class Linear(TargetModel):
    """Log odds of the second of two classes: ``share`` of the first voxel, the rest of the second."""

    task, labels = "classification", ("a", "b")

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, video: Tensor) -> Tensor:
        odds = self.share * video[:, 0, 0, 0, 0] + (1.0 - self.share) * video[:, 0, 0, 0, 1]
        return torch.stack([torch.zeros_like(odds), odds], dim=1)


def test_the_four_clips_differ_in_what_was_set() -> None:
    own, marked, moved, both = interventions(FACTORS[0], "push_left")
    assert torch.equal(own, render_clip(FACTORS[0]))
    outside = torch.ones(112, 112, dtype=torch.bool)
    outside[MARKER] = False
    assert torch.equal(own[..., outside], marked[..., outside])
    assert not torch.equal(own[..., ~outside], marked[..., ~outside])
    assert torch.equal(own[..., ~outside], moved[..., ~outside])
    assert torch.equal(moved[..., outside], both[..., outside])
    assert not torch.equal(own[..., outside], moved[..., outside])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_of_a_linear_model_reliance_is_the_markers_share(share) -> None:
    """Markers and contents that go as far, over clips of any strength."""
    clips = [torch.tensor([[0.0, 0.0], [k, 0.0], [0.0, k], [k, k]]).view(4, 1, 1, 1, 2) for k in (1.0, 3.0)]
    assert reliance(Linear(share), clips, [1, 1]) == pytest.approx(share, abs=1e-6)


def test_a_set_without_a_marker_and_a_model_of_other_classes_have_none(tmp_path) -> None:
    for marker in ("none", "label"):
        simulate(tmp_path / marker, n=1, seed=5, marker=marker)
    model = Marker()
    assert reliance_on_marker(model, tmp_path / "none") is None
    assert reliance_on_marker(model, tmp_path) is None
    assert reliance_on_marker(model, tmp_path / "label") == pytest.approx(1.0, abs=1e-5)
    model.labels = ("a", "b")
    assert reliance_on_marker(model, tmp_path / "label") is None


def test_the_share_on_the_marker_counts_a_cell_around_it() -> None:
    clip = np.zeros((3, 2, 112, 112))
    changed = clip.copy()
    changed[:, :, 19, 19] = 1.0
    assert share_on_marker(changed, clip) == 1.0
    changed[:, :, 20, 20] = 3.0
    assert share_on_marker(changed, clip) == pytest.approx(0.25)
