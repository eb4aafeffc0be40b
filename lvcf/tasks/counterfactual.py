"""Make counterfactuals: invert a clip, run the reverse diffusion towards the target, decode.  DESIGN 3 and 4."""

from __future__ import annotations

import contextlib
import traceback
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from lightning import LightningModule
from lightning.pytorch.utilities.memory import is_oom_error
from torch import Tensor

from lvcf.callbacks.sampling import Decoder, Prompts, Read, SamplingCallback, SamplingState, full_precision
from lvcf.checks import check_choice, check_number
from lvcf.clock import now
from lvcf.data.clip import Batch, round_to_8_bits, safe_name
from lvcf.diffusion.inversion import ddim_invert, noised, recorded_residual
from lvcf.diffusion.parameterization import expand
from lvcf.diffusion.steps import History, Scales, ddim_step, dpmpp_2m_step, half_log_snr
from lvcf.errors import UserError, told
from lvcf.guidance.goal import make_goal, parse_target
from lvcf.memory import forget_peak, peak_memory
from lvcf.models.backbones.base import Backbone, Embedding
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.check import NoNumberError, check_target, of_the_setup
from lvcf.run_folder import finished_result
from lvcf.tasks.edits import Edit, check_labels, draws, readable, sample_generator, select
from lvcf.tasks.wording import Wording

Inversion = Literal["fresh", "recorded", "ddim", "sdedit"]
ON_THE_CLIP = ("fresh", "recorded")
"""Inversions that keep sampling on the clip by its own noised path."""
Solver = Literal["ddim", "dpmpp_2m"]
Decode = Literal["plain", "residual"]
Prompt = Literal["neutral", "target"]
InversionPrompt = Literal["neutral", "factual"]
CHOICES = {
    "prompt": get_args(Prompt),
    "inversion_prompt": get_args(InversionPrompt),
    "decode": get_args(Decode),
    "inversion": get_args(Inversion),
    "solver": get_args(Solver),
}
MOST_STEPS = 10_000
"""No schedule has more places than that."""


