"""A folder of clips of another kind: three commands, from the shipped weights to an explanation."""

from __future__ import annotations

import csv
import shlex
from pathlib import Path

import pytest
import torch
from torchmetrics.functional.image import structural_similarity_index_measure as ssim

from lvcf.cli import main
from lvcf.datamodules.video_folder import VideoFolderDataModule
from lvcf.models.backbones.load import load_vae
from tests.helpers import results
from tests.own_clips import FRAMES, SIZE, save_model, write_discs

SMALL = [f"size={SIZE}", f"frames={FRAMES}", "num_workers=0"]
PLAIN = [
    "--threads=1",
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.enable_progress_bar=false",
]
LEAST_PSNR, LEAST_SSIM = 25.0, 0.8
"""Of reconstructed clips; the phantom's VAE is at 18 dB and 0.5."""


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    monkeypatch.chdir(tmp_path)
    save_model(tmp_path / "model.pt2")
    return tmp_path


def fit_autoencoder(*more: str) -> int:
    small = [f"--data.{option}" for option in SMALL]
    return main(["fit", "--config", "own/autoencoder.yaml", *PLAIN, *small, *more])


def fit_denoiser(*more: str) -> int:
    small = [f"--data.clips.{option}" for option in SMALL]
    return main(["fit", "--config", "own/denoiser.yaml", *PLAIN, *small, *more])


def predict(*more: str) -> int:
    takes = [f"--model.target_model.takes.{option}" for option in SMALL[:2]]
    answer = "--model.target_model.answer.labels=[red,green]"
    data = [f"--data.{option}" for option in SMALL]
    return main(["predict", "--config", "own/predict.yaml", *PLAIN, *data, *takes, answer, *more])


def test_the_three_commands_run_and_each_names_the_next(here, capsys) -> None:
    write_discs(here / "clips", 5)
    quick = ["--trainer.fast_dev_run=true"]
    assert fit_autoencoder(*quick) == 0
    saved, following = capsys.readouterr().out.splitlines()[-2:]
    assert saved.startswith("saved runs/weights/own/vae: the VAE (val/psnr ")
    wanted = f"next: lvcf fit --config own/denoiser.yaml --data.clips.frames {FRAMES} --data.clips.size {SIZE}"
    assert following == wanted
    options = shlex.split(following.removeprefix("next: lvcf fit --config own/denoiser.yaml"))
    assert fit_denoiser(*options, "--data.windows=1", "--data.batch_size=2", *quick) == 0
    saved, following = capsys.readouterr().out.splitlines()[-2:]
    assert saved.startswith("saved runs/weights/own/backbone: the backbone (val/loss ")
    assert following == f"next: lvcf predict --config own/predict.yaml --data.frames {FRAMES} --data.size {SIZE}"
    assert predict("--model.steps=2", "--data.predict_split=val") == 0
    told = [line for line in capsys.readouterr().out.splitlines() if "fps" in line]
    assert told == [f"clips of 64x48 at 12 fps -> centre 48x48, {FRAMES} frames at 8 fps from 0.0 s"]
    (result,) = results(here / "runs/own").values()
    assert {result["class_before"], result["target"]["text"]} == {"red", "green"}


@pytest.mark.slow  # three to four minutes of one core
def test_a_backbone_of_24_clips_draws_them_and_explains(here) -> None:
    write_discs(here / "clips", 24)
    table = "clips/labels.csv"
    assert fit_autoencoder("--trainer.max_steps=120", "--trainer.val_check_interval=60", "--data.batch_size=4") == 0
    psnr, similarity = reconstruction("runs/weights/own/vae")
    assert psnr > LEAST_PSNR
    assert similarity > LEAST_SSIM
    shipped = reconstruction("phantom/backbone/vae")
    assert shipped[0] < LEAST_PSNR - 5.0
    assert shipped[1] < LEAST_SSIM - 0.2
    assert psnr > reconstruction("face_motion/backbone/vae")[0] + 0.5  # where it began
    said = [f"--data.clips.table={table}", "--data.clips.labels=[red,green]", f"--model.backbone.table={table}"]
    assert fit_denoiser(*said, "--trainer.max_steps=300", "--trainer.val_check_interval=100") == 0
    with (here / table).open(newline="") as stream:
        colours = {Path(row["path"]).stem: row["label"] for row in csv.DictReader(stream)}
    for prompt in ("neutral", "target"):
        run = f"runs/{prompt}"
        options = [f"--model.prompt={prompt}", f"--model.output={run}", "--data.predict_split=test"]
        assert predict(*options) == 0
        for name, result in results(here / run).items():
            assert result["class_before"] == colours[name]
            assert result["status"] == "reached", result
            assert result["class_after"] == result["target"]["text"] != colours[name]


def reconstruction(weights: str) -> tuple[float, float]:
    """PSNR in dB and SSIM of clips that no training saw."""
    module = VideoFolderDataModule(Path("clips"), size=SIZE, frames=FRAMES)
    clips = [module.make_dataset(stage) for stage in ("val", "test")]
    video = torch.stack([part[i]["video"] for part in clips for i in range(len(part))])
    family, vae = load_vae(weights)
    with torch.no_grad():
        drawn = family.decode_with(vae, family.encode_with(vae, video), FRAMES).clamp(-1, 1)
    error = (drawn - video).square().mean(dim=(1, 2, 3, 4))
    frames = [clip.transpose(1, 2).flatten(0, 1) for clip in (drawn, video)]
    return float((10 * torch.log10(4.0 / error)).mean()), float(ssim(*frames, data_range=2.0))
