"""Tiny random pipelines of every published family, saved by the stock pipeline's own ``save_pretrained``.

The text-to-video pipelines, and those whose denoiser is given the clip's first frame.

Class names are those of the published ``model_index.json`` (the stock pipelines' annotations and diffusers' conversion
scripts agree on them), schedulers have the published settings, networks the published shape in small.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKL,
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    ClassifierFreeGuidance,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DDIMScheduler,
    DiffusionPipeline,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15ImageToVideoPipeline,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
    LattePipeline,
    LatteTransformer3DModel,
    LTXImageToVideoPipeline,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from tokenizers import pre_tokenizers
from transformers import (
    ByT5Tokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    Qwen2_5_VLTextConfig,
    Qwen2_5_VLTextModel,
    Qwen2Tokenizer,
    SiglipImageProcessor,
    SiglipVisionConfig,
    SiglipVisionModel,
    T5Config,
    T5EncoderModel,
    T5Tokenizer,
    UMT5Config,
    UMT5EncoderModel,
)

CHANNELS, TEXT_WIDTH = 4, 16
WORDS = ["apical", "four", "chamber", "echocardiogram", "ejection", "fraction", "percent"]


def tiny_tokenizer() -> T5Tokenizer:
    """T5's layout of a unigram vocabulary: padding, end, unknown, pieces."""
    pieces = ["▁", *(f"▁{word}" for word in [*WORDS, *map(str, range(101))]), *"abcdefghijklmnopqrstuvwxyz0123456789"]
    vocabulary = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -9.0), *((piece, -2.0 - len(piece)) for piece in pieces)]
    return T5Tokenizer(vocab=vocabulary, extra_ids=0, model_max_length=512)


def text_settings(tokenizer: T5Tokenizer) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "d_model": TEXT_WIDTH,
        "d_kv": 8,
        "d_ff": 16,
        "num_layers": 1,
        "num_heads": 2,
        "feed_forward_proj": "gated-gelu",
        "pad_token_id": 0,
        "eos_token_id": 1,
        "decoder_start_token_id": 0,
    }


def cogvideox(**transformer: Any) -> CogVideoXPipeline:
    tokenizer = tiny_tokenizer()
    settings = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "time_embed_dim": 8,
        "text_embed_dim": TEXT_WIDTH,
        "num_layers": 1,
        "sample_width": 6,
        "sample_height": 4,
        "sample_frames": 9,
        "max_text_seq_length": 16,
    }
    return CogVideoXPipeline(
        tokenizer=tokenizer,
        text_encoder=T5EncoderModel(T5Config(**text_settings(tokenizer))),
        vae=AutoencoderKLCogVideoX(
            block_out_channels=(4, 4, 8, 8), latent_channels=CHANNELS, layers_per_block=1, norm_num_groups=2
        ),
        transformer=CogVideoXTransformer3DModel(**{**settings, **transformer}),
        scheduler=CogVideoXDDIMScheduler(
            snr_shift_scale=3.0,
            clip_sample=False,
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        ),
    )


def ltx() -> LTXPipeline:
    tokenizer = tiny_tokenizer()
    vae = AutoencoderKLLTXVideo(
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 8, 8, 8),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1, 1),
    )
    vae.latents_mean.copy_(torch.tensor([0.3, -0.2, 0.1, 0.0]))
    vae.latents_std.copy_(torch.tensor([0.5, 0.8, 1.2, 0.9]))
    return LTXPipeline(
        scheduler=FlowMatchEulerDiscreteScheduler(
            use_dynamic_shifting=True,
            base_shift=0.95,
            max_shift=2.05,
            base_image_seq_len=1024,
            max_image_seq_len=4096,
            shift_terminal=0.1,
        ),
        vae=vae,
        text_encoder=T5EncoderModel(T5Config(**text_settings(tokenizer))),
        tokenizer=tokenizer,
        transformer=LTXVideoTransformer3DModel(
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            num_attention_heads=2,
            attention_head_dim=16,
            cross_attention_dim=32,
            caption_channels=TEXT_WIDTH,
            num_layers=1,
        ),
    )


def ltx_given() -> LTXImageToVideoPipeline:
    return LTXImageToVideoPipeline(**ltx().components)


