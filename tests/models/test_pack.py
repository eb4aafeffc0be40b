"""Packing trained parts into the package's weights."""

from __future__ import annotations

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from lvcf.models.backbones.detail_decoder import DetailDecoder
from lvcf.models.backbones.ltx import LTXBackbone, ltx_backbone
from lvcf.models.latent_reader import LatentReader
from lvcf.models.pack import SHIPPED, pack
from lvcf.models.targets.ejection_fraction import echo_frame_transformer, echo_resnet_3d


def write_log(folder: Path, rows: list[dict[str, str]]) -> None:
    folder.mkdir(parents=True)
    with (folder / "metrics.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(dict.fromkeys(name for row in rows for name in row)))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def source(tmp_path_factory, backbone_folder, target_folder, oracle_folder) -> Path:
    """What `make weights` leaves: the parts and a log of every training."""
    root = tmp_path_factory.mktemp("trained") / "phantom"
    reader = tmp_path_factory.mktemp("taught") / "reader"
    LatentReader(4).save_pretrained(reader)
    folders = {"backbone": backbone_folder, "target": target_folder, "oracle": oracle_folder, "reader": reader}
    for part in SHIPPED["phantom"].parts:
        shutil.copytree(folders[part.removesuffix("_right")], root / part)
    for i, training in enumerate(SHIPPED["phantom"].trainings):
        rows = [
            {"step": "9", "train/loss": "0.7", "val/mae": ""},
            {"step": str(99 + i), "train/loss": "", "val/mae": "1.23456"},
            {"step": str(109 + i), "train/loss": "0.2", "val/mae": ""},
        ]
        write_log(root / "logs" / training / "version_0", rows)
    return root


@pytest.fixture(scope="module")
def packed(source, tmp_path_factory) -> tuple[Path, int]:
    folder = tmp_path_factory.mktemp("packed")
    (folder / "target").mkdir()
    (folder / "target" / "old.safetensors").write_bytes(b"of the last time")
    return folder, pack(source, folder)


def test_every_weight_is_in_sixteen_bits_and_the_sources_stay(source, packed) -> None:
    folder, size = packed
    files = sorted(folder.rglob("*.safetensors"))
    assert size == sum(p.stat().st_size for p in files)
    assert [p.relative_to(folder) for p in files] == sorted(
        p.relative_to(source) for p in source.rglob("*.safetensors")
    )
    for path in files:
        before, after = load_file(source / path.relative_to(folder)), load_file(path)
        assert list(before) == list(after)
        for name, value in before.items():
            assert value.dtype != torch.float16
            assert after[name].dtype == (torch.float16 if value.dtype == torch.float32 else value.dtype)
            torch.testing.assert_close(after[name].to(value.dtype), value, atol=1e-4, rtol=1e-3)
    assert not list(folder.rglob("*.csv"))


@torch.no_grad()
def test_the_packed_models_load_in_float32_and_say_the_same(source, packed) -> None:
    folder, _ = packed
    video = torch.rand(2, 3, 16, 112, 112) * 2 - 1
    for load, part in ((echo_resnet_3d, "target"), (echo_frame_transformer, "oracle")):
        one, other = (load(str(root / part)).freeze() for root in (source, folder))
        assert {p.dtype for p in other.parameters()} == {torch.float32}
        torch.testing.assert_close(one(video), other(video), atol=0.3, rtol=0)
    one, other = (LTXBackbone.from_pretrained(root / "backbone").eval() for root in (source, folder))
    assert {p.dtype for p in other.parameters()} == {torch.float32}
    z = one.encode(video[..., :32, :32])
    torch.testing.assert_close(one.decode(z, 16), other.decode(z, 16), atol=0.02, rtol=0.02)
    prompt = one.embed(["ejection fraction 30 percent"])
    torch.testing.assert_close(prompt.tokens, other.embed(["ejection fraction 30 percent"]).tokens, atol=0.02, rtol=0)
    assert one.notice == ""
    assert other.notice == SHIPPED["phantom"].notice  # goes into every report


def test_the_card_tells_data_licence_steps_and_the_last_validation(packed) -> None:
    folder, _ = packed
    card = (folder / "README.md").read_text()
    assert card.startswith("---\nlicense: apache-2.0\n---\n")
    assert SHIPPED["phantom"].notice in card
    for i, training in enumerate(SHIPPED["phantom"].trainings):
        assert f"| {training} | {110 + i} | not logged | val/mae 1.235, at {100 + i} |" in card
    assert not [p for part in SHIPPED["phantom"].parts for p in (folder / part).rglob("README.md")]


def test_the_newest_log_of_a_training_counts(source, tmp_path) -> None:
    root = tmp_path / "phantom"
    shutil.copytree(source, root)
    write_log(root / "logs" / "target" / "version_1", [{"step": "4", "val/mae": "9.0"}])
    config, metrics = (root / "logs" / "target" / "version_1" / name for name in ("config.yaml", "metrics.csv"))
    config.touch()
    os.utime(config, (metrics.stat().st_atime, metrics.stat().st_mtime - 120.0))
    pack(root, tmp_path / "packed")
    assert "| target | 5 | 2 | val/mae 9, at 5 |" in (tmp_path / "packed" / "README.md").read_text()
    assert (
        json.loads((tmp_path / "packed" / "backbone" / "model_index.json").read_text())["_notice"]
        == SHIPPED["phantom"].notice
    )


def test_some_parts_can_be_packed_anew_and_the_card_keeps_what_it_said_of_the_others(source, tmp_path) -> None:
    root, packed = tmp_path / "phantom", tmp_path / "packed"
    shutil.copytree(source, root)
    pack(root, packed)
    shutil.rmtree(root / "logs" / "oracle")
    shutil.rmtree(root / "backbone")
    write_log(root / "logs" / "target" / "version_1", [{"step": "4", "val/mae": "9.0"}])
    pack(root, packed, ("target",))
    card = (packed / "README.md").read_text()
    assert "| target | 5 | not logged | val/mae 9, at 5 |" in card
    assert f"| oracle | {110 + SHIPPED['phantom'].trainings.index('oracle')} |" in card
    assert (packed / "backbone" / "vae").is_dir()


def test_a_denoiser_with_given_frames_is_packed_without_the_parts_of_its_backbone(source, tmp_path) -> None:
    root, packed = tmp_path / "phantom", tmp_path / "packed"
    shutil.copytree(source, root)
    given = LTXBackbone.from_pretrained(root / "backbone")
    given.takes_given, given.detail = True, DetailDecoder((8, 16))
    given.save_pretrained(root / "given")
    pack(root, packed, ("backbone", "given"))
    assert {path.name for path in (packed / "given").iterdir()} == {
        "model_index.json",
        "transformer",
        "detail_decoder",
    }
    loaded = ltx_backbone(str(packed / "backbone"), denoiser=str(packed / "given"))
    assert loaded.takes_given
    assert loaded.detail is not None
    assert not ltx_backbone(str(packed / "backbone")).takes_given
