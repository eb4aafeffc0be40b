"""Given frames come back exactly, whatever takes part; the others are drawn beside them; the loss counts those."""

from __future__ import annotations

import json

import pytest
import torch

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.callbacks.refinement import MultiScalePerceptualRefinement
from lvcf.errors import UserError
from lvcf.given_frames import given_latents
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.backbones.ltx import LTXBackbone
from lvcf.sampling import SamplingCallback, SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask
from lvcf.tasks.denoiser import DenoiserTask, draw_given
from tests.toys import BrightDark, predict

FRAMES, SIZE = 9, 32
EVERYTHING = [
    GradientGuidance(samples=1, noise=0.1, weight=ConstantWeight(0.1)),
    MultiScalePerceptualRefinement("reconstruction", [0.3, 0.6], [1.0, 1.0, 1.0]),
    LastCorrection(steps=2, largest=1.0),
]


@pytest.fixture
def backbone(backbone_folder) -> LTXBackbone:
    loaded = LTXBackbone.from_pretrained(backbone_folder)
    loaded.takes_given = True
    return loaded.eval()


def clips(number: int = 2):
    generator = torch.Generator().manual_seed(3)
    return [
        {
            "video": (torch.randint(256, (3, FRAMES, SIZE, SIZE), generator=generator) / 127.5 - 1.0),
            "id": f"clip{i}",
            "label": 0.0,
            "prompt": "",
            "neutral_prompt": "apical four chamber",
            "fps": 8.0,
            "error": "",
        }
        for i in range(number)
    ]


class States(SamplingCallback):
    def __init__(self) -> None:
        self.last: SamplingState | None = None

    def on_decoded(self, state: SamplingState) -> None:
        self.last = state


def edited(backbone, tmp_path, given, callbacks=(), **options):
    states = States()
    task = CounterfactualTask(
        backbone, BrightDark(), "bright", tmp_path, steps=3, given_frames=given, **{"inversion": "sdedit", **options}
    )
    return predict(task, clips(), [*callbacks, states]), states.last


