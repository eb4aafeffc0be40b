"""An exponential moving average of the weights that are trained, beside others that are frozen."""

from __future__ import annotations

import torch
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor

from lvcf.checks import check_number
from lvcf.errors import UserError


class TrainedWeightAverage(WeightAveraging):
    """Lightning's ``EMAWeightAveraging``, exact where nothing is trained.

    d x + (1 - d) x is not x in floating point: over a training, frozen 16-bit weights would drift.

    Args:
        decay: share of the average that is kept at every step, in [0, 1).

    Raises:
        UserError: it is not.
    """

    def __init__(self, decay: float = 0.999) -> None:
        check_number("TrainedWeightAverage.decay", decay, 0.0, 1.0)
        if decay == 1.0:
            raise UserError("TrainedWeightAverage.decay 1: would keep the first weights for ever; choose less")
        self.decay = decay
        super().__init__(use_buffers=False, avg_fn=self._averaged)

    def should_update(self, step_idx: int | None = None, epoch_idx: int | None = None) -> bool:
        """After every step."""
        return step_idx is not None

    def _averaged(self, average: Tensor, current: Tensor, _: Tensor | int) -> Tensor:
        """x + (1 - d) (y - x), which is x where y is; shared weights (DenoiserTask's frozen ones) are not touched."""
        if average.data_ptr() == current.data_ptr():
            return average
        return torch.lerp(average, current, 1.0 - self.decay)
