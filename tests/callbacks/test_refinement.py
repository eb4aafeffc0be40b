"""MSPR as a callback: the smallest mask that keeps what guidance reached."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.callbacks.refinement import MultiScalePerceptualRefinement, decode_with_features
from lvcf.data.clip import Clip, round_to_8_bits, to_frames
from lvcf.guidance.weight import ConstantWeight
from lvcf.refinement.mask import blend, difference_map, nested_masks
from lvcf.sampling import SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import Capture, GaussianBackbone, LinearTarget, make_clips, predict

SHARES = [0.05, 0.1, 0.2, 0.3, 0.5]
REFERENCES = pytest.mark.parametrize("reference", ["reconstruction", "source", "residual"])


class FadedBackbone(GaussianBackbone):
    """Decodes a little paler than it encoded, so that d_ref is not x."""

    def decode(self, latent: Tensor, frames: int) -> Tensor:
        return 0.9 * super().decode(latent, frames)


def refinement(reference: str = "source", shares: list[float] = SHARES) -> MultiScalePerceptualRefinement:
    return MultiScalePerceptualRefinement(reference, shares, [1.0, 1.0], radius=0, feather=0.0)


def guidance(weight: float = 0.1) -> GradientGuidance:
    return GradientGuidance(ConstantWeight(weight), samples=2, noise=0.1)


def clips_of(n: int) -> list[Clip]:
    return make_clips(n, size=16, frames=8)


def run(tmp_path, callbacks: list, target: str = "delta:8", clips: list[Clip] | None = None, **options):
    """The task with a backbone that fades: the edits and the state that sampling left."""
    settings = {"steps": 6, "tolerance": 1.0, **options}
    capture = Capture()
    task = CounterfactualTask(FadedBackbone(), LinearTarget(), target, tmp_path, **settings)
    edits = predict(task, clips or clips_of(3), [*callbacks, capture])
    return edits, capture.states[0]


def family(state: SamplingState, z: Tensor, shares: list[float] = SHARES) -> list[Tensor]:
    """The nested masks of latents ``z``, made anew."""
    features = [decode_with_features(state.backbone, latent, 8)[1] for latent in (z, state.z_ref)]
    return nested_masks(difference_map(*features, [1.0, 1.0], state.video.shape[2:]), shares, 0, 0.0)


@REFERENCES
def test_the_chosen_mask_is_the_smallest_that_keeps_the_model_within_tolerance(tmp_path, reference) -> None:
    """Every smaller one, blended by hand and rounded to 8 bits, leaves it."""
    edits, state = run(tmp_path, [guidance(), refinement(reference), LastCorrection()], tolerance=2.0)
    decoded = state.backbone.decode(state.z, 8)
    assert len(state.masks) == len(SHARES)
    for row, edit in enumerate(edits):
        at = next(i for i, mask in enumerate(state.masks) if torch.equal(mask[row], edit.mask))
        for i, mask in enumerate(state.masks[: at + 1]):
            blended = round_to_8_bits(blend(decoded, state.reconstruction, state.video, mask, reference))
            reached = bool(state.goal.reached(state.model(blended))[row])
            assert reached == (i == at)
            if i == at:
                assert (to_frames(edit.video) == to_frames(blended[row])).all()
    assert float(torch.stack([e.mask for e in edits]).mean()) < 0.4


@REFERENCES
def test_outside_the_mask_stands_the_reference(tmp_path, reference) -> None:
    edits, state = run(tmp_path, [guidance(), refinement(reference), LastCorrection()])
    base = state.reconstruction if reference == "reconstruction" else state.video
    for row, edit in enumerate(edits):
        outside = (edit.mask == 0).expand_as(edit.video)
        assert float(outside.float().mean()) > 0.4
        torch.testing.assert_close(edit.video[outside], round_to_8_bits(base[row])[outside])


def test_the_masks_are_nested_and_of_the_latents_when_sampling_ended(tmp_path) -> None:
    """A last correction after MSPR does not move them."""
    before = Capture()
    _, state = run(tmp_path, [guidance(), before, refinement(), LastCorrection(largest=1.0)])
    for one, other in zip(state.masks, family(state, before.latents[0]), strict=True):
        assert torch.equal(one, other)
    for small, large, share in zip(state.masks[:-1], state.masks[1:], SHARES, strict=False):
        assert (small <= large).all()
        assert (small.mean(dim=(1, 2, 3, 4)) > share - 1e-3).all()  # ties come in together


@REFERENCES
def test_the_model_then_reads_through_the_largest_mask(tmp_path, reference) -> None:
    _, state = run(tmp_path, [guidance(), refinement(reference)])
    rows = torch.tensor([2, 0])
    z = state.z[rows].clone().requires_grad_(True)
    mask = state.masks[-1][rows]
    output = state.read(z, rows)
    blended = blend(0.9 * z, state.reconstruction[rows], state.video[rows], mask, reference)
    torch.testing.assert_close(output, state.model(blended))
    (gradient,) = torch.autograd.grad(output.sum(), z)
    assert float(gradient.abs().max()) > 0
    assert not gradient[(mask == 0).expand_as(gradient)].any()


@REFERENCES
def test_a_last_correction_after_it_corrects_the_clip_that_refinement_leaves(tmp_path, reference) -> None:
    """The latents move only inside the largest mask, and the blended clip is at the target."""
    before, after = Capture(), Capture()
    callbacks = [guidance(0.02), before, refinement(reference), LastCorrection(largest=1.0), after]
    edits, state = run(tmp_path, callbacks, tolerance=0.5)
    moved = after.latents[0] - before.latents[0]
    outside = (state.masks[-1] == 0).expand_as(moved)
    assert not moved[outside].any()
    assert (moved.abs().flatten(1).max(1).values > 0).all()
    assert state.goal.reached(state.read(state.z, torch.arange(3))).all()
    for edit in edits:
        assert bool(edit.goal.reached(state.model(edit.video[None])))
        assert float(edit.mask.mean()) <= SHARES[-1] + 0.01
        assert edit.facts["gradient_evaluations"] > 0


def test_listed_before_it_the_correction_is_lost_behind_a_small_mask(tmp_path) -> None:
    """Why the order matters: the whole edit is at the target, but a tenth of it is not."""
    small = refinement(shares=[0.1])
    share = {}
    for name, last in (("before", [LastCorrection(largest=1.0), small]), ("after", [small, LastCorrection()])):
        guided = Capture()
        edits, state = run(tmp_path, [guidance(), guided, *last], tolerance=0.25)
        assert all(bool(e.goal.reached(state.model(e.video[None]))) for e in edits)
        share[name] = [float(e.mask.mean()) for e in edits]
    assert share["before"] == [1.0] * 3  # no mask keeps it, so the edit stays whole
    (tenth,) = family(state, guided.latents[0], [0.1])
    assert share["after"] == pytest.approx(tenth.flatten(1).mean(1).tolist(), abs=1e-6)
    assert tenth.mean().item() == pytest.approx(0.1, abs=0.02)  # closing adds a little


def test_where_no_mask_keeps_the_target_the_whole_edit_stays(tmp_path) -> None:
    edits, state = run(tmp_path, [guidance(0.01), refinement()], "delta:45")
    whole = state.backbone.decode(state.z, 8)
    for row, edit in enumerate(edits):
        assert (edit.mask == 1).all()
        assert (to_frames(edit.video) == to_frames(whole[row])).all()
        assert not edit.goal.reached(state.model(edit.video[None]))


def test_samples_of_a_batch_choose_apart(tmp_path) -> None:
    clips = clips_of(2)
    for clip, away in zip(clips, (8.0, 48.0), strict=True):
        clip["label"] = float(LinearTarget().freeze()(clip["video"][None])) + away
    near, far = run(tmp_path, [guidance(), refinement(), LastCorrection(steps=2)], "label", clips)[0]
    assert float(near.mask.mean()) < 0.6
    assert (far.mask == 1).all()


def test_a_refined_batch_is_what_each_clip_is_alone(tmp_path) -> None:
    clips, callbacks = clips_of(3), [guidance(), refinement(), LastCorrection()]
    together = run(tmp_path, callbacks, clips=clips)[0]
    for edit, clip in zip(together, clips, strict=True):
        (alone,) = run(tmp_path, callbacks, clips=[clip])[0]
        assert float((alone.mask != edit.mask).float().mean()) < 1e-3
        torch.testing.assert_close(alone.video, edit.video, atol=2.1 / 127.5, rtol=0)


@pytest.mark.parametrize("decode", ["plain", "residual"])
@REFERENCES
def test_refinement_never_undoes_what_sampling_reached(tmp_path, decode, reference) -> None:
    edits, state = run(tmp_path, [guidance(0.05), refinement(reference), LastCorrection()], decode=decode)
    for edit in edits:
        assert bool(edit.goal.reached(state.model(edit.video[None])))
        assert float(edit.mask.mean()) < 1.0


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
