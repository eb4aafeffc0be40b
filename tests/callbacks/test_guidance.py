"""Guidance through the denoiser, on backbones whose Jacobian is known; through a tiny decoder; out of memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.schedule import AdaptiveDenoisingSchedule
from lvcf.errors import UserError
from lvcf.guidance.gradient import normalised
from lvcf.guidance.weight import ConstantWeight, PrintedSign
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.models.backbones.tiny_decoder import TinyDecoder
from lvcf.sampler import ask
from lvcf.sampling import SamplingCallback, SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import GaussianBackbone, LinearTarget, Strides, make_clips, predict

SIZE, STEPS = 8, 6


class MatrixBackbone(GaussianBackbone):
    """The clean estimate is linear in z_t: ``mean + (1 + said) gain(t) (z_t - alpha mean) A`` along the width.

    ``said`` is 1 for a prompt with the target in it, else 0.
    """

    def __init__(self, matrix: Tensor) -> None:
        super().__init__("flow")
        self.matrix = matrix

    def embed(self, prompts: list[str]) -> Embedding:
        said = torch.tensor([float("percent" in prompt) for prompt in prompts])
        return Embedding(said[:, None, None], torch.ones(len(prompts), 1))

    def gain(self, t: Tensor) -> Tensor:
        alpha, sigma = self.alpha_sigma(t)
        return alpha * self.std**2 / (alpha**2 * self.std**2 + sigma**2)

    def predict(
        self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None = None
    ) -> tuple[Tensor, Tensor]:
        alpha, sigma = (s.view(-1, 1, 1, 1, 1) for s in self.alpha_sigma(t))
        gain = (self.gain(t) * (1.0 + prompt.tokens[:, 0, 0])).view(-1, 1, 1, 1, 1)
        clean = self.mean + gain * ((z_t - alpha * self.mean) @ self.matrix)
        return clean, (z_t - alpha * clean) / sigma


class Probe(SamplingCallback):
    """Pulls a known gradient of some active rows back at every step."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def on_clean_estimate(self, state: SamplingState) -> None:
        places = torch.arange(len(state.rows)).flip(0)[:2]  # not in order, not all
        gradient = torch.randn(state.clean[places].shape)
        before = state.z.clone()
        self.seen.append((state.t[places], gradient, state.pull_back(state, places, gradient)))
        assert torch.equal(state.z, before)
        assert not state.z.requires_grad


class Cleans(SamplingCallback):
    """Keeps the first clean estimate."""

    def __init__(self) -> None:
        self.clean, self.t = torch.zeros(0), torch.zeros(0)

    def on_clean_estimate(self, state: SamplingState) -> None:
        if not len(self.clean):
            self.clean, self.t = state.clean.clone(), state.t.clone()


def skewed() -> Tensor:
    """No symmetric matrix: its transpose is another."""
    return torch.eye(SIZE) + 0.5 * torch.diag(torch.ones(SIZE - 1), 1) + 0.1 * torch.randn(SIZE, SIZE)


def smooth() -> Tensor:
    """A covariance along the width: neighbours change together."""
    place = torch.arange(SIZE)
    return torch.exp(-((place[:, None] - place[None]) ** 2) / 8.0) / 2.5


def run(tmp_path, backbone, callbacks, target: str = "80", **options):
    settings = {"steps": STEPS, "strength": 0.9, "tolerance": 0.5, **options}
    task = CounterfactualTask(backbone, LinearTarget(), target, tmp_path, **settings)
    return task, predict(task, make_clips(3, size=SIZE), callbacks)