def wan_vae(**settings: Any) -> AutoencoderKLWan:
    means, deviations = [-0.7571, -0.7089, -0.9113, 0.1075], [2.8184, 1.4541, 2.3275, 2.6558]
    given = {"base_dim": 4, "z_dim": CHANNELS, "num_res_blocks": 1, "latents_mean": means, "latents_std": deviations}
    return AutoencoderKLWan(**{**given, **settings})


def wan_transformer(**settings: Any) -> WanTransformer3DModel:
    given = {
        "num_attention_heads": 2,
        "attention_head_dim": 12,
        "in_channels": CHANNELS,
        "out_channels": CHANNELS,
        "text_dim": TEXT_WIDTH,
        "freq_dim": 16,
        "ffn_dim": 32,
        "num_layers": 1,
    }
    return WanTransformer3DModel(**{**given, **settings})


def wan_parts(shift: float = 3.0) -> dict[str, Any]:
    """Those that all pipelines of Wan have."""
    tokenizer = tiny_tokenizer()
    return {
        "tokenizer": tokenizer,
        "text_encoder": UMT5EncoderModel(UMT5Config(**text_settings(tokenizer))),
        "vae": wan_vae(),
        "scheduler": UniPCMultistepScheduler(
            prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=shift
        ),
        "transformer": wan_transformer(),
    }


def wan() -> WanPipeline:
    return WanPipeline(**wan_parts())


def wan_ti2v() -> WanPipeline:
    """TI2V-5B: pixels in patches of two before a VAE with shortcuts, a time per token; diffusers' test_wan_22."""
    vae = wan_vae(is_residual=True, patch_size=2, in_channels=12, out_channels=12, scale_factor_spatial=16)
    return WanPipeline(**{**wan_parts(shift=5.0), "vae": vae}, expand_timesteps=True)


def wan_i2v() -> WanImageToVideoPipeline:
    """Of Wan 2.1: CLIP sees the first frame; diffusers' test_wan_image_to_video."""
    settings = {"in_channels": 2 * CHANNELS + 4, "image_dim": 8, "added_kv_proj_dim": 24}
    parts = {**wan_parts(), "transformer": wan_transformer(**settings)}
    seen = CLIPVisionConfig(
        hidden_size=8, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, image_size=16, patch_size=8
    )
    pixels = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    return WanImageToVideoPipeline(**parts, image_encoder=CLIPVisionModel(seen), image_processor=pixels)


def wan_a14b() -> WanImageToVideoPipeline:
    """I2V-A14B: two denoisers that share the times; diffusers' test_wan_22_image_to_video."""
    parts = {**wan_parts(), "transformer": wan_transformer(in_channels=2 * CHANNELS + 4)}
    second = wan_transformer(in_channels=2 * CHANNELS + 4)
    return WanImageToVideoPipeline(**parts, transformer_2=second, boundary_ratio=0.875)


def qwen_tokenizer() -> Qwen2Tokenizer:
    """Of bytes; conversations are worded as Qwen's."""
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: place for place, token in enumerate([*special, *alphabet])}
    tokenizer = Qwen2Tokenizer(vocab=vocabulary, merges=[], eos_token="<|im_end|>", padding_side="right")
    tokenizer.add_tokens(special, special_tokens=True)
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    return tokenizer


def hunyuan_parts(**transformer: Any) -> dict[str, Any]:
    """Those that both pipelines of HunyuanVideo 1.5 have; diffusers' test_hunyuan_1_5, a VAE of the published depth."""
    tokenizer, letters = qwen_tokenizer(), ByT5Tokenizer()
    settings = {
        "in_channels": 2 * CHANNELS + 1,
        "out_channels": CHANNELS,
        "num_attention_heads": 2,
        "attention_head_dim": 8,
        "num_layers": 1,
        "num_refiner_layers": 1,
        "mlp_ratio": 2.0,
        "text_embed_dim": TEXT_WIDTH,
        "text_embed_2_dim": TEXT_WIDTH,
        "image_embed_dim": 8,
        "rope_axes_dim": (2, 2, 4),
        "target_size": 32,
        "task_type": "t2v",
    }
    words = Qwen2_5_VLTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=TEXT_WIDTH,
        intermediate_size=16,
        num_hidden_layers=3,  # the states of the last but two are read
        num_attention_heads=2,
        num_key_value_heads=2,
        max_window_layers=3,
        bos_token_id=None,
        eos_token_id=None,
        rope_parameters={"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e6},
    )
    return {
        "text_encoder": Qwen2_5_VLTextModel(words),
        "tokenizer": tokenizer,
        "text_encoder_2": T5EncoderModel(T5Config(**text_settings(letters))),
        "tokenizer_2": letters,
        "transformer": HunyuanVideo15Transformer3DModel(**{**settings, **transformer}),
        "vae": AutoencoderKLHunyuanVideo15(
            latent_channels=CHANNELS, block_out_channels=(4, 4, 8, 8, 8), layers_per_block=1
        ),
        "scheduler": FlowMatchEulerDiscreteScheduler(shift=5.0),
        "guider": ClassifierFreeGuidance(guidance_scale=6.0),
    }


