"""MSPR as a callback: the smallest mask that keeps what guidance reached."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.callbacks.refinement import MultiScalePerceptualRefinement, decode_with_features
from lvcf.data.clip import round_to_8_bits
from lvcf.guidance.goal import Goal
from lvcf.guidance.weight import ConstantWeight
from lvcf.refinement.mask import blend, difference_map, nested_masks
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import Capture, GaussianBackbone, LinearTarget, make_clips, predict

SHARES = [0.05, 0.1, 0.2, 0.3, 0.5]


def refinement(reference: str = "source", **options) -> MultiScalePerceptualRefinement:
    return MultiScalePerceptualRefinement(reference, SHARES, [1.0, 1.0], **{"radius": 0, "feather": 0.0, **options})


@pytest.fixture
def edit() -> tuple[torch.Tensor, torch.Tensor]:
    """Latents with graded changes in the quarter that M reads and weaker ones everywhere, and the reference."""
    z_ref = torch.stack([c["video"] for c in make_clips(2, size=16, frames=8)])
    change = 0.02 * torch.rand_like(z_ref)
    change[..., :8, :8] += 0.1 + 0.4 * torch.rand(2, 1, 8, 8, 8)
    return (z_ref + change).clamp(-1, 1), z_ref


def goal_at(value: torch.Tensor, tolerance: float) -> Goal:
    return Goal(value, value, scale=20.0, tolerance=tolerance)


@pytest.mark.parametrize("reference", ["reconstruction", "source", "residual"])
def test_the_chosen_mask_is_the_smallest_that_keeps_the_model_within_tolerance(edit, reference) -> None:
    z, z_ref = edit
    backbone, model = GaussianBackbone(), LinearTarget().freeze()
    aim = goal_at(model(round_to_8_bits(z)), tolerance=4.0)
    assert not aim.reached(model(z_ref)).any()  # something has to be kept
    result, chosen = refinement(reference).refine(backbone, model, aim, z, z_ref, z_ref)
    assert aim.reached(model(round_to_8_bits(result))).all()
    features = [decode_with_features(backbone, latent, 8)[1] for latent in (z, z_ref)]
    family = nested_masks(difference_map(*features, [1.0, 1.0], z.shape[2:]), SHARES, 0, 0.0)
    for row in range(2):
        at = next(i for i, mask in enumerate(family) if torch.equal(mask[row], chosen[row]))
        assert at > 0
        for smaller in family[:at]:
            blended = round_to_8_bits(blend(z, z_ref, z_ref, smaller, reference))
            assert not aim.reached(model(blended))[row]
    assert float(chosen.mean()) < 0.35
    torch.testing.assert_close(result[(chosen == 0).expand_as(result)], z_ref[(chosen == 0).expand_as(result)])


def test_where_no_mask_keeps_the_target_the_whole_edit_stays(edit) -> None:
    z, z_ref = edit
    model = LinearTarget().freeze()
    aim = goal_at(model(round_to_8_bits(z)), tolerance=4.0)
    hopeless = replace(aim, low=aim.low + 30.0, high=aim.high + 30.0)
    result, mask = refinement().refine(GaussianBackbone(), model, hopeless, z, z_ref, z_ref)
    assert (mask == 1).all()
    torch.testing.assert_close(result, z.clamp(-1, 1))


def test_samples_of_a_batch_choose_apart(edit) -> None:
    z, z_ref = edit
    model = LinearTarget().freeze()
    reading = model(round_to_8_bits(z))
    aim = Goal(reading + torch.tensor([0.0, 30.0]), reading + torch.tensor([0.0, 30.0]), 20.0, 4.0)
    _, mask = refinement().refine(GaussianBackbone(), model, aim, z, z_ref, z_ref)
    assert float(mask[0].mean()) < 0.5
    assert (mask[1] == 1).all()


def test_features_come_from_every_block_and_hooks_are_gone_afterwards(backbone) -> None:
    z = backbone.encode(torch.rand(1, 3, 16, 32, 32) - 0.5)
    video, features = decode_with_features(backbone, z, 16)
    torch.testing.assert_close(video, backbone.decode(z, 16))
    assert len(features) == len(backbone.decoder_blocks()) == 3
    assert not any(block._forward_hooks for block in backbone.decoder_blocks())


def test_the_mask_finds_a_local_change_of_a_stock_decoders_latent(backbone) -> None:
    """A change at one place of the latent: the 20 % mask holds nearly what the best 20 % of voxels could."""
    z_ref = torch.randn(1, 4, 9, 8, 8)
    z = z_ref.clone()
    z[..., 5:7, 2:4, 5:7] += 2.0
    with torch.no_grad():
        (one, after), (other, before) = (decode_with_features(backbone, latent, 16) for latent in (z, z_ref))
    difference = difference_map(after, before, [1.0] * 3, one.shape[2:])
    (mask,) = nested_masks(difference, [0.2])
    change = (one - other).abs().sum(1)[0]
    best = change.flatten().topk(change.numel() // 5).values.sum()
    assert float((change * mask[0, 0]).sum() / best) > 0.75
    assert 0.1 < float(mask.mean()) < 0.3
    assert float(mask[:, :, 0].max()) == 0.0  # causal: nothing changes at the beginning


@pytest.mark.parametrize("decode", ["plain", "residual"])
@pytest.mark.parametrize("reference", ["reconstruction", "source", "residual"])
def test_refinement_never_undoes_what_sampling_reached(tmp_path, decode, reference) -> None:
    def run(extra: list) -> tuple[list, Capture]:
        capture = Capture()
        task = CounterfactualTask(
            GaussianBackbone(), LinearTarget(), "delta:8", tmp_path, steps=6, tolerance=0.5, decode=decode
        )
        guided = GradientGuidance(ConstantWeight(0.05), samples=1, noise=0.0)
        return predict(task, make_clips(4, size=16, frames=8), [guided, LastCorrection(), *extra, capture]), capture

    model = LinearTarget().freeze()
    before, after = run([])[0], run([refinement(reference)])[0]
    for one, other in zip(before, after, strict=True):
        assert bool(one.goal.reached(model(one.video[None])))
        assert bool(other.goal.reached(model(other.video[None])))
        assert float(other.mask.mean()) < 1.0
    clips = torch.stack([c["video"] for c in make_clips(4, size=16, frames=8)])
    moved = [float((torch.stack([e.video for e in edits]) - clips).abs().mean()) for edits in (before, after)]
    assert moved[1] <= moved[0] + 1e-6
