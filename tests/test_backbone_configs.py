"""configs/backbones/*.yaml on tiny folders of every family: fit, stock diffusers, predict, evaluate; and the faults."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import DiffusionPipeline

from lvcf.cli import main
from lvcf.data.video import read_video
from lvcf.models.backbones.load import family_of, load_backbone
from lvcf.models.backbones.lora import FILE
from tests.families import CHANNELS, FAMILIES, IMAGE_FAMILIES, NOT_TRAINED, SHAPES, SIZES, save_family, wan
from tests.helpers import fails, results, rewrite, subset

NAMES = [*(name for name in FAMILIES if name != "hunyuan_video_1_5_t2v"), *IMAGE_FAMILIES]  # it has none of its own
EACH = pytest.mark.parametrize("name", NAMES)
TRAINED = pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_TRAINED])
GIVEN = [*IMAGE_FAMILIES, "ltx2_19b", "wan_2_2_5b"]
"""Whose configuration gives the first frame."""
TARGET = "lvcf.models.targets.ejection_fraction.echo_resnet_3d"
QUICK = [
    "--threads=1",
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.enable_progress_bar=false",
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("families")
    return {name: save_family(name, root / name) for name in NAMES}


@pytest.fixture(scope="module")
def clips(echo_root, tmp_path_factory) -> Path:
    """Two training clips, one validation clip and one test clip."""
    root = subset(echo_root, tmp_path_factory.mktemp("clips") / "set", 4)
    with (root / "FileList.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, split in zip(rows, ("TEST", "TRAIN", "TRAIN", "VAL"), strict=True):
        row["Split"] = split
    rewrite(root / "FileList.csv", rows)
    return root


@pytest.fixture(scope="module")
def recorded(clips, tmp_path_factory) -> Path:
    """The same clips as a real set's: no truth is known of them, so any size can be evaluated."""
    root = tmp_path_factory.mktemp("recorded") / "set"
    shutil.copytree(clips, root)
    (root / "Factors.csv").unlink()
    return root


def fit_arguments(name: str, folder: Path, clips: Path, out: Path, *more: str) -> list[str]:
    """The shipped configuration with a tiny folder in the published checkpoint's place; the whole denoiser."""
    return [
        "fit",
        "--config",
        f"backbones/{name}.yaml",
        f"--model.backbone.weights={folder}",
        f"--model.output={out / 'weights'}",
        "--model.lora_rank=0",
        f"--data.vae={folder}",
        f"--data.cache={out / 'latents'}",
        "--data.windows=1",
        "--data.batch_size=1",
        f"--data.clips.root={clips}",
        f"--data.clips.size={SIZES[name]}",
        "--data.clips.batch_size=2",
        "--data.clips.num_workers=0",
        "--trainer.max_steps=2",
        "--trainer.accumulate_grad_batches=1",
        "--trainer.logger=false",
        f"--trainer.default_root_dir={out}",
        *QUICK,
        *more,
    ]


def predict_arguments(name: str, weights: Path, target: Path, clips: Path, out: Path, *more: str) -> list[str]:
    return [
        "predict",
        "--config",
        f"backbones/{name}.yaml",
        f"--model.backbone.weights={weights}",
        "--model.backbone.lora=",
        f"--model.target_model={TARGET}",
        f"--model.target_model.weights={target}",
        f"--model.output={out}",
        "--model.steps=2",
        f"--data.root={clips}",
        f"--data.size={SIZES[name]}",
        *QUICK,
        *more,
    ]


def checkpoint(folder: Path) -> str:
    """An average of the weights, and checkpoints of both."""
    average = "{class_path: lvcf.callbacks.average.TrainedWeightAverage, init_args: {decay: 0.9}}"
    often = f"{{dirpath: {folder}, every_n_train_steps: 1, save_top_k: -1, save_last: true}}"
    saver = f"{{class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {often}}}"
    return f"--trainer.callbacks=[{average}, {saver}]"


@pytest.fixture(scope="module")
def fitted(folders, clips, tmp_path_factory) -> Callable[[str], Path]:
    """Fits a family once; the folder holds weights/, latents/ and checkpoints/."""
    done: dict[str, Path] = {}

    def fit(name: str) -> Path:
        if name not in done:
            out = tmp_path_factory.mktemp(f"fit_{name}")
            assert main(fit_arguments(name, folders[name], clips, out, checkpoint(out / "checkpoints"))) == 0
            done[name] = out
        return done[name]

    return fit


