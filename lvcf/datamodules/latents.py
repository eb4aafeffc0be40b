"""Latents of a clip data module's training, validation and test clips, encoded once and kept on disk in shards."""

from __future__ import annotations

import hashlib
import json
import warnings
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import torch
from diffusers import ModelMixin
from lightning import LightningDataModule
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Subset
from tqdm import tqdm
from transformers import PreTrainedTokenizerBase

from lvcf.checks import check_number
from lvcf.data.clip import Batch, ClipDataset
from lvcf.data.sampled import SampledDataset
from lvcf.datamodules.base import ClipDataModule, Stage
from lvcf.datamodules.resumable import ResumableLoader
from lvcf.datamodules.sharding import check_enough
from lvcf.errors import UserError
from lvcf.files import read_optional, write_json
from lvcf.models.backbones.load import Family, load_vae
from lvcf.models.backbones.ltx import LTXBackbone
from lvcf.models.backbones.pipeline import PipelineBackbone

SHARD = 256
"""Latents per file: what a killed run loses at most."""
FIRST = "first_frames"
SCALING = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")
"""What a VAE's configuration says of its latents' scale."""


class LatentBatch(TypedDict):
    """Latents ``(B, C, F, H, W)`` and their clips' prompts; with ``first_frames`` these too ``(B, 3, H, W)``."""

    latent: Tensor
    prompt: list[str]
    neutral_prompt: list[str]
    first: NotRequired[Tensor]


class LatentDataset(Dataset[LatentBatch]):
    """Latents on disk, with their prompts in memory.

    Args:
        folder: of shards, in the order of their names.
    """

    def __init__(self, folder: Path) -> None:
        # without types of its own
        self.shards: list[Any] = [safe_open(path, framework="pt") for path in sorted(folder.glob("*.safetensors"))]
        self.prompts: list[list[list[str]]] = [json.loads(shard.metadata()["prompts"]) for shard in self.shards]
        self.places = [(shard, row) for shard, prompts in enumerate(self.prompts) for row in range(len(prompts))]

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> LatentBatch:
        shard, row = self.places[index]
        prompt, neutral = self.prompts[shard][row]
        latent: Tensor = self.shards[shard].get_slice("latents")[row]
        found: dict[str, Any] = {"latent": latent.float(), "prompt": prompt, "neutral_prompt": neutral}
        if FIRST in self.shards[shard].keys():  # noqa: SIM118  # no mapping
            found["first"] = self.shards[shard].get_slice(FIRST)[row].float() / 127.5 - 1.0
        return found  # type: ignore[return-value]  # collation lists the prompts


