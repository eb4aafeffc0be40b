"""What lvcf fit says last, and what its bar counts meanwhile."""

from __future__ import annotations

import io
import re
import shlex

import pytest
import torch
from diffusers import AutoencoderKLLTXVideo
from lightning import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lvcf.callbacks.progress import StepsProgressBar
from lvcf.cli.closing import closing_words
from lvcf.configuration import find_weights, shipped_sections
from lvcf.datamodules.latents import LatentDataModule, warn_of_unknown
from lvcf.datamodules.video_folder import VideoFolderDataModule
from lvcf.errors import UserError
from lvcf.models.backbones.ltx import LTXBackbone, ltx_backbone
from lvcf.models.backbones.tiny_decoder import TinyDecoder
from lvcf.models.targets.ejection_fraction import EchoResNet3D
from lvcf.presets import method_label
from lvcf.sampling import SamplingState
from lvcf.tasks.autoencoder import AutoencoderTask
from lvcf.tasks.counterfactual import CounterfactualTask
from lvcf.tasks.denoiser import DenoiserTask
from lvcf.tasks.target import TargetTask
from lvcf.tasks.tiny_decoder import TinyDecoderTask
from tests.helpers import parse, rewrite
from tests.toys import GaussianBackbone, LinearTarget, make_clips, predict


def clips(root: str = "clips", **options) -> VideoFolderDataModule:
    return VideoFolderDataModule(root, **options)


def said(task: LightningModule, data: LightningDataModule | None = None, **metrics: float) -> list[str]:
    return closing_words(task, data or clips(), {k.replace("_", "/"): torch.tensor(v) for k, v in metrics.items()})


@pytest.fixture
def vae(backbone_folder) -> AutoencoderKLLTXVideo:
    return LTXBackbone.from_pretrained(backbone_folder).vae


@pytest.mark.parametrize(
    ("output", "following"),
    [
        ("runs/weights/own/vae", "lvcf fit --config own/denoiser.yaml"),
        ("runs/weights/echonet/vae", "lvcf fit --config echonet.yaml"),
        ("runs/weights/phantom/vae", "lvcf fit --config phantom/denoiser.yaml"),
        ("my vae", "lvcf fit --config own/denoiser.yaml --data.vae 'my vae' --model.backbone.vae 'my vae'"),
    ],
)
def test_after_a_vae_comes_the_denoiser_that_reads_it(output, following, vae) -> None:
    saved, words = said(AutoencoderTask(vae, output), val_psnr=31.234)
    assert saved.endswith(": the VAE (val/psnr 31.23)")
    assert words.removeprefix("next: ").startswith(following)
    assert parse(shlex.split(words.removeprefix("next: lvcf "))).model.class_path.endswith("DenoiserTask")


def test_what_the_clips_were_goes_with_the_next_command(vae, backbone_folder) -> None:
    other = clips("my clips", size=64, fit="letterbox")
    (_, words) = said(AutoencoderTask(vae, "runs/weights/own/vae"), other)
    assert words == (
        "next: lvcf fit --config own/denoiser.yaml --data.clips.root 'my clips' --data.clips.size 64 "
        "--data.clips.fit letterbox"
    )
    task = DenoiserTask(LTXBackbone.from_pretrained(backbone_folder), "runs/weights/own/backbone", True)
    (_, words) = said(task, LatentDataModule(other, "vae", "cache"))
    carried = "--data.root 'my clips' --data.size 64 --data.fit letterbox"
    assert words == f"next: lvcf predict --config own/predict.yaml {carried}"


def test_every_other_result_is_named_with_the_option_that_takes_it(backbone_folder) -> None:
    backbone = LTXBackbone.from_pretrained(backbone_folder)
    saved, words = said(DenoiserTask(backbone, "mine", True))
    assert saved == "saved mine: the backbone"
    assert words == "next: lvcf predict --config own/predict.yaml --model.backbone.weights mine"
    saved, words = said(TargetTask(EchoResNet3D(channels=(8, 8, 16)), "mine"))
    assert saved == "saved mine: EchoResNet3D"
    assert "--model.target_model.weights mine" in words
    assert "lvcf evaluate RUN --oracle mine" in words
    decoder = TinyDecoder(latent_channels=4, channels=(8, 8), time=(2,), space=(2,), patch=4)
    saved, words = said(TinyDecoderTask(decoder, LTXBackbone.from_pretrained(backbone_folder), "mine"))
    assert "--trainer.callbacks.GradientGuidance.tiny_decoder mine" in words
    assert said(LightningModule()) == []


