"""AnyFlow (Gu et al. 2026): Wan's parts around a flow map, which draws a clip in one to four steps.

Its denoiser is told two times and says the mean of the flow between them, u(z_t, t, r): the map goes from z_t to
z_r = z_t - (t - r) u.  At r = 0 that is a clean clip, at r = t the flow itself.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from diffusers import AnyFlowTransformer3DModel
from torch import Tensor

from lvcf.diffusion.parameterization import from_flow
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.models.backbones.wan import WanBackbone


class AnyFlowBackbone(WanBackbone):
    """See :class:`WanBackbone`; text to video.  What is read as the clean estimate is the map's end, at r = 0."""

    pipeline_name = "AnyFlowPipeline"
    other_pipelines: ClassVar[tuple[str, ...]] = ()
    transformer_class = AnyFlowTransformer3DModel
    a_time_per_frame = False
    is_flow_map = True

    def _more_parts(self) -> dict[str, object]:
        return {}

    def denoise(self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None) -> Tensor:
        """See the base class: the mean of the flow down to 0."""
        return self._mean_flow(z_t, t, torch.zeros_like(t), prompt)

    def towards(
        self, z_t: Tensor, t: Tensor, r: Tensor, prompt: Embedding, condition: Condition | None = None
    ) -> Tensor:
        """See the base class."""
        return from_flow(self._mean_flow(z_t, t, r, prompt), z_t, *self.alpha_sigma(t))[0]

    def _mean_flow(self, z_t: Tensor, t: Tensor, r: Tensor, prompt: Embedding) -> Tensor:
        """By the denoiser, which takes latents by frames ``(B, F, C, h, w)`` and times by frames ``(B, F)``."""
        by_frame = z_t.transpose(1, 2)
        times = [self.timestep(time)[:, None].expand(by_frame.shape[:2]) for time in (t, r)]
        flow: Tensor = self.transformer(by_frame, *times, prompt.tokens, return_dict=False)[0]
        return flow.transpose(1, 2)
