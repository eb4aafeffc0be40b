"""PGD on the pixels: the row that warns, no explanation (Madry et al. 2018).  docs/method.md, 16."""

from __future__ import annotations

import torch
from torch import Tensor

from lvcf.checks import check_number
from lvcf.data.clip import round_to_8_bits
from lvcf.guidance.gradient import target_gradient
from lvcf.sampler import ask
from lvcf.sampling import SamplingCallback, SamplingState


class PixelAttack(SamplingCallback):
    """Signed gradient steps on the clip's own pixels until M says the target; the generator has no part in the result.

    It wins flip rate, SSIM and LPIPS, and shows nothing: a table in which it wins has no column for the truth.

    Args:
        steps: most steps per sample.
        step: change of a colour in one step, in levels of 255.
        budget: most change of a colour, in levels of 255.
        aim: how well within tolerance to come (:class:`lvcf.callbacks.last_correction.LastCorrection`).

    Raises:
        UserError: an argument is out of range.
    """

    def __init__(self, steps: int = 40, step: float = 1.0, budget: float = 8.0, aim: float = 0.5) -> None:
        check_number("PixelAttack.steps", steps, 1)
        check_number("PixelAttack.step", step, 0.0, above=True)
        check_number("PixelAttack.budget", budget, 0.0, above=True)
        check_number("PixelAttack.aim", aim, 0.0)
        self.steps, self.aim = steps, aim
        self.step, self.budget = step / 127.5, budget / 127.5

    def label(self) -> str:
        """See the base class."""
        return "PGD"

    def on_decoded(self, state: SamplingState) -> None:
        """Put the attacked clip in place of the edited one."""
        clip = state.video.float().clone()
        rows = torch.arange(len(clip), device=clip.device)

        def read(z: Tensor, rows: Tensor) -> Tensor:
            return ask(state.model, state.kept.put_back(z, rows))  # here the pixels themselves

        for _ in range(self.steps):
            rows = rows[~state.goal[rows].settled(read(round_to_8_bits(clip[rows]), rows), self.aim)]
            if not len(rows):
                break
            gradient, _ = target_gradient(state.reader(rows, read), clip[rows], state.goal[rows])
            change = clip[rows] - self.step * gradient.sign() - state.video[rows]
            clip[rows] = (state.video[rows] + change.clamp(-self.budget, self.budget)).clamp(-1.0, 1.0)
            for row in rows.tolist():
                state.gradient_evaluations[row] += 1
        state.decoded = clip
