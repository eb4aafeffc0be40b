"""The offline default editor: lvcf's own text-conditioned backbone, from a strength on the clip's own noised path."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal, get_args

import torch
from torch import Tensor

from lvcf.checks import check_number
from lvcf.data.clip import round_to_8_bits
from lvcf.diffusion.inversion import noised, recorded_residual
from lvcf.diffusion.steps import ddim_step
from lvcf.errors import UserError
from lvcf.models.backbones.base import Backbone, Embedding
from lvcf.sampler import Decode
from lvcf.steering.editors.base import Editor, finite


@dataclass(frozen=True)
class LatentState:
    """A prepared clip.

    Attributes:
        latent: ``(1, C, F, h, w)``.
        lost: what is given back to an edit, ``(3, T, H, W)``.
        source_prompt: what the clip shows.
        missed: by seed, what the denoiser misses at every step of the clip's own path; no prompt changes it, so the
            first edit of a seed leaves it here for the others.
    """

    latent: Tensor
    lost: Tensor
    source_prompt: str
    missed: dict[int, list[Tensor]] = field(default_factory=dict)


class LatentVideoEditor(Editor):
    """Noises the clip's latent up to a strength and denoises it under the prompt.

    Classifier-free guidance (Ho & Salimans 2022) leads from the negative prompt to the prompt; from the source prompt
    where no negative is given, so that only what the words change is pushed.  With ``fresh`` inversion every step adds
    what the denoiser, told the source prompt, misses on the clip's own noised path (docs/method.md, 10): the source
    prompt then returns the clip.  ``sdedit`` (Meng et al. 2022) leaves that out.

    Args:
        backbone: the latent video diffusion model.
        strength: where on the noise axis sampling starts, 0-1; higher changes more.
        steps: DDIM steps from there.
        guidance_scale: of classifier-free guidance; 1 leaves it out.
        inversion: ``sdedit`` or ``fresh``.
        decode: ``plain``, or ``residual``, which gives back what the VAE loses of the clip.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(
        self,
        backbone: Backbone,
        strength: float = 0.8,
        steps: int = 12,
        guidance_scale: float = 3.0,
        inversion: Literal["sdedit", "fresh"] = "sdedit",
        decode: Decode = "plain",
    ) -> None:
        if not (isinstance(steps, int) and steps >= 1):
            raise UserError(f"editor.steps {steps}: at least one step is needed")
        check_number("editor.guidance_scale", guidance_scale, 0.0)
        for name, value, known in (
            ("inversion", inversion, ("sdedit", "fresh")),
            ("decode", decode, get_args(Decode)),
        ):
            if value not in known:
                raise UserError(f"editor.{name} {value}: choose {' or '.join(known)}")
        if not 0.0 < strength <= 1.0:
            raise UserError(f"editor.strength {strength}: choose a number above 0 and up to 1")
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.backbone = backbone.to(self.device).eval().requires_grad_(False)
        self.strength, self.steps, self.guidance_scale = strength, steps, guidance_scale
        self.inversion, self.decode = inversion, decode

    @property
    def identity(self) -> str:
        """The settings."""
        return (
            f"latent video, {type(self.backbone).__name__}, strength {self.strength:g}, {self.steps} steps, "
            f"guidance scale {self.guidance_scale:g}, {self.inversion} inversion, {self.decode} decoding"
        )

    @torch.no_grad()
    def prepare(self, clip: Tensor, source_prompt: str) -> LatentState:
        """Encode the clip."""
        clip = clip.to(self.device)
        latent = self.backbone.encode(clip[None])
        kept = self.backbone.decode(latent, clip.shape[1])[0].float() if self.decode == "residual" else clip
        return LatentState(latent, clip - kept, source_prompt)

    @torch.no_grad()
    def edit(self, state: LatentState, prompt: str, negative: str, seed: int) -> Tensor:
        """See the base class; the clip is on 8-bit levels."""
        away = negative or state.source_prompt
        prompts = self.backbone.embed([prompt] if self.guidance_scale == 1.0 else [prompt, away])
        grid = self.backbone.time_grid(self.steps, self.strength, state.latent).to(state.latent)
        z = noised(state.latent, _noise(_generator(seed), state), self.backbone.alpha_sigma(grid[:1]))
        fresh = self.inversion == "fresh"
        if fresh and seed not in state.missed:
            state.missed[seed] = self._missed(state, grid, seed)
        for step, (now, following) in enumerate(pairwise(grid[:, None])):
            z = self._step(z, now, following, prompts)
            if fresh:
                z = z + state.missed[seed][step]
            finite(z, "edit", step + 1)
        video = finite(self.backbone.decode(z, state.lost.shape[1])[0].float(), "edit", f"step {self.steps} (decoding)")
        return round_to_8_bits(video + state.lost).cpu()

    def _missed(self, state: LatentState, grid: Tensor, seed: int) -> list[Tensor]:
        """Of every step, z_s^rec - step(z_t^rec) under the source prompt, with noise drawn anew after each."""
        source, generator = self.backbone.embed([state.source_prompt]), _generator(seed)
        noise, missed = _noise(generator, state), []
        for step, (now, following) in enumerate(pairwise(grid[:, None]), start=1):
            recorded = noised(state.latent, noise, self.backbone.alpha_sigma(now))
            noise = _noise(generator, state)
            stepped = finite(self._step(recorded, now, following, source), "inversion", step)
            missed.append(recorded_residual(stepped, state.latent, noise, self.backbone.alpha_sigma(following)))
        return missed

    def _step(self, z: Tensor, now: Tensor, following: Tensor, prompts: Embedding) -> Tensor:
        """DDIM from one time ``(1,)`` to the next under the prompts."""
        clean = self._clean(z, now, prompts)
        return ddim_step(z, clean, self.backbone.alpha_sigma(now), self.backbone.alpha_sigma(following))

    def _clean(self, z: Tensor, t: Tensor, prompts: Embedding) -> Tensor:
        """The guided clean estimate of ``z`` ``(1, C, F, h, w)`` at ``t`` ``(1,)``."""
        number = len(prompts.tokens)
        estimates, _ = self.backbone.predict(z.expand(number, -1, -1, -1, -1), t.expand(number), prompts)
        if number == 1:
            return estimates
        towards, away = estimates.chunk(2)
        return away + self.guidance_scale * (towards - away)


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _noise(generator: torch.Generator, state: LatentState) -> Tensor:
    """Of the latent's shape, drawn on the CPU: every machine edits alike."""
    return torch.randn(state.latent.shape, generator=generator).to(state.latent)
