"""The reverse diffusion's state and the hooks by which callbacks take part in it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from lightning import Callback
from torch import Tensor

from lvcf.diffusion.inversion import kept_share
from lvcf.diffusion.steps import History
from lvcf.guidance.goal import Goal
from lvcf.guidance.queries import Ledger, queried
from lvcf.models.backbones.base import Backbone, Condition, Embedding
from lvcf.models.targets.base import TargetModel
from lvcf.refinement.mask import Reference, blend
from lvcf.region import Kept


class Read(Protocol):
    """Latents ``(N, ...)`` of the batch's ``rows`` ``(N,)`` to M's output, through the decoder, differentiably."""

    def __call__(self, z: Tensor, rows: Tensor) -> Tensor:
        """M's output ``(N,)`` or ``(N, K)``."""


Decoder = Callable[[Tensor, int], Tensor]
"""Latents and a number of frames to clips, differentiably."""
DecodeRows = Callable[[Tensor, Tensor], Tensor]
"""Latents ``(N, ...)`` of the batch's rows ``(N,)`` to clips, differentiably, not clamped."""


@dataclass
class Prompts:
    """What the denoiser is told on the sampled path, and on the inverted path.

    Classifier-free guidance leads ``away`` from the inverted path's, unless another is given.
    """

    sampled: Embedding
    inversion: Embedding
    away: Embedding | None = None


@dataclass(kw_only=True)
class DiffusionState:
    """Where a batch of samples is on its way; first axis B = samples, unless it says A = active rows.

    Attributes:
        prompts: embeddings of what the denoiser is told.
        generators: of the inverted path's noise, one per sample.
        grid: dense falling times ``(steps + 1,)``, shared.
        z_ref: latents of the factual videos.
        given: which latent frames are given ``(F,)``: they stay ``z_ref``'s, at time 0; None without.
        condition: what the denoiser is shown of given frames beside the noised latents, where it is told of them so:
            then these are noised as the others are, and only the clean estimates are held.
        kept: what of the clips may not change.
        missed: by the place in the grid, what a step misses on the clip's own path.  Who samples a clip again, from the
            same noise and in the same strides, gives what the first time left here; None keeps nothing.
        noise: of the inverted path, now.
        z: current latents.
        index: place of each sample in ``grid`` ``(B,)``.
        stride: grid places the next step takes ``(B,)``; a schedule callback sets it.
        rows: active rows ``(A,)``.
        t: their times ``(A,)``.
        clean: their clean estimates ``(A, ...)``; guidance edits these.
        offset: what the clean estimate misses on the recorded path ``(A, ...)``: M sees ``clean + offset``.
        bend: of a flow map, what has to be added to the clean estimates of the sampled and of the recorded path
            ``(A, ...)``, so that a straight step lands where the map does; guidance edits ends, and the step follows.
        history: the solver's, of the sampled path.
        reference_history: the solver's, of the recorded path.
        steps: denoising steps taken, per sample.
        problems: why a sample failed, empty of the others; a failed one goes on as the untouched clip.
    """

    prompts: Prompts
    generators: list[torch.Generator]
    grid: Tensor
    z_ref: Tensor
    given: Tensor | None = None
    condition: Condition | None = None
    kept: Kept = field(default_factory=Kept)
    missed: dict[int, list[Tensor]] | None = None
    noise: Tensor = field(init=False)
    z: Tensor = field(init=False)
    index: Tensor = field(init=False)
    stride: Tensor = field(init=False)
    history: History = field(init=False)
    reference_history: History = field(init=False)
    rows: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.long))
    t: Tensor = field(default_factory=lambda: torch.zeros(0))
    clean: Tensor = field(default_factory=lambda: torch.zeros(0))
    offset: Tensor = field(default_factory=lambda: torch.zeros(0))
    bend: tuple[Tensor, Tensor] | None = None
    steps: list[int] = field(init=False)
    problems: list[str] = field(init=False)

    def times(self, rows: Tensor) -> Tensor:
        """Of some active rows, as the denoiser is told them."""
        return self.at_frames(self.grid[self.index[rows]])

    def at_frames(self, t: Tensor) -> Tensor:
        """Times ``(N,)`` as the denoiser is told them; with given frames at time 0 ``(N, F)``."""
        if self.given is None or self.condition is not None:
            return t
        return t[:, None].expand(-1, len(self.given)).masked_fill(self.given, 0.0)

    def held(self, z: Tensor, rows: Tensor | None = None) -> Tensor:
        """Clean latents of some rows, of all without, whose given frames are the factual clip's."""
        if self.given is None:
            return z
        return torch.where(self.given[:, None, None], self.z_ref if rows is None else self.z_ref[rows], z)

    def shown(self, z_t: Tensor, rows: Tensor | None = None) -> Tensor:
        """Noised latents as the denoiser takes them: given frames are clean, unless it is told of them otherwise."""
        return z_t if self.condition is not None else self.held(z_t, rows)

    def on_path(self, clean: Tensor) -> Tensor:
        """The active rows' clean estimates, which lead back to the clip where its latents are kept."""
        return self.kept.hold(clean, self.rows, self.z_ref[self.rows] - self.offset)

    def __post_init__(self) -> None:
        shape, samples = self.z_ref.shape[1:], len(self.z_ref)
        self.noise = torch.stack([torch.randn(shape, generator=g) for g in self.generators]).to(self.z_ref)
        self.z = self.z_ref
        self.index = torch.zeros(samples, dtype=torch.long, device=self.z_ref.device)
        self.stride = torch.ones_like(self.index)
        self.history, self.reference_history = History.empty(self.z_ref), History.empty(self.z_ref)
        self.steps, self.problems = [0] * samples, [""] * samples

    def keep_finite(self, values: Tensor, instead: Tensor, what: str, rows: Tensor | None = None) -> None:
        """Samples whose ``values`` are not all finite fail, and get finite ones, so that nothing spreads.

        Args:
            values: of some samples, edited in place.
            instead: what to put there, of the same samples.
            what: for the message.
            rows: the active rows that they are of, at a denoising step; None for all samples, before or after.
        """
        for place in (~finite(values)).nonzero()[:, 0].tolist():
            values[place] = instead[place]
            row, when = place, ""
            if rows is not None:
                row = int(rows[place])
                when = f" at denoising step {self.steps[row] + 1} (t = {float(self.t[place]):.3g})"
            fix = "check its weights and trainer.precision"
            self.problems[row] = self.problems[row] or f"{what} is not finite{when}; {fix}"

    def known(self) -> list[Tensor] | None:
        """What the next step misses on the clip's own path, where that was found before."""
        return None if self.missed is None else self.missed.get(int(self.index[self.rows[0]]))

    def next_noise(self, following: Tensor, annealed: bool = False) -> Tensor:
        """Noise of the inverted path of the active rows at the places ``following`` ``(A,)`` of the grid.

        One draw per place of the grid, also of those a long stride leaves out: a clip's noise at a place depends on
        the seed and its id alone, not on guidance or schedule, so methods are paired.  Where it is ``annealed``, every
        draw keeps a share of the noise before it, sqrt(a) w + sqrt(1 - a) w_new.  docs/method.md, 10.
        """
        kept = kept_share(self.grid) if annealed else torch.zeros_like(self.grid)
        drawn = []
        for row, last in zip(self.rows.tolist(), following.tolist(), strict=True):
            noise = self.noise[row]
            for share in kept[int(self.index[row]) + 1 : last + 1]:
                new = torch.randn(noise.shape, generator=self.generators[row]).to(noise)
                noise = share.sqrt() * noise + (1.0 - share).sqrt() * new
            drawn.append(noise)
        return torch.stack(drawn)


