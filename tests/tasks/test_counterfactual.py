"""The generator on a closed-form linear-Gaussian case and on a tiny stock backbone, under a Lightning Trainer."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.callbacks.schedule import AdaptiveDenoisingSchedule
from lvcf.data.clip import to_frames
from lvcf.guidance.goal import Goal
from lvcf.guidance.weight import AdaptiveWeight, ConstantWeight
from lvcf.models.targets.ejection_fraction import EchoResNet3D
from lvcf.noise import sample_generator
from lvcf.sampler import ask
from lvcf.sampling import SamplingCallback, SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.toys import (
    PRIOR_MEAN,
    PRIOR_STD,
    BrightDark,
    Capture,
    GaussianBackbone,
    LinearTarget,
    Strides,
    as_clip,
    make_clips,
    predict,
)

STEPS, STRENGTH = 6, 0.9
SIDES = pytest.mark.parametrize("target", ["20", "80"])


def make_task(tmp_path: Path, target: str = "80", backbone=None, model=None, **options) -> CounterfactualTask:
    settings = {"steps": STEPS, "strength": STRENGTH, "tolerance": 0.5, **options}
    return CounterfactualTask(
        backbone or GaussianBackbone(), model or LinearTarget(), target=target, output=tmp_path, **settings
    )


def guidance(weight: float = 0.05, noise: float = 0.0, samples: int = 1) -> GradientGuidance:
    return GradientGuidance(ConstantWeight(weight), samples=samples, noise=noise)


# --- the sign of guidance ----------------------------------------------------------------------------------------


class Noises(SamplingCallback):
    """The inverted path's noise at every step, and the first sample's place in the grid."""

    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []
        self.places: list[int] = []

    def on_clean_estimate(self, state: SamplingState) -> None:
        self.seen.append(state.noise.clone().double())
        self.places.append(int(state.index[0]))


def hand_written(z_ref: np.ndarray, noises: list[np.ndarray], y: float, weight: float, inversion: str) -> np.ndarray:
    """Guided DDIM on the flow with the exact Gaussian denoiser, in numpy, from the equations alone.

    ``noises`` has one entry per step.

    M = 50 + 50 mean(w z) with w the upper left quarter, so L = ((M - y) / 20)^2 and grad L is (M - y) w times a
    positive number: its unit-RMS form is sign(M - y) w sqrt(numel / n_w).
    """
    region = np.zeros(z_ref.shape)
    region[..., : z_ref.shape[-2] // 2, : z_ref.shape[-1] // 2] = 1.0
    unit = region * np.sqrt(region.size / region.sum())

    def clean_of(z: np.ndarray, t: float) -> np.ndarray:
        a, s, v = 1 - t, t, PRIOR_STD**2
        return PRIOR_MEAN + a * v / (a * a * v + s * s) * (z - a * PRIOR_MEAN)

    def ddim(z: np.ndarray, clean: np.ndarray, t: float, s: float) -> np.ndarray:
        return (1 - s) * clean + s * (z - (1 - t) * clean) / t

    times = np.linspace(STRENGTH, 0.0, STEPS + 1)
    z = (1 - times[0]) * z_ref + times[0] * noises[0]
    for (t, s), noise, later in zip(itertools.pairwise(times), noises, [*noises[1:], 0.0], strict=True):
        clean, recorded = clean_of(z, t), (1 - t) * z_ref + t * noise
        reference = clean_of(recorded, t)
        seen = clean + (z_ref - reference if inversion != "sdedit" else 0.0)
        reading = 50 + 50 * (np.clip(seen, -1, 1) * region).sum() / region.sum()
        if abs(reading - y) > 0.5:
            clean = clean - weight * np.sign(reading - y) * unit
        z = ddim(z, clean, t, s)
        if inversion != "sdedit":  # the edit so far is carried onto the path's next point
            z = z - ddim(recorded, reference, t, s) + ((1 - s) * z_ref + s * later)
    return z


@SIDES
@pytest.mark.parametrize("inversion", ["sdedit", "recorded", "fresh", "annealed"])
@pytest.mark.parametrize("weight", [0.05, -0.05])
def test_guided_sampling_follows_the_closed_form(tmp_path, target, inversion, weight) -> None:
    """The negative weight is the flipped sign: the same formula then moves M away (see the next test)."""
    capture, noises = Capture(), Noises()
    task = make_task(tmp_path, target, inversion=inversion)
    predict(task, make_clips(3), [guidance(weight), capture, noises])
    state = capture.states[0]
    assert torch.equal(noises.seen[0], noises.seen[1]) == (inversion not in ("fresh", "annealed"))
    for i in range(3):
        drawn = [noise[i].numpy() for noise in noises.seen]
        wanted = hand_written(state.z_ref[i].double().numpy(), drawn, float(target), weight, inversion)
        np.testing.assert_allclose(capture.latents[0][i].numpy(), wanted, atol=2e-5)


@SIDES
@pytest.mark.parametrize("inversion", ["sdedit", "fresh", "ddim"])
def test_guidance_moves_the_model_towards_the_target_from_both_sides(tmp_path, target, inversion) -> None:
    def distance(callbacks) -> torch.Tensor:
        task = make_task(tmp_path, target, inversion=inversion)
        edits = predict(task, make_clips(3), callbacks)
        return (ask(task.target_model, torch.stack([e.video for e in edits])) - float(target)).abs()

    unguided = distance([])
    assert (distance([guidance(0.05)]) < unguided - 2.0).all()
    assert (distance([guidance(-0.05)]) > unguided + 2.0).all()  # the flipped sign is seen


def test_guidance_raises_the_wanted_class(tmp_path) -> None:
    for name, sign in (("bright", 1.0), ("dark", -1.0)):
        task = make_task(tmp_path, name, model=BrightDark(threshold=PRIOR_MEAN + 0.2 * sign))
        edits = predict(task, make_clips(2), [guidance(0.2)])
        change = torch.stack([e.video for e in edits]) - torch.stack([c["video"] for c in make_clips(2)])
        assert (sign * change.mean(dim=(1, 2, 3, 4)) > 0.05).all()
        assert [e.facts["target"]["text"] for e in edits] == [name, name]


def test_the_recorded_path_lets_the_target_see_the_clip_itself_where_nothing_is_edited(tmp_path) -> None:
    """clean + offset = z_ref before the first edit, so the first reading is M(x): the prior's blur is not seen."""
    edits = predict(make_task(tmp_path), make_clips(3), [guidance()])
    for edit in edits:
        assert edit.facts["trajectory"][0]["prediction"] == pytest.approx(edit.facts["prediction_before"], abs=1e-3)


