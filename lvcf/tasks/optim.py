"""What all trainings share: the optimiser recipe and the guard against a diverged loss."""

from __future__ import annotations

from collections.abc import Iterable

from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import OneCycleLR

from lvcf.errors import UserError


def one_cycle(
    parameters: Iterable[nn.Parameter], lr: float, steps: int, weight_decay: float = 0.01
) -> OptimizerLRScheduler:
    """AdamW under a one-cycle schedule: 5 % linear-cosine warm-up to ``lr``, then cosine to nearly 0."""
    optimizer = AdamW(list(parameters), lr=lr, weight_decay=weight_decay, betas=(0.9, 0.98))
    schedule = OneCycleLR(
        optimizer, max_lr=lr, total_steps=steps, pct_start=0.05, div_factor=25.0, final_div_factor=100.0
    )
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def finite(loss: Tensor) -> Tensor:
    """The loss itself.

    Raises:
        UserError: it is NaN or infinite.
    """
    if not bool(loss.isfinite()):
        raise UserError(f"the loss is {float(loss)}; lower --model.lr or set --trainer.precision 32-true")
    return loss
