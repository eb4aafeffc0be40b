"""A latent video diffusion model behind one contract, whatever its family predicts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from lvcf.errors import UserError
from lvcf.models.backbones.detail_decoder import DetailDecoder


@dataclass
class Embedding:
    """Encoded prompts.

    Attributes:
        tokens: ``(B, L, D)``.
        mask: ``(B, L)``, 1 for a real token.
        ids: the tokenizer's numbers of the tokens ``(B, L)``, where there is one.
        second: the same prompts by a second text encoder, where there is one.
    """

    tokens: Tensor
    mask: Tensor
    ids: Tensor | None = None
    second: Embedding | None = None

    def __getitem__(self, rows: Tensor) -> Embedding:
        """The prompts of some samples."""
        ids = None if self.ids is None else self.ids[rows]
        return Embedding(self.tokens[rows], self.mask[rows], ids, None if self.second is None else self.second[rows])

    def to(self, dtype: torch.dtype) -> Embedding:
        """The same in another precision."""
        second = None if self.second is None else self.second.to(dtype)
        return replace(self, tokens=self.tokens.to(dtype), second=second)

    @staticmethod
    def cat(parts: list[Embedding]) -> Embedding:
        """Join batches of prompts of one length."""
        ids = [p.ids for p in parts if p.ids is not None]
        second = [p.second for p in parts if p.second is not None]
        tokens, mask = torch.cat([p.tokens for p in parts]), torch.cat([p.mask for p in parts])
        return Embedding(tokens, mask, torch.cat(ids) if ids else None, Embedding.cat(second) if second else None)


@dataclass
class Condition:
    """What the denoiser is shown of the clips beside their noised latents, where given frames come so.

    Attributes:
        channels: behind the latents' own, or of a branch of the denoiser ``(B, C, F, h, w)``.
        image: embeddings of the first frame ``(B, L, D)``, where the denoiser attends to them.
    """

    channels: Tensor
    image: Tensor | None = None

    def __getitem__(self, rows: Tensor) -> Condition:
        """What is shown of some samples."""
        return Condition(self.channels[rows], None if self.image is None else self.image[rows])

    def to(self, dtype: torch.dtype) -> Condition:
        """The same in another precision."""
        return Condition(self.channels.to(dtype), None if self.image is None else self.image.to(dtype))

    def repeat(self, times: int) -> Condition:
        """The same for a batch that is so many times the samples."""
        image = None if self.image is None else self.image.repeat(times, 1, 1)
        return Condition(self.channels.repeat(times, 1, 1, 1, 1), image)


class Backbone(nn.Module, ABC):
    """VAE + text encoder + denoiser + scheduler; latents are the denoiser's own scaled ones.

    The noised latent is ``z_t = alpha(t) z_0 + sigma(t) eps`` with t in [0, 1], 0 = clean.

    Attributes:
        notice: what every report made with these weights has to say; empty for none.
        takes_given: whether the denoiser was trained with latent frames that are given, clean, at time 0 among others
            at t: then times may be ``(B, F)``, one per latent frame.
        is_flow_map: whether where a step ends is for the denoiser to say, which is told where it goes.
        detail: sharpens decoded clips by the factual clip's own frames; None where none was trained.
    """

    notice: str = ""
    takes_given: bool = False
    is_flow_map: bool = False
    detail: DetailDecoder | None

    def __init__(self) -> None:
        super().__init__()
        self.detail = None

    @abstractmethod
    def encode(self, video: Tensor) -> Tensor:
        """Clips ``(B, 3, T, H, W)`` in [-1, 1] to latents, deterministically; frames are padded as the VAE wants."""

    @abstractmethod
    def decode(self, latent: Tensor, frames: int) -> Tensor:
        """Latents to clips of ``frames`` frames, differentiably; padded frames are cropped.  Not clamped."""

    def padded(self, latent: Tensor) -> Tensor:
        """The VAE's latents as the denoiser takes them: some want frames in front that stand for none of the clip's."""
        return latent

    def unpadded(self, latent: Tensor) -> Tensor:
        """The VAE's latents alone, of the denoiser's."""
        return latent

    @abstractmethod
    def decoder_blocks(self) -> list[nn.Module]:
        """The decoder's blocks, coarse to fine: where MSPR reads its features."""

    def features(self, outputs: list[Any], batch: int) -> Tensor:
        """What a decoder block put out while ``batch`` latents were decoded, as ``(B, C, T, H, W)``.

        Args:
            outputs: one per call, in order: a decoder may go by samples, and within one by chunks of frames.
            batch: number of latents.
        """
        calls = len(outputs) * len(outputs[0]) // batch
        samples = [torch.cat(outputs[i : i + calls], dim=2) for i in range(0, len(outputs), calls)]
        return torch.cat(samples)

    @property
    def time_compression(self) -> int:
        """How many frames a latent frame stands for; 1 unless a family says otherwise.

        Latent frame 0 is frame 0 alone, latent frame k stands for frames c (k - 1) + 1 to c k.  docs/method.md, 12.
        """
        return 1

    def frames_of(self, place: int, frames: int) -> range:
        """Which of a clip's ``frames`` frames the latent frame at ``place`` stands for.  docs/method.md, 12."""
        first = self.time_compression * (place - 1) + 1
        return range(max(first, 0), min(self.time_compression * place + 1, frames))

    def at_frames(self, feature: Tensor, latents: int, frames: int) -> Tensor:
        """A decoder block's feature ``(B, C, F, H, W)`` for each frame of the clip, ``(B, C, frames, H, W)``.

        On its way to the clip a block's output is F long: frame 0, and F - 1 equal groups of frames behind it.

        Args:
            feature: from :meth:`features`.
            latents: number of latent frames that were decoded.
            frames: of the clip, without those that the backbone added.
        """
        behind, last = feature.shape[2] - 1, max(self.time_compression * (latents - 1), 1)
        return feature[:, :, [-(-t * behind // last) for t in range(frames)]]  # rounded up

    @abstractmethod
    def embed(self, prompts: list[str]) -> Embedding:
        """Encode prompts."""

    @property
    def given_in_channels(self) -> bool:
        """Whether the denoiser is told of given frames by a :class:`Condition`, at one time for all latent frames."""
        return False

    @property
    def draws_from_first(self) -> bool:
        """Whether the clip's first frame has to be among them."""
        return self.given_in_channels

    def condition(self, video: Tensor, given: Sequence[int], editable: Tensor | None = None) -> Condition | None:
        """What the denoiser is shown of clips ``(B, 3, T, H, W)``, of what stays of them alone.

        Args:
            video: the clips in [-1, 1].
            given: the given frames' numbers.
            editable: where the clips may change ``(B, 1, T, H, W)`` bool, for denoisers that are shown the rest; None:
                everywhere.

        Raises:
            UserError: this denoiser cannot be shown these.
        """
        return None

    @abstractmethod
    def predict(
        self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None = None
    ) -> tuple[Tensor, Tensor]:
        """The clean estimate and the noise estimate at times ``t`` ``(B,)``, or one per latent frame."""

    def towards(
        self, z_t: Tensor, t: Tensor, r: Tensor, prompt: Embedding, condition: Condition | None = None
    ) -> Tensor:
        """The clean estimate by which a straight step goes from ``t`` to ``r`` ``(B,)``.

        It is that of :meth:`predict`, wherever the step goes; but where the denoiser is a flow map, it is the one by
        which the step ends where the map does.
        """
        return self.predict(z_t, t, prompt, condition)[0]

    def attention_to(self, words: list[str], z_t: Tensor, t: Tensor, prompt: Embedding) -> Tensor:
        """How much the denoiser looks at words of its prompts, at each place of z_t: ``(B, 1, F, H, W)``.

        Args:
            words: of each prompt.
            z_t: noised latents.
            t: their times.
            prompt: what the denoiser is told.

        Raises:
            UserError: a prompt does not have its words, or this backbone has no cross-attention that can be read.
        """
        raise UserError(
            f"GradientGuidance.attention cross: a {type(self).__name__} has no cross-attention that can be read, the "
            "LTX family has; use attention: true"
        )

    @abstractmethod
    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """Signal and noise scales at times ``t``."""

    @abstractmethod
    def time_grid(self, steps: int, strength: float, latent: Tensor) -> Tensor:
        """``steps + 1`` falling times from ``strength`` to 0, spaced as the scheduler does for latents of this size."""