def test_within_tolerance_nothing_is_edited_and_guidance_rearms(tmp_path) -> None:
    """A range that holds M(x) leaves the clip; weights in the trajectory are 0 exactly where M is within tolerance."""
    clips = make_clips(3)
    still = predict(make_task(tmp_path, "1..99"), clips, [guidance()])
    for edit, clip in zip(still, clips, strict=True):
        assert (to_frames(edit.video) == to_frames(clip["video"])).all()
        assert edit.facts["gradient_evaluations"] == 0
    moved = predict(make_task(tmp_path, "delta:5"), clips, [guidance(0.2)])
    for edit in moved:
        goal = edit.goal
        assert len(edit.facts["trajectory"]) == edit.facts["steps"] == STEPS
        for row in edit.facts["trajectory"]:
            inside = bool(goal.reached(torch.tensor([row["prediction"]])))
            assert row["weight"] == (0.0 if inside else pytest.approx(0.2))
            assert row["loss"] == pytest.approx(float(goal.loss(torch.tensor([row["prediction"]]))), rel=1e-3)


# --- composition -------------------------------------------------------------------------------------------------

CLIP_SIZE = 32


@pytest.fixture
def smooth_clips():
    """Clips a random decoder can take: 16 frames of 32 x 32."""
    generator = torch.Generator().manual_seed(5)
    coarse = torch.randn(3, 3, 8, 8, 8, generator=generator)
    videos = torch.nn.functional.interpolate(coarse, size=(16, CLIP_SIZE, CLIP_SIZE), mode="trilinear").clamp(-1, 1)
    levels = ((videos + 1) * 127.5).round() / 127.5 - 1
    return [as_clip(video, f"smooth{i}") for i, video in enumerate(levels)]


STRIDES = [[[1], [1], [1]], [[1, 3, 1], [2], [1, 1, 4]]]


