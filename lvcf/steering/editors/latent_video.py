"""The offline default editor: lvcf's own text-conditioned backbone, from a strength on the clip's own noised path."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from lvcf.checks import check_choice, check_number
from lvcf.data.clip import round_to_8_bits
from lvcf.errors import UserError
from lvcf.models.backbones.base import Backbone
from lvcf.sampler import Diffusion
from lvcf.sampling import DiffusionState, Prompts, SamplingCallback
from lvcf.settings import Decode, Settings
from lvcf.steering.editors.base import Editor, finite, not_finite


@dataclass(frozen=True)
class LatentState:
    """A prepared clip.

    Attributes:
        latent: ``(1, C, F, h, w)``.
        lost: what is given back to an edit, ``(3, T, H, W)``.
        source_prompt: what the clip shows.
        missed: by seed, what every step misses on the clip's own path; no prompt changes it, so the first edit of a
            seed leaves it here for the others.
    """

    latent: Tensor
    lost: Tensor
    source_prompt: str
    missed: dict[int, dict[int, list[Tensor]]] = field(default_factory=dict)


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
        UserError: a number is out of range, or the backbone draws from a clip's own first frame.
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
        check_number("editor.strength", strength, 0.0, 1.0, above=True)
        check_number("editor.guidance_scale", guidance_scale, 0.0)
        check_choice("editor.inversion", inversion, ("sdedit", "fresh"))
        check_choice("editor.decode", decode, get_args(Decode))
        if backbone.draws_from_first:
            raise UserError(
                "editor.backbone: it draws from the clip's first frame, which an edit has to change; use "
                "text-to-video weights"
            )
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.backbone = backbone.to(self.device)
        settings = Settings("target", "neutral", guidance_scale, steps, strength, inversion, decode=decode)
        self.diffusion = Diffusion(self.backbone, settings)
        self.diffusion.use([StopAtOnce()])

    @property
    def identity(self) -> str:
        """The settings."""
        told = self.diffusion.settings
        return (
            f"latent video, {type(self.backbone).__name__}, strength {told.strength:g}, {told.steps} steps, "
            f"guidance scale {told.guidance_scale:g}, {told.inversion} inversion, {told.decode} decoding"
        )

    @torch.no_grad()
    def prepare(self, clip: Tensor, source_prompt: str) -> LatentState:
        """Encode the clip."""
        clip = clip.to(self.device)
        latent, lost = self.backbone.encode(clip[None]), torch.zeros_like(clip)
        if self.diffusion.settings.decode == "residual":
            lost = clip - self.backbone.decode(latent, clip.shape[1])[0].float()
        return LatentState(latent, lost, source_prompt)

    @torch.no_grad()
    def edit(self, state: LatentState, prompt: str, negative: str, seed: int) -> Tensor:
        """See the base class; the clip is on 8-bit levels."""
        sampled, source = self.backbone.embed([prompt]), self.backbone.embed([state.source_prompt])
        walk = DiffusionState(
            prompts=Prompts(sampled, source, self.backbone.embed([negative]) if negative else None),
            generators=[torch.Generator().manual_seed(seed)],
            grid=self.diffusion.grid(state.latent),
            z_ref=state.latent,
            missed=dict(state.missed.get(seed, {})),
        )
        walk.z = self.diffusion.inverted(walk)
        self.diffusion.sample(walk)
        state.missed[seed] = walk.missed or {}
        steps = self.diffusion.settings.steps
        video = finite(self.backbone.decode(walk.z, state.lost.shape[1])[0].float(), "edit", f"step {steps} (decoding)")
        return round_to_8_bits(video + state.lost).cpu()


class StopAtOnce(SamplingCallback):
    """For its batch's sake the sampler goes on with a clip that is not finite; an edit is alone, and ends there."""

    def on_step_end(self, state: DiffusionState) -> None:
        """See the base class.

        Raises:
            UserError: it is not finite.
        """
        if any(state.problems) or not state.z.isfinite().all():
            raise not_finite("edit", f"step {state.steps[0]}")
