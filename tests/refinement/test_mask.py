"""MSPR's masks and blending on planted changes."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor

from lvcf.refinement.mask import blend, difference_map, nested_masks

SIZE = torch.Size([8, 16, 16])
VOXELS = 8 * 16 * 16
BOX = (slice(2, 6), slice(4, 10), slice(5, 12))
BOX_SHARE = 4 * 6 * 7 / VOXELS


def planted(box: tuple[slice, ...] = BOX, channels: int = 3, scale: int = 1) -> tuple[Tensor, Tensor]:
    """Features with a local change, and without."""
    reference = torch.randn(1, channels, *(s // scale for s in SIZE))
    edited = reference.clone()
    edited[(..., *(slice(b.start // scale, -(-b.stop // scale)) for b in box))] += 1.0
    return edited, reference


def test_the_difference_is_the_channel_norm_scaled_to_mean_one() -> None:
    one, other = torch.randn(2, 2, 5, *SIZE).unbind()
    norm = ((one - other) ** 2).sum(1, keepdim=True).sqrt()
    wanted = norm / norm.mean(dim=(1, 2, 3, 4), keepdim=True)
    torch.testing.assert_close(difference_map([one], [other], [1.0], SIZE), wanted)


def test_a_blocks_own_size_does_not_outweigh_another() -> None:
    """Each block is scaled to mean 1 before it is weighted, so a factor on its activations changes nothing."""
    (a1, b1), (a2, b2) = planted(), planted(scale=2)
    plain = difference_map([a1, a2], [b1, b2], [1.0, 0.5], SIZE)
    loud = difference_map([1000 * a1, a2], [1000 * b1, b2], [1.0, 0.5], SIZE)
    torch.testing.assert_close(plain, loud)
    assert not torch.allclose(plain, difference_map([a1, a2], [b1, b2], [1.0, 5.0], SIZE))


def test_coarse_blocks_are_brought_to_the_clip_in_space_and_time() -> None:
    edited, reference = planted(scale=2)
    assert difference_map([edited], [reference], [1.0], SIZE).shape == (1, 1, *SIZE)


def test_no_change_makes_no_difference_and_no_nan() -> None:
    same = torch.randn(1, 3, *SIZE)
    assert difference_map([same], [same], [1.0], SIZE).abs().max() == 0


def test_a_mask_covers_a_planted_change_and_little_else() -> None:
    (a1, b1), (a2, b2) = planted(), planted(scale=2)
    difference = difference_map([a1, a2], [b1, b2], [1.0, 1.0], SIZE)
    (mask,) = nested_masks(difference, [BOX_SHARE], radius=1, feather=0.0)
    inside = mask[(0, 0, *BOX)]
    assert float(inside.mean()) == 1.0
    assert float(mask.sum() - inside.sum()) == 0.0


@pytest.mark.parametrize("feather", [0.0, 1.0, 2.0])
def test_masks_are_nested_and_within_zero_and_one(feather) -> None:
    coarse = torch.rand(2, 1, 3, 5, 5)
    difference = torch.nn.functional.interpolate(coarse, size=SIZE, mode="trilinear")
    masks = nested_masks(difference, [0.05, 0.1, 0.3, 0.6, 0.9], radius=1, feather=feather)
    for small, large in itertools.pairwise(masks):
        assert (small <= large + 1e-6).all()
        assert float(small.sum()) < float(large.sum())
    for mask in masks:
        assert float(mask.min()) >= 0.0
        assert float(mask.max()) <= 1.0


def test_the_share_of_voxels_is_what_was_asked_for_before_morphology() -> None:
    difference = torch.rand(2, 1, *SIZE)
    for share in (0.1, 0.5, 0.9):
        (mask,) = nested_masks(difference, [share], radius=0, feather=0.0)
        assert mask.flatten(1).mean(1).tolist() == pytest.approx([share, share], abs=1 / VOXELS)
        kept, dropped = difference[mask == 1], difference[mask == 0]
        for i in range(2):
            assert difference[i][mask[i] == 1].min() >= difference[i][mask[i] == 0].max()
        assert len(kept) + len(dropped) == 2 * VOXELS


@pytest.mark.parametrize(
    "box",
    [
        (slice(0, 4), slice(0, 6), slice(0, 7)),
        (slice(4, 8), slice(10, 16), slice(9, 16)),
        (slice(0, 8), slice(0, 16), slice(0, 4)),
        (slice(0, 8), slice(12, 16), slice(0, 16)),
    ],
    ids=["first corner", "last corner", "left edge, all time", "bottom edge"],
)
def test_morphology_does_not_eat_a_mask_at_the_clips_borders(box) -> None:
    difference = torch.zeros(1, 1, *SIZE)
    difference[(0, 0, *box)] = 1.0
    (mask,) = nested_masks(difference, [float(difference.mean())], radius=1, feather=0.0)
    assert torch.equal(mask, difference)


def test_opening_removes_specks_and_closing_fills_pinholes() -> None:
    difference = torch.zeros(1, 1, *SIZE)
    difference[(0, 0, *BOX)] = 1.0
    speck, hole = (0, 0, 0, 0, 14), (0, 0, 3, 6, 8)
    difference[speck] = 2.0
    difference[hole] = 0.0
    (mask,) = nested_masks(difference, [float((difference > 0).float().mean())], radius=1, feather=0.0)
    assert mask[speck] == 0
    # a pinhole is closed only where opening left its surroundings; the rest of the box stands either way
    assert float(mask[(0, 0, *BOX)].mean()) > 0.3


def test_a_feathered_edge_is_soft_and_of_the_right_width() -> None:
    difference = torch.zeros(1, 1, 8, 16, 16)
    difference[..., :8] = 1.0
    (mask,) = nested_masks(difference, [0.5], radius=1, feather=1.0)
    profile = mask[0, 0, 4, 8]
    assert (profile.diff() <= 1e-6).all()
    assert profile[0] == pytest.approx(1.0)
    assert profile[15] == pytest.approx(0.0)
    assert profile[7] + profile[8] == pytest.approx(1.0, abs=1e-5)  # symmetric about the edge
    assert 0.6 < float(profile[7]) < 0.8  # a unit Gaussian half a pixel inside: 0.69


EDITED, RECONSTRUCTION, SOURCE = 0.5, -0.2, 0.1


@pytest.mark.parametrize(
    ("reference", "at_zero", "at_one", "formula"),
    [
        ("reconstruction", RECONSTRUCTION, EDITED, lambda m: RECONSTRUCTION + m * (EDITED - RECONSTRUCTION)),
        ("source", SOURCE, EDITED, lambda m: SOURCE + m * (EDITED - SOURCE)),
        ("residual", SOURCE, SOURCE + EDITED - RECONSTRUCTION, lambda m: SOURCE + m * (EDITED - RECONSTRUCTION)),
    ],
)
def test_blending(reference, at_zero, at_one, formula) -> None:
    mask = torch.tensor([0.0, 0.25, 1.0]).view(1, 1, 1, 1, 3)
    clips = [torch.full((1, 3, 1, 1, 3), v) for v in (EDITED, RECONSTRUCTION, SOURCE)]
    result = blend(*clips, mask, reference)[0, 0, 0, 0]
    assert result.tolist() == pytest.approx([at_zero, formula(0.25), at_one])


def test_blending_clamps() -> None:
    ones = torch.ones(1, 3, 1, 1, 1)
    assert float(blend(0.9 * ones, -0.9 * ones, 0.5 * ones, ones[:, :1], "residual").max()) == 1.0
    assert float(blend(-0.9 * ones, 0.9 * ones, -0.5 * ones, ones[:, :1], "residual").min()) == -1.0