@pytest.mark.parametrize("strides", STRIDES, ids=["dense", "mixed"])
@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("decode", ["residual", "plain"])
@pytest.mark.parametrize("inversion", ["fresh", "recorded", "annealed"])
def test_with_guidance_off_the_clips_own_path_returns_it(
    tmp_path, backbone, smooth_clips, solver, decode, strides, inversion
):
    """docs/method.md, 10: |z_0 - z_ref| <= 1e-5 max(1, |z_ref|); residual returns x, plain D(E(x)) within a level."""
    capture = Capture()
    model = EchoResNet3D(channels=(8, 8, 16))
    task = make_task(tmp_path, "30", backbone, model, steps=8, solver=solver, decode=decode, inversion=inversion)
    edits = predict(task, smooth_clips, [Strides(strides), capture])
    state, z = capture.states[0], capture.latents[0]
    assert z.dtype == torch.float32
    start = capture.starts[0]
    assert float((start - state.z_ref).abs().max()) > 0.5  # it did leave
    bound = 1e-5 * max(1.0, float(state.z_ref.abs().max()))
    assert float((z - state.z_ref).abs().max()) <= bound
    for i, edit in enumerate(edits):
        saved = to_frames(edit.video).astype(int)
        if decode == "residual":
            assert (saved == to_frames(smooth_clips[i]["video"])).all()
        else:
            assert np.abs(saved - to_frames(state.reconstruction[i])).max() <= 1
    if strides == STRIDES[1]:
        assert len({edit.facts["steps"] for edit in edits}) > 1  # they did walk different grids


def test_the_recorded_path_matters_for_composition(tmp_path, backbone, smooth_clips) -> None:
    """SDEdit from the same noise does not come back: the composition test can fail."""
    capture = Capture()
    model = EchoResNet3D(channels=(8, 8, 16))
    predict(make_task(tmp_path, "30", backbone, model, steps=8, inversion="sdedit"), smooth_clips, [capture])
    assert float((capture.latents[0] - capture.states[0].z_ref).abs().max()) > 0.1


@pytest.mark.parametrize("schedule", ["flow", "vp"])
def test_ddim_inversion_returns_near_the_clip_with_many_steps(tmp_path, schedule) -> None:
    errors = []
    for steps in (25, 100):
        capture = Capture()
        task = make_task(tmp_path, backbone=GaussianBackbone(schedule), inversion="ddim", steps=steps)
        predict(task, make_clips(2), [capture])
        errors.append(float((capture.latents[0] - capture.states[0].z_ref).abs().max()))
    assert errors[1] < 0.06
    assert errors[1] < 0.45 * errors[0]  # first order


def test_sdedit_starts_at_the_noised_clip(tmp_path) -> None:
    capture = Capture()
    task = make_task(tmp_path, inversion="sdedit", strength=0.7)
    predict(task, make_clips(2), [capture])
    state = capture.states[0]
    torch.testing.assert_close(capture.starts[0], 0.3 * state.z_ref + 0.7 * state.noise)
    noise = state.noise[1]
    assert abs(float(noise.mean())) < 0.15
    assert float(noise.std()) == pytest.approx(1.0, abs=0.1)


# --- per-sample state --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("inversion", ["recorded", "sdedit"])
def test_samples_on_different_grids_come_out_as_each_alone(tmp_path, solver, inversion) -> None:
    clips, strides = make_clips(3), [[1], [3, 1], [4]]
    latents = []
    for group, plan in ([clips, strides], *([[clip], [s]] for clip, s in zip(clips, strides, strict=True))):
        capture = Capture()
        predict(make_task(tmp_path, solver=solver, inversion=inversion), group, [guidance(), Strides(plan), capture])
        latents.append(capture.latents[0])
    torch.testing.assert_close(latents[0], torch.cat(latents[1:]), atol=1e-5, rtol=0)


