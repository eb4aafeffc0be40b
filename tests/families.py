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
    AnyFlowPipeline,
    AnyFlowTransformer3DModel,
    AutoencoderKL,
    AutoencoderKLCogVideoX,
    AutoencoderKLHunyuanVideo15,
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    AutoencoderKLLTXVideo,
    AutoencoderKLWan,
    ClassifierFreeGuidance,
    CogVideoXDDIMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
    DDIMScheduler,
    DiffusionPipeline,
    FlowMapEulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    HunyuanVideo15ImageToVideoPipeline,
    HunyuanVideo15Pipeline,
    HunyuanVideo15Transformer3DModel,
    LattePipeline,
    LatteTransformer3DModel,
    LTX2Pipeline,
    LTX2VideoTransformer3DModel,
    LTXImageToVideoPipeline,
    LTXPipeline,
    LTXVideoTransformer3DModel,
    LucyEditPipeline,
    ModelMixin,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
    WanVACEPipeline,
    WanVACETransformer3DModel,
)
from diffusers.pipelines.ltx2 import LTX2TextConnectors
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder
from tokenizers import pre_tokenizers
from transformers import (
    ByT5Tokenizer,
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    Gemma3Config,
    Gemma3ForConditionalGeneration,
    GemmaTokenizer,
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


def cogvideox_parts(invert_scale_latents: bool = False, **transformer: Any) -> dict[str, Any]:
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
    return {
        "tokenizer": tokenizer,
        "text_encoder": T5EncoderModel(T5Config(**text_settings(tokenizer))),
        "vae": AutoencoderKLCogVideoX(
            block_out_channels=(4, 4, 8, 8),
            latent_channels=CHANNELS,
            layers_per_block=1,
            norm_num_groups=2,
            invert_scale_latents=invert_scale_latents,
        ),
        "transformer": CogVideoXTransformer3DModel(**{**settings, **transformer}),
        "scheduler": CogVideoXDDIMScheduler(
            snr_shift_scale=3.0,
            clip_sample=False,
            prediction_type="v_prediction",
            rescale_betas_zero_snr=True,
            timestep_spacing="trailing",
        ),
    }


def cogvideox(**transformer: Any) -> CogVideoXPipeline:
    return CogVideoXPipeline(**cogvideox_parts(**transformer))


PAIRS = {"patch_size_t": 2, "patch_bias": False, "use_rotary_positional_embeddings": True, "sample_height": 6}
"""Of CogVideoX 1.5: latent frames in pairs, positions up to a size."""


def cogvideox_i2v() -> CogVideoXImageToVideoPipeline:
    """Of 1.0: positions that were learned at one size."""
    learned = {"use_rotary_positional_embeddings": True, "use_learned_positional_embeddings": True, "sample_width": 4}
    return CogVideoXImageToVideoPipeline(**cogvideox_parts(in_channels=2 * CHANNELS, **learned))


def cogvideox_1_5_i2v() -> CogVideoXImageToVideoPipeline:
    """Its denoiser asks for one more number, and the first frame's latent is divided by the scale."""
    return CogVideoXImageToVideoPipeline(
        **cogvideox_parts(in_channels=2 * CHANNELS, ofs_embed_dim=8, invert_scale_latents=True, **PAIRS)
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


def ltx2() -> LTX2Pipeline:
    """Of video and sound; diffusers' tests/pipelines/ltx2/testing_utils.py, its VAE with the published strides."""
    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    letters = "▁abcdefghijklmnopqrstuvwxyz0123456789"
    tokenizer = GemmaTokenizer({piece: i for i, piece in enumerate([*special, *letters])}, model_max_length=2048)
    text = {
        "vocab_size": len(tokenizer),
        "hidden_size": TEXT_WIDTH,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "head_dim": 8,
        "layer_types": ["full_attention"],
    }
    seen = {
        "hidden_size": 8,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "image_size": 16,
        "patch_size": 8,
    }
    vae = AutoencoderKLLTX2Video(
        latent_channels=CHANNELS,
        block_out_channels=(8, 8, 8, 8),
        decoder_block_out_channels=(8, 16, 32),
        layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(1, 1, 1, 1),
        decoder_causal=False,
        spatial_compression_ratio=32,
        temporal_compression_ratio=8,
    )
    vae.latents_mean.copy_(torch.tensor([0.3, -0.2, 0.1, 0.0]))
    vae.latents_std.copy_(torch.tensor([0.5, 0.8, 1.2, 0.9]))
    connector = {"num_attention_heads": 2, "attention_head_dim": 8, "num_layers": 1, "num_learnable_registers": 128}
    return LTX2Pipeline(
        scheduler=ltx().scheduler,
        vae=vae,
        audio_vae=AutoencoderKLLTX2Audio(
            base_channels=4,
            output_channels=2,
            ch_mult=(1,),
            num_res_blocks=1,
            attn_resolutions=None,
            in_channels=2,
            resolution=32,
            latent_channels=2,
            norm_type="pixel",
            causality_axis="height",
            mid_block_add_attention=False,
            sample_rate=16000,
            mel_hop_length=160,
            is_causal=True,
            mel_bins=8,
        ),
        text_encoder=Gemma3ForConditionalGeneration(
            Gemma3Config(text_config=text, vision_config=seen, mm_tokens_per_image=4, image_token_index=4)
        ),
        tokenizer=tokenizer,
        connectors=LTX2TextConnectors(
            caption_channels=TEXT_WIDTH,
            text_proj_in_factor=2,
            **{f"{stream}_connector_{key}": value for stream in ("video", "audio") for key, value in connector.items()},
            rope_type="split",
        ),
        transformer=LTX2VideoTransformer3DModel(
            in_channels=CHANNELS,
            out_channels=CHANNELS,
            num_attention_heads=2,
            attention_head_dim=8,
            cross_attention_dim=16,
            audio_in_channels=4,
            audio_out_channels=4,
            audio_num_attention_heads=2,
            audio_attention_head_dim=4,
            audio_cross_attention_dim=8,
            num_layers=1,
            caption_channels=TEXT_WIDTH,
            rope_type="split",
        ),
        vocoder=LTX2Vocoder(
            in_channels=16,
            hidden_channels=8,
            out_channels=2,
            upsample_kernel_sizes=[4, 4],
            upsample_factors=[2, 2],
            resnet_kernel_sizes=[3],
            resnet_dilations=[[1, 3, 5]],
            output_sampling_rate=16000,
        ),
    )


def wan_vae(**settings: Any) -> AutoencoderKLWan:
    means, deviations = [-0.7571, -0.7089, -0.9113, 0.1075], [2.8184, 1.4541, 2.3275, 2.6558]
    given = {"base_dim": 4, "z_dim": CHANNELS, "num_res_blocks": 1, "latents_mean": means, "latents_std": deviations}
    return AutoencoderKLWan(**{**given, **settings})


TRANSFORMER: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 12,
    "in_channels": CHANNELS,
    "out_channels": CHANNELS,
    "text_dim": TEXT_WIDTH,
    "freq_dim": 16,
    "ffn_dim": 32,
    "num_layers": 1,
}
"""Of Wan, and of what is made from it."""


def wan_transformer(kind: type[ModelMixin] = WanTransformer3DModel, **settings: Any) -> Any:
    return kind(**{**TRANSFORMER, **settings})


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


def wan_vace(**settings: Any) -> WanVACEPipeline:
    """Its denoiser has a branch that takes two latents and a mask of 8 x 8 pixels."""
    given = {"vace_layers": [0], "vace_in_channels": 2 * CHANNELS + 64}
    transformer = wan_transformer(WanVACETransformer3DModel, **{**given, **settings})
    transformer.vace_blocks[0].proj_out.weight.data *= 20.0  # of a random branch little is heard
    return WanVACEPipeline(**{**wan_parts(), "transformer": transformer})


def wan_ti2v() -> WanPipeline:
    """TI2V-5B: pixels in patches of two before a VAE with shortcuts, a time per token; diffusers' test_wan_22."""
    vae = wan_vae(is_residual=True, patch_size=2, in_channels=12, out_channels=12, scale_factor_spatial=16)
    return WanPipeline(**{**wan_parts(shift=5.0), "vae": vae}, expand_timesteps=True)


def lucy_edit() -> LucyEditPipeline:
    """TI2V-5B's parts, with the clip that is edited in channels of its own; diffusers' test of its pipeline."""
    parts = {**wan_ti2v().components, "transformer": wan_transformer(in_channels=2 * CHANNELS)}
    return LucyEditPipeline(**parts, expand_timesteps=True)


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


def wan_words(pipe: DiffusionPipeline, prompt: str) -> torch.Tensor:
    """As other pipelines of Wan embed them, whose cleaning needs ftfy: text to video's, which is the same, does not."""
    words = WanPipeline(**{part: pipe.components[part] for part in ("tokenizer", "text_encoder", "vae", "scheduler")})
    embedded: torch.Tensor = words.encode_prompt(prompt, do_classifier_free_guidance=False, max_sequence_length=512)[0]
    return embedded


def anyflow() -> AnyFlowPipeline:
    """A flow map of Wan 2.1, whose denoiser is told two times, with AnyFlow's own settings of conversion."""
    scheduler = FlowMapEulerDiscreteScheduler(num_train_timesteps=1000, shift=5.0)
    parts = {**wan_parts(), "scheduler": scheduler, "transformer": AnyFlowTransformer3DModel(**TRANSFORMER)}
    return AnyFlowPipeline(**parts)


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
    "ltx2_19b": ltx2,
    "wan_1_3b": wan,
    "wan_2_2_5b": wan_ti2v,
    "wan_vace_1_3b": wan_vace,
    "anyflow_1_3b": anyflow,
    "hunyuan_video_1_5_t2v": hunyuan,
    "latte": latte,
}
"""By the name of the configuration of the published checkpoint, where it has one."""
OWN_VAE = [name for name in FAMILIES if name != "anyflow_1_3b"]
"""AnyFlow's is Wan's."""
NOT_TRAINED = ("anyflow_1_3b",)
"""Those that ``lvcf fit`` refuses."""
IMAGE_FAMILIES: dict[str, Callable[[], DiffusionPipeline]] = {
    "ltx_2b_given": ltx_given,
    "cogvideox_1_5_5b_i2v": cogvideox_1_5_i2v,
    "wan_i2v_14b": wan_i2v,
    "wan_2_2_i2v_a14b": wan_a14b,
    "hunyuan_video_1_5_i2v": hunyuan_i2v,
}
"""Pipelines that are given the first frame: LTX-Video's at time 0 (and TI2V-5B's), the others' in channels."""
OTHERS: dict[str, Callable[[], DiffusionPipeline]] = {"cogvideox_5b_i2v": cogvideox_i2v}
"""Those without a configuration of their own: clips are square, and this one takes 480 x 720 alone."""
SIZES = {
    "cogvideox_2b": 32,
    "cogvideox_1_5_5b_i2v": 32,
    "cogvideox_5b_i2v": 32,
    "ltx_2b": 64,
    "ltx_2b_given": 64,
    "ltx2_19b": 64,
    "wan_1_3b": 32,
    "wan_2_2_5b": 64,
    "wan_vace_1_3b": 32,
    "anyflow_1_3b": 32,
    "hunyuan_video_1_5_t2v": 32,
    "latte": 32,
    "wan_i2v_14b": 32,
    "wan_2_2_i2v_a14b": 32,
    "hunyuan_video_1_5_i2v": 32,
}
"""Height and width of clips that the VAE's compression divides."""
SHAPES = {
    "cogvideox_2b": (5, 4, 4),
    "cogvideox_1_5_5b_i2v": (6, 4, 4),
    "cogvideox_5b_i2v": (5, 4, 4),
    "ltx_2b": (3, 2, 2),
    "ltx_2b_given": (3, 2, 2),
    "ltx2_19b": (3, 2, 2),
    "wan_1_3b": (5, 4, 4),
    "wan_2_2_5b": (5, 4, 4),
    "wan_vace_1_3b": (5, 4, 4),
    "anyflow_1_3b": (5, 4, 4),
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
    (FAMILIES | IMAGE_FAMILIES | OTHERS)[name]().save_pretrained(folder)
    return folder


QUIET = {"stg_scale": 0.0, "modality_scale": 1.0, "guidance_rescale": 0.0}
ALONE = {**QUIET, "audio_guidance_scale": 1.0, **{f"audio_{name}": value for name, value in QUIET.items()}}
"""LTX-2's other guidances, off."""


def isolated(pipe: DiffusionPipeline, noise: torch.Tensor, **options: Any) -> torch.Tensor:
    """What LTX-2's stock pipeline makes where video and sound do not look at each other."""
    heard, scale = pipe.transformer.forward, (pipe.vae.latents_mean, pipe.vae.latents_std)
    pipe.transformer.forward = lambda **told: heard(**{**told, "isolate_modalities": True})
    start = pipe._denormalize_latents(noise, *scale)  # it takes unscaled latents, and gives such
    drawn = pipe(frame_rate=8, latents=start, **{"num_frames": 17, **ALONE, **options})[0]
    return pipe._normalize_latents(drawn, *scale)