def hunyuan() -> HunyuanVideo15Pipeline:
    return HunyuanVideo15Pipeline(**hunyuan_parts())


def hunyuan_i2v() -> HunyuanVideo15ImageToVideoPipeline:
    seen = SiglipVisionConfig(
        hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=16, patch_size=8
    )
    return HunyuanVideo15ImageToVideoPipeline(
        **hunyuan_parts(task_type="i2v"),
        image_encoder=SiglipVisionModel(seen),
        feature_extractor=SiglipImageProcessor(size={"height": 16, "width": 16}),
    )


def latte() -> LattePipeline:
    tokenizer = tiny_tokenizer()
    return LattePipeline(
        tokenizer=tokenizer,
        text_encoder=T5EncoderModel(T5Config(**text_settings(tokenizer))),
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4,
            block_out_channels=(4, 4, 8, 8),
            norm_num_groups=2,
            latent_channels=CHANNELS,
            scaling_factor=0.18215,
        ),
        transformer=LatteTransformer3DModel(
            num_attention_heads=2,
            attention_head_dim=16,
            in_channels=CHANNELS,
            out_channels=2 * CHANNELS,  # learnt variances
            num_layers=1,
            cross_attention_dim=32,
            attention_bias=True,
            sample_size=4,
            patch_size=2,
            activation_fn="gelu-approximate",
            num_embeds_ada_norm=1000,
            norm_type="ada_norm_single",
            norm_elementwise_affine=False,
            norm_eps=1e-6,
            caption_channels=TEXT_WIDTH,
            video_length=16,
        ),
        scheduler=DDIMScheduler(
            beta_schedule="linear", beta_start=0.0001, beta_end=0.02, clip_sample=False, prediction_type="epsilon"
        ),
    )


FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "cogvideox_2b": cogvideox,
    "ltx_2b": ltx,
    "wan_1_3b": wan,
    "wan_2_2_5b": wan_ti2v,
    "hunyuan_video_1_5_t2v": hunyuan,
    "latte": latte,
}
"""By the name of the configuration of the published checkpoint, where it has one."""
IMAGE_FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "ltx_2b_given": ltx_given,
    "wan_i2v_14b": wan_i2v,
    "wan_2_2_i2v_a14b": wan_a14b,
    "hunyuan_video_1_5_i2v": hunyuan_i2v,
}
"""Pipelines that are given the first frame: LTX-Video's at time 0 (and TI2V-5B's), the others' in channels."""
SIZES = {
    "cogvideox_2b": 32,
    "ltx_2b": 64,
    "ltx_2b_given": 64,
    "wan_1_3b": 32,
    "wan_2_2_5b": 64,
    "hunyuan_video_1_5_t2v": 32,
    "latte": 32,
    "wan_i2v_14b": 32,
    "wan_2_2_i2v_a14b": 32,
    "hunyuan_video_1_5_i2v": 32,
}
"""Height and width of clips that the VAE's compression divides."""
SHAPES = {
    "cogvideox_2b": (5, 4, 4),
    "ltx_2b": (3, 2, 2),
    "ltx_2b_given": (3, 2, 2),
    "wan_1_3b": (5, 4, 4),
    "wan_2_2_5b": (5, 4, 4),
    "hunyuan_video_1_5_t2v": (5, 2, 2),
    "latte": (16, 4, 4),
    "wan_i2v_14b": (5, 4, 4),
    "wan_2_2_i2v_a14b": (5, 4, 4),
    "hunyuan_video_1_5_i2v": (5, 2, 2),
}
"""Of the latent of 16 such frames."""


def save_family(name: str, folder: Path) -> Path:
    """A random pipeline of a family, the same one every time."""
    torch.manual_seed(5)
    (FAMILIES | IMAGE_FAMILIES)[name]().save_pretrained(folder)
    return folder
