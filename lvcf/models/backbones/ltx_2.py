"""LTX-2 (Lightricks 2026), the video of it: Gemma with connectors, one latent pixel a token, times per token.

Its denoiser draws sound beside the video, in a stream of its own.  The two look at each other in attentions that the
stock denoiser can leave out (``isolate_modalities``).  Here it does, and then the sound changes no pixel.
"""

from __future__ import annotations

import json
import logging
import re
import shutil
from pathlib import Path
from typing import Any, ClassVar

import torch
from diffusers import AutoencoderKLLTX2Video, LTX2VideoTransformer3DModel, ModelMixin, SchedulerMixin
from einops import rearrange
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from lvcf.errors import UserError
from lvcf.models.backbones.base import Backbone, Condition, Embedding
from lvcf.models.backbones.ltx_video import LTXVideoBackbone
from lvcf.models.backbones.parts import NOT_LOADED, load_model, names, read_index

PROMPT_LENGTH = 1024


class LTX2Backbone(LTXVideoBackbone):
    """See :class:`Backbone`; 8k + 1 frames, latents normalised per channel; text to video and image to video.

    Args:
        vae: of the video.
        transformer: the denoiser of video and sound.
        text_encoder: Gemma 3.
        tokenizer: its tokenizer.
        scheduler: of a flow.
        connectors: between the text encoder and the denoiser.
        beside: the folder that holds the parts of the sound: they are not loaded, and copied where this is saved.
    """

    pipeline_name = "LTX2Pipeline"
    other_pipelines: ClassVar[tuple[str, ...]] = ("LTX2ImageToVideoPipeline",)
    vae_class = AutoencoderKLLTX2Video
    transformer_class = LTX2VideoTransformer3DModel

    def __init__(
        self,
        vae: AutoencoderKLLTX2Video,
        transformer: LTX2VideoTransformer3DModel,
        text_encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        scheduler: SchedulerMixin,
        connectors: ModelMixin,
        beside: Path,
    ) -> None:
        super().__init__(vae, transformer, text_encoder, tokenizer, scheduler)
        self.connectors, self.beside = connectors, beside

    @classmethod
    def _check_index(cls, folder: Path, index: dict[str, Any]) -> None:
        super()._check_index(folder, index)
        if not names(index, "connectors"):
            raise UserError(f"{folder}: the backbone lacks connectors; point to a whole folder")

    @classmethod
    def _load_more(cls, folder: Path, index: dict[str, Any]) -> dict[str, Any]:
        from diffusers.pipelines.ltx2 import LTX2TextConnectors  # here: heavy

        connectors = load_model(LTX2TextConnectors, folder, "connectors", torch_dtype=torch.float32)
        return {"connectors": connectors, "beside": folder}

    def _more_parts(self) -> dict[str, Any]:
        return {"connectors": self.connectors, **dict.fromkeys(NOT_LOADED)}

    def let_learn(self, denoiser: ModelMixin) -> None:
        """See the base class: nothing of the sound, nor of what it and the video look at each other by."""
        for name, parameter in denoiser.named_parameters():
            parameter.requires_grad_(not re.search("audio|a2v|av_cross", name))

    def save_pretrained(self, folder: str | Path) -> None:
        """See the base class; the parts of the sound are copied from where this was loaded."""
        logging.disable(logging.WARNING)  # the stock pipeline would tell that it has no sound to save
        try:
            super().save_pretrained(folder)
        finally:
            logging.disable(logging.NOTSET)
        path, given = Path(folder) / "model_index.json", read_index(self.beside)
        index = json.loads(path.read_text())
        for part in (part for part in NOT_LOADED if names(given, part)):
            shutil.copytree(self.beside / part, path.parent / part, dirs_exist_ok=True)
            index[part] = given[part]
        path.write_text(json.dumps(index, indent=2) + "\n")

    @classmethod
    def vae_kind(cls, folder: Path) -> type[ModelMixin]:
        """See the base class."""
        kind: type[ModelMixin] = cls.vae_class
        return kind

    def embed(self, prompts: list[str]) -> Embedding:
        """See the base class: all of the text encoder's layers, as the connectors make them the video's."""
        self.tokenizer.padding_side = "left"
        told = self.tokenizer(
            [prompt.strip() for prompt in prompts],
            padding="max_length",
            max_length=PROMPT_LENGTH,
            truncation=True,
            return_tensors="pt",
        ).to(self.text_encoder.device)
        layers = self.text_encoder.model(**told, output_hidden_states=True).hidden_states
        said = torch.stack(layers, dim=-1).flatten(2).float()
        tokens, _, mask = self.connectors(said, told.attention_mask, padding_side="left")
        return Embedding(tokens, mask)

    def denoise(self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None) -> Tensor:
        """See the base class: the flow u = eps - z_0, beside one token of silence."""
        (samples, _, frames, height, width), config = z_t.shape, self.transformer.config
        told, silence = self.timestep(t), z_t.new_zeros(samples, 1, 1)
        latest = told if told.ndim == 1 else told.amax(1)  # given frames are told at 0
        words = config.caption_channels if config.use_prompt_embeddings else config.audio_cross_attention_dim
        flow = self.transformer(
            hidden_states=rearrange(z_t, "b c f h w -> b (f h w) c"),
            audio_hidden_states=silence.expand(-1, -1, config.audio_in_channels),
            encoder_hidden_states=prompt.tokens,
            audio_encoder_hidden_states=silence.expand(-1, -1, words),
            timestep=told if told.ndim == 1 else told.repeat_interleave(height * width, dim=1),
            audio_timestep=latest,
            sigma=latest,
            encoder_attention_mask=prompt.mask,
            num_frames=frames,
            height=height,
            width=width,
            fps=self.frame_rate,
            audio_num_frames=1,
            isolate_modalities=True,
            return_dict=False,
        )[0]
        latent: Tensor = rearrange(flow, "b (f h w) c -> b c f h w", f=frames, h=height)
        return latent

    def attention_to(self, words: list[str], z_t: Tensor, t: Tensor, prompt: Embedding) -> Tensor:
        """See the base class.

        Raises:
            UserError: always: the connectors mix the words before the denoiser attends to them.
        """
        return Backbone.attention_to(self, words, z_t, t, prompt)
