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

    Raises:
        UserError: the stride is below 1.
    """

    def __init__(self, stride: int = 3) -> None:
        check_number("AdaptiveDenoisingSchedule.stride", stride, 1)
        self.stride = stride

    def label(self) -> str:
        """See the base class."""
        return "ADS"

    def on_step_end(self, state: SamplingState) -> None:
        """Set every sample's next stride."""
        last_guided = len(state.grid) - 2
        longest = torch.clamp(last_guided - state.index, min=1)
        state.stride = torch.where(state.reached, torch.clamp(longest, max=self.stride), torch.ones_like(longest))
