"""What decides the result beside the models, the callbacks and what is asked."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from lvcf.checks import check_choice, check_number
from lvcf.given_frames import GivenFrames
from lvcf.region import Region, check_region, written

Inversion = Literal["fresh", "recorded", "annealed", "ddim", "sdedit"]
Solver = Literal["ddim", "dpmpp_2m"]
Decode = Literal["plain", "residual", "detail"]
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
MOST_COUNTERFACTUALS = 10
"""Of a clip: they are shown side by side."""


@dataclass(frozen=True)
class Settings:
    """What decides the result beside the models, the callbacks and what is asked.

    Attributes:
        prompt: ``neutral`` (metadata alone: M guides) or ``target`` (the target value in the words too).
        inversion_prompt: what the inverted path is told: ``neutral``, or ``factual`` (what M says of the
            clip, in the prompt's words); a neutral ``prompt`` is always inverted with itself.
        guidance_scale: classifier-free guidance from the inversion's prompt to the target prompt; 1 leaves it out.
        steps: places of the dense time grid.
        strength: where on the noise axis sampling starts, 0-1.
        inversion: ``fresh`` (recorded, its noise drawn anew every step), ``recorded`` (edit-friendly), ``annealed``
            (from fresh to recorded), ``ddim`` or ``sdedit``.
        solver: ``ddim`` or ``dpmpp_2m``.
        decode: ``plain`` d_cf, ``residual`` x + d_cf - d_ref, or ``detail``: d_cf, sharpened by frames of x.
        prompt_template: how a target is said; ``{metadata}`` and ``{target}`` are filled in.
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
        UserError: one is out of range.
    """

    prompt: Prompt = "neutral"
    inversion_prompt: InversionPrompt = "neutral"
    guidance_scale: float = 3.0
    steps: int = 12
    strength: float = 0.9
    inversion: Inversion = "fresh"
    solver: Solver = "ddim"
    decode: Decode = "plain"
    prompt_template: str = "{metadata} {target}"
    given_frames: GivenFrames = "none"
    region: Region | None = None
    freeze_frames: list[int] = field(default_factory=list)
    tolerance: float = 1.0
    seed: int = 0
    noise_seed: int | None = None
    starts: int = 1
    n_counterfactuals: int = 1
    diversity: float = 0.2

    def __post_init__(self) -> None:
        check_number("model.steps", self.steps, 1, MOST_STEPS)
        check_number("model.starts", self.starts, 1)
        check_number("model.n_counterfactuals", self.n_counterfactuals, 1, MOST_COUNTERFACTUALS)
        check_number("model.diversity", self.diversity, 0.0)
        check_number("model.strength", self.strength, 0.0, 1.0, above=True)
        check_number("model.guidance_scale", self.guidance_scale)
        check_number("model.tolerance", self.tolerance, 0.0)
        for name, choices in CHOICES.items():
            check_choice(f"model.{name}", getattr(self, name), choices)
        check_region(self.region, self.freeze_frames)

    def recorded(self) -> dict[str, Any]:
        """Those that a run's manifest keeps under ``settings``; the others have entries of their own there."""
        elsewhere = ["prompt", "tolerance", "seed"]
        elsewhere += ["noise_seed"] if self.noise_seed is None else []
        elsewhere += ["given_frames"] if self.given_frames == "none" else []
        elsewhere += ["starts"] if self.starts == 1 else []
        elsewhere += ["n_counterfactuals", "diversity"] if self.n_counterfactuals == 1 else []
        elsewhere += ["region"] if self.region is None else []
        elsewhere += [] if self.freeze_frames else ["freeze_frames"]
        kept = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in elsewhere}
        return kept if self.region is None else kept | {"region": written(self.region)}
