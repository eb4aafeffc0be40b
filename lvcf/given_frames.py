"""Given frames: some of a clip's own frames stay, and the others are drawn beside them.  docs/method.md, 17."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lvcf.errors import UserError
from lvcf.models.backbones.base import Backbone

GivenFrames = Literal["none", "first"] | list[int]
"""None, the first, or their numbers from 0."""


def numbers_of(given: GivenFrames) -> list[int]:
    """The frames' numbers."""
    if isinstance(given, list):
        return given
    return [0] if given == "first" else []


def check_given(given: GivenFrames, inversion: str, backbone: Backbone) -> None:
    """Refuse given frames that would not be held.

    Raises:
        UserError: the backbone was not trained with them, always draws from the first one, which is not given, or the
            inversion does not hold them.
    """
    numbers = numbers_of(given)
    if backbone.draws_from_first and 0 not in numbers:
        raise UserError(
            f"model.given_frames {given}: this backbone draws a clip from its first frame; set --model.given_frames "
            "first, or take a text-to-video backbone"
        )
    if not numbers:
        return
    if not backbone.takes_given:
        raise UserError(
            "model.given_frames: this backbone's denoiser was not trained with given frames; train it with "
            "lvcf fit --model.given true, or leave them out"
        )
    if inversion == "ddim" and not backbone.given_in_channels:
        raise UserError("model.inversion ddim: holds no given frames; choose fresh, recorded, annealed or sdedit")


def given_latents(given: GivenFrames, backbone: Backbone, frames: int, z_ref: Tensor) -> Tensor | None:
    """Which latent frames ``(F,)`` of ``(B, C, F, H, W)`` are given, of clips of so many frames; None of none.

    Raises:
        UserError: there is no such frame, or only some of those that stand in one latent frame are given to a backbone
            that holds latent frames alone.
    """
    asked = set(numbers_of(given))
    if not asked:
        return None
    if beyond := sorted(number for number in asked if not 0 <= number < frames):
        raise UserError(f"model.given_frames {beyond[0]}: the clips have frames 0 to {frames - 1}")
    together = [set(backbone.frames_of(place, frames)) for place in range(z_ref.shape[2])]
    for numbers in together if not backbone.given_in_channels else ():
        if asked & numbers not in (set(), numbers):
            names = ", ".join(map(str, sorted(numbers)))
            raise UserError(f"model.given_frames: frames {names} stand in one latent frame; give all of them or none")
    return torch.tensor([bool(numbers) and numbers <= asked for numbers in together], device=z_ref.device)
