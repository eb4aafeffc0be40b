"""Every shipped configuration is readable by its verb, and every training takes a step with it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import yaml
from diffusers import AutoencoderKLLTXVideo

from lvcf import ablate
from lvcf.cli import LIGHTNING_VERBS, VERBS, main
from lvcf.configuration import config_folder, find_config, read_section
from lvcf.errors import UserError
from lvcf.lightning_cli import with_sections
from lvcf.models.backbones.ltx import LTXBackbone
from lvcf.models.targets.ejection_fraction import EchoFrameTransformer, EchoResNet3D
from tests.helpers import parse, rewrite, subset

FILES = sorted(config_folder().rglob("*.yaml"))
SECTIONS = [
    (path, verb)
    for path in FILES
    for verb, section in yaml.safe_load(path.read_text()).items()
    if verb in LIGHTNING_VERBS and isinstance(section, dict)
]


def names(value: object) -> str:
    return str(value.relative_to(config_folder())) if isinstance(value, Path) else str(value)


def test_the_configurations_are_there() -> None:
    trainings = {f"phantom/{part}.yaml" for part in ("autoencoder", "target", "oracle", "denoiser")}
    experiments = {"phantom.yaml", "echonet.yaml", "real_echo.yaml", "ablations/phantom.yaml"}
    assert trainings | experiments <= {names(p) for p in FILES}
    assert {("echonet.yaml", "fit"), ("echonet.yaml", "predict"), ("real_echo.yaml", "predict")} <= {
        (names(path), verb) for path, verb in SECTIONS
    }


def test_every_section_of_every_file_is_a_verbs() -> None:
    """Beside `definitions:`, which hold YAML anchors."""
    for path in FILES:
        assert set(yaml.safe_load(path.read_text())) - {"definitions"} <= {*LIGHTNING_VERBS, *VERBS}


@pytest.mark.parametrize(("path", "verb"), SECTIONS, ids=names)
def test_every_section_parses_for_its_verb(path, verb) -> None:
    assert parse([verb, "--config", str(path)]).model.class_path.startswith("lvcf.tasks.")


ABLATIONS = sorted((config_folder() / "ablations").glob("*.yaml"))
CELLS = [
    (name, section)
    for path in ABLATIONS
    for name, section in ablate.expand(read_section(str(path), "ablate"), Path("runs/x"), 4)
]


@pytest.mark.parametrize(("name", "section"), CELLS, ids=lambda v: v if isinstance(v, str) else "")
def test_every_cell_of_every_ablation_parses(name, section, tmp_path) -> None:
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump({"predict": section}))
    config = parse(["predict", "--config", str(tmp_path / "cell.yaml")])
    assert config.model.init_args.output == Path("runs/x") / ablate.slug(name)
    assert config.trainer.callbacks[-1].class_path == "lvcf.callbacks.writer.PredictionWriter"


def test_cells_of_an_ablation_have_folders_of_their_own() -> None:
    for path in ABLATIONS:
        cells = ablate.expand(read_section(str(path), "ablate"), Path("runs/x"), None)
        assert len({ablate.slug(name) for name, _ in cells}) == len(cells)


def test_the_way_back_starts_from_a_cell_that_comes_before_it() -> None:
    """'full, back again' reads the folder that 'full, target' writes with the shipped output."""
    plan = read_section("ablations/phantom.yaml", "ablate")
    cells = ablate.expand(plan, Path(plan["output"]), None)
    folders = [section["model"]["init_args"]["output"] for _, section in cells]
    back = dict(cells)["full, back again"]
    root = back["data"]["init_args"]["root"]
    assert root in folders[: folders.index(back["model"]["init_args"]["output"])]


@pytest.mark.parametrize(("path", "verb"), SECTIONS, ids=names)
def test_a_misspelt_argument_of_a_shipped_section_is_refused(path, verb, tmp_path, capfd) -> None:
    section = read_section(str(path), verb)
    section["model"]["init_args"]["no_such_argument"] = 1
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({verb: section}))
    assert main([verb, "--config", str(tmp_path / "mine.yaml")]) == 2
    assert "no_such_argument" in capfd.readouterr().err


def test_a_file_in_the_working_directory_comes_before_the_shipped_one(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("phantom.yaml") == config_folder() / "phantom.yaml"
    (tmp_path / "phantom.yaml").write_text("predict: {seed_everything: 1}\n")
    assert find_config("phantom.yaml").resolve() == tmp_path / "phantom.yaml"
    assert read_section("phantom.yaml", "predict") == {"seed_everything": 1}
    with pytest.raises(UserError, match="has no section 'fit:'"):
        read_section("phantom.yaml", "fit")


def test_only_config_arguments_are_replaced() -> None:
    arguments = ["--model.steps", "3", "--config", "phantom.yaml", "--config=phantom.yaml", "--x=phantom.yaml"]
    replaced = with_sections("predict", arguments)
    assert [replaced[i] for i in (0, 1, 2, 4, 6)] == ["--model.steps", "3", "--config", "--config", "--x=phantom.yaml"]
    assert yaml.safe_load(replaced[3]) == yaml.safe_load(replaced[5]) == read_section("phantom.yaml", "predict")


# --- trainings ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data(echo_root, tmp_path_factory) -> Path:
    """Two training and two validation clips."""
    root = subset(echo_root, tmp_path_factory.mktemp("fit") / "data", 4)
    with (root / "FileList.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, split in zip(rows, ("TRAIN", "TRAIN", "VAL", "VAL"), strict=True):
        row["Split"] = split
    rewrite(root / "FileList.csv", rows)
    return root


def fit(config: str, tmp_path: Path, *more: str) -> int:
    return main(
        [
            "fit",
            "--config",
            config,
            f"--model.output={tmp_path / 'weights'}",
            f"--trainer.logger.save_dir={tmp_path / 'logs'}",
            f"--trainer.default_root_dir={tmp_path}",
            "--trainer.fast_dev_run=true",
            "--trainer.accelerator=cpu",
            "--trainer.precision=32-true",
            "--trainer.enable_progress_bar=false",
            "--threads=1",
            *more,
        ]
    )


def clips(data: Path, prefix: str = "data") -> list[str]:
    return [f"--{prefix}.{option}" for option in (f"root={data}", "batch_size=2", "num_workers=0")]


def test_fit_target(data, tmp_path) -> None:
    channels = "--model.network.channels=[8,8,16]"
    network = "--model.network=lvcf.models.targets.ejection_fraction.EchoResNet3D"
    assert fit("phantom/target.yaml", tmp_path, *clips(data), network, channels, "--data.size=32") == 0
    assert isinstance(EchoResNet3D.from_pretrained(tmp_path / "weights"), EchoResNet3D)


def test_fit_oracle(data, tmp_path) -> None:
    network = "--model.network=lvcf.models.targets.ejection_fraction.EchoFrameTransformer"
    small = ["--model.network.channels=[8,8,16]", "--model.network.layers=1"]
    assert fit("phantom/oracle.yaml", tmp_path, *clips(data), network, *small) == 0
    assert isinstance(EchoFrameTransformer.from_pretrained(tmp_path / "weights"), EchoFrameTransformer)


def test_fit_autoencoder_measures_its_latents(data, tmp_path) -> None:
    small = ["--model.vae.block_out_channels=[8,8]", "--model.vae.decoder_block_out_channels=[8,16]"]
    assert fit("phantom/autoencoder.yaml", tmp_path, *clips(data), *small, "--data.size=32") == 0
    vae = AutoencoderKLLTXVideo.from_pretrained(tmp_path / "weights")
    assert vae.latents_std.shape == (8,)
    assert not vae.latents_std.allclose(vae.latents_std.new_ones(8))
    assert (vae.latents_std > 0).all()


def test_fit_denoiser_saves_a_whole_backbone(data, tmp_path, backbone_folder) -> None:
    shutil.copytree(backbone_folder / "vae", tmp_path / "vae")
    options = [
        f"--model.backbone.vae={tmp_path / 'vae'}",
        f"--data.vae={tmp_path / 'vae'}",
        f"--data.cache={tmp_path / 'latents'}",
        "--data.windows=1",
        "--data.batch_size=2",
        *clips(data, "data.clips"),
        "--data.clips.size=32",
        "--model.backbone.text_width=16",
        "--model.backbone.text_layers=1",
        "--model.backbone.transformer.in_channels=16",
        "--model.backbone.transformer.out_channels=16",
        "--model.backbone.transformer.num_attention_heads=2",
        "--model.backbone.transformer.attention_head_dim=16",
        "--model.backbone.transformer.cross_attention_dim=32",
        "--model.backbone.transformer.caption_channels=16",
        "--model.backbone.transformer.num_layers=1",
    ]
    assert fit("phantom/denoiser.yaml", tmp_path, *options) == 0
    backbone = LTXBackbone.from_pretrained(tmp_path / "weights")
    assert backbone.embed(["ejection fraction 55 percent"]).tokens.shape == (1, 12, 16)
    folders = (tmp_path / "vae", tmp_path / "weights" / "vae")
    before, after = (AutoencoderKLLTXVideo.from_pretrained(folder).state_dict() for folder in folders)
    assert all((before[name] == after[name]).all() for name in before)  # the VAE goes in unchanged
