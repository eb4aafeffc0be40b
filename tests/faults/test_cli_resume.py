"""``fit --ckpt_path``: the weights of the undisturbed training, bit for bit; nothing that is no checkpoint."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lvcf.cli import main
from lvcf.datamodules.resumable import ResumableLoader
from tests.helpers import fails, subset
from tests.test_bad_input import all_in, rewrite

STEPS = 6
VAE = {"latent_channels": 4, "block_out_channels": [8, 8], "decoder_block_out_channels": [8, 16]}
SMALL = {
    "target": ["--model.network.channels=[8,8,16]", "--data.num_workers=1"],
    "autoencoder": [f"--model.vae.{name}={value}" for name, value in VAE.items()] + ["--data.num_workers=0"],
    "denoiser": [],
}
"""Options that make the networks tiny; one training has a loader process."""
FIGURE = {"target": "mae", "autoencoder": "psnr", "denoiser": "loss_neutral"}


@pytest.fixture(scope="module")
def data(tmp_path_factory, echo_root) -> Path:
    """Four clips for training, one for validation, one for a test."""
    root = subset(echo_root, tmp_path_factory.mktemp("resume") / "data", 6)
    rows = all_in(root, "TRAIN")
    rewrite(root / "FileList.csv", [*rows[:4], {**rows[4], "Split": "VAL"}, {**rows[5], "Split": "TEST"}])
    return root


def fit(part: str, data: Path, folder: Path, backbone: Path, *more: str) -> list[str]:
    """Six steps of two an epoch, a checkpoint after each and a validation after every second."""
    clips = "--data.clips" if part == "denoiser" else "--data"
    options = [f"{clips}.root={data}", f"{clips}.batch_size=2", f"{clips}.size=32"]
    if part == "denoiser":
        vae = backbone / "vae"
        options += [f"--data.vae={vae}", f"--data.cache={data.parent / 'latents'}", "--data.batch_size=2"]
        options += ["--data.windows=1", "--data.clips.num_workers=0", f"--model.backbone.vae={vae}"]
        for name, value in {"in_channels": 16, "out_channels": 16, "num_layers": 1, "num_attention_heads": 1}.items():
            options.append(f"--model.backbone.transformer.{name}={value}")
        options += ["--model.backbone.transformer.cross_attention_dim=48"]
    checkpoint = "--trainer.callbacks.ModelCheckpoint"
    options += [f"{checkpoint}.dirpath={folder / 'checkpoints'}", f"{checkpoint}.every_n_train_steps=1"]
    options += [f"{checkpoint}.save_top_k=-1", f"--model.output={folder / 'weights'}", "--trainer.logger=false"]
    options += [f"--trainer.max_steps={STEPS}", "--trainer.val_check_interval=2", "--trainer.precision=32-true"]
    options += ["--trainer.check_val_every_n_epoch=null", "--trainer.accelerator=cpu", "--threads=1"]
    options += ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]
    return ["fit", "--config", f"phantom/{part}.yaml", *options, *more]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return {f"{p.parent.name}.{k}": v for p in folder.rglob("*.safetensors") for k, v in load_file(p).items()}


@pytest.mark.parametrize("part", ["target", "autoencoder", "denoiser"])
def test_a_resumed_training_is_the_undisturbed_one_and_is_measured(
    part, data, backbone_folder, tmp_path, capsys
) -> None:
    """From the middle of an epoch, and from its end, where a validation is due; then on both other splits."""
    whole = tmp_path / "whole"
    assert main([*fit(part, data, whole, backbone_folder), *SMALL[part]]) == 0
    expected = weights(whole / "weights")
    for steps in (3, 4):
        (checkpoint,) = (whole / "checkpoints").glob(f"*step={steps}.ckpt")
        resumed = tmp_path / str(steps)
        (resumed / "checkpoints").mkdir(parents=True)
        shutil.copy(checkpoint, resumed / "checkpoints" / "last.ckpt")
        assert main([*fit(part, data, resumed, backbone_folder, "--ckpt_path=last"), *SMALL[part]]) == 0
        found = weights(resumed / "weights")
        assert expected.keys() == found.keys() != set()
        differing = [name for name in expected if not torch.equal(expected[name], found[name])]
        assert differing == [], steps
    before = {path: path.read_bytes() for path in (whole / "weights").rglob("*.safetensors")}
    for verb in ("validate", "test"):
        capsys.readouterr()
        arguments = [verb, *fit(part, data, whole, backbone_folder, f"--ckpt_path={checkpoint}")[1:], *SMALL[part]]
        assert main(arguments) == 0
        assert f"{verb.removesuffix('idate')}/{FIGURE[part]}" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in before} == before


OTHER = {"state_dict": {"a": torch.zeros(2)}, "pytorch-lightning_version": "2.6.6", "epoch": 0, "global_step": 0}
"""A checkpoint of another model."""


class Foreign:
    """An object whose unpickling would leave a file behind."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self):
        return Path.touch, (self.trace,)