@pytest.mark.parametrize("inversion", ["recorded", "sdedit"])
def test_the_gradient_at_the_latent_is_the_transposed_jacobian_times_the_gradient(tmp_path, inversion) -> None:
    backbone, probe = MatrixBackbone(skewed()), Probe()
    run(tmp_path, backbone, [probe, Strides([[1], [2], [3, 1]])], inversion=inversion)
    assert len(probe.seen) == STEPS
    assert any(float(t.max() - t.min()) > 0.1 for t, _, _ in probe.seen)  # samples at different times
    for t, gradient, pulled in probe.seen:
        wanted = backbone.gain(t).view(-1, 1, 1, 1, 1) * (gradient @ backbone.matrix.T)
        torch.testing.assert_close(pulled, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("scale", [1.0, 3.0])
def test_under_classifier_free_guidance_the_jacobian_is_the_mixtures(tmp_path, scale) -> None:
    """Clean = inversion's + scale (target - inversion's); the target prompt doubles the gain here."""
    backbone, probe = MatrixBackbone(skewed()), Probe()
    template = "{metadata} ejection fraction {target} percent"
    run(tmp_path, backbone, [probe], prompt="target", prompt_template=template, guidance_scale=scale)
    for t, gradient, pulled in probe.seen:
        wanted = (1.0 + scale) * backbone.gain(t).view(-1, 1, 1, 1, 1) * (gradient @ backbone.matrix.T)
        torch.testing.assert_close(pulled, wanted, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("target", ["20", "80"])
def test_the_edit_is_the_pulled_back_gradient_at_unit_size(tmp_path, target) -> None:
    """grad L is (M - y) w times a positive number, w the upper left quarter: lambda J^T w / rms, by hand."""
    backbone, before, after = MatrixBackbone(skewed()), Cleans(), Cleans()
    guided = GradientGuidance(ConstantWeight(0.05), samples=1, noise=0.0, through_denoiser=True)
    run(tmp_path, backbone, [before, guided, after], target, inversion="recorded")
    region = torch.zeros_like(before.clean)
    region[..., : SIZE // 2, : SIZE // 2] = 1.0
    reading = LinearTarget()(torch.stack([c["video"] for c in make_clips(3, size=SIZE)]))  # first M sees the clip
    sign = (reading - float(target)).sign().view(-1, 1, 1, 1, 1)
    wanted = -0.05 * normalised(sign * (region @ backbone.matrix.T))
    torch.testing.assert_close(after.clean - before.clean, wanted, atol=1e-4, rtol=1e-3)


def test_what_cannot_change_together_is_not_edited(tmp_path) -> None:
    """A backbone that knows only clips that are constant along the width: so is the edit, and without it is not."""
    flat = torch.full((SIZE, SIZE), 1.0 / SIZE)
    for through in (True, False):
        before, after = Cleans(), Cleans()
        guided = GradientGuidance(ConstantWeight(0.05), samples=2, noise=0.1, through_denoiser=through)
        run(tmp_path, MatrixBackbone(flat), [before, guided, after])
        assert (float((after.clean - before.clean).std(dim=-1).max()) < 1e-5) == through


@pytest.mark.parametrize("target", ["20", "80"])
@pytest.mark.parametrize("inversion", ["sdedit", "recorded", "ddim"])
def test_through_the_denoiser_the_model_moves_towards_the_target_from_both_sides(tmp_path, target, inversion) -> None:
    def distance(callbacks: list) -> Tensor:
        task, edits = run(tmp_path, MatrixBackbone(smooth()), callbacks, target, inversion=inversion)
        return (ask(task.target_model, torch.stack([e.video for e in edits])) - float(target)).abs()

    def guided(weight: float) -> GradientGuidance:
        return GradientGuidance(ConstantWeight(weight), samples=1, noise=0.0, through_denoiser=True)

    unguided = distance([])
    assert (distance([guided(0.05)]) < unguided - 1.0).all()
    assert (distance([guided(-0.05)]) > unguided + 1.0).all()  # the flipped sign is seen


def test_with_eq_2s_sign_as_printed_the_edit_is_the_opposite_one_and_the_model_moves_away(tmp_path) -> None:
    edits = []
    for weight in (ConstantWeight(0.05), PrintedSign(ConstantWeight(0.05))):
        before, after = Cleans(), Cleans()
        run(tmp_path, GaussianBackbone(), [before, GradientGuidance(weight, samples=1, noise=0.0), after])
        edits.append(after.clean - before.clean)
    towards, away = edits
    torch.testing.assert_close(away, -towards)
    reading = LinearTarget()
    assert (reading(towards) > reading(torch.zeros_like(towards)) + 1.0).all()  # the target 80 lies above


# --- through a tiny decoder ----------------------------------------------------------------------------------------


class Steps(SamplingCallback):
    """Keeps what M sees, as ``clean + offset``, and every sample's place in the grid, at every step."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []
        self.places: list[list[int]] = []

    def on_clean_estimate(self, state: SamplingState) -> None:
        self.seen.append((state.clean + state.offset).clone())
        self.places.append(state.index[state.rows].tolist())


@pytest.fixture
def tiny_folder(tmp_path) -> Path:
    """A random decoder of the toy's latents, which are clips; its clips stay away from the edges of [-1, 1]."""
    decoder = TinyDecoder(3, channels=(8, 8), time=(1,), space=(1,))
    torch.nn.init.constant_(decoder.decoder[-1].bias, 0.5)
    decoder.save_pretrained(tmp_path / "tiny")
    return tmp_path / "tiny"


def read_by_hand(decoder: TinyDecoder | None, decode: str, z: Tensor) -> Tensor:
    """M of the latents of the three clips, with the gradient."""
    clips = torch.stack([c["video"] for c in make_clips(3, size=SIZE)])
    made = z if decoder is None else decoder(z, z.shape[2])
    reference = clips if decoder is None else decoder(clips, z.shape[2])
    return LinearTarget()((made if decode == "plain" else clips + made - reference).clamp(-1.0, 1.0))


@pytest.mark.parametrize("decode", ["plain", "residual"])
def test_the_last_steps_read_through_the_vaes_decoder_and_the_others_through_the_tiny_one(
    tmp_path, tiny_folder, decode
) -> None:
    """Reading and gradient of every step by hand: 4 of 6 steps through the tiny decoder, 2 through the VAE's."""
    before, after, last = Steps(), Steps(), 2
    options = {"samples": 1, "noise": 0.0, "tiny_decoder": str(tiny_folder), "true_steps": last}
    guided = GradientGuidance(ConstantWeight(0.05), **options)
    _, edits = run(tmp_path, GaussianBackbone(), [before, guided, after], decode=decode)
    decoder = TinyDecoder.from_pretrained(tiny_folder)
    for step, (seen, edited) in enumerate(zip(before.seen, after.seen, strict=True)):
        point = seen.clone().requires_grad_(True)
        output = read_by_hand(decoder if step < STEPS - last else None, decode, point)
        (gradient,) = torch.autograd.grad(((output - 80.0) ** 2).sum(), point)
        torch.testing.assert_close(edited - seen, -0.05 * normalised(gradient), atol=1e-5, rtol=1e-3)
        told = [edit.facts["trajectory"][step]["prediction"] for edit in edits]
        torch.testing.assert_close(torch.tensor(told), output.detach(), atol=1e-3, rtol=1e-4)


def test_the_result_never_passes_the_tiny_decoder(tmp_path, tiny_folder) -> None:
    """With a weight of 0 on the recorded path the clip comes back, whatever the tiny decoder makes of it."""
    guided = GradientGuidance(ConstantWeight(0.0), tiny_decoder=str(tiny_folder), true_steps=1)
    _, edits = run(tmp_path, GaussianBackbone(), [guided], inversion="recorded")
    for edit, clip in zip(edits, make_clips(3, size=SIZE), strict=True):
        torch.testing.assert_close(edit.video, clip["video"], atol=1.01 / 127.5, rtol=0)


def test_the_cosine_of_both_gradients_is_told(tmp_path, tiny_folder) -> None:
    """By hand at the two steps that the VAE's decoder takes."""
    before = Steps()
    options = {"samples": 1, "noise": 0.0, "tiny_decoder": str(tiny_folder)}
    _, edits = run(tmp_path, GaussianBackbone(), [before, GradientGuidance(ConstantWeight(0.05), **options)])
    decoder = TinyDecoder.from_pretrained(tiny_folder)
    wanted = []
    for seen in before.seen[-2:]:
        point = seen.clone().requires_grad_(True)
        losses = [((read_by_hand(d, "plain", point) - 80.0) ** 2).sum() for d in (decoder, None)]
        tiny, true = (torch.autograd.grad(loss, point)[0].flatten(1) for loss in losses)
        wanted.append(torch.nn.functional.cosine_similarity(tiny, true))
    told = torch.tensor([edit.facts["gradient_cosine"] for edit in edits])
    torch.testing.assert_close(told, torch.stack(wanted, dim=1), atol=1e-4, rtol=1e-3)
    assert told.abs().max() < 0.99
    assert [edit.facts["gradient_evaluations"] for edit in edits] == [STEPS + 2] * 3  # both decoders' are paid for


def test_samples_at_other_places_of_the_grid_take_their_own_decoder(tmp_path, tiny_folder) -> None:
    """One sample strides ahead: in one step of the batch its last places are the VAE's, the others' are not."""
    guided = GradientGuidance(ConstantWeight(0.05), samples=2, tiny_decoder=str(tiny_folder), true_steps=2)
    steps, strides = Steps(), [[1], [2], [3, 1]]
    _, together = run(tmp_path, GaussianBackbone(), [steps, guided, Strides(strides)])
    assert any(min(places) < STEPS - 2 <= max(places) for places in steps.places)
    for i, edit in enumerate(together):
        task = CounterfactualTask(
            GaussianBackbone(), LinearTarget(), "80", tmp_path, steps=STEPS, strength=0.9, tolerance=0.5
        )
        (alone,) = predict(task, [make_clips(3, size=SIZE)[i]], [guided, Strides([strides[i]])])
        torch.testing.assert_close(edit.video, alone.video, atol=1.01 / 127.5, rtol=0)
        assert len(edit.facts["gradient_cosine"]) == len(alone.facts["gradient_cosine"]) >= 1


def test_a_stride_of_the_schedule_leaves_the_last_step_to_the_vae(tmp_path, tiny_folder) -> None:
    """Within tolerance everywhere, strides are long; the last guided place is visited all the same."""
    steps = Steps()
    guided = GradientGuidance(ConstantWeight(0.05), samples=1, tiny_decoder=str(tiny_folder), true_steps=1)
    run(tmp_path, GaussianBackbone(), [steps, guided, AdaptiveDenoisingSchedule(stride=4)], "0..100")
    assert len(steps.places) < STEPS
    assert steps.places[-1] == [STEPS - 1] * 3


@pytest.mark.parametrize("until", [0.0, 0.5])
def test_guidance_ends_where_it_is_told_to(tmp_path, until) -> None:
    guided = GradientGuidance(ConstantWeight(0.05), samples=1, until=until)
    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), "90", tmp_path, steps=STEPS, tolerance=0.1)
    (edit,) = predict(task, make_clips(1), [guided])
    times = [row["t"] for row in edit.facts["trajectory"]]
    assert times == pytest.approx([t for t in torch.linspace(0.9, 0.0, STEPS + 1).tolist()[:-1] if t > until])
    assert guided.label() == ("RG until t = 0.5" if until else "RG")


BAD_TINY = {
    "no last step": (lambda folder: {"true_steps": 0}, "true_steps 0"),
    "no folder": (lambda folder: {"tiny_decoder": "/nowhere/tiny"}, "/nowhere/tiny"),
    "no file": (lambda folder: {"tiny_decoder": "/nowhere/tiny.pth"}, r"/nowhere/tiny\.pth: not found"),
    "of other channels": (
        lambda folder: put(folder, TinyDecoder(4, channels=(8, 8), time=(1,), space=(1,))),
        "takes 4 latent channels, the backbone's latents have 3",
    ),
    "of other compression": (
        lambda folder: put(folder, TinyDecoder(3, channels=(8, 8), time=(1,), space=(2,))),
        "makes clips of 4x16x16 .*the VAE of 4x8x8",
    ),
}


def put(folder: Path, decoder: TinyDecoder) -> dict[str, str]:
    decoder.save_pretrained(folder)
    return {"tiny_decoder": str(folder)}


@pytest.mark.parametrize("case", BAD_TINY)
def test_a_tiny_decoder_that_does_not_fit(case, tmp_path) -> None:
    options, says = BAD_TINY[case]
    with pytest.raises(UserError, match=says):
        run(tmp_path, GaussianBackbone(), [GradientGuidance(ConstantWeight(0.05), **options(tmp_path / "bad"))])


# --- out of memory -------------------------------------------------------------------------------------------------


class Narrow(LinearTarget):
    """A model for whose gradient there is room for a few clips only, as on a small GPU."""

    def __init__(self, room: int) -> None:
        super().__init__()
        self.room, self.asked = room, list[int]()

    def forward(self, video: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            self.asked.append(len(video))
            if len(video) > self.room:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return super().forward(video)


def guided_in(room: int, tmp_path, clips: int = 3) -> tuple[Narrow, list]:
    model = Narrow(room)
    task = CounterfactualTask(GaussianBackbone(), model, "80", tmp_path, steps=3, strength=0.9, tolerance=0.5)
    guidance = GradientGuidance(ConstantWeight(0.05), samples=5, noise=0.1)
    return model, predict(task, make_clips(clips, size=SIZE), [guidance])


def test_out_of_memory_guidance_goes_on_with_fewer_perturbations_at_once(tmp_path) -> None:
    """3 clips with 5 perturbations in room for 6 clips: 5 and 3 at once fail, 2, 2 and 1 fit, and so from then on."""
    whole, wanted = guided_in(15, tmp_path)
    assert whole.asked == [15] * 3
    with pytest.warns(UserWarning, match="out of memory; guidance goes on with 2 perturbations at once"):
        model, edits = guided_in(6, tmp_path)
    assert model.asked == [15, 9, *[6, 6, 3] * 3]
    for edit, same in zip(edits, wanted, strict=True):
        torch.testing.assert_close(edit.video, same.video, atol=1.01 / 127.5, rtol=0)


@pytest.mark.filterwarnings("ignore:out of memory")
def test_out_of_memory_a_batch_is_made_in_smaller_parts(tmp_path) -> None:
    """5 clips in room for 2: one perturbation of 5 and then of 3 is too much; 2 and 1 of those fit, and the last 2."""
    whole, wanted = guided_in(25, tmp_path, clips=5)
    assert whole.asked == [25] * 3
    with pytest.warns(UserWarning, match="out of memory; goes on with 2 clips at once"):
        model, edits = guided_in(2, tmp_path, clips=5)
    assert model.asked == [25, 15, 10, 5, 3, *[2] * 15, *[1] * 15, *[2] * 15]
    assert [edit.id for edit in edits] == [edit.id for edit in wanted]
    for edit, same in zip(edits, wanted, strict=True):
        torch.testing.assert_close(edit.video, same.video, atol=1.01 / 127.5, rtol=0)


@pytest.mark.filterwarnings("ignore:out of memory")
def test_one_clip_that_does_not_fit_names_the_setting(tmp_path) -> None:
    with pytest.raises(UserError, match="one gradient of one clip does not fit; give the guidance callback a tiny_dec"):
        guided_in(0, tmp_path)


def test_another_error_is_not_taken_for_a_lack_of_memory(tmp_path) -> None:
    """It fails the clips, and says so."""

    class Broken(LinearTarget):
        def forward(self, video: Tensor) -> Tensor:
            if torch.is_grad_enabled():
                raise RuntimeError("a defect of the model")
            return super().forward(video)

    task = CounterfactualTask(GaussianBackbone(), Broken(), "80", tmp_path, steps=3, strength=0.9)
    assert predict(task, make_clips(3, size=SIZE), [GradientGuidance(ConstantWeight(0.05))]) == []
    assert list(task.tracebacks) == ["clip0", "clip1", "clip2"]
    assert all("a defect of the model" in text for text in task.tracebacks.values())