@pytest.mark.parametrize("inversion", ["sdedit", "recorded", "fresh"])
@pytest.mark.parametrize("callbacks", [[], EVERYTHING])
@pytest.mark.parametrize(("given", "numbers"), [("first", [0]), ([0, 3, 4], [0, 3, 4])])
def test_given_frames_come_back_exactly(backbone, tmp_path, inversion, callbacks, given, numbers) -> None:
    edits, state = edited(backbone, tmp_path, given, callbacks, inversion=inversion, strength=0.9)
    others = [number for number in range(FRAMES) if number not in numbers]
    places = sorted({-(-number // 2) for number in numbers})  # two frames make a latent one, frame 0 its own
    assert torch.equal(state.z[:, :, places], state.z_ref[:, :, places])
    for edit, clip in zip(edits, clips(), strict=True):
        torch.testing.assert_close(edit.video[:, numbers], clip["video"][:, numbers], atol=1e-6, rtol=0)
        assert (edit.video - clip["video"])[:, others].abs().max() > 0.05
        if callbacks:
            assert edit.mask[:, numbers].abs().max() == 0.0


def test_without_given_frames_nothing_is_held(backbone, tmp_path) -> None:
    edits, state = edited(backbone, tmp_path, "none")
    assert state.given is None
    assert all((edit.video - clip["video"])[:, 0].abs().max() > 0.05 for edit, clip in zip(edits, clips(), strict=True))


@torch.no_grad()
def test_one_time_for_all_frames_is_that_time(backbone) -> None:
    z = torch.randn(2, 4, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    t, prompt = torch.tensor([0.3, 0.8]), backbone.embed(["apical", "four chamber"])
    for one, each in zip(
        backbone.predict(z, t, prompt), backbone.predict(z, t[:, None].expand(2, 5), prompt), strict=True
    ):
        torch.testing.assert_close(one, each, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_frame_at_time_0_is_its_own_clean_estimate(backbone) -> None:
    z = torch.randn(1, 4, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    t = torch.tensor([[0.0, 0.7, 0.7, 0.7, 0.7]])
    clean, _ = backbone.predict(z, t, backbone.embed(["apical"]))
    assert torch.equal(clean[:, :, 0], z[:, :, 0])
    assert not torch.equal(clean[:, :, 1], z[:, :, 1])


def test_which_frames_make_a_latent_one(backbone) -> None:
    z_ref = torch.zeros(1, 4, 5, 8, 8)
    assert given_latents([0, 1, 2], backbone, FRAMES, z_ref).tolist() == [True, True, False, False, False]
    with pytest.raises(UserError, match=r"model.given_frames: frames 1, 2 stand in one latent frame"):
        given_latents([0, 2], backbone, FRAMES, z_ref)
    with pytest.raises(UserError, match=r"model.given_frames 9: the clips have frames 0 to 8"):
        given_latents([9], backbone, FRAMES, z_ref)


def test_what_does_not_hold_given_frames_is_refused(backbone, backbone_folder, tmp_path) -> None:
    with pytest.raises(UserError, match="was not trained with given frames"):
        edited(LTXBackbone.from_pretrained(backbone_folder), tmp_path, "first")
    with pytest.raises(UserError, match="ddim: holds no given frames"):
        edited(backbone, tmp_path, "first", inversion="ddim")


def test_that_a_backbone_takes_given_frames_is_saved_with_it(backbone, backbone_folder, tmp_path) -> None:
    backbone.save_pretrained(tmp_path)
    assert json.loads((tmp_path / "model_index.json").read_text())["_takes_given"] is True
    assert LTXBackbone.from_pretrained(tmp_path).takes_given
    assert not LTXBackbone.from_pretrained(backbone_folder).takes_given


def test_how_often_frames_are_given() -> None:
    torch.manual_seed(0)
    given = draw_given(torch.zeros(4000, 1, 6, 1, 1))
    counts = given.sum(1)
    assert (counts < 6).all()
    first = given[:, 0] & (counts == 1)
    # the first alone is also drawn among some: 0.25 x 0.3 x 0.7^5
    assert first.float().mean() == pytest.approx(0.55 + 0.25 * 0.3 * 0.7**5, abs=0.03)
    assert (counts == 0).float().mean() == pytest.approx(0.2 + 0.25 * 0.7**6, abs=0.03)


def test_the_loss_counts_the_frames_that_are_not_given(backbone, tmp_path, monkeypatch) -> None:
    task = DenoiserTask(backbone, tmp_path, train_text_encoder=False, given=True)
    latent = torch.randn(2, 4, 5, 8, 8, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(2, 4, 5, 8, 8, generator=torch.Generator().manual_seed(1))
    given = torch.tensor([[True, False, False, False, False], [False, True, True, False, False]])
    seen = {}

    def output(z_t, t, prompt, condition=None):
        seen.update(z_t=z_t, t=t)
        wrong = given[:, None, :, None, None].expand_as(z_t)
        return torch.where(wrong, 1e3, noise - latent + 0.5)  # off by 0.5 where it counts

    monkeypatch.setattr(backbone, "output", output)
    loss = task._loss(latent, torch.tensor([0.4, 0.9]), ["apical"] * 2, noise, given)
    assert float(loss) == pytest.approx(0.25, rel=1e-4)
    assert torch.equal(seen["t"][given], torch.zeros(3))
    assert torch.equal(seen["t"][~given], torch.tensor([0.4] * 4 + [0.9] * 3))
    for row, frame in given.nonzero().tolist():
        assert torch.equal(seen["z_t"][row, :, frame], latent[row, :, frame])


def test_a_family_without_a_time_per_frame_cannot_be_trained_so(backbone, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(LTXBackbone, "a_time_per_frame", False)
    with pytest.raises(UserError, match=r"model.given: a LTXBackbone takes no time per frame"):
        DenoiserTask(backbone, tmp_path, train_text_encoder=False, given=True)
