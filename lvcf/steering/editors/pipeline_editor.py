"""Diffusers' own video-to-video pipelines as editors: CogVideoX, LTX-Video, Wan, Wan VACE and Lucy-Edit.

The pipelines do all the work.  Here a clip is brought to what each takes, and back.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import diffusers
import torch
import transformers
from diffusers import AutoencoderKLCogVideoX
from einops import rearrange
from PIL import Image
from torch import Tensor

from lvcf.checks import check_choice, check_number
from lvcf.data.clip import to_frames
from lvcf.errors import UserError, said
from lvcf.models.backbones.cogvideox import frame_multiple
from lvcf.models.backbones.load import find_backbone
from lvcf.models.backbones.ltx import encode_mode, pad_frames
from lvcf.models.backbones.parts import check_configurations, load_model, read_index
from lvcf.models.backbones.wan import embed_wan_prompts
from lvcf.steering.editors.base import Editor, device_of, finite

Dtype = Literal["float32", "float16", "bfloat16"]
VIDEO_TO_VIDEO = {
    "CogVideoXPipeline": "CogVideoXVideoToVideoPipeline",
    "CogVideoXVideoToVideoPipeline": "CogVideoXVideoToVideoPipeline",
    "LTXPipeline": "LTXConditionPipeline",
    "LTXConditionPipeline": "LTXConditionPipeline",
    "WanPipeline": "WanVideoToVideoPipeline",
    "WanVideoToVideoPipeline": "WanVideoToVideoPipeline",
    "WanVACEPipeline": "WanVACEPipeline",
    "LucyEditPipeline": "LucyEditPipeline",
}
"""By ``_class_name`` of ``model_index.json``: the pipeline of the same parts that takes a clip."""
OF_WAN = ("WanVideoToVideoPipeline", "WanVACEPipeline", "LucyEditPipeline")
"""Pipelines with Wan's text encoder."""
INSTRUCTIONS = {"LucyEditPipeline": "Change the video so that it shows {prompt}"}
"""How a pipeline that is tuned on instructions is told what should be seen."""


@dataclass(frozen=True)
class PipelineState:
    """A clip as a pipeline takes it.

    Attributes:
        arguments: the pipeline's own for it: ``video`` or ``latents``, and their size.
        frames: of the clip, before any were added.
    """

    arguments: dict[str, Any]
    frames: int


class PipelineEditor(Editor):
    """Edits a clip by the video-to-video pipeline of a published backbone.

    CogVideoX, LTX-Video and Wan noise the clip's latents and denoise them under the prompt (SDEdit, Meng et al. 2022).
    Wan VACE draws a new clip with the given one as its control video, Lucy-Edit with the given one in further channels;
    both know no strength.  Lucy-Edit is tuned on instructions: :data:`INSTRUCTIONS` says the prompt as one.

    Args:
        weights: a folder in the diffusers layout, or a hub id; the text-to-video pipeline that a published folder names
            will do.
        strength: the share of the steps that is taken, counted from the clean end, 0-1; higher changes more.
        steps: of the scheduler, of which ``strength`` takes some.
        guidance: scale of classifier-free guidance; by default the pipeline's own.
        frame_rate: frames per second of the clips, which LTX-Video is told.
        dtype: of all weights.
        device: PyTorch's name of it; by default the GPU if there is one.

    Raises:
        UserError: the folder holds no pipeline that takes a clip, a part does not load, or a number is out of range.
    """

    def __init__(
        self,
        weights: str,
        strength: float = 0.8,
        steps: int = 50,
        guidance: float | None = None,
        frame_rate: int = 8,
        dtype: Dtype = "bfloat16",
        device: str | None = None,
    ) -> None:
        if not (isinstance(steps, int) and steps >= 1):
            raise UserError(f"editor.steps {steps}: at least one step is needed")
        check_number("editor.strength", strength)
        check_number("editor.guidance", guidance or 0.0, 0.0)
        check_number("editor.frame_rate", frame_rate, 0.0, above=True)
        check_choice("editor.dtype", dtype, get_args(Dtype))
        if not 1 <= int(steps * strength) <= steps:
            taken = int(steps * strength)
            raise UserError(f"editor.strength {strength:g}: of {steps} steps it takes {taken}; choose 1/{steps} to 1")
        self.device = device_of(device)
        self.pipeline = _loaded(find_backbone(weights), getattr(torch, dtype)).to(self.device)
        self.pipeline.set_progress_bar_config(disable=True)
        self.takes = inspect.signature(type(self.pipeline).__call__).parameters
        # LTX-Video's `strength` is another thing: how closely given frames are kept
        strength_name = "denoise_strength" if "denoise_strength" in self.takes else "strength"
        settings = {
            "num_inference_steps": steps,
            strength_name: strength,
            "frame_rate": frame_rate,
            # CogVideoX's sequence has room for these tokens; other pipelines know their own length
            "max_sequence_length": self.pipeline.transformer.config.get("max_text_seq_length"),
            "guidance_scale": guidance,
        }
        self.settings = {k: v for k, v in settings.items() if k in self.takes and v is not None}
        self._told = f"{type(self.pipeline).__name__} {weights} {dtype} {self.settings}"

    @property
    def identity(self) -> str:
        """The pipeline, its weights, and the settings that it takes."""
        return self._told

    @torch.no_grad()
    def prepare(self, clip: Tensor, source_prompt: str) -> PipelineState:
        """Bring the clip to the pipeline's form; the source prompt is not used.

        Raises:
            UserError: the clip's height or width is no multiple of what the denoiser sees as one token.
        """
        _, frames, height, width = clip.shape
        stride, multiple = self._compression()
        if height % multiple or width % multiple:
            raise UserError(
                f"the clip is {height}x{width} and {type(self.pipeline).__name__} takes multiples of {multiple}; "
                "choose another data.size"
            )
        padded = pad_frames(clip[None], stride)
        arguments: dict[str, Any] = {"num_frames": padded.shape[2], "height": height, "width": width}
        if "denoise_strength" in self.takes:
            # LTX-Video noises latents; what it takes as `video` it would keep as it is
            vae = self.pipeline.vae
            arguments["latents"] = encode_mode(vae, padded.to(self.device, vae.dtype)).float()
        else:
            arguments["video"] = [Image.fromarray(frame) for frame in to_frames(padded[0])]
        return PipelineState(arguments, frames)

    @torch.no_grad()
    def edit(self, state: PipelineState, prompt: str, negative: str, seed: int) -> Tensor:
        """See the base class; the clip comes back on the CPU."""
        offered = {
            **state.arguments,
            **self.settings,
            **self._words(prompt, negative),
            "generator": torch.Generator().manual_seed(seed),  # the CPU's, so that any device draws the same noise
            "output_type": "pt",
            "callback_on_step_end": _check_step,
        }
        made: Tensor = self.pipeline(**{k: v for k, v in offered.items() if k in self.takes}).frames[0]
        finite(made, "edit", "its decoding")
        return rearrange(made[: state.frames].float().cpu() * 2.0 - 1.0, "t c h w -> c t h w").contiguous()

    def _words(self, prompt: str, negative: str) -> dict[str, Any]:
        """The prompts as the pipeline takes them; Wan's are embedded here, as its own way wants another package."""
        name = type(self.pipeline).__name__
        prompt = INSTRUCTIONS.get(name, "{prompt}").format(prompt=prompt)
        if name not in OF_WAN:
            return {"prompt": prompt, "negative_prompt": negative}
        words = embed_wan_prompts(self.pipeline.text_encoder, self.pipeline.tokenizer, [prompt, negative])
        return {"prompt_embeds": words.tokens[:1], "negative_prompt_embeds": words.tokens[1:]}

    def _compression(self) -> tuple[int, int]:
        """What frames behind the first come in, and pixels each way per token of the denoiser."""
        patch = self.pipeline.transformer.config.patch_size
        across = patch if isinstance(patch, int) else patch[-1]
        if hasattr(self.pipeline, "vae_temporal_compression_ratio"):  # LTX-Video's names
            return self.pipeline.vae_temporal_compression_ratio, self.pipeline.vae_spatial_compression_ratio * across
        if isinstance(self.pipeline.vae, AutoencoderKLCogVideoX):
            return frame_multiple(self.pipeline.vae), self.pipeline.vae_scale_factor_spatial * across
        return self.pipeline.vae_scale_factor_temporal, self.pipeline.vae_scale_factor_spatial * across