@TRAINED
def test_fit_trains_the_denoiser_alone_and_stock_diffusers_loads_the_result(name, fitted, folders) -> None:
    out = fitted(name)
    pipe = DiffusionPipeline.from_pretrained(out / "weights")
    given = load_backbone(str(folders[name]), text_dtype="bfloat16")  # as the configuration loads it
    assert type(pipe).__name__ == given.pipeline_name
    changed = []
    for part, model in given.named_children():
        before, after = model.state_dict(), getattr(pipe, part).state_dict()
        assert list(before) == list(after)
        if not all(torch.equal(before[key].float(), after[key].float()) for key in before):
            changed.append(part)
    assert changed  # of two denoisers, those whose times were drawn
    assert set(changed) <= set(given.denoisers())


@TRAINED
def test_a_checkpoint_holds_what_is_trained_and_training_goes_on_from_it(name, fitted, folders, clips) -> None:
    out = fitted(name)
    stored = torch.load(out / "checkpoints" / "last.ckpt", weights_only=False)
    denoisers = load_backbone(str(folders[name])).denoisers()
    trained = {f"backbone.{part}.{key}" for part, model in denoisers.items() for key, _ in model.named_parameters()}
    if name == "ltx2_19b":  # its sound draws no pixel
        trained = {key for key in trained if not re.search("audio|a2v|av_cross", key)}
    assert set(stored["state_dict"]) == set(stored["current_model_state"]) == trained
    if name == "wan_1_3b":  # one family is enough: the code is the same for all
        (first,) = (out / "checkpoints").glob("*step=1.ckpt")
        more = [checkpoint(out / "more"), f"--ckpt_path={first}", f"--model.output={out / 'again'}"]
        assert main(fit_arguments(name, folders[name], clips, out, *more)) == 0
        assert torch.load(out / "more" / "last.ckpt", weights_only=False)["global_step"] == 2
        assert (out / "again" / "model_index.json").is_file()


@EACH
def test_predict_and_evaluate(name, fitted, folders, recorded, target_folder, tmp_path) -> None:
    run, weights = tmp_path / "run", folders[name] if name in NOT_TRAINED else fitted(name) / "weights"
    assert main(predict_arguments(name, weights, target_folder, recorded, run)) == 0
    ((clip, result),) = results(run).items()
    assert result["status"] in ("reached", "not_reached", "not_drawable")  # random weights draw nothing
    assert 1 <= result["steps"] <= 2
    assert result["gradient_evaluations"] > 0
    saved = read_video(run / "predictions" / clip / "counterfactual.mkv").frames
    assert saved.shape == (16, SIZES[name], SIZES[name], 3)
    factual = read_video(run / "predictions" / clip / "factual.mkv").frames
    assert (saved[1:] != factual[1:]).any()
    assert (saved[0] == factual[0]).all() == (name in GIVEN)
    assert json.loads((run / "manifest.json").read_text())["backbone"] == family_of(weights).__name__
    assert main(["evaluate", str(run)]) == 0
    assert json.loads((run / "metrics.json").read_text())["n"] == 1


@pytest.mark.slow
def test_a_phantoms_clip_is_measured_against_its_truth(fitted, clips, target_folder, tmp_path) -> None:
    """At the phantom's own 112 pixels."""
    run = tmp_path / "run"
    options = ["--data.size=112", "--model.steps=1"]
    assert main(predict_arguments("wan_1_3b", fitted("wan_1_3b") / "weights", target_folder, clips, run, *options)) == 0
    assert main(["evaluate", str(run)]) == 0
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["simulated"] is True
    assert metrics["truth/l1_levels"] > 0


# --- LoRA -------------------------------------------------------------------------------------------------------------


@TRAINED
def test_lora_trains_saves_and_adds_up(name, folders, clips, target_folder, tmp_path) -> None:
    """The file alone is saved; this project's merged weights say what the stock pipeline's loaded adapter says."""
    pytest.importorskip("peft", reason="peft comes with the backbones extra")
    folder = folders[name]
    options = ["--model.lora_rank=2", "--model.lr=0.1", checkpoint(tmp_path / "checkpoints")]
    assert main(fit_arguments(name, folder, clips, tmp_path, *options)) == 0
    files = sorted(str(p.relative_to(tmp_path / "weights")) for p in (tmp_path / "weights").rglob("*.*"))
    assert files == [FILE, *(["transformer_2/" + FILE] if name == "wan_2_2_i2v_a14b" else [])]
    stored = torch.load(tmp_path / "checkpoints" / "last.ckpt", weights_only=False)
    assert all(".lora_A." in key or ".lora_B." in key for key in stored["state_dict"])
    merged = load_backbone(str(folder), lora=str(tmp_path / "weights"))
    plain = load_backbone(str(folder))
    z, t = torch.randn(1, CHANNELS, *SHAPES[name]), torch.tensor([0.5])
    with torch.no_grad():
        told = (
            plain.embed(["ejection fraction 30 percent"]),
            plain.condition(torch.rand(1, 3, 16, *[SIZES[name]] * 2), [0]),
        )
        said, before = merged.output(z, t, *told), plain.output(z, t, *told)
        assert (said - before).abs().max() > 1e-4
        if name.startswith("hunyuan"):  # whose stock pipelines have no load_lora_weights, but its denoiser loads them
            plain.transformer.load_lora_adapter(tmp_path / "weights", weight_name=FILE)
            torch.testing.assert_close(plain.output(z, t, *told), said, atol=1e-5, rtol=1e-4)
        elif name != "latte":  # whose stock denoiser has no such method either
            pipe = plain.pipeline()
            for file in files:
                second = {"load_into_transformer_2": True} if "transformer_2" in file else {}
                pipe.load_lora_weights((tmp_path / "weights" / file).parent, weight_name=FILE, **second)
            torch.testing.assert_close(plain.output(z, t, *told), said, atol=1e-5, rtol=1e-4)
    lora = f"--model.backbone.lora={tmp_path / 'weights'}"
    assert main(predict_arguments(name, folder, target_folder, clips, tmp_path / "run", lora)) == 0
    assert len(results(tmp_path / "run")) == 1


