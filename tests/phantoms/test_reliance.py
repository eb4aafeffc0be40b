"""How much a model relies on the planted marker, of models that are known."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lvcf.models.targets.base import TargetModel
from lvcf.phantoms.echo import set as echo
from lvcf.phantoms.echo.simulate import MARKER as ECHO_MARKER
from lvcf.phantoms.face import set as face
from lvcf.phantoms.face.simulate import MARKER as FACE_MARKER
from lvcf.phantoms.motion.set import LABELS, draw_factors, simulate
from lvcf.phantoms.motion.simulate import ACTIONS, MARKER, marker_colour
from lvcf.phantoms.reliance import PLANTED, reliance, reliance_on_marker, share_on_marker
from lvcf.phantoms.set_folder import write_factors

SCENES = {
    "ef": echo.draw_factors(1, seed=5, marker="label")[0],
    "expression": face.draw_factors(1, seed=5, marker="label")[0],
    "action": draw_factors(1, seed=5, marker="label")[0],
}


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


class Value(TargetModel):
    """``share`` of the first voxel, the rest of the second."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, video: Tensor) -> Tensor:
        return self.share * video[:, 0, 0, 0, 0] + (1.0 - self.share) * video[:, 0, 0, 0, 1]


class Bright(TargetModel):
    """Reads the EF in the marker's brightness."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(50.0))

    def forward(self, video: Tensor) -> Tensor:
        return self.gain * (1.0 + video[..., MARKER[0], MARKER[1]].mean((1, 2, 3, 4)))


@pytest.mark.parametrize("kind", PLANTED)
def test_the_four_clips_differ_in_what_was_set(kind) -> None:
    """Their codec may carry a level or two over the marker's edge."""
    planted, scene = PLANTED[kind], SCENES[kind]
    (target,) = planted.targets([scene])
    assert target != planted.own(scene)
    own, marked, moved, both = planted.interventions(scene, target)
    assert torch.equal(own, planted.clip(scene))
    near, inside = torch.zeros(2, 112, 112, dtype=torch.bool)
    near[0:16, 0:16], inside[MARKER] = True, True

    def apart(one: Tensor, other: Tensor, where: Tensor) -> float:
        return float((one - other)[..., where].abs().max())

    assert apart(own, marked, ~near) == apart(moved, both, ~near) == 0.0
    assert apart(own, moved, inside) < 0.05
    assert apart(marked, both, inside) < 0.05
    assert apart(own, marked, inside) > 0.3
    assert apart(own, moved, ~near) > 0.3


def test_markers_are_in_the_same_place() -> None:
    assert MARKER == FACE_MARKER == ECHO_MARKER


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_of_a_linear_model_reliance_is_the_markers_share(share) -> None:
    """Markers and contents that go as far, over clips of any strength."""
    clips = [torch.tensor([[0.0, 0.0], [k, 0.0], [0.0, k], [k, k]]).view(4, 1, 1, 1, 2) for k in (1.0, 3.0)]
    assert reliance(Linear(share), clips, [1, 1]) == pytest.approx(share, abs=1e-6)
    down = [clips[0], -clips[1]]  # a value may be asked to fall
    assert reliance(Value(share), down, [9.0, -9.0]) == pytest.approx(share, abs=1e-6)


def test_a_set_without_a_marker_and_a_model_of_other_classes_have_none(tmp_path) -> None:
    for marker in ("none", "label"):
        simulate(tmp_path / marker, n=1, seed=5, marker=marker)
    model = Marker()
    assert reliance_on_marker(model, tmp_path / "none") is None
    assert reliance_on_marker(model, tmp_path) is None
    assert reliance_on_marker(model, tmp_path / "label") == pytest.approx(1.0, abs=1e-5)
    model.labels = ("a", "b")
    assert reliance_on_marker(model, tmp_path / "label") is None


def test_of_echoes_a_model_of_the_markers_brightness_relies_on_it_alone(tmp_path) -> None:
    write_factors(tmp_path, [{"FileName": "x", **SCENES["ef"].to_row()}])
    assert reliance_on_marker(Bright(), tmp_path) == pytest.approx(1.0, abs=1e-2)


def test_the_share_on_the_marker_counts_a_cell_around_it() -> None:
    clip = np.zeros((3, 2, 112, 112))
    changed = clip.copy()
    changed[:, :, 19, 19] = 1.0
    assert share_on_marker(changed, clip) == 1.0
    changed[:, :, 20, 20] = 3.0
    assert share_on_marker(changed, clip) == pytest.approx(0.25)
