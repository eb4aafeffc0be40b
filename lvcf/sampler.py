"""The one reverse diffusion: invert a clip, walk the time grid towards the target, decode.

docs/method.md, 1, 3, 8, 10 and 13.  Guidance, schedules, corrections and refinement take part as callbacks
(:class:`~lvcf.sampling.SamplingCallback`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from lightning.pytorch.utilities import rank_zero_info
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

from lvcf.data.clip import Batch
from lvcf.diffusion.inversion import ddim_invert, noised, recorded_residual
from lvcf.diffusion.parameterization import expand
from lvcf.diffusion.steps import History, Scales, ddim_step, dpmpp_2m_step, half_log_snr
from lvcf.diversity import Diversity
from lvcf.errors import UserError
from lvcf.given_frames import check_given, given_latents, numbers_of
from lvcf.guidance.goal import make_goal
from lvcf.models.backbones.base import Backbone, Embedding
from lvcf.models.targets.base import TargetModel
from lvcf.noise import draws, sample_generator
from lvcf.region import Kept, read_region
from lvcf.sampling import DecodeRows, DiffusionState, Prompts, Read, SamplingCallback, SamplingState, full_precision
from lvcf.settings import Settings
from lvcf.targets import TargetRequest
from lvcf.wording import Wording

ON_THE_CLIP = ("fresh", "recorded", "annealed")
"""Inversions that keep sampling on the clip by its own noised path."""
SHOWN = 4
"""Evenly spaced own frames that a detail decoder is shown, beside those that are given."""
DRAWABLE = 0.65
"""Least SSIM of a clip's reconstruction: the shipped backbones reach 0.8 to 0.9 on clips of their own kind, 0.1 to 0.6
on others'."""