def cut_off(path: Path, trace: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(10_000)}}, path)
    path.write_bytes(path.read_bytes()[:5000])


SPOILT = {
    "a pickle": (lambda p, trace: p.write_bytes(pickle.dumps(Foreign(trace))), "other objects than tensors"),
    "a pickle in a checkpoint": (lambda p, trace: torch.save(Foreign(trace), p), "other objects than tensors"),
    "cut off": (cut_off, "damaged or cut off"),
    "empty": (lambda p, trace: p.write_bytes(b""), "damaged or cut off"),
    "tensors alone": (lambda p, trace: torch.save({"a": torch.zeros(2)}, p), "no checkpoint of a training"),
    "another model's": (lambda p, trace: torch.save(OTHER, p), "another model"),
    "a folder": (lambda p, trace: p.mkdir(), "Is a directory"),
}


@pytest.mark.parametrize("case", SPOILT)
def test_what_is_no_checkpoint_is_refused_and_never_run(case, capfd, data, backbone_folder, tmp_path) -> None:
    spoil, says = SPOILT[case]
    path, trace = tmp_path / "spoilt.ckpt", tmp_path / "trace"
    spoil(path, trace)
    line = fails(capfd, fit("target", data, tmp_path, backbone_folder, f"--ckpt_path={path}", "--data.num_workers=0"))
    assert says in line
    assert str(path) in line or case == "another model's"
    assert not trace.exists()


@pytest.mark.parametrize("path", ["http://127.0.0.1:9/x.ckpt", "s3://bucket/x.ckpt", "/nowhere/x.ckpt", "best", "last"])
@pytest.mark.parametrize("verb", ["fit", "predict"])
def test_a_checkpoint_that_is_not_here_is_refused(verb, path, capfd, data, backbone_folder, target_folder, tmp_path):
    arguments = fit("target", data, tmp_path, backbone_folder, "--data.num_workers=0")
    if verb == "predict":
        from tests.helpers import predict_arguments

        arguments = predict_arguments(data, backbone_folder, target_folder, tmp_path / "run")
    line = fails(capfd, [*arguments, f"--ckpt_path={path}"])
    assert path in line


def test_a_checkpoint_does_not_change_the_command_line(capfd, data, backbone_folder, tmp_path) -> None:
    """Hyperparameters in a foreign file would choose classes to import."""
    path = tmp_path / "other.ckpt"
    hyperparameters = {"_class_path": "no_such_module.Task", "lr": 1.0}
    torch.save({**OTHER, "hyper_parameters": hyperparameters}, path)
    line = fails(capfd, fit("target", data, tmp_path, backbone_folder, f"--ckpt_path={path}", "--data.num_workers=0"))
    assert "another model" in line


# --- the loader -------------------------------------------------------------------------------------------------------


class Drawn(Dataset[dict[str, Tensor]]):
    """Items that draw from the generator of the process that makes them."""

    def __len__(self) -> int:
        return 11

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"index": torch.tensor(index), "drawn": torch.rand(())}


def steps(loader: DataLoader, epochs: int, stop: int | None = None) -> list[tuple[list[int], list[float], float]]:
    """What a training sees: items, what was drawn in them, and its own noise; five steps an epoch."""
    seen = []
    for _ in range(epochs):
        for batch in loader:
            seen.append((batch["index"].tolist(), batch["drawn"].tolist(), float(torch.randn(()))))
            if len(seen) == stop:
                return seen
    return seen


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_resumed_loader_goes_on_bit_for_bit_and_shuffles_as_torchs_own(workers) -> None:
    torch.manual_seed(5)
    plain = DataLoader(Drawn(), 2, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=workers > 0)
    expected = steps(plain, 3)
    for stop in (1, 2, 5, 8):
        torch.manual_seed(5)
        loader = ResumableLoader(Drawn(), 2, workers)
        head, state = steps(loader, 3, stop), loader.state_dict()
        torch.manual_seed(99)
        loader = ResumableLoader(Drawn(), 2, workers)
        loader.load_state_dict(state)
        assert head + steps(loader, 3 - stop // 5) == expected, stop