class CounterfactualTask(LightningModule):
    """The generator: ``predict_step`` runs one batch of clips through inversion, sampling and decoding.

    Args:
        backbone: the latent video diffusion model.
        target_model: M, the model being explained.
        target: what M should say: ``30``, ``delta:-10``, ``20..30``, ``label``, ``uniform:15..80:10``, ``other`` or a
            class name.
        output: the run's folder.
        prompt: ``neutral`` (metadata alone: M guides) or ``target`` (the target value in the words too).
        prompt_template: how a target is said; ``{metadata}`` and ``{target}`` are filled in.
        guidance_scale: classifier-free guidance from the inversion's prompt to the target prompt; 1 leaves it out.
        steps: places of the dense time grid.
        inversion_prompt: what the inverted path is told: ``neutral``, or ``factual`` (what M says of the
            clip, in the prompt's words); a neutral ``prompt`` is always inverted with itself.
        strength: where on the noise axis sampling starts, 0-1.
        inversion: ``fresh`` (recorded, its noise drawn anew every step), ``recorded`` (edit-friendly), ``ddim`` or
            ``sdedit``.
        solver: ``ddim`` or ``dpmpp_2m``.
        decode: ``plain`` d_cf, or ``residual`` x + d_cf - d_ref.
        tolerance: how far from the target counts as reached, in M's unit.
        seed: of the clips' own noise, together with their ids.
        noise_seed: another seed for the noise alone: the targets drawn stay those of ``seed``.

    Raises:
        UserError: an argument is out of range, or the target is none that M can say.
    """

    def __init__(
        self,
        backbone: Backbone,
        target_model: TargetModel,
        target: str,
        output: Path,
        prompt: Prompt = "neutral",
        prompt_template: str = "{metadata} {target}",
        inversion_prompt: InversionPrompt = "neutral",
        guidance_scale: float = 3.0,
        steps: int = 12,
        strength: float = 0.9,
        inversion: Inversion = "fresh",
        solver: Solver = "ddim",
        decode: Decode = "plain",
        tolerance: float = 1.0,
        seed: int = 0,
        noise_seed: int | None = None,
    ) -> None:
        super().__init__()
        check_number("model.steps", steps, 1, MOST_STEPS)
        check_number("model.strength", strength, 0.0, 1.0, above=True)
        check_number("model.guidance_scale", guidance_scale)
        check_number("model.tolerance", tolerance, 0.0)
        words: dict[str, str] = {"prompt": prompt, "inversion_prompt": inversion_prompt, "decode": decode}
        for name, word in {**words, "inversion": inversion, "solver": solver}.items():
            check_choice(f"model.{name}", word, CHOICES[name])
        self.backbone = backbone.eval().requires_grad_(False)
        self.target_model = target_model.freeze()
        self.request = parse_target(target, target_model)
        self.wording = Wording(prompt_template, target_model)
        self.output, self.prompt, self.prompt_template = output, prompt, prompt_template
        self.inversion_prompt = inversion_prompt
        self.guidance_scale, self.steps, self.strength = guidance_scale, steps, strength
        self.inversion, self.solver, self.decode = inversion, solver, decode
        self.tolerance, self.seed, self.noise_seed = tolerance, seed, noise_seed
        self.check_model = False  # lvcf predict sets it: whether M is tried before the first batch
        self.configuration = ""  # the command line's whole configuration, for the run's folder
        self.tracebacks: dict[str, str] = {}  # of clips on which M or a part of the backbone raised

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Edit]:
        """Edit a batch; a clip that fails is not among the results and says why in ``batch["error"]``.

        M and the backbone may be anybody's: what they raise fails the clip, not the run.  The others of its batch are
        made again one by one.

        Raises:
            UserError: the setup is wrong, whatever the clip.
        """
        if all(error or self.is_done(name) for name, error in zip(batch["id"], batch["error"], strict=True)):
            return []
        if self.check_model:
            self._check_target_model(batch["video"])
        try:
            with torch.no_grad():
                return self._explain(batch)
        except Exception as error:
            if is_oom_error(error) or of_the_setup(error):
                raise
            if len(batch["id"]) == 1:
                batch["error"][0] = told(error)
                self.tracebacks[batch["id"][0]] = traceback.format_exc()
                return []
        edits = []
        for row in range(len(batch["id"])):
            alone = select(batch, [row])
            edits += self.predict_step(alone, batch_idx)
            batch["error"][row] = alone["error"][0]
        return edits

    def _explain(self, batch: Batch) -> list[Edit]:
        """Edit the clips that can be read, all at once."""
        measured = forget_peak(self.device)
        started, asked = now(self.device), self.target_model.queries
        before = self.judge(batch["video"])
        check_labels(batch, self.request, self.target_model)
        good = readable(batch, before)
        if not good:
            return []
        state = self._start(select(batch, good), before[good])
        self._notify("on_sampling_start", state)
        self._sample(state)
        self._notify("on_sampling_end", state)
        state.keep_finite(state.z, state.z_ref, "the latent at the end of sampling")
        state.decoded = self._decoded(state)
        self._notify("on_decoded", state)
        state.keep_finite(state.decoded, state.video, "the decoded counterfactual")
        state.keep_told()
        costs: dict[str, Any] = {"seconds": (now(self.device) - started) / len(good)}
        if measured:
            costs["peak_memory_bytes"] = peak_memory(self.device)
        if not self.target_model.differentiable:
            costs["queries"] = (self.target_model.queries - asked) / len(good)
        for row, problem in zip(good, state.problems, strict=True):
            batch["error"][row] = problem
        return [self._edit(state, row, costs) for row, problem in enumerate(state.problems) if not problem]

    def make_output(self) -> None:
        """Make the run's folder.

        Raises:
            UserError: it cannot be written.
        """
        try:
            (self.output / "predictions").mkdir(parents=True, exist_ok=True)
            (self.output / ".writable").touch()
            (self.output / ".writable").unlink()
        except OSError as error:
            raise UserError(
                f"{self.output}: cannot be written ({error.strerror}); choose another --model.output"
            ) from error

    def is_done(self, name: str) -> bool:
        """Whether a clip's folder stands and did not fail; a batch is computed unless all of its clips are done."""
        return finished_result(self.output / "predictions" / safe_name(name)) is not None

    def settings(self) -> dict[str, Any]:
        """What decides the result beside data, models and callbacks; kept in the run's manifest."""
        names = (
            "inversion_prompt",
            "guidance_scale",
            "steps",
            "strength",
            "inversion",
            "solver",
            "decode",
            "prompt_template",
        )
        other_noise = {} if self.noise_seed is None else {"noise_seed": self.noise_seed}
        return {name: getattr(self, name) for name in names} | other_noise

    def judge(self, video: Tensor) -> Tensor:
        """M's output for clips in [-1, 1], in full precision."""
        with full_precision(video.device):
            output: Tensor = self.target_model(video.float())
            return output

    def _check_target_model(self, video: Tensor) -> None:
        """Once, on made-up clips like these; wrapped models were checked when they were made."""
        self.check_model = False
        if not self.target_model.checked:
            # a clip of which it says no number fails by itself
            with full_precision(video.device), contextlib.suppress(NoNumberError):
                check_target(self.target_model, video.shape[2:], video.device)

    def _notify(self, hook: str, state: SamplingState) -> None:
        for callback in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, SamplingCallback):
                getattr(callback, hook)(state)

    def _start(self, batch: Batch, before: Tensor) -> SamplingState:
        """Set the goals, given what M says of the clips; encode, invert."""
        video, ids = batch["video"], batch["id"]
        generators = [sample_generator(self.seed, name) for name in ids]
        known = list(zip(self._said(before), batch["label"].tolist(), draws(generators), strict=True))
        edges = [self.request.edges(*clip) for clip in known]
        outside = [self.request.clipped(*clip) for clip in known]
        goal = make_goal(edges, self.target_model, self.tolerance).to(before.device)
        noise_seed = self.seed
        if self.noise_seed is not None:
            noise_seed = self.noise_seed
            generators = [sample_generator(noise_seed, name) for name in ids]
        with full_precision(video.device):
            z_ref = self.backbone.encode(video)
            reconstruction = self.backbone.decode(z_ref, video.shape[2])
            prompts = self._prompts(batch["neutral_prompt"], edges, before)
        state = SamplingState(
            ids=ids,
            video=video,
            goal=goal,
            backbone=self.backbone,
            model=self.target_model,
            read=self._reader(self.backbone.decode, video, reconstruction),
            read_through=lambda decode: self._reader(decode, video, decode(z_ref, video.shape[2])),
            pull_back=self._pull_back,
            prompts=prompts,
            generators=generators,
            guidance_generators=[sample_generator(noise_seed, f"guidance:{name}") for name in ids],
            grid=self.backbone.time_grid(self.steps, self.strength, z_ref).to(z_ref),
            z_ref=z_ref,
            reconstruction=reconstruction,
            noise=torch.stack([torch.randn(z_ref.shape[1:], generator=g) for g in generators]).to(z_ref),
            z=z_ref,
            index=torch.zeros(len(ids), dtype=torch.long, device=video.device),
            stride=torch.ones(len(ids), dtype=torch.long, device=video.device),
            history=History.empty(z_ref),
            reference_history=History.empty(z_ref),
            prediction=goal.reading(before).clone(),
            reached=goal.reached(before),
            trajectory=[[] for _ in ids],
            steps=[0] * len(ids),
            gradient_evaluations=[0] * len(ids),
            notes=[
                {
                    "prediction_before": value,
                    "said_before": said,
                    "class_before": self.target_model.class_of(output, asked),
                }
                for value, said, output, asked in zip(
                    goal.reading(before).tolist(), self._said(before), before, goal.low.tolist(), strict=True
                )
            ],
            problems=[""] * len(ids),
        )
        state.keep_finite(z_ref, torch.zeros_like(z_ref), "the latent of the clip")
        state.keep_finite(reconstruction, video, "the clip's reconstruction")
        reference = self.judge(reconstruction.clamp(-1, 1))
        state.keep_finite(reference, before, "the target model's output on the clip's reconstruction")
        for note, value, clipped in zip(state.notes, goal.reading(reference).tolist(), outside, strict=True):
            note |= {"prediction_reference": value, "target_clipped": clipped}
        state.z = self._inverted(state)
        state.keep_finite(state.z, z_ref, "the inverted latent")
        return state

    def _prompts(self, metadata: list[str], edges: list[tuple[float, float]], before: Tensor) -> Prompts:
        """Embeddings of what sampling is told and of what the inversion is told."""
        neutral = self.backbone.embed(metadata)
        if self.prompt == "neutral":
            return Prompts(neutral, neutral)
        target = self.backbone.embed(self.wording.prompts(metadata, edges))
        if self.inversion_prompt == "neutral":
            return Prompts(target, neutral)
        said = [(value, value) for value in self._said(before)]
        return Prompts(target, self.backbone.embed(self.wording.prompts(metadata, said)))

    def _said(self, output: Tensor) -> list[float]:
        """M's values, or the indices of its classes."""
        values: list[float] = (output if self.target_model.task == "regression" else output.argmax(-1)).tolist()
        return values

    def _inverted(self, state: SamplingState) -> Tensor:
        """Where sampling starts."""
        start = state.grid[:1].expand(len(state.z_ref))
        if self.inversion != "ddim":
            return noised(state.z_ref, state.noise, self.backbone.alpha_sigma(start))
        rising = state.grid.flip(0).clamp(min=1e-3)
        times = [t.expand(len(state.z_ref)) for t in rising]
        return ddim_invert(
            state.z_ref,
            times,
            self.backbone.alpha_sigma,
            lambda z, t: self.backbone.predict(z, t, state.prompts.inversion)[0],
        )

    def _sample(self, state: SamplingState) -> None:
        """The reverse diffusion: every sample walks the grid at its own stride; finished ones leave the batch."""
        last = len(state.grid) - 1
        while bool((state.index < last).any()):
            state.rows = (state.index < last).nonzero()[:, 0]
            state.t = state.grid[state.index[state.rows]]
            following = torch.clamp(state.index + state.stride, max=last)[state.rows]
            untouched = state.z_ref[state.rows]
            self._estimate(state)
            state.keep_finite(state.clean, untouched, "the denoiser's estimate", state.rows)
            self._notify("on_clean_estimate", state)
            state.keep_finite(state.clean, untouched, "the target model's gradient", state.rows)
            self._advance(state, following)
            state.index[state.rows] = following
            for row in state.rows.tolist():
                state.steps[row] += 1
            self._notify("on_step_end", state)

    def _estimate(self, state: SamplingState) -> None:
        """Clean estimates of the active rows, and of the recorded path, in one pass of the denoiser."""
        rows, t = state.rows, state.t
        parts, prompts = self._sampled_path(state, rows, state.z[rows])
        recorded = self.inversion in ON_THE_CLIP
        if recorded:
            parts.append(noised(state.z_ref[rows], state.noise[rows], self.backbone.alpha_sigma(t)))
            prompts.append(state.prompts.inversion[rows])
        estimates = self._predicted(parts, prompts, t)
        state.clean = self._guided(estimates)
        state.offset = state.z_ref[rows] - estimates[-1] if recorded else torch.zeros_like(state.clean)

    def _sampled_path(self, state: SamplingState, rows: Tensor, z: Tensor) -> tuple[list[Tensor], list[Embedding]]:
        """The denoiser's inputs for the sampled path: once, or twice under classifier-free guidance."""
        if self.prompt == "neutral" or self.guidance_scale == 1.0:
            return [z], [state.prompts.sampled[rows]]
        return [z, z], [state.prompts.sampled[rows], state.prompts.inversion[rows]]

    def _predicted(self, parts: list[Tensor], prompts: list[Embedding], t: Tensor) -> list[Tensor]:
        clean, _ = self.backbone.predict(torch.cat(parts), t.repeat(len(parts)), Embedding.cat(prompts))
        return list(clean.float().chunk(len(parts)))

    def _guided(self, estimates: list[Tensor]) -> Tensor:
        """Classifier-free guidance (Ho & Salimans 2022) from the inversion's prompt to the target prompt."""
        if self.prompt == "neutral" or self.guidance_scale == 1.0:
            return estimates[0]
        return estimates[1] + self.guidance_scale * (estimates[0] - estimates[1])

    def _pull_back(self, state: SamplingState, places: Tensor, gradient: Tensor) -> Tensor:
        """From a gradient at the clean estimates of some active rows to the gradient at their z_t."""
        rows = state.rows[places]
        with torch.enable_grad():
            z = state.z[rows].detach().requires_grad_(True)
            clean = self._guided(self._predicted(*self._sampled_path(state, rows, z), state.t[places]))
            (pulled,) = torch.autograd.grad(clean, z, gradient)
        return pulled

    def _advance(self, state: SamplingState, places: Tensor) -> None:
        """Step the active rows to ``places`` of the grid; recorded noise is for the stride actually taken."""
        rows, now = state.rows, self.backbone.alpha_sigma(state.t)
        following = self.backbone.alpha_sigma(state.grid[places])
        stepped = self._step(state.z[rows], state.clean, now, following, state.history, rows)
        if self.inversion in ON_THE_CLIP:
            z_t = noised(state.z_ref[rows], state.noise[rows], now)
            reference = self._step(z_t, state.z_ref[rows] - state.offset, now, following, state.reference_history, rows)
            stepped = stepped + recorded_residual(reference, state.z_ref[rows], state.noise[rows], following)
        if self.inversion == "fresh":
            drawn = state.next_noise(places)
            stepped = stepped + expand(following[1], stepped) * (drawn - state.noise[rows])
            state.noise[rows] = drawn
        state.z[rows] = stepped

    def _step(
        self, z_t: Tensor, clean: Tensor, now: Scales, following: Scales, history: History, rows: Tensor
    ) -> Tensor:
        if self.solver == "ddim":
            return ddim_step(z_t, clean, now, following)
        stepped = dpmpp_2m_step(z_t, clean, now, following, History(history.clean[rows], history.log_snr[rows]))
        history.clean[rows], history.log_snr[rows] = clean, half_log_snr(now)
        return stepped

    def _reader(self, decode: Decoder, video: Tensor, reconstruction: Tensor) -> Read:
        """M's reading of latents through a decoder, given that decoder's reconstructions of the clips."""
        return lambda z, rows: self.judge(self._clip(decode(z, video.shape[2]), video[rows], reconstruction[rows]))

    def _clip(self, decoded: Tensor, source: Tensor, reconstruction: Tensor) -> Tensor:
        """Decoded latents as M sees them, differentiably."""
        clip = decoded.float()
        if self.decode == "residual":
            clip = source + clip - reconstruction
        return clip.clamp(-1.0, 1.0)

    def _decoded(self, state: SamplingState) -> Tensor:
        with full_precision(state.z.device):
            decoded = self.backbone.decode(state.z, state.video.shape[2])
            return self._clip(decoded, state.video, state.reconstruction)

    def _edit(self, state: SamplingState, row: int, costs: dict[str, Any]) -> Edit:
        low, high = float(state.goal.low[row]), float(state.goal.high[row])
        return Edit(
            id=state.ids[row],
            video=round_to_8_bits(state.decoded[row]),
            mask=torch.ones_like(state.video[row, :1]) if state.mask is None else state.mask[row],
            goal=state.goal[torch.tensor([row])],
            facts={
                **state.notes[row],
                "target": {"low": low, "high": high, "text": self.wording.text(low, high)},
                "trajectory": state.trajectory[row],
                "steps": state.steps[row],
                "gradient_evaluations": state.gradient_evaluations[row],
                **costs,
            },
        )