@dataclass(kw_only=True)
class SamplingState(DiffusionState):
    """Everything a batch of samples needs whose model is explained.

    Attributes:
        ids: names of the clips.
        video: factual videos ``(B, 3, T, H, W)``.
        goal: what M should say.
        backbone: the generator's parts.
        model: M.
        decode: latents to clips, without what residual decoding adds; until sampling ends, as the VAE draws them.
        decode_sharply: what ``decode`` is from then on: sharpened by a detail decoder, where that was asked for.
        read: latents to M's output, as M sees them.
        read_through: the same through another decoder.
        pull_back: gradients at the clean estimates of some active rows to gradients at their z_t, through the denoiser.
        guidance_generators: of guidance's own draws, one per sample: they leave the path's noise as it is.
        reconstruction: z_ref decoded ``(B, 3, T, H, W)``, not clamped.
        prediction: M's last reading (B,).
        reached: whether that was within tolerance (B,).
        trajectory: per sample, one row per guided step.
        gradient_evaluations: gradients of the target asked for, per sample.
        decoded: the edited clip, after sampling; refinement edits it.
        masks: refinement's nested masks, smallest first.
        mask: where the edit is let through ``(B, 1, T, H, W)``; None: everywhere.
        others: latents of counterfactuals that the clips have already, each ``(B, ...)``.
        notes: extra facts for ``result.json``, per sample.
        ledger: what gradients by queries have cost and found.
    """

    ids: list[str]
    video: Tensor
    goal: Goal
    backbone: Backbone
    model: TargetModel
    decode: DecodeRows
    decode_sharply: DecodeRows
    read: Read
    read_through: Callable[[Decoder], Read]
    pull_back: Callable[[SamplingState, Tensor, Tensor], Tensor]
    guidance_generators: list[torch.Generator]
    reconstruction: Tensor
    prediction: Tensor
    reached: Tensor
    trajectory: list[list[dict[str, float]]]
    gradient_evaluations: list[int]
    notes: list[dict[str, Any]]
    decoded: Tensor = field(default_factory=lambda: torch.zeros(0))
    masks: list[Tensor] = field(default_factory=list)
    mask: Tensor | None = None
    others: list[Tensor] = field(default_factory=list)
    ledger: Ledger = field(default_factory=Ledger)

    def estimate(self, z_t: Tensor, t: Tensor, prompt: Embedding, rows: Tensor) -> Tensor:
        """The denoiser's clean estimate of noised latents of some rows at ``t`` ``(N,)``, apart from the walk."""
        condition = None if self.condition is None else self.condition[rows]
        clean, _ = self.backbone.predict(self.shown(z_t, rows), self.at_frames(t), prompt, condition)
        return self.held(clean.float(), rows)

    def reader(self, rows: Tensor, read: Read | None = None) -> Callable[[Tensor], Tensor]:
        """``read``, or another reading, of stacked copies of some rows; where M has no gradient, one by queries."""
        through = read or self.read

        def ask(z: Tensor) -> Tensor:
            copies = rows.repeat(len(z) // len(rows))
            if self.model.differentiable:
                return through(z, copies)
            return queried(through, z, copies, self.model.plan, self.draw, self.ledger)

        return ask

    def keep_told(self) -> None:
        """Samples of which M, or a loss, once was no finite number fail: ``result.json`` cannot tell of them."""
        for row, told in enumerate(zip(self.notes, self.trajectory, strict=True)):
            try:
                json.dumps(told, allow_nan=False)
            except ValueError:
                problem = "the target model's output is not a finite number during sampling; check its weights"
                self.problems[row] = self.problems[row] or problem

    def keep_step(self, weights: list[float], losses: list[float], places: Tensor | None = None) -> None:
        """Add what guidance did at this step to the trajectories: of all active rows, or those at ``places``."""
        rows, t = (self.rows, self.t) if places is None else (self.rows[places], self.t[places])
        for row, time, weight, loss in zip(rows.tolist(), t.tolist(), weights, losses, strict=True):
            entry = {"t": time, "weight": weight, "loss": loss, "prediction": float(self.prediction[row])}
            self.trajectory[row].append({"step": len(self.trajectory[row]), **entry})

    def draw(self, rows: Tensor, shape: torch.Size) -> Tensor:
        """Guidance's Gaussian noise ``(len(rows), *shape)``, each sample's from its own generator."""
        drawn = [torch.randn(shape, generator=self.guidance_generators[i]) for i in rows.tolist()]
        return torch.stack(drawn).to(self.video.device)


class SamplingCallback(Callback):
    """A Lightning callback that takes part in sampling; taking it out of the YAML is the ablation."""

    def label(self) -> str:
        """What a method that it takes part in is called after it."""
        return type(self).__name__

    def check(self, backbone: Backbone) -> None:
        """Before the first clip: refuse a backbone that it cannot work on.

        Raises:
            UserError: it cannot.
        """

    def on_sampling_start(self, state: SamplingState) -> None:
        """Before the first step."""

    def on_clean_estimate(self, state: SamplingState) -> None:
        """Guidance edits ``state.clean`` of the active rows here."""

    def on_step_end(self, state: SamplingState) -> None:
        """The schedule sets ``state.stride`` here."""

    def on_sampling_end(self, state: SamplingState) -> None:
        """The last latents stand in ``state.z``; a last correction edits them here."""

    def on_decoded(self, state: SamplingState) -> None:
        """Refinement edits ``state.decoded`` here."""


def read_masked(state: SamplingState, mask: Tensor, reference: Reference) -> Read:
    """M's reading of latents whose clips a mask ``(B, 1, T, H, W)`` blends into a reference.

    It does not hold the state, which holds it: both would stay in memory.
    """
    decode, model, plain, kept = state.decode, state.model, state.reconstruction, state.kept

    def read(z: Tensor, rows: Tensor) -> Tensor:
        edited = decode(z, rows).float()
        clip = blend(edited, plain[rows], kept.video[rows], mask[rows], reference)
        with full_precision(z.device):
            output: Tensor = model(kept.put_back(clip, rows))
        return output

    return read


def finite(values: Tensor) -> Tensor:
    """Per sample ``(B,)`` bool: whether every number of ``(B, ...)`` is finite."""
    return values.reshape(len(values), -1).isfinite().all(1)


def full_precision(device: torch.device) -> torch.autocast:
    """A context without autocast: what is scored or saved is computed in float32."""
    return torch.autocast(device.type, enabled=False)
