"""The detail decoder: its warp against moved pictures, what an untrained one returns, how a backbone keeps it."""

from __future__ import annotations

import pytest
import torch

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.errors import UserError
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.backbones.detail_decoder import DetailDecoder, detail_decoder, warp
from lvcf.models.backbones.ltx import LTXBackbone
from lvcf.sampler import Sampler
from lvcf.settings import Settings
from lvcf.targets import parse_target
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import BrightDark, GaussianBackbone, LinearTarget, make_clips, predict

SMALL = (8, 16)


def random(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize(("x", "y"), [(0, 0), (1, 0), (0, 2), (-2, 1)])
def test_a_whole_flow_moves_by_whole_pixels_and_the_border_is_repeated(x, y) -> None:
    frames, flow = random(2, 3, 6, 8), torch.zeros(2, 2, 6, 8)
    flow[:, 0], flow[:, 1] = x, y
    rows = (torch.arange(6) + y).clamp(0, 5)
    columns = (torch.arange(8) + x).clamp(0, 7)
    torch.testing.assert_close(warp(frames, flow), frames[:, :, rows][..., columns], atol=1e-5, rtol=0)


def test_half_a_pixel_is_the_mean_of_two() -> None:
    frames, flow = random(1, 1, 4, 8), torch.zeros(1, 2, 4, 8)
    flow[:, 0] = 0.5
    wanted = (frames[..., :-1] + frames[..., 1:]) / 2
    torch.testing.assert_close(warp(frames, flow)[..., :-1], wanted, atol=1e-5, rtol=0)


def test_an_untrained_one_mixes_the_drawn_frame_with_those_shown() -> None:
    """Equal confidences: one share each of the drawn frame and of every own one, whatever the own ones as drawn."""
    drawn, own = random(2, 3, 5, 16, 24), random(2, 3, 2, 16, 24).flip(-1)
    made = DetailDecoder(SMALL)(drawn, own, own - 0.3)
    wanted = (drawn + own[:, :, :1] + own[:, :, 1:]) / 3
    torch.testing.assert_close(made, wanted, atol=1e-5, rtol=0)


def trained(decoder: DetailDecoder) -> DetailDecoder:
    """Any weights that are not zero."""
    torch.manual_seed(1)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return decoder.eval()


@torch.no_grad()
def test_the_order_of_own_frames_does_not_matter_and_clips_and_frames_do_not_mix() -> None:
    decoder, drawn, own = trained(DetailDecoder(SMALL)), random(2, 3, 3, 16, 16), random(2, 3, 2, 16, 16).flip(-2)
    blurred = own * 0.5
    made = decoder(drawn, own, blurred)
    torch.testing.assert_close(decoder(drawn, own.flip(2), blurred.flip(2)), made, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(decoder(drawn[1:], own[1:], blurred[1:]), made[1:], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(decoder(drawn[:, :, 2:], own, blurred), made[:, :, 2:], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_it_comes_back_with_its_backbone(backbone_folder, tmp_path) -> None:
    backbone = LTXBackbone.from_pretrained(backbone_folder)
    assert backbone.detail is None
    backbone.detail = trained(DetailDecoder(SMALL))
    backbone.save_pretrained(tmp_path / "with")
    again = LTXBackbone.from_pretrained(tmp_path / "with").detail
    assert again is not None
    assert not any(parameter.requires_grad for parameter in again.parameters())
    drawn = random(1, 3, 2, 16, 16)
    assert torch.equal(again(drawn, drawn, drawn), backbone.detail(drawn, drawn, drawn))
    alone = detail_decoder(str(tmp_path / "with" / "detail_decoder"))
    assert torch.equal(alone(drawn, drawn, drawn), again(drawn, drawn, drawn))


def test_detail_decoding_without_one_is_refused(backbone_folder) -> None:
    with pytest.raises(UserError, match=r"model\.decode detail: this backbone has no detail decoder"):
        Sampler(
            LTXBackbone.from_pretrained(backbone_folder),
            BrightDark(),
            parse_target("bright", BrightDark()),
            Settings(decode="detail"),
        )


class Listening(DetailDecoder):
    """Keeps what it is shown, and changes nothing."""

    def forward(self, drawn, own, own_drawn):
        self.own, self.own_drawn = own, own_drawn
        return drawn


def test_evenly_spaced_frames_of_the_clip_are_shown(tmp_path) -> None:
    backbone = GaussianBackbone()
    backbone.detail = Listening(SMALL)
    task = CounterfactualTask(backbone, LinearTarget(), "80", tmp_path, steps=2, decode="detail")
    clips = make_clips(2, frames=8)
    predict(task, clips, [])
    video = torch.stack([clip["video"] for clip in clips])
    assert torch.equal(backbone.detail.own, video[:, :, ::2])
    assert torch.equal(backbone.detail.own_drawn, backbone.decode(backbone.encode(video), 8)[:, :, ::2])


def test_guidance_reads_what_the_vae_draws_and_what_is_saved_is_sharpened_once(tmp_path) -> None:
    backbone = GaussianBackbone()
    backbone.detail = Listening(SMALL)
    drawn = []
    backbone.detail.register_forward_hook(lambda _detail, _given, clip: drawn.append(clip))
    task = CounterfactualTask(backbone, LinearTarget(), "80", tmp_path, steps=3, decode="detail")
    predict(task, make_clips(2, frames=8), [GradientGuidance(weight=ConstantWeight(0.1), samples=2)])
    assert len(drawn) == 2  # the reconstruction and the counterfactual
