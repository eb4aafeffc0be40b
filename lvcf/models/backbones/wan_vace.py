"""Wan VACE (Jiang et al. 2025): Wan 2.1 with a branch that is shown what stays of a clip, and where to draw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import ModelMixin, WanVACETransformer3DModel
from einops import rearrange
from torch import Tensor
from torch.nn import functional

from lvcf.errors import UserError
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.models.backbones.ltx import pad_frames
from lvcf.models.backbones.wan import WanBackbone


class WanVACEBackbone(WanBackbone):
    """See :class:`WanBackbone`; any frames may be given, and a region's outside is shown as given frames are.

    The branch takes [inactive ; reactive ; mask]: the latent of the clip where it stays, 0 elsewhere; the latent of a
    clip of 0, in place of what is to be drawn; and a mask of pixels, 1 where to draw.

    Raises:
        UserError: the parts do not fit together.
    """

    pipeline_name = "WanVACEPipeline"
    image_pipeline = ""
    other_pipelines = ()
    transformer_class = WanVACETransformer3DModel
    a_time_per_frame = False

    def __init__(self, *parts: Any, **more: Any) -> None:
        super().__init__(*parts, **more)
        made = 2 * self.latent_channels + int(self.vae.config.scale_factor_spatial) ** 2
        for name, denoiser in self.denoisers().items():
            if (taken := denoiser.config.vace_in_channels) != made:
                raise UserError(
                    f"{name}: its control branch takes {taken} channels, two latents of this VAE and a mask have "
                    f"{made}; they are of different backbones"
                )

    def _more_parts(self) -> dict[str, Any]:
        return {"transformer_2": self.transformer_2, "boundary_ratio": self.boundary_ratio}

    @property
    def given_in_channels(self) -> bool:
        """See the base class."""
        return True

    @property
    def draws_from_first(self) -> bool:
        """See the base class."""
        return False

    @property
    def denoiser_channels(self) -> int:
        """See the base class."""
        return self.latent_channels

    @torch.no_grad()
    def condition(self, video: Tensor, given: Sequence[int], editable: Tensor | None = None) -> Condition:
        """See the base class: what stays is shown, and what is to be drawn is not."""
        drawn = torch.ones_like(video[:, :1], dtype=torch.bool) if editable is None else editable.clone()
        drawn[:, :, list(given)] = False
        padded, mask = pad_frames(video, self.time_compression), pad_frames(drawn, self.time_compression)
        return self._control(self.encode(padded * ~mask), mask)

    def denoise(self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None) -> Tensor:
        """See the base class; without a condition everything is to be drawn."""
        return super().denoise(z_t, t, prompt, self._nothing(z_t) if condition is None else condition)

    @torch.no_grad()
    def _nothing(self, z_t: Tensor) -> Condition:
        """What is shown of clips of which nothing stays."""
        unseen = self._unseen(z_t)
        frames, height, width = self._pixels(z_t)
        return self._control(unseen, torch.ones(len(z_t), 1, frames, height, width).to(z_t))

    def _control(self, inactive: Tensor, mask: Tensor) -> Condition:
        """For the latent of what stays, and a mask ``(B, 1, T, H, W)`` of all its frames."""
        side = int(self.vae.config.scale_factor_spatial)
        packed = rearrange(mask.to(inactive), "b 1 t (h p) (w q) -> b (p q) t h w", p=side, q=side)
        # as the pipeline does: of the frames that a latent one stands for, one says what is drawn
        packed = functional.interpolate(packed, inactive.shape[2:], mode="nearest-exact")
        return Condition(torch.cat([inactive, self._unseen(inactive), packed], dim=1))

    def _unseen(self, like: Tensor) -> Tensor:
        """The latent of clips of 0."""
        return self.encode(torch.zeros(1, 3, *self._pixels(like)).to(like)).expand(len(like), -1, -1, -1, -1)

    def _pixels(self, latent: Tensor) -> tuple[int, int, int]:
        """Frames, height and width of the clips behind latents."""
        frames, height, width = latent.shape[2:]
        side = int(self.vae.config.scale_factor_spatial)
        return self.time_compression * (frames - 1) + 1, height * side, width * side

    def _said(
        self, denoiser: ModelMixin, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None
    ) -> Tensor:
        assert condition is not None
        said: Tensor = denoiser(
            hidden_states=z_t,
            timestep=self.timestep(t),
            encoder_hidden_states=prompt.tokens,
            control_hidden_states=condition.channels.to(z_t),
            return_dict=False,
        )[0]
        return said