class Diffusion:
    """Inversion and the reverse diffusion of latents; whether a model is explained is not its concern.

    Args:
        backbone: the latent video diffusion model.
        settings: see there.

    Raises:
        UserError: the solver is of another kind of backbone.
    """

    def __init__(self, backbone: Backbone, settings: Settings) -> None:
        if backbone.is_flow_map and settings.solver != "ddim":
            raise UserError(
                f"model.solver {settings.solver}: this backbone's flow map says itself where a step ends; choose ddim"
            )
        self.backbone, self.settings = backbone.eval().requires_grad_(False), settings
        self.callbacks: list[SamplingCallback] = []

    def use(self, callbacks: Iterable[Any]) -> None:
        """Let callbacks take part, in their order; those that do not sample are left out.

        Raises:
            UserError: one cannot work on this backbone.
        """
        self.callbacks = [callback for callback in callbacks if isinstance(callback, SamplingCallback)]
        for callback in self.callbacks:
            callback.check(self.backbone)

    def _notify(self, hook: str, state: DiffusionState) -> None:
        for callback in self.callbacks:
            getattr(callback, hook)(state)

    def grid(self, z_ref: Tensor) -> Tensor:
        """The falling times of latents ``(steps + 1,)``."""
        return self.backbone.time_grid(self.settings.steps, self.settings.strength, z_ref).to(z_ref)

    def inverted(self, state: DiffusionState) -> Tensor:
        """Where sampling starts."""
        start = state.grid[:1].expand(len(state.z_ref))
        if self.settings.inversion != "ddim":
            return state.shown(noised(state.z_ref, state.noise, self.backbone.alpha_sigma(start)))
        rising = state.grid.flip(0).clamp(min=1e-3)
        times = [t.expand(len(state.z_ref)) for t in rising]
        return ddim_invert(
            state.z_ref,
            times,
            self.backbone.alpha_sigma,
            lambda z, t: self.backbone.towards(z, t, t, state.prompts.inversion, state.condition),
        )

    def sample(self, state: DiffusionState) -> None:
        """The reverse diffusion: every sample walks the grid at its own stride; finished ones leave the batch."""
        last = len(state.grid) - 1
        while bool((state.index < last).any()):
            state.rows = (state.index < last).nonzero()[:, 0]
            state.t = state.grid[state.index[state.rows]]
            following = torch.clamp(state.index + state.stride, max=last)[state.rows]
            untouched = state.z_ref[state.rows]
            self._estimate(state, following)
            state.keep_finite(state.clean, untouched, "the denoiser's estimate", state.rows)
            self._notify("on_clean_estimate", state)
            state.clean = state.on_path(state.held(state.clean, state.rows))
            state.keep_finite(state.clean, untouched, "the target model's gradient", state.rows)
            self._advance(state, following)
            state.index[state.rows] = following
            for row in state.rows.tolist():
                state.steps[row] += 1
            self._notify("on_step_end", state)

    def _estimate(self, state: DiffusionState, following: Tensor) -> None:
        """Clean estimates of the active rows, and of the recorded path, in one pass of the denoiser.

        A flow map is asked once more, for the step to the places ``following`` of the grid, unless that is the end.
        """
        rows, t = state.rows, state.t
        parts, prompts = self._sampled_path(state, rows, state.z[rows])
        recorded = self.settings.inversion in ON_THE_CLIP and state.known() is None
        if recorded:
            parts.append(noised(state.z_ref[rows], state.noise[rows], self.backbone.alpha_sigma(t)))
            prompts.append(state.prompts.inversion[rows])
        estimates = self._predicted(state, rows, parts, prompts)
        guided = self._guided(estimates)
        state.offset = state.z_ref[rows] - estimates[-1] if recorded else torch.zeros_like(guided)
        state.clean = state.on_path(guided)
        state.bend, goes_to = None, state.grid[following]
        if self.backbone.is_flow_map and bool((goes_to > 0).any()):
            onward = self._predicted(state, rows, parts, prompts, goes_to)
            own = onward[-1] - estimates[-1] if recorded else torch.zeros_like(guided)
            state.bend = state.kept.hold(self._guided(onward) - guided, rows, own), own

    def _sampled_path(self, state: DiffusionState, rows: Tensor, z: Tensor) -> tuple[list[Tensor], list[Embedding]]:
        """The denoiser's inputs for the sampled path: once, or twice under classifier-free guidance."""
        if self._is_unguided():
            return [z], [state.prompts.sampled[rows]]
        away = state.prompts.away or state.prompts.inversion
        return [z, z], [state.prompts.sampled[rows], away[rows]]

    def _is_unguided(self) -> bool:
        return self.settings.prompt == "neutral" or self.settings.guidance_scale == 1.0

    def _predicted(
        self,
        state: DiffusionState,
        rows: Tensor,
        parts: list[Tensor],
        prompts: list[Embedding],
        r: Tensor | None = None,
    ) -> list[Tensor]:
        t, copies = state.times(rows), len(parts)
        z_t = torch.cat([state.shown(part, rows) for part in parts])
        condition = None if state.condition is None else state.condition[rows].repeat(copies)
        times, prompt = torch.cat([t] * copies), Embedding.cat(prompts)
        if r is None:
            clean, _ = self.backbone.predict(z_t, times, prompt, condition)
        else:
            clean = self.backbone.towards(z_t, times, r.repeat(copies), prompt, condition)
        return [state.held(part, rows) for part in clean.float().chunk(copies)]

    def _guided(self, estimates: list[Tensor]) -> Tensor:
        """Classifier-free guidance (Ho & Salimans 2022), to the sampled path's prompt."""
        if self._is_unguided():
            return estimates[0]
        return estimates[1] + self.settings.guidance_scale * (estimates[0] - estimates[1])

    def _advance(self, state: DiffusionState, places: Tensor) -> None:
        """Step the active rows to ``places`` of the grid; recorded noise is for the stride actually taken."""
        rows, now = state.rows, self.backbone.alpha_sigma(state.t)
        following = self.backbone.alpha_sigma(state.grid[places])
        clean = state.clean if state.bend is None else state.clean + state.bend[0]
        stepped = self._step(state.z[rows], clean, now, following, state.history, rows)
        missed = state.known()
        if missed is None:
            missed = self._missed(state, places, now, following)
        for part in missed:
            stepped = stepped + part
        if state.missed is not None:
            state.missed[int(state.index[rows[0]])] = missed
        state.z[rows] = state.shown(stepped, rows)

    def _missed(self, state: DiffusionState, places: Tensor, now: Scales, following: Scales) -> list[Tensor]:
        """What the step misses on the clip's own path; where noise is drawn anew, also what that adds."""
        if self.settings.inversion not in ON_THE_CLIP:
            return []
        rows, z_ref = state.rows, state.z_ref[state.rows]
        z_t = noised(z_ref, state.noise[rows], now)
        clean = z_ref - state.offset
        if state.bend is not None:
            clean = clean + state.bend[1]
        reference = self._step(z_t, clean, now, following, state.reference_history, rows)
        missed = [recorded_residual(reference, z_ref, state.noise[rows], following)]
        if self.settings.inversion != "recorded":
            drawn = state.next_noise(places, annealed=self.settings.inversion == "annealed")
            missed.append(expand(following[1], reference) * (drawn - state.noise[rows]))
            state.noise[rows] = drawn
        return missed

    def _step(
        self, z_t: Tensor, clean: Tensor, now: Scales, following: Scales, history: History, rows: Tensor
    ) -> Tensor:
        if self.settings.solver == "ddim":
            return ddim_step(z_t, clean, now, following)
        stepped = dpmpp_2m_step(z_t, clean, now, following, History(history.clean[rows], history.log_snr[rows]))
        history.clean[rows], history.log_snr[rows] = clean, half_log_snr(now)
        return stepped


