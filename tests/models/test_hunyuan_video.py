"""HunyuanVideo 1.5: two encodings of a prompt, the guider's scale, padding that is left out, clips that do not mix."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from lvcf.data.clip import round_to_8_bits, to_frames
from lvcf.errors import UserError
from lvcf.models.backbones.base import Embedding
from lvcf.models.backbones.load import load_backbone
from lvcf.models.backbones.pipeline import PipelineBackbone
from lvcf.sampler import Diffusion
from lvcf.sampling import DiffusionState, Prompts
from lvcf.settings import Settings
from tests.families import save_family

NAMES = ["hunyuan_video_1_5_t2v", "hunyuan_video_1_5_i2v"]
PROMPT = 'apical "four" chamber ejection fraction 30 percent'
SHAPE = (1, 4, 5, 2, 2)


@pytest.fixture(scope="module")
def backbones(tmp_path_factory) -> dict[str, PipelineBackbone]:
    root = tmp_path_factory.mktemp("hunyuan")
    return {name: load_backbone(str(save_family(name, root / name))).requires_grad_(False) for name in NAMES}


def clip(batch: int = 1) -> torch.Tensor:
    return round_to_8_bits(torch.rand(batch, 3, 17, 32, 32, generator=torch.Generator().manual_seed(7)) * 2 - 1)


@pytest.mark.parametrize("name", NAMES)
@torch.no_grad()
def test_guidance_scale_counts_as_the_guider_counts_its_own(name, backbones) -> None:
    """The sampler's whole walk away from empty words against the stock pipeline's; one of the words is in quotes."""
    backbone, video = backbones[name], clip()
    pipe = backbone.pipeline()
    pipe.set_progress_bar_config(disable=True)
    assert pipe.guider.guidance_scale == 6.0
    noise = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))
    shown = {"height": 32, "width": 32}
    if backbone.given_in_channels:
        shown = {"image": Image.fromarray(to_frames(video[0])[0])}
    options = {"num_frames": 17, "num_inference_steps": 4, "output_type": "latent", "return_dict": False}
    wanted = pipe(prompt=PROMPT, latents=noise, **options, **shown)[0]
    diffusion = Diffusion(backbone, Settings("target", guidance_scale=6.0, steps=4, strength=1.0, inversion="sdedit"))
    state = DiffusionState(
        prompts=Prompts(backbone.embed([PROMPT]), backbone.embed([""])),
        generators=[torch.Generator().manual_seed(1)],
        grid=diffusion.grid(noise),
        z_ref=torch.zeros(SHAPE),
        condition=backbone.condition(video, [0]),
    )
    state.z = diffusion.inverted(state)
    diffusion.sample(state)
    torch.testing.assert_close(state.z, wanted, atol=2e-4, rtol=1e-3)
    assert (wanted - noise).abs().max() > 0.1


@torch.no_grad()
def test_a_prompt_keeps_its_words_in_quotes_in_a_batch_and_out_of_it(backbones) -> None:
    one, other = (backbones[NAMES[0]].embed([words]) for words in (PROMPT, "chamber"))
    assert one.second is not None
    assert other.second is not None
    assert (int(one.second.mask.sum()), int(other.second.mask.sum())) == (len('Text "four". ') + 1, 0)
    picked = Embedding.cat([other, one])[torch.tensor([1])]
    assert picked.second is not None
    for a, b in ((picked, one), (picked.second, one.second)):
        assert torch.equal(a.tokens, b.tokens)
        assert torch.equal(a.mask, b.mask)


def test_prompts_of_several_lengths_leave_a_finite_gradient(backbones) -> None:
    """Attention has rows that see nothing where one prompt is shorter than another."""
    backbone = backbones[NAMES[0]]
    z = torch.randn(2, *SHAPE[1:]).requires_grad_(True)
    clean, _ = backbone.predict(z, torch.tensor([0.3, 0.8]), backbone.embed([PROMPT, "chamber"]))
    clean.square().mean().backward()
    assert torch.isfinite(z.grad).all()
    assert (z.grad.flatten(1).norm(dim=1) > 0).all()


@torch.no_grad()
def test_clips_are_encoded_alike_in_a_batch_and_alone(backbones) -> None:
    backbone, video = backbones[NAMES[0]], clip(2)
    both = backbone.encode(video)
    for row in range(2):
        torch.testing.assert_close(both[row : row + 1], backbone.encode(video[row : row + 1]))


def test_a_size_that_the_vae_cannot_take(backbones) -> None:
    with pytest.raises(UserError, match=r"data.size: frames of 24 x 24; this backbone's VAE takes multiples of 16"):
        backbones[NAMES[0]].encode(torch.zeros(1, 3, 5, 24, 24))