def test_a_batch_of_four_equals_four_batches_of_one(tmp_path, backbone, smooth_clips) -> None:
    """Same status, prediction within 0.05, pixels within 2 levels; full method, tiny stock parts."""
    clips = [*smooth_clips, as_clip(smooth_clips[0]["video"].flip(-1), "flipped")]
    torch.manual_seed(3)
    model = EchoResNet3D(channels=(8, 8, 16))
    runs = []
    for size in (4, 1):
        task = make_task(tmp_path, "delta:0.3", backbone, model, solver="dpmpp_2m", tolerance=0.05)
        callbacks = [
            GradientGuidance(AdaptiveWeight(0.02, 0.2, 4.0), samples=2),
            AdaptiveDenoisingSchedule(2),
            LastCorrection(),
        ]
        runs.append(predict(task, clips, callbacks, batch_size=size))
    for together, alone in zip(*runs, strict=True):
        videos = torch.stack([together.video, alone.video])
        outputs = model(videos)
        assert float((outputs[0] - outputs[1]).abs()) <= 0.05
        assert together.goal.reached(outputs).unique().numel() == 1
        assert np.abs(to_frames(together.video).astype(int) - to_frames(alone.video)).max() <= 2
        assert together.facts["steps"] == alone.facts["steps"]
    changed = [
        np.abs(to_frames(e.video).astype(int) - to_frames(c["video"])).max()
        for e, c in zip(runs[0], clips, strict=True)
    ]
    assert min(changed) > 0


def test_noise_depends_on_seed_and_id_alone() -> None:
    one = torch.randn(5, generator=sample_generator(1, "a"))
    torch.testing.assert_close(one, torch.randn(5, generator=sample_generator(1, "a")), rtol=0, atol=0)
    for seed, name in ((2, "a"), (1, "b")):
        assert not torch.equal(one, torch.randn(5, generator=sample_generator(seed, name)))


def test_methods_share_the_noise_at_every_place_of_the_grid(tmp_path) -> None:
    """Neither the draws of SmoothGrad nor a schedule's long strides unpair two methods."""
    paths = []
    methods = ([], [guidance(0.05, noise=0.1, samples=3)], [guidance(0.05, 0.1, 2), Strides([[2], [2]])])
    for callbacks in methods:
        noises = Noises()
        predict(make_task(tmp_path, "60"), make_clips(2), [*callbacks, noises])
        paths.append(noises)
    plain, smooth, strided = (noises.seen for noises in paths)
    assert len({float(noise.sum()) for noise in plain}) == STEPS
    assert all(torch.equal(a, b) for a, b in zip(plain, smooth, strict=True))
    assert paths[2].places == [0, 2, 4]
    assert all(torch.equal(plain[place], noise) for place, noise in zip(paths[2].places, strided, strict=True))


def test_the_global_generator_changes_nothing(tmp_path) -> None:
    videos = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        edits = predict(make_task(tmp_path, "60"), make_clips(2), [guidance(0.05, noise=0.1, samples=3)])
        videos.append(torch.stack([e.video for e in edits]))
    assert torch.equal(*videos)


def test_the_order_of_clips_changes_nothing(tmp_path) -> None:
    clips = make_clips(3)
    forward, backward = (
        {e.id: e.video for e in predict(make_task(tmp_path, "60"), order, [guidance(0.05, 0.1, 2)])}
        for order in (clips, clips[::-1])
    )
    for name, video in forward.items():
        torch.testing.assert_close(video, backward[name], atol=1.1 / 127.5, rtol=0)


# --- the target model stays what it was --------------------------------------------------------------------------


