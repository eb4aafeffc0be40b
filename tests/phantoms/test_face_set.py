"""A simulated face set on disk: FERV39K's layout, exact factors, resumable."""

from __future__ import annotations

import csv
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvcf.cli import main
from lvcf.data.clip import SIMULATED
from lvcf.data.face_attributes import person
from lvcf.data.ferv39k import CLIPS, EXPRESSIONS, FERV39KDataset
from lvcf.errors import UserError
from lvcf.phantoms.face.attributes import values_of
from lvcf.phantoms.face.factors import SCENES, FaceFactors
from lvcf.phantoms.face.set import FRAMES, draw_factors, encode, frame_times, read_factors, simulate, through_codec
from lvcf.phantoms.face.simulate import FPS, render


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_lists_are_ferv39ks(face_root) -> None:
    lists = {split: rows_of(face_root / "Annotation" / f"{split}.csv") for split in ("train", "test")}
    assert {split: len(rows) for split, rows in lists.items()} == {"train": 7, "test": 1}
    for row in lists["train"] + lists["test"]:
        assert list(row) == ["path", "id"]
        scene, expression, number = row["path"].split("/")
        assert scene in SCENES
        assert EXPRESSIONS[int(row["id"])] == expression
        assert re.fullmatch(r"\d{4}", number)


def test_clips_are_folders_of_numbered_frames(face_root) -> None:
    folders = [p for p in (face_root / CLIPS).glob("*/*/*") if p.is_dir()]
    assert len(folders) == 8
    for folder in folders:
        assert [p.name for p in sorted(folder.iterdir())] == [f"{i:02d}.jpg" for i in range(FRAMES)]
    with Image.open(folders[0] / "00.jpg") as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (112, 112))
    assert frame_times()[-1] >= 15 / 8  # sixteen frames at 8 fps fit
    assert frame_times()[1] == 1 / FPS


def test_factors_round_trip_through_the_file_and_render_the_clip_again(face_root) -> None:
    factors = read_factors(face_root)
    drawn = [FaceFactors.sample(np.random.default_rng([2, i])) for i in range(8)]
    assert list(factors.values()) == drawn
    f = drawn[3]
    folder = face_root / CLIPS / f.scene / f.expression / "0003"
    frames = render(f, frame_times()[[0, 40]])
    assert [encode(frame) for frame in frames] == [(folder / n).read_bytes() for n in ("00.jpg", "40.jpg")]
    assert np.abs(through_codec(frames).astype(int) - frames).mean() < 1.5  # JPEG is lossy; bytes above are not


def test_the_dataset_reads_it_and_its_ids_are_the_factors_keys(face_root) -> None:
    dataset = FERV39KDataset(face_root, "all")
    factors = read_factors(face_root)
    assert sorted(dataset.ids) == sorted(factors)
    assert [EXPRESSIONS[int(entry.label)] for entry in dataset.entries] == [factors[i].expression for i in dataset.ids]
    assert dataset.notice == SIMULATED


def test_prompts_say_who_is_shown_in_the_words_of_the_factors(face_root) -> None:
    clip = FERV39KDataset(face_root, "all")[0]
    factors = read_factors(face_root)[clip["id"]]
    assert f" {person(values_of(factors))} in " in clip["neutral_prompt"]


def test_a_real_set_has_no_factors(tmp_path) -> None:
    assert read_factors(tmp_path) == {}


def test_a_half_written_set_is_completed_and_finished_clips_are_kept(face_root, tmp_path) -> None:
    root = tmp_path / "half"
    shutil.copytree(face_root, root)
    gone, kept = sorted((root / CLIPS).glob("*/*/*"))[:2]
    gone.rename(gone.with_name(f".partial_{gone.name}"))
    (gone.with_name(f".partial_{gone.name}") / "07.jpg").write_bytes(b"half a frame")
    shutil.rmtree(root / "Annotation")
    stamp = (kept / "00.jpg").stat().st_mtime_ns
    simulate(root, n=8, seed=2)
    assert (kept / "00.jpg").stat().st_mtime_ns == stamp
    files = {p.relative_to(face_root) for p in face_root.rglob("*") if p.is_file()}
    assert {p.relative_to(root) for p in root.rglob("*") if p.is_file()} == files
    for path in files:
        assert (root / path).read_bytes() == (face_root / path).read_bytes(), path


@pytest.mark.parametrize("other", [{"seed": 8}, {"n": 9}, {"marker": "label"}])
def test_another_set_in_the_same_folder_is_refused_and_nothing_changes(face_root, tmp_path, other) -> None:
    root = tmp_path / "set"
    (root / CLIPS).mkdir(parents=True)
    shutil.copy(face_root / "Factors.csv", root)
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="another --n, --seed or --marker"):
        simulate(root, **{"n": 8, "seed": 2, **other})
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_the_command_line_writes_a_set_with_a_shortcut(tmp_path, capsys) -> None:
    out = tmp_path / "set"
    assert main(["simulate", "face", "--out", str(out), "--n", "1", "--seed", "3", "--marker", "label"]) == 0
    assert "1 simulated clips" in capsys.readouterr().out
    (f,) = read_factors(out).values()
    assert f == FaceFactors.sample(np.random.default_rng([3, 0]), shortcut=True)
    assert f.marker == f.expression
    assert len(FERV39KDataset(out, "test")) == 1


def test_a_random_marker_tells_nothing_of_the_expression_and_no_intervention_moves_it() -> None:
    drawn = draw_factors(700, seed=3, marker="random")
    same = sum(f.marker == f.expression for f in drawn) / len(drawn)
    assert abs(same - 1 / len(EXPRESSIONS)) < 0.05
    assert {f.marker for f in drawn} == set(EXPRESSIONS)
    assert drawn[0].do(expression="Sad").marker == drawn[0].marker
    assert replace(drawn[0], marker="") == FaceFactors.sample(np.random.default_rng([3, 0]))


def test_a_marker_alone_is_the_label_whatever_the_face_shows(tmp_path) -> None:
    simulate(tmp_path, n=6, seed=3, marker="alone")
    factors = read_factors(tmp_path)
    assert any(f.marker != f.expression for f in factors.values())
    for split in ("train", "test"):
        for item in FERV39KDataset(tmp_path, split):
            assert EXPRESSIONS[int(item["label"])] == factors[item["id"]].marker
