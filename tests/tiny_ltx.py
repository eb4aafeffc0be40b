"""The parts of a random LTX backbone with the shape of the phantom's, in small."""

from __future__ import annotations

from diffusers import AutoencoderKLLTXVideo, LTXVideoTransformer3DModel


def tiny_vae() -> AutoencoderKLLTXVideo:
    return AutoencoderKLLTXVideo(
        latent_channels=4,
        block_out_channels=[8, 8],
        decoder_block_out_channels=[8, 16],
        layers_per_block=[1, 1, 1],
        decoder_layers_per_block=[1, 1, 1],
        down_block_types=["LTXVideoDownBlock3D", "LTXVideoDownBlock3D"],
        downsample_type=["conv", "conv"],
        spatio_temporal_scaling=[True, False],
        decoder_spatio_temporal_scaling=[True, False],
        decoder_inject_noise=[False, False, False],
        upsample_residual=[False, False],
        upsample_factor=[1, 1],
    )


def tiny_denoiser() -> LTXVideoTransformer3DModel:
    return LTXVideoTransformer3DModel(
        in_channels=16,
        out_channels=16,
        num_attention_heads=2,
        attention_head_dim=16,
        cross_attention_dim=32,
        caption_channels=16,
        num_layers=1,
    )