def _check_step(pipeline: Any, step: int, timestep: Any, arguments: dict[str, Any]) -> dict[str, Any]:
    """Diffusers' callback after each step.

    Raises:
        UserError: the latents are not finite.
    """
    finite(arguments["latents"], "edit", step + 1)
    return arguments


def _loaded(folder: Path, dtype: torch.dtype) -> Any:
    """The pipeline of a folder that takes a clip.

    Raises:
        UserError: there is none.
    """
    index = read_index(folder)
    name = index["_class_name"]
    if name not in VIDEO_TO_VIDEO:
        raise UserError(f"{folder}: a {name} takes no clip to edit; the known ones are {', '.join(VIDEO_TO_VIDEO)}")
    if (index.get("text_encoder") or [None, None])[1] == "CLIPTextModel":
        raise UserError(f"{folder}: a small backbone of this project, no published one; use LatentVideoEditor")
    kind = getattr(diffusers, VIDEO_TO_VIDEO[name])  # by name: pipelines are heavy to import
    try:
        check_configurations(folder, [part for part in index if not part.startswith("_")])
        pipeline = kind.from_pretrained(folder, trust_remote_code=False, dtype=dtype, **_models(folder, index, dtype))
    except UserError as error:
        raise UserError(f"{folder}: {error}") from error
    except Exception as error:  # constructors of two libraries on a file's values: they share no base class
        raise UserError(f"{folder}: a part of the pipeline does not load ({said(error)})") from error
    if pipeline.transformer.config.get("patch_size_t") not in (None, 1):
        raise UserError(f"{folder}: CogVideoX 1.5 packs latent frames in pairs, which is not supported; use 1.0")
    if name == "LucyEditPipeline":
        pipeline.vae.float()  # it is given the clip in float32
    if name == "LTXPipeline":  # the other pipeline gives its scheduler the times themselves, not to be shifted again
        settings = {"use_dynamic_shifting": False, "shift_terminal": None}
        pipeline.scheduler = type(pipeline.scheduler).from_config(pipeline.scheduler.config, **settings)
    return pipeline


def _models(folder: Path, index: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The VAE, denoiser and text encoder, whole: the pipeline itself would fill tensors that are missing with noise."""
    models = {}
    for part in ("vae", "transformer", "text_encoder"):
        library, name = index.get(part) or (None, None)
        kind = getattr({"diffusers": diffusers, "transformers": transformers}.get(str(library)), str(name), None)
        if kind is None:
            raise UserError(f"its {part} is {name}, which is no class of diffusers or transformers")
        kind_of_dtype = {"dtype" if library == "transformers" else "torch_dtype": dtype}
        models[part] = load_model(kind, folder, part, **kind_of_dtype)
    return models
