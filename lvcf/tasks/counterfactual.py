"""The predict step: counterfactuals of a batch of clips, by the sampler and the callbacks of the trainer."""

from __future__ import annotations

import contextlib
from pathlib import Path

from lightning import LightningModule
from torch import Tensor

from lvcf.data.clip import Batch, safe_name
from lvcf.edits import Edit, make_edits
from lvcf.given_frames import GivenFrames
from lvcf.models.backbones.base import Backbone
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.check import NoNumberError, check_target
from lvcf.region import Region
from lvcf.runs.folder import finished_result
from lvcf.sampler import Sampler
from lvcf.sampling import full_precision
from lvcf.settings import Decode, Inversion, InversionPrompt, Prompt, Settings, Solver
from lvcf.targets import parse_target


class CounterfactualTask(LightningModule):
    """The generator: ``predict_step`` runs one batch of clips through :class:`~lvcf.sampler.Sampler`.

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
        inversion: ``fresh`` (recorded, its noise drawn anew every step), ``recorded`` (edit-friendly), ``annealed``
            (from fresh to recorded), ``ddim`` or ``sdedit``.
        solver: ``ddim`` or ``dpmpp_2m``.
        decode: ``plain`` d_cf, ``residual`` x + d_cf - d_ref, or ``detail``: d_cf, sharpened by frames of x.
        given_frames: the clip's frames that stay as they are while the others are drawn beside them: ``none``,
            ``first``, or their numbers from 0; for backbones that were trained so.
        region: what may change, all else is kept: a box, a mask's file, a table of polygons or a function, see
            :data:`~lvcf.region.Region`.
        freeze_frames: numbers from 0 of the frames that are kept; any backbone can.
        tolerance: how far from the target counts as reached, in M's unit.
        seed: of the clips' own noise, together with their ids.
        noise_seed: another seed for the noise alone: the targets drawn stay those of ``seed``.
        starts: how often a clip is sampled at most: again, from other noise, while M is outside tolerance.
        n_counterfactuals: how many of a clip, each drawn away from those before it; the first is what one alone is.
        diversity: how far: the weight of that step at t = 1, in units of the latent's own deviation.

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
        given_frames: GivenFrames = "none",
        region: Region | None = None,
        freeze_frames: list[int] | None = None,
        tolerance: float = 1.0,
        seed: int = 0,
        noise_seed: int | None = None,
        starts: int = 1,
        n_counterfactuals: int = 1,
        diversity: float = 0.2,
    ) -> None:
        super().__init__()
        self.settings = Settings(
            prompt=prompt,
            inversion_prompt=inversion_prompt,
            guidance_scale=guidance_scale,
            steps=steps,
            strength=strength,
            inversion=inversion,
            solver=solver,
            decode=decode,
            prompt_template=prompt_template,
            given_frames=given_frames,
            region=region,
            freeze_frames=freeze_frames or [],
            tolerance=tolerance,
            seed=seed,
            noise_seed=noise_seed,
            starts=starts,
            n_counterfactuals=n_counterfactuals,
            diversity=diversity,
        )
        self.backbone, self.target_model, self.output = backbone, target_model, output
        self.sampler = Sampler(backbone, target_model, parse_target(target, target_model), self.settings)
        self.check_model = False  # lvcf predict sets it: whether M is tried before the first batch
        self.configuration = ""  # the command line's whole configuration, for the run's folder
        self.tracebacks: dict[str, str] = {}  # of clips on which M or a part of the backbone raised

    def setup(self, stage: str) -> None:
        """Let the trainer's callbacks take part.

        Raises:
            UserError: one cannot work on this backbone.
        """
        self.sampler.use(self.trainer.callbacks)  # type: ignore[attr-defined]

    def predict_step(self, batch: Batch, batch_idx: int) -> list[Edit]:
        """Edit a batch, see :func:`~lvcf.edits.make_edits`.

        Raises:
            UserError: the setup is wrong, whatever the clip.
        """
        if all(error or self.is_done(name) for name, error in zip(batch["id"], batch["error"], strict=True)):
            return []
        if self.check_model:
            self._check_target_model(batch["video"])
        return make_edits(self.sampler, batch, self.tracebacks)

    def is_done(self, name: str) -> bool:
        """Whether a clip's folder stands and did not fail; a batch is computed unless all of its clips are done."""
        return finished_result(self.output / "predictions" / safe_name(name)) is not None

    def _check_target_model(self, video: Tensor) -> None:
        """Once, on made-up clips like these; wrapped models were checked when they were made."""
        self.check_model = False
        if not self.target_model.checked:
            # a clip of which it says no number fails by itself
            with full_precision(video.device), contextlib.suppress(NoNumberError):
                check_target(self.target_model, video.shape[2:], video.device)
