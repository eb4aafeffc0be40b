"""Weights folders: what is in them is loaded whole, no code of theirs is run, and damage is told in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file

from lvcf.errors import UserError
from lvcf.models.backbones import load as loading
from lvcf.models.backbones.load import load_backbone, load_vae
from lvcf.models.backbones.ltx import ltx_backbone, ltx_vae
from lvcf.models.backbones.tiny_decoder import TinyDecoder, load_tiny_decoder
from lvcf.steering.editors.pipeline_editor import PipelineEditor
from lvcf.steering.editors.stable_diffusion import StableDiffusion
from tests.families import FAMILIES, save_family
from tests.steering.editors.tiny import save_stable_diffusion

Loader = Callable[[str], Any]
LOADERS: dict[str, tuple[str, Loader]] = {
    "backbone": ("wan_1_3b", load_backbone),
    "pipeline editor": ("wan_1_3b", lambda weights: PipelineEditor(weights, dtype="float32", device="cpu")),
    "stable diffusion": ("sd", lambda weights: StableDiffusion.from_pretrained(weights, "cpu")),
}
DENOISER = {"wan_1_3b": "transformer", "sd": "unet"}
EACH = pytest.mark.parametrize("loader", LOADERS)


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("folders")
    made = {name: save_family(name, root / name) for name in FAMILIES}
    return {**made, "sd": save_stable_diffusion(root / "sd")}


@pytest.fixture
def spoiled(folders, tmp_path):
    def copy(name: str) -> Path:
        return Path(shutil.copytree(folders[name], tmp_path / "spoiled"))

    return copy


def edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def refusal(load: Loader, folder: Path) -> str:
    with pytest.raises(UserError) as refused:
        load(str(folder))
    line = str(refused.value)
    assert "\n" not in line
    assert str(folder) in line
    assert "huggingface.co" not in line
    return line


# --- tensors ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("part", ["vae", "denoiser", "text_encoder"])
@EACH
def test_surplus_tensors_are_refused_as_missing_ones_are(loader, part, spoiled) -> None:
    """A file of a deeper model behind a configuration of fewer layers would be cut short."""
    name, load = LOADERS[loader]
    folder, part = spoiled(name), DENOISER[name] if part == "denoiser" else part
    (file,) = (folder / part).glob("*.safetensors")
    tensors = load_file(file)
    key = min(tensors)
    save_file({**tensors, f"deeper.{key}": tensors[key].clone()}, file, {"format": "pt"})
    assert f"{part} has 1 tensors that its config.json has no place for, such as deeper.{key}" in refusal(load, folder)
    tensors.pop(key)
    save_file(tensors, file, {"format": "pt"})
    assert f"{part} lacks 1 tensors, such as {key}" in refusal(load, folder)


def test_a_configuration_of_fewer_layers_than_the_file(spoiled) -> None:
    import diffusers

    folder = spoiled("wan_1_3b")
    part = folder / "transformer"
    config = json.loads((part / "config.json").read_text())
    diffusers.WanTransformer3DModel.from_config({**config, "num_layers": 2}).save_pretrained(part)
    load_backbone(str(folder))
    edit(part / "config.json", num_layers=1)
    assert "such as blocks.1." in refusal(load_backbone, folder)


def test_a_vae_alone_is_held_to_the_same(spoiled) -> None:
    vae = spoiled("ltx_2b") / "vae"
    load_vae(str(vae))
    ltx_vae(str(vae))
    (file,) = vae.glob("*.safetensors")
    save_file({**load_file(file), "deeper": torch.zeros(1)}, file, {"format": "pt"})
    for load in (load_vae, ltx_vae):
        assert "no place for, such as deeper" in refusal(load, vae)


def test_a_tiny_decoder_is_held_to_the_same(tmp_path) -> None:
    """A tensor that is missing was left at random, one too many was dropped."""
    TinyDecoder(4, channels=(4, 4, 4, 4)).save_pretrained(tmp_path)
    load_tiny_decoder(str(tmp_path))
    file = tmp_path / "model.safetensors"
    tensors = load_file(file)
    key = min(tensors)
    save_file({**tensors, "deeper": torch.zeros(1)}, file)
    assert "deeper" in refusal(load_tiny_decoder, tmp_path)
    save_file({name: tensor for name, tensor in tensors.items() if name != key}, file)
    assert key in refusal(load_tiny_decoder, tmp_path)


# --- variants ---------------------------------------------------------------------------------------------------------


def only_variant(folder: Path, variant: str, parts: tuple[str, ...]) -> None:
    for part in parts:
        for file in list((folder / part).glob("*.safetensors")):
            file.rename(file.with_name(file.name.replace(".safetensors", f".{variant}.safetensors")))


@pytest.mark.parametrize("which", ["all", "denoiser"])
@EACH
def test_a_variants_files_alone_are_loaded(loader, which, spoiled, folders) -> None:
    name, load = LOADERS[loader]
    folder, denoiser = spoiled(name), DENOISER[name]
    parts = (denoiser,) if which == "denoiser" else (denoiser, "vae", "text_encoder")
    only_variant(folder, "fp16" if which == "all" else "bf16", parts)
    made, right = load(str(folder)), load(str(folders[name]))
    made, right = (getattr(model, "pipeline", model) if "pipeline" in loader else model for model in (made, right))
    for part in (denoiser, "vae", "text_encoder"):
        ours, theirs = getattr(made, part).state_dict(), getattr(right, part).state_dict()
        assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


def test_shards_of_a_variant_are_loaded(spoiled) -> None:
    folder = spoiled("wan_1_3b")
    model = load_backbone(str(folder)).transformer
    shutil.rmtree(folder / "transformer")
    model.save_pretrained(folder / "transformer", max_shard_size="20KB", variant="fp16")
    again = load_backbone(str(folder)).transformer.state_dict()
    assert all(torch.equal(again[key], value) for key, value in model.state_dict().items())


def test_of_a_hub_id_half_precision_is_downloaded_where_there_is_nothing_else(spoiled, folders, tmp_path, monkeypatch):
    hub, here = spoiled("wan_1_3b"), tmp_path / "here"
    only_variant(hub, "fp16", ("vae",))
    for file in (hub / "transformer").glob("*.safetensors"):
        shutil.copy(file, file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))

    def download(name: str, **patterns: list[str]) -> str:
        """The network alone is another: the library's own filter chooses."""
        for file in filter_repo_objects([str(p.relative_to(hub)) for p in hub.rglob("*") if p.is_file()], **patterns):
            (here / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(hub / file, here / file)
        return str(here)

    monkeypatch.setattr(loading, "snapshot_download", download)
    made, right = load_backbone("someone/wan"), load_backbone(str(folders["wan_1_3b"]))
    assert all(torch.equal(made.vae.state_dict()[key], value) for key, value in right.vae.state_dict().items())
    assert [p.name for p in here.rglob("*.fp16.*")] == ["diffusion_pytorch_model.fp16.safetensors"]


@EACH
def test_several_variants_and_no_weights_are_told(loader, spoiled) -> None:
    name, load = LOADERS[loader]
    folder, part = spoiled(name), DENOISER[name]
    only_variant(folder, "fp16", (part,))
    (file,) = (folder / part).glob("*.safetensors")
    shutil.copy(file, file.with_name(file.name.replace("fp16", "bf16")))
    assert f"{part} holds several variants of its weights (bf16, fp16)" in refusal(load, folder)
    for file in (folder / part).glob("*.safetensors"):
        file.unlink()
    assert f"{part} holds no weights" in refusal(load, folder)


# --- foreign code -----------------------------------------------------------------------------------------------------

RUN = """
import sys
from lvcf.errors import UserError
from lvcf.models.backbones import load as loading
from lvcf.models.backbones.load import load_backbone, load_vae
from lvcf.models.backbones.ltx import ltx_vae
from lvcf.steering.editors.pipeline_editor import PipelineEditor
from lvcf.steering.editors.stable_diffusion import StableDiffusion
loads = {
    "backbone": load_backbone,
    "pipeline editor": lambda weights: PipelineEditor(weights, device="cpu"),
    "stable diffusion": lambda weights: StableDiffusion.from_pretrained(weights, "cpu"),
    "vae": lambda weights: load_vae(weights + "/vae"),
    "ltx vae": lambda weights: ltx_vae(weights + "/vae"),
}
for argument in sys.argv[1:]:
    loader, folder = argument.split("=")
    try:
        loads[loader](folder)
        print("LOADED", argument)
    except UserError as error:
        print("REFUSED", error)
"""


def test_code_in_a_folder_is_never_run_and_nobody_is_asked(folders, tmp_path) -> None:
    """In each part's own files; with a yes waiting on the terminal."""
    marker, arguments = tmp_path / "OWNED", []
    places = [
        *((loader, part) for loader in LOADERS for part in ("tokenizer", "text_encoder", "vae", "denoiser")),
        ("vae", "vae"),
        ("ltx vae", "vae"),
    ]
    for number, (loader, part) in enumerate(places):
        name = LOADERS[loader][0] if loader in LOADERS else "ltx_2b"
        folder = Path(shutil.copytree(folders[name], tmp_path / str(number)))
        where = folder / (DENOISER[name] if part == "denoiser" else part)
        (where / "m.py").write_text(f"open({str(marker)!r}, 'w')\n")
        code = {"auto_map": {"AutoConfig": "m.C", "AutoModel": "m.C", "AutoTokenizer": ["m.C", "m.C"]}}
        files = [where / "config.json"]
        if part == "tokenizer":
            files = [where / "tokenizer_config.json"]
            (where / "config.json").write_text(json.dumps({"model_type": "x", **code}))
        for file in files:
            edit(file, **code, **({"tokenizer_class": "C"} if part == "tokenizer" else {}))
        arguments.append(f"{loader}={folder}")
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", RUN, *arguments]
    ran = subprocess.run(
        command, input="y\n" * 50, capture_output=True, text=True, env=environment, timeout=120, check=False
    )
    assert not marker.exists()
    assert "[y/N]" not in ran.stdout + ran.stderr
    lines = [line for line in ran.stdout.splitlines() if line.startswith(("REFUSED", "LOADED"))]
    assert len(lines) == len(places), ran.stderr
    for line in lines:
        assert line.startswith("REFUSED")
        assert "auto_map" in line


# --- damage -----------------------------------------------------------------------------------------------------------

PART_FILES = ["vae/config.json", "denoiser/config.json", "text_encoder/config.json", "scheduler/scheduler_config.json"]


DAMAGE = [b"", b"{", b"[1]", b"null", "\ufeff{}".encode(), b"[" * 100_000, b"\xff\xfe"]


@pytest.mark.parametrize("file", [*PART_FILES, "tokenizer/tokenizer_config.json", "model_index.json"])
@EACH
def test_a_damaged_file_is_named(loader, file, spoiled) -> None:
    name, load = LOADERS[loader]
    folder, file = spoiled(name), file.replace("denoiser", DENOISER[name])
    if (loader, file) == ("stable diffusion", "model_index.json"):
        return  # it is there or not; nothing in it is used
    for content in DAMAGE:
        (folder / file).write_bytes(content)
        line = refusal(load, folder)
        assert file in line
        assert "damaged" in line


@pytest.mark.parametrize("file", PART_FILES[:2])
@EACH
def test_a_file_without_settings_describes_another_model(loader, file, spoiled) -> None:
    name, load = LOADERS[loader]
    folder, file = spoiled(name), file.replace("denoiser", DENOISER[name])
    (folder / file).write_text("{}")
    refusal(load, folder)


ODD_INDEX = {
    "a class that is a list": {"_class_name": ["WanPipeline"]},
    "a class that is null": {"_class_name": None},
    "a part that is a number": {"vae": 3},
    "a part that is a text": {"vae": "AutoencoderKLWan"},
    "a part of three": {"transformer": ["diffusers", "WanTransformer3DModel", "x"]},
    "a part of numbers": {"text_encoder": [1, 2]},
    "a scheduler of nothing": {"scheduler": []},
    "a notice that is none": {"_notice": 3},
    "a class of another library": {"vae": ["os", "system"]},
    "a scheduler that is a model": {"scheduler": ["diffusers", "AutoencoderKLWan"]},
}


@pytest.mark.parametrize("case", ODD_INDEX)
@pytest.mark.parametrize("loader", ["backbone", "pipeline editor"])
def test_an_index_that_means_nothing(loader, case, spoiled) -> None:
    name, load = LOADERS[loader]
    folder = spoiled(name)
    edit(folder / "model_index.json", **ODD_INDEX[case])
    refusal(load, folder)


ODD_CONFIG: dict[str, tuple[str, dict[str, Any]]] = {
    "a thousand million layers": ("denoiser", {"num_layers": 1_000_000_000}),
    "a million layers": ("denoiser", {"num_layers": 1_000_000}),
    "no layers": ("denoiser", {"num_layers": 0}),
    "layers below zero": ("denoiser", {"num_layers": -1}),
    "layers in words": ("denoiser", {"num_layers": "two"}),
    "no number of layers": ("denoiser", {"num_layers": None}),
    "large heads": ("denoiser", {"attention_head_dim": 1_000_000_000}),
    "another width": ("denoiser", {"attention_head_dim": 24}),
    "a patch of nothing": ("denoiser", {"patch_size": []}),
    "many blocks of a VAE": ("vae", {"num_res_blocks": 500_000}),
    "many scales of a VAE": ("vae", {"dim_mult": [1] * 5000}),
    "layers of a text encoder": ("text_encoder", {"num_layers": 1_000_000_000}),
    "many layers of a text encoder": ("text_encoder", {"num_layers": 1_000_000}),
    "words of a text encoder": ("text_encoder", {"vocab_size": 1_000_000_000_000}),
    "no heads": ("text_encoder", {"num_heads": 0}),
    "steps of a scheduler": ("scheduler", {"num_train_timesteps": 1_000_000_000_000}),
    "no steps of a scheduler": ("scheduler", {"num_train_timesteps": 0}),
    "steps below zero": ("scheduler", {"num_train_timesteps": -5}),
    "betas in words": ("scheduler", {"beta_start": "small"}),
}


@pytest.mark.parametrize("case", ODD_CONFIG)
def test_a_configuration_that_cannot_be_is_refused_at_once(case, spoiled) -> None:
    part, changes = ODD_CONFIG[case]
    folder = spoiled("latte" if part == "scheduler" else "wan_1_3b")
    part = "transformer" if part == "denoiser" else part
    edit(folder / part / ("scheduler_config.json" if part == "scheduler" else "config.json"), **changes)
    started = time.monotonic()
    refusal(load_backbone, folder)
    assert time.monotonic() - started < 60


def test_another_vaes_folder_that_is_damaged(backbone_folder, tmp_path) -> None:
    vae = Path(shutil.copytree(backbone_folder / "vae", tmp_path / "vae"))
    (vae / "config.json").write_text("{")
    assert "damaged" in refusal(lambda folder: ltx_backbone(str(backbone_folder), vae=folder), vae)
    assert "damaged" in refusal(load_vae, vae)
    (vae / "config.json").unlink()
    assert "config.json" in refusal(load_vae, vae)


# --- tokenizers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [None, 500])
def test_a_tokenizer_that_knows_no_limit_takes_the_text_encoders(limit, spoiled, backbone_folder, tmp_path) -> None:
    folder = spoiled("sd")
    small = Path(shutil.copytree(backbone_folder, tmp_path / "small"))
    for root in (folder, small):
        path = root / "tokenizer" / "tokenizer_config.json"
        settings = json.loads(path.read_text())
        settings.pop("model_max_length")
        path.write_text(json.dumps(settings | ({"model_max_length": limit} if limit else {})))
    model = StableDiffusion.from_pretrained(str(folder), "cpu")
    assert model.embed(["a man", "a man with beard"]).shape == (2, 8, 16)
    with pytest.raises(UserError, match="has 9 tokens and the text encoder reads 8"):
        model.embed(["a old man with dark beard face"])
    backbone, right = load_backbone(str(small)), load_backbone(str(backbone_folder))
    prompt = ["ejection fraction 30 percent"]
    assert torch.equal(backbone.embed(prompt).tokens, right.embed(prompt).tokens)
