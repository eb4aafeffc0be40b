"""A bar that moves with every denoising step."""

from __future__ import annotations

from typing import Any

from tqdm.auto import tqdm

from lvcf.sampling import SamplingCallback, SamplingState


class StepProgress(SamplingCallback):
    """Shows how far the slowest clip of a batch is on the time grid; it has no part in the result."""

    def __init__(self) -> None:
        self.bar: tqdm[Any] | None = None

    def label(self) -> str:
        """See the base class."""
        return ""

    def on_sampling_start(self, state: SamplingState) -> None:
        """A new bar for every batch."""
        self.bar = tqdm(total=len(state.grid) - 1, desc="denoising", unit="step", leave=False)

    def on_step_end(self, state: SamplingState) -> None:
        """As far as the slowest clip."""
        assert self.bar is not None  # made when sampling started
        self.bar.update(int(state.index.min()) - self.bar.n)

    def on_decoded(self, state: SamplingState) -> None:
        """The batch is done."""
        assert self.bar is not None
        self.bar.close()