def test_a_lora_is_used_beside_the_weights_that_it_was_trained_on(backbone_folder) -> None:
    pytest.importorskip("peft")
    saved, words = said(DenoiserTask(LTXBackbone.from_pretrained(backbone_folder), "mine", False, lora_rank=2))
    assert saved == "saved mine: the denoiser's LoRA"
    assert "--model.backbone.lora mine, beside the weights" in words


def test_weights_that_a_shipped_training_makes_are_missed_with_its_name() -> None:
    with pytest.raises(UserError, match=r"own/vae: no such weights folder .*own/autoencoder\.yaml makes it"):
        find_weights("runs/weights/own/vae")
    with pytest.raises(UserError, match="make help lists how"):
        find_weights("runs/weights/nobody/vae")
    assert {"own/denoiser.yaml", "echonet.yaml"} <= {name for name, _ in shipped_sections("fit")}


# --- the words of a table ----------------------------------------------------------------------------------------


def test_a_table_makes_a_text_encoder_that_tells_its_labels_apart(backbone_folder, tmp_path) -> None:
    rows = [{"path": f"{i}.mp4", "label": ("walking", "Running")[i % 2], "prompt": "a person"} for i in range(4)]
    rewrite(tmp_path / "mine.csv", rows)
    backbone = ltx_backbone(str(backbone_folder), table=tmp_path / "mine.csv")
    known = backbone.tokenizer.get_vocab()
    assert {"walking", "running", "a", "person", "100"} <= set(known)
    assert "apical" not in known
    walking, running, same = backbone.embed(["a person walking", "a person running", "a person Walking"]).tokens
    assert torch.equal(walking, same)
    assert not torch.allclose(walking, running, atol=0.1)
    backbone.save_pretrained(tmp_path / "saved")
    again = ltx_backbone(str(tmp_path / "saved"))
    assert torch.allclose(again.embed(["a person walking"]).tokens[0], walking, atol=1e-5)


def test_a_table_without_words_is_refused(backbone_folder, tmp_path) -> None:
    rewrite(tmp_path / "mine.csv", [{"path": "a.mp4", "class": "red"}])
    with pytest.raises(UserError, match="has no words in columns label and prompt"):
        ltx_backbone(str(backbone_folder), table=tmp_path / "mine.csv")


def test_words_that_a_backbone_takes_for_one_are_told(backbone_folder, recwarn) -> None:
    tokenizer = LTXBackbone.from_pretrained(backbone_folder).tokenizer
    warn_of_unknown(tokenizer, {"apical four", "Apical chamber"})
    warn_of_unknown(tokenizer, {"clip of apical", "clip of four"})  # in every prompt
    warn_of_unknown(tokenizer, {"surprised", "four"})  # one by itself
    assert not recwarn
    with pytest.warns(UserWarning, match="no difference between these words of prompts: green, red;"):
        warn_of_unknown(tokenizer, {"a red four", "a Green four", "a four"})


# --- the bar -----------------------------------------------------------------------------------------------------


class Line(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(1, 1)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.line(batch).square().mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), 0.1)


class Watched(StepsProgressBar):
    seen: list[tuple[str, float, float]]

    def on_train_batch_end(self, *arguments) -> None:
        super().on_train_batch_end(*arguments)
        task = self.train_progress_bar
        self.seen.append((re.sub(r"\[.*?\]", "", task.description).strip(), task.completed, task.total))


def watch(**options) -> list[tuple[str, float, float]]:
    bar = Watched(console_kwargs={"file": io.StringIO()})
    bar.seen = []
    quiet = {"logger": False, "enable_checkpointing": False, "enable_model_summary": False, "accelerator": "cpu"}
    Trainer(callbacks=[bar], **quiet, **options).fit(Line(), DataLoader(torch.ones(3, 1)))
    return bar.seen


def test_a_training_by_steps_counts_them_over_its_epochs() -> None:
    assert watch(max_steps=7) == [("Step", n, 7) for n in range(1, 8)]


def test_a_training_by_epochs_counts_batches() -> None:
    assert watch(max_epochs=2) == [(f"Epoch {e}/1", n, 3) for e in (0, 1) for n in (1, 2, 3)]


class Denoising(StepsProgressBar):
    seen: list[float]

    def on_step_end(self, state: SamplingState) -> None:
        super().on_step_end(state)
        self.seen.append(self.progress.tasks[self.predict_progress_bar_id].completed)


def test_a_predictions_bar_moves_with_every_denoising_step(tmp_path) -> None:
    bar = Denoising(console_kwargs={"file": io.StringIO()})
    bar.seen = []
    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), "60", tmp_path, steps=4)
    predict(task, make_clips(3), [bar], batch_size=2, enable_progress_bar=True)
    assert bar.seen == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
    assert method_label([bar], "neutral") == "guidance off"
