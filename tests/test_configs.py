"""Every shipped configuration is readable by its verb, and every training takes a step with it."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path

import pytest
import yaml
from diffusers import AutoencoderKLLTXVideo
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

from lvcf.cli import LIGHTNING_VERBS, main
from lvcf.configuration import config_folder, find_config, read_section
from lvcf.errors import UserError
from lvcf.lightning_cli import with_sections
from lvcf.models.backbones.ltx import LTXBackbone
from lvcf.models.targets.ejection_fraction import EchoFrameTransformer, EchoResNet3D
from tests.helpers import rewrite, subset

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
    assert {"phantom.yaml", "phantom/autoencoder.yaml", "phantom/denoiser.yaml", "phantom/oracle.yaml"} <= {
        names(p) for p in FILES
    }


@pytest.mark.parametrize(("path", "verb"), SECTIONS, ids=names)
def test_every_section_parses_for_its_verb(path, verb) -> None:
    """The parser checks every class path, argument name and type without making any object."""

    class Parse(LightningCLI):
        def add_arguments_to_parser(self, parser) -> None:
            parser.add_argument("--threads", type=int)

        def instantiate_classes(self) -> None:
            pass

        def _run_subcommand(self, subcommand: str) -> None:
            pass

    cli = Parse(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_callback=None,
        parser_kwargs={"exit_on_error": False, verb: {"exit_on_error": False}},
        args=with_sections(verb, [verb, "--config", str(path)]),
    )
    assert cli.config[verb].model.class_path.startswith("lvcf.tasks.")


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