class Sampler(Diffusion):
    """Runs a batch of clips through inversion, sampling and decoding.

    Args:
        backbone: the latent video diffusion model.
        model: M, the model being explained.
        request: what M should say.
        settings: see there.

    Attributes:
        at_once: how many clips of a batch are edited at once, where memory ran out before; None for all.

    Raises:
        UserError: the prompt's template or the region is none, or the backbone takes no given frames or has no detail
            decoder.
    """

    def __init__(self, backbone: Backbone, model: TargetModel, request: TargetRequest, settings: Settings) -> None:
        super().__init__(backbone, settings)
        check_given(settings.given_frames, settings.inversion, backbone)
        if settings.decode == "detail" and backbone.detail is None:
            raise UserError(
                "model.decode detail: this backbone has no detail decoder; train one (docs/method.md, 18), or choose "
                "plain or residual"
            )
        self.model, self.request = model.freeze(), request
        self.region = read_region(settings.region)
        self.wording = Wording(settings.prompt_template, model)
        self.at_once: int | None = None
        self._told = False  # that a clip cannot be drawn

    def use(self, callbacks: Iterable[Any]) -> None:
        """See the base class; of several counterfactuals of a clip, diversity comes before all guidance."""
        several = self.settings.n_counterfactuals > 1
        super().use([*([Diversity(self.settings.diversity)] if several else []), *callbacks])

    def __call__(self, batch: Batch, before: Tensor, start: int = 0, others: Sequence[Tensor] = ()) -> SamplingState:
        """Edit clips that M reads as ``before``; the counterfactuals stand in ``state.decoded``.

        Args:
            batch: the clips, with their ``editable`` where not all of them may change.
            before: M's output on them.
            start: every start has noise of its own, 0 is the first.
            others: latents of counterfactuals that the clips have already, each ``(B, ...)``.
        """
        state = self._start(batch, before, start)
        state.others = list(others)
        self._notify("on_sampling_start", state)
        self.sample(state)
        state.decode = state.decode_sharply
        state.read = self._reader(state.decode, state.kept, state.reconstruction)
        self._notify("on_sampling_end", state)
        state.z = state.kept.hold(state.held(state.z))
        state.keep_finite(state.z, state.z_ref, "the latent at the end of sampling")
        state.decoded = self._decoded(state)
        self._notify("on_decoded", state)
        state.decoded = state.kept.put_back(state.decoded)
        if state.mask is not None:
            state.mask = state.kept.let_through(state.mask)
        state.keep_finite(state.decoded, state.video, "the decoded counterfactual")
        state.keep_told()
        return state

    def _start(self, batch: Batch, before: Tensor, start: int) -> SamplingState:
        """Set the goals, given what M says of the clips; encode, invert."""
        video, ids, settings = batch["video"], batch["id"], self.settings
        generators = [sample_generator(settings.seed, name) for name in ids]
        known = list(zip(self._said(before), batch["label"].tolist(), draws(generators), strict=True))
        edges = [self.request.edges(*clip) for clip in known]
        outside = [self.request.clipped(*clip) for clip in known]
        goal = make_goal(edges, self.model, settings.tolerance).to(before.device)
        noise_seed = settings.seed
        if settings.noise_seed is not None:
            noise_seed = settings.noise_seed
        if start:
            ids = [f"start {start}: {name}" for name in ids]
        if start or settings.noise_seed is not None:
            generators = [sample_generator(noise_seed, name) for name in ids]
        with full_precision(video.device):
            z_ref = self.backbone.encode(video)
            plain = self.backbone.decode(z_ref, video.shape[2])
            sharpen = self._sharpener(video, plain)
            reconstruction = sharpen(plain, torch.arange(len(video)))
            prompts = self._prompts(batch["neutral_prompt"], edges, before)
            given = given_latents(settings.given_frames, self.backbone, video.shape[2], z_ref)
            editable = batch.get("editable")
            condition = self.backbone.condition(video, numbers_of(settings.given_frames), editable)
        kept = Kept.of(video, z_ref, self.backbone, editable, settings.given_frames)

        def decode(z: Tensor, rows: Tensor) -> Tensor:
            return self.backbone.decode(kept.hold(z, rows), video.shape[2])

        state = SamplingState(
            ids=batch["id"],
            video=video,
            goal=goal,
            backbone=self.backbone,
            model=self.model,
            decode=decode,
            decode_sharply=lambda z, rows: sharpen(decode(z, rows), rows),
            read=self._reader(decode, kept, reconstruction),
            read_through=lambda other: self._reader(
                lambda z, rows: other(self.backbone.unpadded(kept.hold(z, rows)), video.shape[2]),
                kept,
                other(self.backbone.unpadded(z_ref), video.shape[2]),
            ),
            pull_back=self._pull_back,
            prompts=prompts,
            generators=generators,
            guidance_generators=[sample_generator(noise_seed, f"guidance:{name}") for name in ids],
            grid=self.grid(z_ref),
            z_ref=z_ref,
            given=given,
            condition=condition,
            kept=kept,
            mask=None if editable is None else editable.float(),
            reconstruction=reconstruction,
            prediction=goal.reading(before).clone(),
            reached=goal.reached(before),
            trajectory=[[] for _ in ids],
            gradient_evaluations=[0] * len(ids),
            notes=[
                {
                    "prediction_before": value,
                    "said_before": said,
                    "class_before": self.model.class_of(output, asked),
                }
                for value, said, output, asked in zip(
                    goal.reading(before).tolist(), self._said(before), before, goal.low.tolist(), strict=True
                )
            ],
        )
        state.keep_finite(z_ref, torch.zeros_like(z_ref), "the latent of the clip")
        state.keep_finite(reconstruction, video, "the clip's reconstruction")
        reference = ask(self.model, reconstruction.clamp(-1, 1))
        state.keep_finite(reference, before, "the target model's output on the clip's reconstruction")
        drawn = similarity(reconstruction, video).tolist()
        self._tell_not_drawable(min(drawn))
        for note, value, ssim, clipped in zip(
            state.notes, goal.reading(reference).tolist(), drawn, outside, strict=True
        ):
            note |= {"prediction_reference": value, "reconstruction_ssim": ssim, "target_clipped": clipped}
        if editable is not None:
            for note, share in zip(state.notes, editable.float().flatten(1).mean(1).tolist(), strict=True):
                note["editable_share"] = share
        state.z = self.inverted(state)
        state.keep_finite(state.z, z_ref, "the inverted latent")
        return state

    def _tell_not_drawable(self, least: float) -> None:
        """Once, before anything is guided."""
        if least < DRAWABLE and not self._told:
            rank_zero_info(
                f"this backbone cannot draw all of these clips: the SSIM of a reconstruction is {least:.2f}, at least "
                f"{DRAWABLE:g} is needed; such clips end as not_drawable"
            )
            self._told = True

    def _prompts(self, metadata: list[str], edges: list[tuple[float, float]], before: Tensor) -> Prompts:
        """Embeddings of what sampling is told and of what the inversion is told."""
        neutral = self.backbone.embed(metadata)
        if self.settings.prompt == "neutral":
            return Prompts(neutral, neutral)
        target = self.backbone.embed(self.wording.prompts(metadata, edges))
        if self.settings.inversion_prompt == "neutral":
            return Prompts(target, neutral)
        said = [(value, value) for value in self._said(before)]
        return Prompts(target, self.backbone.embed(self.wording.prompts(metadata, said)))

    def _said(self, output: Tensor) -> list[float]:
        """M's values, or the indices of its classes."""
        values: list[float] = (output if self.model.task == "regression" else output.argmax(-1)).tolist()
        return values

    def _pull_back(self, state: SamplingState, places: Tensor, gradient: Tensor) -> Tensor:
        """From a gradient at the clean estimates of some active rows to the gradient at their z_t."""
        rows = state.rows[places]
        with torch.enable_grad():
            z = state.z[rows].detach().requires_grad_(True)
            clean = self._guided(self._predicted(state, rows, *self._sampled_path(state, rows, z)))
            (pulled,) = torch.autograd.grad(clean, z, gradient)
        return pulled

    def _sharpener(self, video: Tensor, plain: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
        """From clips as the VAE draws them, of some rows, to clips: ``detail`` decoding sharpens by the clips' frames.

        Those are the given ones and some evenly spaced ones; ``plain`` are the clips themselves as the VAE draws them.
        """
        detail = self.backbone.detail
        if self.settings.decode != "detail" or detail is None:
            return lambda clip, _rows: clip
        spaced = (place * video.shape[2] // SHOWN for place in range(SHOWN))
        shown = sorted({*numbers_of(self.settings.given_frames), *spaced})
        sharp, blurred = video[:, :, shown], plain[:, :, shown].float()
        return lambda clip, rows: detail(clip.float(), sharp[rows], blurred[rows])

    def _reader(self, decode: DecodeRows, kept: Kept, reconstruction: Tensor) -> Read:
        """M's reading of latents through a decoder, given that decoder's reconstructions of the clips."""
        return lambda z, rows: ask(self.model, self._clip(decode(z, rows), kept, reconstruction, rows))

    def _clip(self, decoded: Tensor, kept: Kept, reconstruction: Tensor, rows: Tensor) -> Tensor:
        """Decoded latents of some rows as M sees them, differentiably."""
        clip = decoded.float()
        if self.settings.decode == "residual":
            clip = kept.video[rows] + clip - reconstruction[rows]
        return kept.put_back(clip.clamp(-1.0, 1.0), rows)

    def _decoded(self, state: SamplingState) -> Tensor:
        with full_precision(state.z.device):
            rows = torch.arange(len(state.z))
            return self._clip(state.decode(state.z, rows), state.kept, state.reconstruction, rows)


def ask(model: TargetModel, video: Tensor) -> Tensor:
    """M's output for clips ``(B, 3, T, H, W)`` in [-1, 1], in full precision."""
    with full_precision(video.device):
        output: Tensor = model(video.float())
        return output


def similarity(reconstruction: Tensor, video: Tensor) -> Tensor:
    """Mean SSIM ``(B,)`` of the frames of reconstructions to their clips, both ``(B, 3, T, H, W)``."""
    values = []
    for drawn, clip in zip(reconstruction.float().clamp(-1, 1), video.float(), strict=True):
        value = structural_similarity_index_measure(drawn.transpose(0, 1), clip.transpose(0, 1), data_range=2.0)
        assert isinstance(value, Tensor)  # no image was asked for
        values.append(value)
    return torch.stack(values)