def test_the_target_model_is_bit_identical_frozen_and_in_eval_mode_afterwards(tmp_path, backbone, smooth_clips) -> None:
    model = EchoResNet3D(channels=(8, 8, 16)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    parts = {name: value.clone() for name, value in backbone.state_dict().items()}
    task = make_task(tmp_path, "30", backbone, model, steps=2)
    predict(task, smooth_clips[:2], [guidance(0.1, 0.1, 2), LastCorrection(steps=1)])
    assert not any(module.training for module in task.target_model.modules())
    for name, parameter in model.named_parameters():
        assert not parameter.requires_grad
        assert parameter.grad is None
        assert torch.equal(parameter, before[name])
    assert not any(p.requires_grad or p.grad is not None for p in backbone.parameters())
    assert all(torch.equal(value, parts[name]) for name, value in backbone.state_dict().items())


# --- schedule, correction, decoding ------------------------------------------------------------------------------


def test_ads_takes_fewer_steps_only_for_samples_within_tolerance(tmp_path) -> None:
    clips = make_clips(2)
    near, far = (float(LinearTarget().freeze()(c["video"][None])) for c in clips)
    clips[0]["label"], clips[1]["label"] = near, far + 45.0  # one is there already, the other never arrives
    task = make_task(tmp_path, "label", steps=9)
    edits = predict(task, clips, [guidance(0.001), AdaptiveDenoisingSchedule(3)])
    assert edits[0].facts["steps"] < edits[1].facts["steps"] == 9
    grid = np.linspace(STRENGTH, 0, 10)
    visited = [row["t"] for row in edits[0].facts["trajectory"]]
    assert visited[-1] == pytest.approx(grid[-2], abs=1e-6)  # the last place of the grid is guided
    assert visited == sorted(visited, reverse=True)


def test_the_last_correction_solves_a_linear_model_and_says_what_it_did(tmp_path) -> None:
    def readings(callbacks) -> tuple[list[float], list[dict]]:
        task = make_task(tmp_path, "delta:8")
        edits = predict(task, make_clips(3), callbacks)
        errors = [float(ask(task.target_model, e.video[None])) - float(e.goal.low) for e in edits]
        return errors, [e.facts for e in edits]

    off, _ = readings([])
    on, facts = readings([LastCorrection(largest=1.0)])
    for before, after, fact in zip(off, on, facts, strict=True):
        assert before < -7
        assert abs(after) < 0.5
        assert fact["prediction_before_correction"] - fact["prediction_before"] == pytest.approx(0.0, abs=0.01)
        assert 1 <= fact["gradient_evaluations"] <= 2  # one Newton step solves it


def test_the_last_correction_respects_its_largest_step(tmp_path) -> None:
    capture_off, capture_on = Capture(), Capture()
    predict(make_task(tmp_path, "95"), make_clips(2), [capture_off])
    task = make_task(tmp_path, "95")
    predict(task, make_clips(2), [LastCorrection(steps=1, largest=0.05), capture_on])
    rms = (capture_on.latents[0] - capture_off.latents[0]).flatten(1).square().mean(1).sqrt()
    assert rms.tolist() == pytest.approx([0.05, 0.05], rel=1e-3)


def test_uniform_targets_depend_on_the_clip_alone(tmp_path) -> None:
    targets = []
    for size in (1, 3):
        edits = predict(make_task(tmp_path, "uniform:15..80:10"), make_clips(3), [], batch_size=size)
        targets.append([e.facts["target"]["low"] for e in edits])
        for edit in edits:
            assert abs(edit.facts["target"]["low"] - edit.facts["prediction_before"]) >= 9.98
    assert targets[0] == targets[1]
    assert len(set(targets[0])) == 3


def test_an_unreadable_clip_is_left_out_and_the_others_are_what_they_would_be(tmp_path) -> None:
    clips = make_clips(3)
    broken = [clips[0], as_clip(torch.zeros_like(clips[0]["video"]), "broken", error="no"), clips[2]]
    edits = predict(make_task(tmp_path), broken, [guidance()])
    whole = predict(make_task(tmp_path), clips, [guidance()])
    assert [e.id for e in edits] == ["clip0", "clip2"]
    for edit, other in zip(edits, (whole[0], whole[2]), strict=True):
        torch.testing.assert_close(edit.video, other.video, atol=1.1 / 127.5, rtol=0)


def test_a_goal_is_a_batch_of_one_in_every_edit(tmp_path) -> None:
    edits = predict(make_task(tmp_path, "20..30"), make_clips(2), [])
    assert all(isinstance(e.goal, Goal) and e.goal.low.tolist() == [20.0] for e in edits)
    assert edits[0].facts["target"] == {"low": 20.0, "high": 30.0, "text": "20 to 30"}


def test_the_inversion_may_be_told_what_the_model_says(tmp_path) -> None:
    """The sampled path is told the target, the inverted one M's own reading; a neutral prompt tells neither."""
    told: list[str] = []

    class Listening(GaussianBackbone):
        def embed(self, prompts: list[str]):
            told.extend(prompts)
            return super().embed(prompts)

    words = {"prompt_template": "{metadata} at {target}", "steps": 1}
    for prompt, inversion, number in (("target", "factual", 3), ("target", "neutral", 2), ("neutral", "factual", 1)):
        told.clear()
        task = make_task(tmp_path, "80", Listening(), prompt=prompt, inversion_prompt=inversion, **words)
        (edit,) = predict(task, make_clips(1), [])
        said = [text.partition(" at ")[2] for text in told]
        assert sorted(said) == sorted(["", "80", str(round(edit.facts["prediction_before"]))][:number])
