"""What the families share: the parts of a stock diffusers pipeline, loaded, saved, and read as a backbone."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

import diffusers
import torch
from diffusers import ModelMixin, SchedulerMixin
from torch import Tensor, nn
from transformers import (
    CLIPTextModel,
    Gemma3ForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Qwen2_5_VLTextModel,
    T5EncoderModel,
    UMT5EncoderModel,
)

from lvcf.configuration import find_weights
from lvcf.diffusion.parameterization import ESTIMATES, expand
from lvcf.errors import UserError, said
from lvcf.models.backbones import schedule
from lvcf.models.backbones.base import Backbone, Condition, Embedding
from lvcf.models.backbones.detail_decoder import detail_decoder
from lvcf.models.backbones.offload import Offload, move_all_but_blocks, one_at_a_time
from lvcf.models.backbones.parts import (
    DENOISERS,
    PARTS,
    check_configurations,
    check_shards,
    load_model,
    load_part,
    load_tokenizer,
    names,
    parts_of,
    read_index,
)
from lvcf.models.backbones.quantise import Quantized, quantise
from lvcf.models.backbones.text import embed_prompts

TEXT_ENCODERS: dict[str, type[PreTrainedModel]] = {
    kind.__name__: kind
    for kind in (
        CLIPTextModel,
        Gemma3ForConditionalGeneration,
        Qwen2_5_VLTextModel,
        T5EncoderModel,
        UMT5EncoderModel,
    )
}
DETAIL = "detail_decoder"
"""The folder of a backbone's detail decoder, beside the stock pipeline's parts."""
TextDtype = Literal["float32", "bfloat16"]
WeightsDtype = Literal["float32", "bfloat16", "float16"]


class PipelineBackbone(Backbone):
    """A backbone made of a stock pipeline's parts; a family says how its classes are called.

    Attributes:
        pipeline_name: the stock pipeline, a class of diffusers; of a loaded folder, that which it names.
        other_pipelines: stock pipelines of the same parts.
        image_pipeline: which of these has to be given the first frame; empty for none.
        vae_class: its VAE.
        transformer_class: its denoiser.
        frame_rate: frames per second of the clips, for families whose positions are in seconds.
        a_time_per_frame: whether the denoiser can be told a time per latent frame, and so be trained with given ones.
        weights_dtype: of the denoiser's weights, but those that diffusers keeps in float32.
        quantized: whether the denoiser's blocks hold their weights in few bits.
        offloading: whether parts, or the denoiser's blocks, come to the device only when they are used.
    """

    pipeline_name: str
    other_pipelines: ClassVar[tuple[str, ...]] = ()
    image_pipeline: ClassVar[str] = ""
    vae_class: ClassVar[type[ModelMixin]]
    transformer_class: ClassVar[type[ModelMixin]]
    frame_rate: float = 8.0
    a_time_per_frame: ClassVar[bool] = False
    weights_dtype: torch.dtype = torch.float32
    offloading: Offload = "none"
    quantized: Quantized = "none"

    def __init__(
        self,
        vae: ModelMixin,
        transformer: ModelMixin,
        text_encoder: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        scheduler: SchedulerMixin,
    ) -> None:
        super().__init__()
        self.vae, self.transformer, self.text_encoder = vae, transformer, text_encoder
        self.tokenizer, self.scheduler = tokenizer, scheduler
        made, taken = self.denoiser_channels, transformer.config.in_channels
        if made != taken:
            raise UserError(
                f"the VAE makes latents of {made} channels (patches counted in), the denoiser takes {taken}; "
                "they are of different backbones"
            )
        schedule.prediction_of(scheduler)  # said now, not at the first step

    @classmethod
    def from_pretrained(
        cls, folder: str | Path, text_dtype: TextDtype = "float32", weights_dtype: WeightsDtype = "float32"
    ) -> Self:
        """Load a folder in the diffusers layout, in float32.

        Args:
            folder: a path, or the name of shipped weights.
            text_dtype: of the text encoder's weights; its embeddings are float32 in any case.
            weights_dtype: of the denoiser's weights; what it predicts is read as float32 in any case.

        Raises:
            UserError: a part is missing, does not load, is another family's or does not fit the others.
        """
        folder = find_weights(folder)
        index = read_index(folder)
        cls._check_index(folder, index)
        try:
            check_configurations(folder, parts_of(index))
            dtype = getattr(torch, weights_dtype)
            backbone = cls(
                vae=load_model(cls.vae_kind(folder / "vae"), folder, "vae", torch_dtype=torch.float32),
                text_encoder=load_model(_text_encoder(index), folder, "text_encoder", dtype=getattr(torch, text_dtype)),
                tokenizer=load_tokenizer(folder / "tokenizer"),
                scheduler=_scheduler(index).from_pretrained(folder / "scheduler"),
                **{
                    part: load_model(cls.transformer_class, folder, part, torch_dtype=dtype)
                    for part in DENOISERS
                    if names(index, part)
                },
                **cls._load_more(folder, index),
            )
        except UserError as error:
            raise UserError(f"{folder}: {error}") from error
        except Exception as error:  # constructors of two libraries on a file's values: they share no base class
            raise UserError(f"{folder}: a part of the backbone does not load ({said(error)})") from error
        backbone.notice, backbone.pipeline_name = index.get("_notice", ""), index["_class_name"]
        backbone.weights_dtype = dtype
        backbone._check_first(folder)
        backbone._take_what_goes_with_the_denoiser(folder, index)
        return backbone

    def _check_first(self, folder: Path) -> None:
        """Refuse a pipeline's name that does not go with its denoiser.

        Raises:
            UserError: it has to be given a first frame, which the denoiser does not take, or the other way around.
        """
        named = self.pipeline_name == self.image_pipeline
        if (named and not self._published_with_given) or (not named and self.draws_from_first):
            taken = self.transformer.config.in_channels
            raise UserError(
                f"{folder}: a {self.pipeline_name} whose denoiser takes {taken} channels; image to video shows it the "
                "first frame in more channels, text to video does not; correct model_index.json"
            )

    def take_denoiser(self, folder: Path) -> None:
        """Put another denoiser of the same latents in place of this one, with its detail decoder.

        Args:
            folder: of the backbone that it was saved with; the other parts may be left out.

        Raises:
            UserError: it does not load, or takes latents of another shape.
        """
        index = read_index(folder)
        other = load_part(self.transformer_class, folder / "transformer")
        taken, wanted = other.config.in_channels, self.transformer.config.in_channels
        if taken != wanted:
            raise UserError(f"{folder}: its denoiser takes {taken} channels, this backbone's latents have {wanted}")
        self.transformer = other
        self._take_what_goes_with_the_denoiser(folder, index)

    def _take_what_goes_with_the_denoiser(self, folder: Path, index: dict[str, Any]) -> None:
        if (folder / DETAIL).is_dir():
            self.detail = detail_decoder(str(folder / DETAIL)).requires_grad_(False)
        self.takes_given = bool(index.get("_takes_given", self._published_with_given))

    @property
    def _published_with_given(self) -> bool:
        """Whether published weights of this kind were trained with given frames."""
        return self.given_in_channels

    @classmethod
    def _load_more(cls, folder: Path, index: dict[str, Any]) -> Mapping[str, Any]:
        """More arguments of the constructor, for families that have them."""
        return {}

    @classmethod
    def _check_index(cls, folder: Path, index: dict[str, Any]) -> None:
        name = cls.pipeline_name
        if index["_class_name"] not in (name, *cls.other_pipelines):
            raise UserError(
                f"{folder}: holds a {index['_class_name']}, not a {name}; "
                "lvcf.models.backbones.load.load_backbone finds the family by itself"
            )
        if missing := [part for part in parts_of(index) if not ((folder / part).is_dir() and names(index, part))]:
            raise UserError(
                f"{folder}: the backbone lacks {', '.join(missing)}; point to a whole folder or run make weights"
            )
        for part, wanted in (("vae", cls.vae_kind(folder / "vae")), ("transformer", cls.transformer_class)):
            found = index[part][1]
            if found != wanted.__name__:
                raise UserError(f"{folder}: its {part} is a {found}; {name} takes {wanted.__name__}")
        check_shards(folder, parts_of(index))

    def pipeline(self) -> Any:
        """The stock pipeline of the same parts."""
        kind = getattr(diffusers, self.pipeline_name)  # by name: pipelines are heavy to import
        return kind(**{part: getattr(self, part) for part in PARTS}, **self._more_parts())

    def _more_parts(self) -> Mapping[str, Any]:
        """What the stock pipeline is made of besides."""
        return {}

    def denoisers(self) -> dict[str, ModelMixin]:
        """By the names of their folders: one, or several that share the times."""
        return {"transformer": self.transformer}

    def let_learn(self, denoiser: ModelMixin) -> None:
        """Let what a denoiser says here change, all of it unless a family says otherwise."""
        denoiser.requires_grad_(True)

    def take_home(self, offloading: Offload) -> None:
        """Let parts stay in the computer's memory, wherever the backbone is moved, and come to the device when used.

        Args:
            offloading: ``model``: one part at a time is there; ``group``: of the denoiser, one block at a time.
        """
        self.offloading = offloading
        if offloading == "group":
            for denoiser in self.denoisers().values():
                denoiser.enable_gradient_checkpointing()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """What moves a module: parts that are offloaded are told where to, and stay."""
        if self.offloading == "none":
            moved: Self = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
            return moved
        device = fn(torch.zeros(0)).device
        # rounded weights are small, and bitsandbytes moves them in its own way
        denoisers = list(self.denoisers().values()) if self.quantized == "none" else []
        others = [self.vae, self.text_encoder, *filter(None, [getattr(self, "image_encoder", None)])]
        one_at_a_time(others if self.offloading == "group" else [*others, *denoisers], device)
        for child in self.children():
            if child not in [*others, *denoisers]:
                child._apply(fn)  # type: ignore[no-untyped-call]
            elif child in denoisers and self.offloading == "group":
                move_all_but_blocks(child, fn, device)
        return self

    def quantise(self, quantized: Quantized) -> None:
        """Round the weights of the denoiser's blocks.

        Raises:
            UserError: bitsandbytes is not installed.
        """
        self.quantized = quantized
        for denoiser in self.denoisers().values():
            quantise(denoiser, quantized)

    def save_pretrained(self, folder: str | Path) -> None:
        """Write every part and ``model_index.json`` as the stock pipeline does.

        Raises:
            UserError: the denoiser's weights are rounded.
        """
        if self.quantized != "none":
            raise UserError(
                f"model.backbone.quantized {self.quantized}: rounded weights are not saved; load it without"
            )
        self.pipeline().save_pretrained(folder)
        if self.detail is not None:
            self.detail.save_pretrained(Path(folder) / DETAIL)
        path = Path(folder) / "model_index.json"
        own: dict[str, Any] = {"_notice": self.notice}
        if self.takes_given != self._published_with_given:
            own["_takes_given"] = self.takes_given
        path.write_text(json.dumps({**json.loads(path.read_text()), **own}, indent=2) + "\n")

    @classmethod
    def vae_kind(cls, folder: Path) -> type[ModelMixin]:
        """The class of the VAE in a folder, where a family has more than one."""
        return cls.vae_class

    @classmethod
    @abstractmethod
    def encode_with(cls, vae: ModelMixin, video: Tensor) -> Tensor:
        """:meth:`encode` by a VAE of this family: the mode of the posterior, scaled for the denoiser."""

    @classmethod
    @abstractmethod
    def decode_with(cls, vae: ModelMixin, latent: Tensor, frames: int) -> Tensor:
        """:meth:`decode` by a VAE of this family."""

    @property
    @abstractmethod
    def latent_channels(self) -> int:
        """Channels of the VAE's latents."""

    @property
    def patch_channels(self) -> int:
        """Latent pixels that this project, not the denoiser itself, packs into one of the denoiser's."""
        return 1

    @property
    def denoiser_channels(self) -> int:
        """Channels that the denoiser has to take: the latent's, and those of what it is shown beside it."""
        return self.latent_channels * self.patch_channels

    @property
    @abstractmethod
    def patch(self) -> int:
        """Height and width in latent pixels of what the denoiser sees as one token."""

    @abstractmethod
    def denoise(self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None) -> Tensor:
        """The denoiser's own output, shaped as ``z_t``; called through :meth:`output`."""

    def encode(self, video: Tensor) -> Tensor:
        """See the base class."""
        return self.padded(self.encode_with(self.vae, video))

    def decode(self, latent: Tensor, frames: int) -> Tensor:
        """See the base class."""
        return self.decode_with(self.vae, self.unpadded(latent), frames)

    def decoder_blocks(self) -> list[nn.Module]:
        """See the base class."""
        return [self.vae.decoder.mid_block, *self.vae.decoder.up_blocks]

    def chunks(self) -> list[nn.Module]:
        """What of the decoder is computed again at once, where activations are not kept: its blocks.

        Of a VAE that decodes latent frames in chunks, the decoder, chunk by chunk.
        """
        return self.decoder_blocks()

    def features(self, outputs: list[Any], batch: int) -> Tensor:
        """See the base class.

        Raises:
            UserError: the VAE decodes in tiles, so that no block sees a whole clip.
        """
        if self.vae.use_tiling:
            raise UserError(
                "model.backbone.tiling: MSPR reads whole decoder blocks; turn tiling off, or leave MSPR out"
            )
        return super().features(outputs, batch)

    def output(self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None = None) -> Tensor:
        """What the denoiser predicts at times ``t`` ``(B,)``: eps, v or u, as ``schedule.Prediction`` says.

        Raises:
            UserError: the latents' height or width makes no whole number of tokens, or there is nothing to show a
                denoiser that is always shown a first frame.
        """
        if self.draws_from_first and condition is None:
            raise UserError(f"a {self.pipeline_name} draws a clip from its first frame, which is not given here")
        height, width = z_t.shape[-2:]
        if height % self.patch or width % self.patch:
            raise UserError(
                f"latents of {height} x {width} pixels: this backbone's denoiser takes multiples of {self.patch}; "
                "choose another data.size"
            )
        dtype = self.weights_dtype
        if dtype == torch.float32:
            return self.denoise(z_t, t, prompt, condition)
        shown = None if condition is None else condition.to(dtype)
        with torch.autocast(z_t.device.type, enabled=False):  # as the stock pipelines run such weights
            return self.denoise(z_t.to(dtype), t, prompt.to(dtype), shown).to(z_t)

    def predict(
        self, z_t: Tensor, t: Tensor, prompt: Embedding, condition: Condition | None = None
    ) -> tuple[Tensor, Tensor]:
        """See the base class."""
        read = ESTIMATES[schedule.prediction_of(self.scheduler)]
        return read(self.output(z_t, t, prompt, condition), z_t, *self.alpha_sigma(t))

    def training_target(self, z_0: Tensor, noise: Tensor, t: Tensor) -> Tensor:
        """What :meth:`output` has to learn for z_t = alpha z_0 + sigma eps at times ``t`` ``(B,)``."""
        kind = schedule.prediction_of(self.scheduler)
        if kind == "epsilon":
            return noise
        if kind == "flow_prediction":
            return noise - z_0
        alpha, sigma = self.alpha_sigma(t)
        return expand(alpha, z_0) * noise - expand(sigma, z_0) * z_0

    def alpha_sigma(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """See the base class."""
        return schedule.alpha_sigma(self.scheduler, t)

    def timestep(self, t: Tensor) -> Tensor:
        """Times ``t`` as the denoiser is told them."""
        return schedule.timestep(self.scheduler, t)

    def time_grid(self, steps: int, strength: float, latent: Tensor) -> Tensor:
        """See the base class."""
        return schedule.time_grid(self.scheduler, steps, strength, latent[0, 0].numel() // self.patch**2)

    def embed_tokens(self, prompts: list[str], length: int, masked: bool) -> Embedding:
        """Last hidden states of prompts cut or padded to ``length``; ``masked`` hides padding from the encoder."""
        return embed_prompts(self.text_encoder, self.tokenizer, prompts, length, masked)


def check_pixels(video: Tensor, multiple: int) -> None:
    """Refuse clips whose frames a VAE cannot take.

    Raises:
        UserError: height or width is no multiple of its compression.
    """
    height, width = video.shape[-2:]
    if height % multiple or width % multiple:
        raise UserError(f"data.size: frames of {height} x {width}; this backbone's VAE takes multiples of {multiple}")


def _text_encoder(index: dict[str, Any]) -> type[PreTrainedModel]:
    name = index["text_encoder"][1]
    if name not in TEXT_ENCODERS:
        raise UserError(f"its text encoder is {name}; known are {', '.join(TEXT_ENCODERS)}")
    return TEXT_ENCODERS[name]


def _scheduler(index: dict[str, Any]) -> Any:
    kind = getattr(diffusers, str(index["scheduler"][1]), None)
    if not (isinstance(kind, type) and issubclass(kind, SchedulerMixin)):
        raise UserError(f"its scheduler is {index['scheduler'][1]}, which diffusers does not have")
    return kind
