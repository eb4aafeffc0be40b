"""MaskDiME's two masks are nested shares of the gradient; outside them the clip's own path goes on and M reads it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from lvcf.callbacks.dual_mask import DualMask, dual_mask
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.data.clip import to_frames
from lvcf.diffusion.inversion import noised
from lvcf.errors import UserError
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.backbones.ltx import LTXBackbone
from lvcf.presets import method_label
from lvcf.region import in_pixels
from lvcf.sampling import SamplingCallback, SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import BrightDark, GaussianBackbone, LinearTarget, Listener, as_clip, make_clips, predict


def mask(**options) -> DualMask:
    return DualMask(ConstantWeight(0.3), **{"top": 0.1, "inner": 0.5, "radius": 0, **options})


def test_masks_are_the_strongest_places_and_half_of_them() -> None:
    gradient = torch.randn(2, 3, 4, 5, 5, generator=torch.Generator().manual_seed(0))
    outer, inner = dual_mask(gradient, 0.1, 0.5, 0)
    for row in range(2):
        strength = gradient[row].abs().mean(0).numpy()
        by_size = np.argsort(-strength, axis=None)
        for found, number in ((outer, 10), (inner, 5)):
            expected = {np.unravel_index(place, strength.shape) for place in by_size[:number]}
            assert {tuple(place) for place in found[row, 0].nonzero().tolist()} == expected


def test_masks_grow_in_space_alone_and_stay_nested() -> None:
    gradient = torch.zeros(1, 1, 3, 7, 7)
    gradient[0, 0, 1, 3, 2], gradient[0, 0, 1, 3, 3] = 1.0, 2.0
    outer, inner = dual_mask(gradient, 2 / 147, 0.5, 1)
    assert outer[0, 0].nonzero().tolist() == [[1, y, x] for y in (2, 3, 4) for x in (1, 2, 3, 4)]
    assert inner[0, 0].nonzero().tolist() == [[1, y, x] for y in (2, 3, 4) for x in (2, 3, 4)]


class Steps(SamplingCallback):
    def __init__(self, masks: DualMask) -> None:
        self.masks, self.seen = masks, list[tuple[Tensor, Tensor, Tensor]]()

    def on_step_end(self, state: SamplingState) -> None:
        scales = state.backbone.alpha_sigma(state.grid[state.index])
        self.seen.append((state.z.clone(), noised(state.z_ref, state.noise, scales), self.masks.edited.clone()))


def run(tmp_path, callbacks, model=None, **options):
    task = CounterfactualTask(
        GaussianBackbone(), model or LinearTarget(), "60", tmp_path, steps=4, **{"inversion": "recorded", **options}
    )
    return predict(task, make_clips(2), callbacks)


@pytest.mark.parametrize("inversion", ["fresh", "recorded", "sdedit"])
def test_outside_the_mask_every_step_leaves_the_clips_own_noised_path(tmp_path, inversion) -> None:
    masks = mask()
    steps = Steps(masks)
    run(tmp_path, [masks, steps], inversion=inversion)
    assert len(steps.seen) == 4
    for z, own, edited in steps.seen:
        assert edited.flatten(1).sum(1).tolist() == [25, 25]  # 10 % of 4 x 8 x 8
        everywhere = edited.expand_as(z)
        assert torch.equal(z[~everywhere], own[~everywhere])
        assert (z - own)[everywhere].abs().max() > 0.01


def test_m_reads_the_clip_itself_first_and_then_the_edit_inside_the_inner_mask(tmp_path) -> None:
    """The toy's latents are the clip; M reads the upper left quarter, so the masks lie there."""
    model = Listener()
    run(tmp_path, [mask()], model)
    video = torch.stack([clip["video"] for clip in make_clips(2)])
    guided = [asked for asked in model.asked if len(asked) == 2][2:]  # before, the reconstruction
    torch.testing.assert_close(guided[0], video)
    for asked in guided[2:8]:
        changed = ((asked - video).abs() > 1e-5).any(1)
        assert 0 < changed.flatten(1).sum(1).max() <= 12  # half of the 25 places


def test_the_saved_clip_differs_inside_the_last_mask_alone_and_reaches(tmp_path) -> None:
    callbacks = [mask(), LastCorrection(steps=20)]
    for edit, clip in zip(run(tmp_path, callbacks), make_clips(2), strict=True):
        changed = torch.from_numpy((to_frames(edit.video) != to_frames(clip["video"])).any(-1))
        assert not changed[edit.mask[0] == 0].any()
        assert changed.any()
        assert edit.mask.mean() == pytest.approx(25 / 256)
        assert float(LinearTarget()(edit.video[None]).detach()) == pytest.approx(60.0, abs=1.0)


def test_a_clip_that_m_reads_as_its_target_stays(tmp_path) -> None:
    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), "0..100", tmp_path, steps=4)
    (edit, *_) = predict(task, make_clips(1), [mask()])
    assert (to_frames(edit.video) == to_frames(make_clips(1)[0]["video"])).all()


def test_on_a_causal_backbone_a_latent_is_its_block_of_pixels(backbone_folder, tmp_path) -> None:
    backbone = LTXBackbone.from_pretrained(backbone_folder)
    latents = torch.zeros(1, 1, 5, 8, 8, dtype=torch.bool)
    latents[0, 0, 0, 1, 2] = latents[0, 0, 2, 0, 0] = True
    pixels = in_pixels(latents, backbone, (9, 32, 32))
    expected = torch.zeros(1, 1, 9, 32, 32, dtype=torch.bool)
    expected[0, 0, 0, 4:8, 8:12] = expected[0, 0, 3:5, 0:4, 0:4] = True
    assert torch.equal(pixels, expected)
    video = torch.randint(256, (3, 9, 32, 32), generator=torch.Generator().manual_seed(3)) / 127.5 - 1.0
    task = CounterfactualTask(backbone, BrightDark(), "bright", tmp_path, steps=3)
    (edit,) = predict(task, [as_clip(video, "a")], [mask()])
    changed = torch.from_numpy((to_frames(edit.video) != to_frames(video)).any(-1))
    assert changed.any()
    assert not changed[edit.mask[0] == 0].any()


def test_it_has_its_name() -> None:
    assert method_label([mask()], "neutral") == "MaskDiME"


@pytest.mark.parametrize("options", [{"top": 0.0}, {"top": 1.1}, {"inner": 0.0}, {"radius": -1}])
def test_a_bad_number_is_refused(options) -> None:
    with pytest.raises(UserError, match=rf"DualMask.{next(iter(options))} .*: choose a finite number"):
        mask(**options)
