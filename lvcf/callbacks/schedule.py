"""The adaptive denoising schedule.  docs/method.md, 7."""

from __future__ import annotations

import torch

from lvcf.checks import check_number
from lvcf.sampling import SamplingCallback, SamplingState


class AdaptiveDenoisingSchedule(SamplingCallback):
    """ADS: longer strides for a sample whose reading is within tolerance, the dense grid while it is not.

    The last place of the grid is always visited, so that guidance can answer to what a long stride did.

    Args:
        stride: grid places that one step takes within tolerance.
        trusted: time above which M's reading counts for nothing: of a blurred early estimate it may be sure and wrong.
        held: how many steps in a row, at trusted times, a reading has to stay within tolerance.

    Raises:
        UserError: a number is out of range.
    """

    def __init__(self, stride: int = 3, trusted: float = 1.0, held: int = 1) -> None:
        check_number("AdaptiveDenoisingSchedule.stride", stride, 1)
        check_number("AdaptiveDenoisingSchedule.trusted", trusted, 0.0, 1.0)
        check_number("AdaptiveDenoisingSchedule.held", held, 1)
        self.stride, self.trusted, self.held = stride, trusted, held
        self.within = torch.zeros(0, dtype=torch.long)

    def label(self) -> str:
        """See the base class."""
        return "ADS"

    def on_sampling_start(self, state: SamplingState) -> None:
        """No reading has been within tolerance yet."""
        self.within = torch.zeros_like(state.index)

    def on_step_end(self, state: SamplingState) -> None:
        """Set every sample's next stride."""
        counts = state.reached[state.rows] & (state.t <= self.trusted)
        self.within[state.rows] = torch.where(counts, self.within[state.rows] + 1, 0)
        last_guided = len(state.grid) - 2
        longest = torch.clamp(last_guided - state.index, min=1)
        far = torch.ones_like(longest)
        state.stride = torch.where(self.within >= self.held, torch.clamp(longest, max=self.stride), far)
