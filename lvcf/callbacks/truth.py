"""The ceiling: the true counterfactual's own latent instead of sampling, decoded and refined as every method's."""

from __future__ import annotations

from pathlib import Path

import torch

from lvcf.checks import check_number
from lvcf.data.clip import to_clip
from lvcf.errors import UserError
from lvcf.phantoms.truth import read_truths
from lvcf.sampling import SamplingCallback, SamplingState, full_precision


class TrueCounterfactual(SamplingCallback):
    """Puts E(x_true) where sampling ended: the best that any denoiser could do with this VAE.

    Args:
        root: the simulated set that the clips come from.
        fps: the clips' frames per second.

    Raises:
        UserError: ``root`` is no such set, or ``fps`` is not above 0.
    """

    def __init__(self, root: Path, fps: float = 8.0) -> None:
        check_number("TrueCounterfactual.fps", fps, 0.0, above=True)
        self.truths, self.fps = read_truths(root), fps
        if not self.truths:
            raise UserError(f"TrueCounterfactual.root {root}: is no simulated set; name one that lvcf simulate wrote")

    def label(self) -> str:
        """See the base class."""
        return "ceiling"

    def on_sampling_end(self, state: SamplingState) -> None:
        """Replace every latent."""
        clips = []
        for name, low, high in zip(state.ids, state.goal.low.tolist(), state.goal.high.tolist(), strict=True):
            labels = state.model.labels
            target = {"low": low, "high": high, "text": labels[int(low)] if labels else ""}
            if name not in self.truths:
                raise UserError(f"TrueCounterfactual.root: has no clip {name}; name the set that the clips come from")
            asked = {"target": target, "fps": self.fps, "frames": state.video.shape[2]}
            clips.append(to_clip(self.truths[name](asked).video, state.video.shape[-1]))
        with full_precision(state.z.device):
            state.z = state.backbone.encode(torch.stack(clips).to(state.video))
