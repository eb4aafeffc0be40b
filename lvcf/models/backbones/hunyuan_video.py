"""The HunyuanVideo 1.5 family (Tencent 2025): 3D causal VAE, Qwen2.5-VL and ByT5, joint attention, rectified flow.

Text to video, and image to video, whose denoiser is shown the first frame in channels beside the latent and by SigLIP.
Both denoisers take the same channels: text to video's are shown zeros.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo15,
    ClassifierFreeGuidance,
    HunyuanVideo15Transformer3DModel,
    SchedulerMixin,
)
from torch import Tensor
from transformers import (
    PreTrainedModel,
    PreTrainedTokenizerBase,
    SiglipImageProcessor,
    SiglipVisionModel,
    T5EncoderModel,
)

from lvcf.errors import UserError
from lvcf.models.backbones.base import Condition, Embedding
from lvcf.models.backbones.first_frame import as_images, check_shown
from lvcf.models.backbones.ltx import pad_frames
from lvcf.models.backbones.parts import load_model, load_tokenizer, names, quietly
from lvcf.models.backbones.pipeline import PipelineBackbone, check_pixels

IMAGE_PIPELINE = "HunyuanVideo15ImageToVideoPipeline"
OF_WORDS = {"text_encoder_2": "T5EncoderModel", "tokenizer_2": "ByT5Tokenizer", "guider": "ClassifierFreeGuidance"}
OF_FRAMES = {"image_encoder": "SiglipVisionModel", "feature_extractor": "SiglipImageProcessor"}
"""The parts that these pipelines have besides, image to video both kinds, and their classes."""


class HunyuanVideoBackbone(PipelineBackbone):
    """See :class:`Backbone`; 4k + 1 frames, a VAE of 16x.  Words in quotes are embedded letter by letter besides.

    Args:
        vae: the VAE.
        transformer: the denoiser.
        text_encoder: Qwen2.5-VL's language model.
        tokenizer: its tokenizer.
        scheduler: of a flow.
        text_encoder_2: ByT5's encoder, of the words in quotes.
        tokenizer_2: its tokenizer.
        guider: kept for the stock pipeline.  Sampling here has a ``guidance_scale`` of its own, which counts as this
            one's does in diffusers' own formulation.
        image_encoder: SigLIP's, of image to video.
        feature_extractor: its preprocessing.

    Raises:
        UserError: the parts do not fit together, or the denoiser has to be told where a step will end.
    """

    pipeline_name = "HunyuanVideo15Pipeline"
    image_pipeline = IMAGE_PIPELINE
    other_pipelines = (IMAGE_PIPELINE,)
    vae_class = AutoencoderKLHunyuanVideo15
    transformer_class = HunyuanVideo15Transformer3DModel

    def __init__(
        self,
        vae: AutoencoderKLHunyuanVideo15,
        transformer: HunyuanVideo15Transformer3DModel,
        text_encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        scheduler: SchedulerMixin,
        text_encoder_2: T5EncoderModel,
        tokenizer_2: PreTrainedTokenizerBase,
        guider: ClassifierFreeGuidance,
        image_encoder: SiglipVisionModel | None = None,
        feature_extractor: SiglipImageProcessor | None = None,
    ) -> None:
        super().__init__(vae, transformer, text_encoder, tokenizer, scheduler)
        self.text_encoder_2, self.tokenizer_2, self.guider = text_encoder_2, tokenizer_2, guider
        self.image_encoder, self.feature_extractor = image_encoder, feature_extractor
        if image_encoder is not None:
            self.pipeline_name = IMAGE_PIPELINE
        if transformer.config.use_meanflow:
            raise UserError(
                "its denoiser is step-distilled (use_meanflow): it is told where a step will end, which is decided "
                "after the clean estimate here; use the weights that are not step-distilled"
            )
        if not tokenizer.chat_template:
            raise UserError("its tokenizer has no chat_template, which words the prompts; copy the folder again")
        self._check_widths()

    def _check_widths(self) -> None:
        """Refuse encoders whose embeddings the denoiser cannot take."""
        takes = self.transformer.config
        widths = {"text_encoder": takes.text_embed_dim, "text_encoder_2": takes.text_embed_2_dim}
        if self.image_encoder is not None:
            widths["image_encoder"] = takes.image_embed_dim
        for part, taken in widths.items():
            made = getattr(self, part).config.hidden_size
            if made != taken:
                raise UserError(
                    f"its {part} makes embeddings of {made} channels, the denoiser takes {taken}; they are of "
                    "different backbones"
                )

    @classmethod
    def _check_index(cls, folder: Path, index: dict[str, Any]) -> None:
        super()._check_index(folder, index)
        for part, kind in ({"text_encoder": "Qwen2_5_VLTextModel"} | _more_of(index)).items():
            found = f"a {index[part][1]}" if names(index, part) else "left out of model_index.json"
            if found != f"a {kind}":
                raise UserError(f"{folder}: its {part} is {found}; a {index['_class_name']} has a {kind}")

    @classmethod
    def _load_more(cls, folder: Path, index: dict[str, Any]) -> dict[str, Any]:
        """The second text encoder, the guider and, of image to video, the image encoder."""
        with quietly():  # the guider's class calls itself experimental
            guider = ClassifierFreeGuidance.from_pretrained(folder / "guider")
        more: dict[str, Any] = {
            "text_encoder_2": load_model(T5EncoderModel, folder, "text_encoder_2", dtype=torch.float32),
            "tokenizer_2": load_tokenizer(folder / "tokenizer_2"),
            "guider": guider,
        }
        if index["_class_name"] == IMAGE_PIPELINE:
            more["image_encoder"] = load_model(SiglipVisionModel, folder, "image_encoder", dtype=torch.float32)
            more["feature_extractor"] = SiglipImageProcessor.from_pretrained(folder / "feature_extractor")
        return more

    def _more_parts(self) -> dict[str, Any]:
        return {part: getattr(self, part) for part in _more_of({"_class_name": self.pipeline_name})}

    @classmethod
    def encode_with(cls, vae: AutoencoderKLHunyuanVideo15, video: Tensor) -> Tensor:
        """See the base class; clip by clip, as the mask of this VAE's attention is made for one."""
        check_pixels(video, vae.config.spatial_compression_ratio)
        padded = pad_frames(video, vae.config.temporal_compression_ratio)
        latent: Tensor = torch.cat([vae.encode(clip[None]).latent_dist.mode() for clip in padded])
        return latent * float(vae.config.scaling_factor)

    @classmethod
    def decode_with(cls, vae: AutoencoderKLHunyuanVideo15, latent: Tensor, frames: int) -> Tensor:
        """See the base class; clip by clip too."""
        video: Tensor = torch.cat([vae.decode(one[None]).sample for one in latent / vae.config.scaling_factor])
        return video[:, :, :frames]

    @property
    def latent_channels(self) -> int:
        """See the base class."""
        return int(self.vae.config.latent_channels)

    @property
    def given_in_channels(self) -> bool:
        """See the base class."""
        return self.image_encoder is not None

    @property
    def denoiser_channels(self) -> int:
        """See the base class: the latent, that of the first frame, and a mask."""
        return 2 * self.latent_channels + 1

    @property
    def time_compression(self) -> int:
        """See the base class."""
        return int(self.vae.config.temporal_compression_ratio)

    @property
    def patch(self) -> int:
        """See the base class."""
        return int(self.transformer.config.patch_size)

    def embed(self, prompts: list[str]) -> Embedding:
        """See the base class; ``second`` are the words in quotes."""
        tokens, mask, quoted, quoted_mask = self.pipeline().encode_prompt(
            prompts, device=self.text_encoder.device, dtype=torch.float32, batch_size=len(prompts)
        )
        return Embedding(tokens, mask, second=Embedding(quoted, quoted_mask))

    @torch.no_grad()
    def condition(self, video: Tensor, given: Sequence[int], editable: Tensor | None = None) -> Condition | None:
        """See the base class: the first frame's latent among zeros, and a mask of latent frames."""
        if self.image_encoder is None or self.feature_extractor is None:
            return None
        check_shown(given, [0])
        latent, first = self.encode(video[:, :, :1]), as_images(video[:, :, :1])
        behind = -(-(video.shape[2] - 1) // self.time_compression)  # latent frames, rounded up
        shown = torch.cat([latent, torch.ones_like(latent[:, :1])], dim=1)
        channels = torch.cat([shown, torch.zeros_like(shown).repeat(1, 1, behind, 1, 1)], dim=2)
        pixels = self.feature_extractor(images=first, do_resize=True, return_tensors="pt")
        return Condition(channels, self.image_encoder(**pixels.to(self.image_encoder.device)).last_hidden_state)

    def denoise(self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None) -> Tensor:
        """See the base class."""
        assert prompt.second is not None
        words, quoted = _without_padding(prompt), _without_padding(prompt.second)
        if condition is None:  # no image's tokens are as good as masked ones
            channels = torch.zeros_like(z_t[:, :1]).repeat(1, self.latent_channels + 1, 1, 1, 1)
            condition = Condition(channels, z_t.new_zeros(len(z_t), 0, self.transformer.config.image_embed_dim))
        said: Tensor = self.transformer(
            hidden_states=torch.cat([z_t, condition.channels.to(z_t)], dim=1),
            timestep=self.timestep(t).to(z_t),  # in the precision of the weights, as the stock pipeline does
            encoder_hidden_states=words.tokens,
            encoder_attention_mask=words.mask,
            encoder_hidden_states_2=quoted.tokens,
            encoder_attention_mask_2=quoted.mask,
            image_embeds=condition.image,
            return_dict=False,
        )[0]
        return said


def _more_of(index: dict[str, Any]) -> dict[str, str]:
    """The classes of a pipeline's further parts, by name."""
    return OF_WORDS | (OF_FRAMES if index["_class_name"] == IMAGE_PIPELINE else {})


def _without_padding(prompt: Embedding) -> Embedding:
    """Prompts without the places that none of them fills, which are masked: attention's cost is their square."""
    filled = prompt.mask.bool().any(dim=0)
    return Embedding(prompt.tokens[:, filled], prompt.mask[:, filled])