class LatentDataModule(LightningDataModule):
    """Batches of cached latents for training a denoiser of any family.

    Args:
        clips: whose clips are encoded; training windows start anywhere.
        vae: a VAE's folder, or a backbone's folder or hub id.
        cache: where the latents go, in a folder for every set of clips; a killed encoding goes on where it stopped.
        windows: random windows per training clip.
        batch_size: latents per training batch.
        first_frames: keep the clips' first frames too, on 8-bit levels: image-to-video denoisers are trained beside
            them.

    Raises:
        UserError: ``windows`` or ``batch_size`` is below 1.
    """

    def __init__(
        self,
        clips: ClipDataModule,
        vae: str,
        cache: Path,
        windows: int = 3,
        batch_size: int = 16,
        first_frames: bool = False,
    ) -> None:
        super().__init__()
        check_number("data.windows", windows, 1)
        check_number("data.batch_size", batch_size, 1)
        self.prepare_data_per_node = False  # all machines read one cache, which rank 0 writes
        self.clips, self.weights, self.cache = clips, vae, cache
        self.windows, self.batch_size, self.first_frames = windows, batch_size, first_frames
        self._folders: dict[Stage, Path] = {}

    @cached_property
    def vae(self) -> tuple[Family, ModelMixin]:
        """The VAE and its family."""
        return load_vae(self.weights)

    @cached_property
    def fingerprint(self) -> str:
        """Of the VAE's weights and scaling."""
        return vae_fingerprint(self.vae[1])

    def prepare_data(self) -> None:
        """Encode what is not cached yet.

        Raises:
            UserError: there are too few clips, the cache holds latents made with other weights, or this VAE is not that
                of the trained backbone.
        """
        self._check_number()
        self._check_backbone()
        for stage in self._stages():
            windows = self.windows if stage == "train" else 1
            folder = self._folder(stage)
            written = read_optional(folder / "latents.json")
            if written is not None and written["vae"] != self.fingerprint:
                raise UserError(
                    f"{folder}: holds latents made with other weights than {self.weights}; choose another data.cache "
                    "or delete it"
                )
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "latents.json", {"vae": self.fingerprint})
            self._encode(folder, self.clips.make_dataset(stage), windows)

    def _stages(self) -> tuple[Stage, ...]:
        """Those whose latents the verb needs."""
        verb = self.trainer.state.fn if self.trainer else None
        return {"validate": ("val",), "test": ("test",)}.get(str(verb and verb.value), ("train", "val"))  # type: ignore[return-value]  # literals

    def _check_number(self) -> None:
        """Before anything is encoded: a training needs a batch for every rank."""
        if "train" in self._stages():
            latents = self.windows * len(self.clips.make_dataset("train").ids)
            ranks = self.trainer.world_size if self.trainer else 1
            check_enough(latents, self.batch_size, latents // self.batch_size, ranks)

    def _check_backbone(self) -> None:
        """Before hours of encoding: the task's backbone must decode what is encoded here."""
        backbone = getattr(self.trainer.lightning_module, "backbone", None) if self.trainer else None
        if isinstance(backbone, PipelineBackbone) and not same_vae(backbone.vae, self.vae[1]):
            raise UserError(
                f"data.vae {self.weights}: is another VAE than the backbone's, which would not know its latents; give "
                "the backbone's own"
            )
        if isinstance(backbone, PipelineBackbone) and backbone.draws_from_first and not self.first_frames:
            raise UserError(
                f"data.first_frames false: a {backbone.pipeline_name} is trained beside the clips' first frames; set "
                "--data.first_frames true"
            )

    def _folder(self, stage: Stage) -> Path:
        """By the clips' names, size, frame rate and prompts: other clips have another folder."""
        if stage not in self._folders:
            clips: Any = self.clips.make_dataset(stage)
            first = clips[0]
            kind = [stage, self.windows, list(first["video"].shape), first["fps"], _words(clips), clips.ids]
            kind += [FIRST] if self.first_frames else []
            name = hashlib.sha256(json.dumps(kind).encode()).hexdigest()[:12]
            self._folders[stage] = self.cache / f"{stage}_{name}"
        return self._folders[stage]

    def _encode(self, folder: Path, clips: ClipDataset, windows: int) -> None:
        """Write every shard that is not there, whole or not at all."""
        number = len(clips.ids)
        order = [i for _ in range(windows) for i in range(number)]
        starts = [s for s in range(0, len(order), SHARD) if not _shard(folder, s).exists()]
        for start in tqdm(starts, desc=f"encode into {folder.name}", disable=not starts):
            shard = Subset(clips, order[start : start + SHARD])
            loader: DataLoader[Batch] = DataLoader(
                shard,  # type: ignore[arg-type]  # collated to a Batch
                batch_size=self.clips.batch_size,
                num_workers=self.clips.num_workers,
            )
            tensors, prompts = self._encoded(loader)
            temporary = _shard(folder, start).with_suffix(".partial")
            save_file(tensors, temporary, metadata={"prompts": json.dumps(prompts)})
            temporary.replace(_shard(folder, start))

    @torch.no_grad()
    def _encoded(self, loader: DataLoader[Batch]) -> tuple[dict[str, Tensor], list[list[str]]]:
        """On the trainer's device and in its precision."""
        family, vae = self.vae
        device = self.trainer.strategy.root_device if self.trainer else torch.device("cpu")
        precision: AbstractContextManager[Any] = nullcontext()
        if self.trainer:
            precision = self.trainer.precision_plugin.forward_context()
        latents, first, prompts = [], [], []
        with precision:
            for batch in loader:
                latents.append(family.encode_with(vae.to(device), batch["video"].to(device)).half().cpu())
                first.append(((batch["video"][:, :, 0] + 1.0) * 127.5).round().byte())
                prompts += [list(pair) for pair in zip(batch["prompt"], batch["neutral_prompt"], strict=True)]
        vae.cpu()
        tensors = {"latents": torch.cat(latents).contiguous()}
        return tensors | ({FIRST: torch.cat(first)} if self.first_frames else {}), prompts

    def train_dataloader(self) -> DataLoader[LatentBatch]:
        """Shuffled training latents; warns of words that the backbone does not know."""
        latents = LatentDataset(self._folder("train"))
        backbone = getattr(self.trainer.lightning_module, "backbone", None) if self.trainer else None
        if isinstance(backbone, LTXBackbone):  # of the others, any word is made of known pieces
            warn_of_unknown(backbone.tokenizer, {full for prompts in latents.prompts for full, _ in prompts})
        if self.trainer is None or self.trainer.world_size == 1:
            return ResumableLoader(latents, self.batch_size)
        return DataLoader(latents, self.batch_size, shuffle=True, drop_last=True)

    def val_dataloader(self) -> DataLoader[LatentBatch]:
        """Validation latents in order."""
        return self._in_order("val")

    def test_dataloader(self) -> DataLoader[LatentBatch]:
        """Test latents in order."""
        return self._in_order("test")

    def _in_order(self, stage: Stage) -> DataLoader[LatentBatch]:
        own = torch.Generator()  # measuring must not move the training's noise
        return DataLoader(LatentDataset(self._folder(stage)), self.batch_size, generator=own)


def _words(clips: Any) -> list[list[str]]:
    """Every clip's prompts; the first one's alone where a user's own data set would decode every video for them."""
    parts = getattr(clips, "parts", [clips])
    at_once = all(isinstance(part, SampledDataset) for part in parts)
    for part in parts if at_once else ():
        part.decodes = False
    told = (clips[i] for i in range(len(clips.ids) if at_once else 1))
    return [[clip["prompt"], clip["neutral_prompt"]] for clip in told]


def warn_of_unknown(tokenizer: PreTrainedTokenizerBase, prompts: set[str]) -> None:
    """Words that a small tokenizer takes for one and the same; those that every prompt has tell nothing anyway."""
    known = tokenizer.get_vocab()
    said = Counter(word for prompt in prompts for word in set(prompt.lower().split()))
    unknown = sorted(word for word, number in said.items() if number < len(prompts) and word not in known)
    if len(unknown) > 1:  # one by itself is learned as such
        told = ", ".join(unknown[:8]) + (f" and {len(unknown) - 8} more" if len(unknown) > 8 else "")
        warnings.warn(
            f"the backbone knows no difference between these words of prompts: {told}; to teach it, list them in "
            "--model.backbone.words, or give ltx_backbone the table that has them (--model.backbone.table)",
            stacklevel=2,
        )


def same_vae(one: ModelMixin, other: ModelMixin) -> bool:
    """Whether two VAEs have the same scaling and weights, but for rounding to 16 bits."""
    ours, theirs = one.state_dict(), other.state_dict()
    if _scaling(one) != _scaling(other) or {k: v.shape for k, v in ours.items()} != {
        k: v.shape for k, v in theirs.items()
    }:
        return False
    return all(torch.allclose(ours[key].cpu(), theirs[key].cpu(), rtol=1e-2, atol=1e-4) for key in ours)


def vae_fingerprint(vae: ModelMixin) -> str:
    """Of a VAE's weights and of what its configuration says of the latents' scale."""
    digest = hashlib.sha256(_scaling(vae).encode())
    for name, tensor in sorted(vae.state_dict().items()):
        digest.update(name.encode())
        digest.update(tensor.detach().float().cpu().flatten().numpy())
    return digest.hexdigest()[:16]


def _scaling(vae: ModelMixin) -> str:
    return json.dumps([vae.config.get(name) for name in SCALING])


def _shard(folder: Path, start: int) -> Path:
    return folder / f"{start:08d}.safetensors"
