"""What Tune-A-Video, TokenFlow and FLATTEN share: loading, checks, and a cache of what a clip's edits share."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lvcf.checks import check_number
from lvcf.errors import UserError
from lvcf.steering.editors.base import Editor, content_key, device_of, finite
from lvcf.steering.editors.stable_diffusion import StableDiffusion


@dataclass
class Inverted:
    """A prepared clip.

    Attributes:
        path: latents of the inversion ``(steps + 1, T, C, h, w)``, from the noisiest level to the clean one.
        source_prompt: what the clip was inverted with.
        tensors: what the editor keeps besides: tuned weights, trajectories.
    """

    path: Tensor
    source_prompt: str
    tensors: dict[str, Tensor] = field(default_factory=dict)


@dataclass(eq=False)
class UNetEditor(Editor):
    """An editor on a stock Stable Diffusion pipeline; the fields are the constructor's arguments.

    Attributes:
        weights: a folder in the diffusers layout, or a hub id, of Stable Diffusion 1.x or 2.x.
        steps: sampling steps.
        guidance: scale of classifier-free guidance; 1 turns it off.
        cache: folder for prepared clips, made if it is not there; none: nothing is kept.
        device: PyTorch's name of it; by default the GPU if there is one.

    Raises:
        UserError: the weights are no such pipeline, ``steps`` is outside the schedule, or another argument is out of
            its range.
    """

    weights: str
    steps: int = 50
    guidance: float = 7.5
    cache: str | None = None
    device: str | None = None

    def __post_init__(self) -> None:
        check_number("editor.guidance", self.guidance, 0.0)
        if self.cache and Path(self.cache).exists() and not Path(self.cache).is_dir():
            raise UserError(f"editor.cache {self.cache}: is a file; name a folder")
        self.model = StableDiffusion.from_pretrained(self.weights, device_of(self.device))
        trained = self.model.scheduler.config.num_train_timesteps
        if not (isinstance(self.steps, int) and 1 <= self.steps < trained):
            raise UserError(
                f"steps {self.steps}: the noise schedule of {self.weights} has {trained}; use 1 to {trained - 1}"
            )
        self.levels = self.model.levels(self.steps)

    @property
    def draws(self) -> bool:
        """Not here: sampling starts at the inverted latents and adds no noise."""
        return False

    @property
    def identity(self) -> str:
        """The editor and all arguments that change what it makes."""
        told = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in ("cache", "device")}
        return f"{type(self).__name__} {json.dumps(told, default=lambda flow: flow.name)}"

    def prepare(self, clip: Tensor, source_prompt: str) -> Inverted:
        """See the base class; found in the cache if the same clip, prompt, settings and weights were prepared before.

        Raises:
            UserError: the clip has one frame or a size that is no multiple of 8, or the prompt is too long.
        """
        self.model.check_clip(clip)
        context = self.model.embed([source_prompt])
        content = content_key(clip, source_prompt, json.dumps([type(self).__name__, self.settings()]))
        seed = int(content[:14], 16)
        if self.cache is None:
            return self._prepare(clip, source_prompt, context, seed)
        file = Path(self.cache) / f"{hashlib.sha256(content.encode() + self._weights).hexdigest()}.safetensors"
        if file.is_file():
            return _read(file, self.model.device)
        state = self._prepare(clip, source_prompt, context, seed)
        _write(file, state)
        return state

    @torch.no_grad()
    def edit(self, state: Inverted, prompt: str, negative: str, seed: int) -> Tensor:
        """See the base class; the clip comes back on the CPU.

        Sampling starts at the inverted latents and adds no noise.  Only TokenFlow draws anything from ``seed``.

        Raises:
            UserError: a prompt is too long, or a step is not finite.
        """
        context = self.model.embed([state.source_prompt, negative, prompt])
        return finite(self.model.decode(self._sample(state, context, seed)), "edit", f"step {self.steps} (decoding)")

    def inversion_levels(self, steps: int) -> list[int]:
        """The levels of an inversion in so many steps, up to the first of sampling, all of whose levels are among them.

        Raises:
            UserError: they are not.
        """
        trained = self.model.scheduler.config.num_train_timesteps
        levels = self.model.levels(steps) if steps in range(1, trained + 1) else []
        if not set(self.levels) <= set(levels):
            raise UserError(
                f"inversion_steps {steps}: their timesteps do not include those of {self.steps} steps; "
                f"use {self.steps} or a multiple of it that divides {trained}"
            )
        return levels[levels.index(self.levels[0]) :]

    @abstractmethod
    def settings(self) -> dict[str, float | str]:
        """What :meth:`prepare` depends on besides the clip, the prompt and the weights."""

    @abstractmethod
    def _prepare(self, clip: Tensor, source_prompt: str, context: Tensor, seed: int) -> Inverted:
        """Invert; ``context`` is the embedded source prompt ``(1, L, D)``, ``seed`` is the content's own."""

    @abstractmethod
    def _sample(self, state: Inverted, context: Tensor, seed: int) -> Tensor:
        """Edited latents ``(T, C, h, w)``; ``context`` holds source prompt, negative prompt and prompt."""

    @cached_property
    def _weights(self) -> bytes:
        return self.model.fingerprint().encode()


def steps_of(name: str, share: float, steps: int) -> int:
    """How many of the steps a share of them is.

    Raises:
        UserError: the share is outside 0..1.
    """
    if not 0.0 <= share <= 1.0:
        raise UserError(f"{name} {share:g}: a share of the steps lies in 0..1; 0.8 is 80 %")
    return round(share * steps)


def _write(file: Path, state: Inverted) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {"path": state.path, **{f"own.{name}": tensor for name, tensor in state.tensors.items()}}
    temporary = file.with_name(f".{file.name}.partial")
    save_file({k: v.contiguous() for k, v in tensors.items()}, temporary, {"source_prompt": state.source_prompt})
    temporary.replace(file)


def _read(file: Path, device: str) -> Inverted:
    try:
        with safe_open(file, framework="pt", device=device) as stored:
            own = {key.removeprefix("own."): stored.get_tensor(key) for key in stored.keys() if key != "path"}  # noqa: SIM118
            return Inverted(stored.get_tensor("path"), stored.metadata()["source_prompt"], own)
    except SafetensorError as error:
        raise UserError(f"{file}: a damaged cache file ({error}); remove it") from error
