"""The cache of latents: shards, prompts, resuming, other clips and other weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning import LightningModule, Trainer
from lightning.pytorch.callbacks import BatchSizeFinder
from safetensors import safe_open

from lvcf.datamodules import latents
from lvcf.datamodules.echonet import EchoNetDataModule
from lvcf.datamodules.latents import LatentDataModule, LatentDataset, vae_fingerprint
from lvcf.datamodules.mixture import MixtureDataModule
from lvcf.datamodules.video_folder import VideoFolderDataModule
from lvcf.errors import UserError
from lvcf.models.backbones.load import load_vae
from tests.families import save_family
from tests.helpers import rewrite
from tests.own_clips import write_discs


@pytest.fixture(autouse=True)
def small_shards(monkeypatch) -> None:
    monkeypatch.setattr(latents, "SHARD", 3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return save_family("latte", tmp_path_factory.mktemp("latte"))


def module(root: Path, vae: Path, cache: Path, size: int = 32) -> LatentDataModule:
    return LatentDataModule(EchoNetDataModule(root, batch_size=2, size=size), str(vae), cache, windows=2, batch_size=2)


def shards(cache: Path, stage: str) -> list[Path]:
    (folder,) = cache.glob(f"{stage}_*")
    return sorted(folder.glob("*.safetensors"))


def test_every_window_of_every_clip_is_encoded_once_in_shards(echo_root, folder, tmp_path) -> None:
    data = module(echo_root, folder, tmp_path)
    data.prepare_data()
    written = shards(tmp_path, "train")
    sizes = []
    for path in written:
        with safe_open(path, framework="pt") as stored:
            sizes.append(stored.get_tensor("latents").shape[0])
    assert sizes == [3, 3, 2]  # 4 training clips, 2 windows
    train = LatentDataset(written[0].parent)
    clips = data.clips.make_dataset("train")
    assert [train[i]["prompt"] for i in range(8)] == 2 * [clips[i]["prompt"] for i in range(4)]
    val = LatentDataset(shards(tmp_path, "val")[0].parent)
    assert len(val) == 1
    family, vae = load_vae(str(folder / "vae"))
    with torch.no_grad():
        expected = family.encode_with(vae, data.clips.make_dataset("val")[0]["video"][None])[0]
    torch.testing.assert_close(val[0]["latent"], expected, atol=2e-3, rtol=2e-3)  # kept in 16 bits
    batch = next(iter(data.train_dataloader()))
    assert batch["latent"].shape == (2, 4, 16, 4, 4)
    assert batch["latent"].dtype == torch.float32
    assert len(batch["prompt"]) == 2


def test_too_few_clips_for_a_batch_are_told_before_anything_is_encoded(echo_root, folder, tmp_path) -> None:
    clips = EchoNetDataModule(echo_root, batch_size=2, size=32)
    data = LatentDataModule(clips, str(folder), tmp_path, windows=2, batch_size=9)
    with pytest.raises(UserError, match=r"8 clips in batches of 9 are too few for training; lower --data\.batch_size"):
        data.prepare_data()
    assert not list(tmp_path.iterdir())


class Hungry(LightningModule):
    """For more than 4 latents it asks for memory that no computer has."""

    def __init__(self) -> None:
        super().__init__()
        self.weight, self.sizes = torch.nn.Parameter(torch.zeros(())), list[int]()

    def training_step(self, batch: dict[str, Any]) -> torch.Tensor:
        self.sizes.append(len(batch["latent"]))
        if self.sizes[-1] > 4:
            torch.empty(2**60)
        return self.weight * batch["latent"].mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters())


@pytest.mark.filterwarnings("ignore")
def test_lightning_finds_the_batch_size_that_fits(echo_root, folder, tmp_path) -> None:
    task, data = Hungry(), module(echo_root, folder, tmp_path)
    finder = BatchSizeFinder(steps_per_trial=1)
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "default_root_dir": tmp_path}
    Trainer(accelerator="cpu", max_steps=2, limit_val_batches=0, callbacks=[finder], **quiet).fit(task, datamodule=data)
    assert task.sizes == [2, 4, 8, 4, 4]
    assert data.batch_size == 4


def test_a_killed_encoding_goes_on_where_it_stopped(echo_root, folder, tmp_path) -> None:
    module(echo_root, folder, tmp_path).prepare_data()
    first, second, _ = shards(tmp_path, "train")
    stamp = first.stat().st_mtime_ns
    second.rename(second.with_suffix(".partial"))  # what a kill leaves
    module(echo_root, folder, tmp_path).prepare_data()
    assert second.is_file()
    assert first.stat().st_mtime_ns == stamp
    assert not list(tmp_path.rglob("*.partial"))


def test_other_clips_have_another_folder_and_other_weights_are_refused(echo_root, folder, tmp_path) -> None:
    module(echo_root, folder, tmp_path).prepare_data()
    module(echo_root, folder, tmp_path, size=16).prepare_data()
    assert len(list(tmp_path.glob("train_*"))) == 2
    other = tmp_path / "other"
    _, vae = load_vae(str(folder))
    before = vae_fingerprint(vae)
    with torch.no_grad():
        vae.encoder.conv_in.bias[0] += 1e-3
    assert vae_fingerprint(vae) != before
    vae.save_pretrained(other)
    with pytest.raises(
        UserError, match=r"train_\w+: holds latents made with other weights than .*other; choose another"
    ):
        module(echo_root, other, tmp_path).prepare_data()


@pytest.mark.parametrize("mixed", [False, True])
def test_an_edited_prompt_of_any_clip_is_trained_on(mixed, folder, tmp_path) -> None:
    write_discs(tmp_path / "clips", 4)
    table = tmp_path / "table.csv"
    for third in ("a bright scene", "a dim scene"):
        said = ["a scene", "a scene", third, "a scene"]
        rewrite(
            table,
            [{"path": f"0{i}.mp4", "prompt": said[i], "split": "train" if i else "val"} for i in range(4)],
        )
        clips = VideoFolderDataModule(tmp_path / "clips", frames=8, size=32, table=table)
        parts = MixtureDataModule([clips]) if mixed else clips
        data = LatentDataModule(parts, str(folder), tmp_path / "latents", windows=1, batch_size=3)
        data.prepare_data()
        (batch,) = data.train_dataloader()
        assert sorted(batch["prompt"]) == sorted(said[1:])
        assert sorted(batch["neutral_prompt"]) == sorted(said[1:])


def test_the_scaling_belongs_to_the_fingerprint(folder) -> None:
    _, vae = load_vae(str(folder))
    before = vae_fingerprint(vae)
    vae.register_to_config(scaling_factor=0.5)
    assert vae_fingerprint(vae) != before


def test_a_vae_of_no_known_family(tmp_path, target_folder) -> None:
    with pytest.raises(UserError, match=r"names no class \(_class_name\)"):
        load_vae(str(target_folder))