def test_lora_without_peft_is_one_line(folders, clips, tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "peft", None)
    line = fails(capfd, fit_arguments("wan_1_3b", folders["wan_1_3b"], clips, tmp_path, "--model.lora_rank=4"))
    assert "model.lora_rank 4" in line
    assert "pip install lvcf[backbones]" in line


# --- faults -----------------------------------------------------------------------------------------------------------


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def other_vae(folder: Path) -> None:
    """A VAE of more latent channels, from another backbone of the family."""
    pipe = wan()
    vae = type(pipe.vae)(**{**pipe.vae.config, "z_dim": 8, "latents_mean": [0.0] * 8, "latents_std": [1.0] * 8})
    shutil.rmtree(folder / "vae")
    vae.save_pretrained(folder / "vae")


def shards(folder: Path) -> None:
    """Saved in several files, one of them gone."""
    part = folder / "transformer"
    shutil.rmtree(part)
    wan().transformer.save_pretrained(part, max_shard_size="20KB")
    sorted(part.glob("*-of-*.safetensors"))[1].unlink()


def tensors_gone(folder: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = folder / "text_encoder" / "model.safetensors"
    tensors = load_file(path)
    tensors.pop(next(key for key in tensors if "SelfAttention.q" in key))
    save_file(tensors, path, metadata={"format": "pt"})


BROKEN: dict[str, tuple[Callable[[Path], Any], list[str]]] = {
    "a family that is unknown": (
        lambda f: edit(f / "model_index.json", _class_name="StableDiffusionPipeline"),
        ["StableDiffusionPipeline", "CogVideoXPipeline, CogVideoXImageToVideoPipeline, LTXPipeline", "LattePipeline"],
    ),
    "an index without a family": (lambda f: (f / "model_index.json").write_text("{}"), ["pipeline without a name"]),
    "an index that is damaged": (lambda f: (f / "model_index.json").write_text("{"), ["model_index.json: damaged"]),
    "no index": (lambda f: (f / "model_index.json").unlink(), ["no model_index.json"]),
    "a shard is missing": (shards, ["-00002-of-", "shard is missing", "copy or download"]),
    "no text encoder": (lambda f: shutil.rmtree(f / "text_encoder"), ["lacks text_encoder"]),
    "a text encoder left out of the index": (
        lambda f: edit(f / "model_index.json", text_encoder=[None, None]),
        ["lacks text_encoder"],
    ),
    "a text encoder of another kind": (
        lambda f: edit(f / "model_index.json", text_encoder=["transformers", "LlamaModel"]),
        ["LlamaModel", "T5EncoderModel", "UMT5EncoderModel"],
    ),
    "a tensor is missing": (tensors_gone, ["text_encoder lacks 1 tensors", "SelfAttention.q"]),
    "latent channels that do not match": (other_vae, ["8 channels", "takes 4", "different backbones"]),
    "a denoiser of another family": (
        lambda f: edit(f / "model_index.json", transformer=["diffusers", "LTXVideoTransformer3DModel"]),
        ["its transformer is a LTXVideoTransformer3DModel", "WanTransformer3DModel"],
    ),
    "a prediction that is unknown": (
        lambda f: edit(f / "scheduler" / "scheduler_config.json", prediction_type="sample"),
        ["prediction_type 'sample'", "epsilon, v_prediction"],
    ),
    "a scheduler that is unknown": (
        lambda f: edit(f / "model_index.json", scheduler=["diffusers", "NoSuchScheduler"]),
        ["NoSuchScheduler"],
    ),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_folder(case, folders, clips, target_folder, tmp_path, capfd) -> None:
    spoil, says = BROKEN[case]
    broken = tmp_path / "broken"
    shutil.copytree(folders["wan_1_3b"], broken)
    spoil(broken)
    line = fails(capfd, predict_arguments("wan_1_3b", broken, target_folder, clips, tmp_path / "run"))
    for text in [str(broken), *says]:
        assert text in line
    assert line.count(str(broken)) == 1


def test_a_folder_of_another_family_than_the_one_asked_for(folders, clips, target_folder, tmp_path, capfd) -> None:
    arguments = predict_arguments("wan_1_3b", folders["wan_1_3b"], target_folder, clips, tmp_path / "run")
    arguments[3:5] = [
        "--model.backbone=lvcf.models.backbones.ltx.ltx_backbone",
        f"--model.backbone.weights={folders['wan_1_3b']}",
    ]
    line = fails(capfd, arguments)
    assert "holds a WanPipeline, not a LTXPipeline" in line
    assert "load_backbone" in line


WRONG: dict[str, tuple[str, list[str], list[str]]] = {
    "no such id": ("wan_1_3b", ["--model.backbone.weights=nobody/nothing"], ["nobody/nothing", "id of the hub"]),
    "a size the VAE cannot take": ("ltx_2b", ["--data.size=48"], ["data.size", "48 x 48", "multiples of 32"]),
    "a size the denoiser cannot take": ("wan_1_3b", ["--data.size=40"], ["5 x 5", "multiples of 2", "data.size"]),
    "frames that Latte cannot take": ("latte", ["--data.frames=12"], ["data.frames 12", "16 frames"]),
    "more steps than there are": ("latte", ["--model.steps=2000"], ["model.steps 2000"]),
    "tiles and MSPR": ("wan_1_3b", ["--model.backbone.tiling=true"], ["tiling", "MSPR"]),
    "no given frame": ("wan_i2v_14b", ["--model.given_frames=none"], ["model.given_frames none", "first frame"]),
    "no such LoRA": ("wan_1_3b", ["--model.backbone.lora=/nowhere/lora"], ["/nowhere/lora", "no such LoRA"]),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_options(case, folders, clips, target_folder, tmp_path, capfd) -> None:
    name, options, says = WRONG[case]
    line = fails(capfd, predict_arguments(name, folders[name], target_folder, clips, tmp_path / "run", *options))
    for text in says:
        assert text in line


def test_latents_without_the_first_frames_that_a_denoiser_is_shown(folders, clips, tmp_path, capfd) -> None:
    options = ["--data.first_frames=false"]
    line = fails(capfd, fit_arguments("wan_i2v_14b", folders["wan_i2v_14b"], clips, tmp_path, *options))
    assert "data.first_frames false: a WanImageToVideoPipeline is trained beside" in line


def test_latents_of_another_vae(fitted, folders, clips, tmp_path, capfd) -> None:
    """Cached with other weights; and of a VAE that is not the backbone's."""
    out, folder = fitted("wan_1_3b"), folders["wan_1_3b"]
    other = tmp_path / "other"
    shutil.copytree(folder, other)
    torch.manual_seed(6)
    wan().vae.save_pretrained(other / "vae")
    cached = [f"--data.cache={out / 'latents'}"]
    line = fails(capfd, fit_arguments("wan_1_3b", other, clips, tmp_path, *cached))
    assert str(out / "latents") in line
    assert f"other weights than {other}" in line
    assert "choose another data.cache" in line
    line = fails(capfd, fit_arguments("wan_1_3b", folder, clips, tmp_path, f"--data.vae={other}"))
    assert f"data.vae {other}" in line
    assert "is another VAE than the backbone's" in line


def test_a_lora_of_another_denoiser_or_a_file_that_is_none(folders, tmp_path, capfd, clips, target_folder) -> None:
    from safetensors.torch import save_file

    def arguments(path: Path) -> list[str]:
        lora = f"--model.backbone.lora={path}"
        return predict_arguments("wan_1_3b", folders["wan_1_3b"], target_folder, clips, tmp_path / "run", lora)

    def saved(name: str, **tensors: torch.Tensor) -> Path:
        save_file({key.replace("__", "."): value for key, value in tensors.items()}, tmp_path / name)
        return tmp_path / name

    a, b = torch.zeros(2, 24), torch.zeros(24, 2)
    layer = "transformer__{}__lora_{}__weight"
    elsewhere = saved("elsewhere", **{layer.format("no__such", "A"): a, layer.format("no__such", "B"): b})
    assert "this one has no layer no.such" in fails(capfd, arguments(elsewhere))
    key = "blocks__0__attn1__to_q"
    wide = saved("wide", **{layer.format(key, "A"): torch.zeros(2, 99), layer.format(key, "B"): b})
    assert "is (24, 24) in this one" in fails(capfd, arguments(wide))
    assert "no LoRA in diffusers' layout" in fails(capfd, arguments(saved("none", x=a)))
    (tmp_path / "damaged").write_bytes(b"{nonsense")
    assert "damaged" in fails(capfd, arguments(tmp_path / "damaged"))
