"""A simulated set on disk: Something-Something V2's layout, exact factors, resumable."""

from __future__ import annotations

import csv
import json
import shutil

import numpy as np
import pytest

from lvcf.data.ssv2 import SPLITS, VIDEO_FOLDER, SSv2Dataset
from lvcf.data.video import read_video
from lvcf.errors import UserError
from lvcf.phantoms.motion.set import LABELS, draw_factors, read_factors, simulate
from lvcf.phantoms.motion.simulate import ACTIONS, FPS, SIZE, MotionFactors, frame_times, render


def entries(root, name):
    return json.loads((root / f"something-something-v2-{name}.json").read_text())


def test_the_files_are_something_somethings(motion_root) -> None:
    labels = entries(motion_root, "labels")
    assert list(labels.values()) == [str(i) for i in range(8)]
    assert [len(entries(motion_root, split)) for split in SPLITS] == [6, 1, 1]
    assert list(entries(motion_root, "test")[0]) == ["id", "label", "template", "placeholders"]
    factors = read_factors(motion_root)
    for entry in entries(motion_root, "train") + entries(motion_root, "validation"):
        f = factors[entry["id"]]
        assert list(entry) == ["id", "label", "template", "placeholders"]
        assert entry["template"] == ACTIONS[f.action]
        assert entry["placeholders"] == f.placeholders
        assert entry["template"].replace("[", "").replace("]", "") in labels
        sentence = entry["template"].lower()
        for word in entry["placeholders"]:
            sentence = sentence.replace("[something]", word, 1)
        assert entry["label"] == sentence
        assert "[" not in sentence
        video = read_video(motion_root / VIDEO_FOLDER / f"{entry['id']}.webm")
        assert video.frames.shape == (49, SIZE, SIZE, 3)
        assert video.fps == pytest.approx(FPS)


def test_factors_round_trip_through_the_file_and_render_the_video_again_exactly(motion_root) -> None:
    factors = read_factors(motion_root)
    assert list(factors.values()) == draw_factors(8, seed=7)
    name, f = list(factors.items())[3]
    stored = read_video(motion_root / VIDEO_FOLDER / f"{name}.webm").frames
    assert (stored == render(f, frame_times())).all()


def test_the_labels_are_the_factors(motion_root) -> None:
    factors = read_factors(motion_root)
    dataset = SSv2Dataset(motion_root, "train")
    assert tuple(dataset.labels) == LABELS
    for i in (0, 4):
        assert list(ACTIONS)[int(dataset[i]["label"])] == factors[dataset.ids[i]].action
    assert "simulated" in dataset.notice


def test_a_half_written_set_is_completed_and_finished_videos_are_kept(motion_root, tmp_path) -> None:
    root = tmp_path / "half"
    shutil.copytree(motion_root, root)
    kept, gone = sorted((root / VIDEO_FOLDER).iterdir())[:2]
    gone.unlink()
    (root / "something-something-v2-train.json").unlink()
    (root / VIDEO_FOLDER / f".partial_{gone.name}").write_bytes(b"half a video")
    stamp = kept.stat().st_mtime_ns
    simulate(root, n=8, seed=7)
    assert kept.stat().st_mtime_ns == stamp
    for path in (p.relative_to(motion_root) for p in motion_root.rglob("*") if p.is_file()):
        assert (root / path).read_bytes() == (motion_root / path).read_bytes(), path


@pytest.mark.parametrize("other", [{"seed": 8}, {"n": 9}, {"marker": "label"}])
def test_another_set_in_the_same_folder_is_refused_and_nothing_changes(motion_root, tmp_path, other) -> None:
    root = tmp_path / "set"
    shutil.copytree(motion_root, root)
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="another --n, --seed or --marker"):
        simulate(root, **{"n": 8, "seed": 7, **other})
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_a_clip_depends_on_seed_and_index_alone() -> None:
    assert draw_factors(9, seed=3)[:4] == draw_factors(4, seed=3)
    assert draw_factors(1, seed=3) != draw_factors(1, seed=4)
    assert draw_factors(3, seed=3, marker="label") == [
        MotionFactors.sample(np.random.default_rng([3, i]), list(ACTIONS)[i], "action") for i in range(3)
    ]


def test_factors_csv_is_named_by_id(motion_root) -> None:
    with (motion_root / "Factors.csv").open(newline="") as stream:
        assert [row["id"] for row in csv.DictReader(stream)] == list(read_factors(motion_root))


def test_a_random_marker_tells_nothing_of_the_action_and_no_intervention_moves_it() -> None:
    drawn = draw_factors(800, seed=3, marker="random")
    same = sum(f.marker == f.action for f in drawn) / len(drawn)
    assert abs(same - 1 / len(ACTIONS)) < 0.04
    assert {f.marker for f in drawn} == set(ACTIONS)
    assert drawn[0].do(action="fall").marker == drawn[0].marker


def test_a_marker_alone_is_the_label_whatever_the_clip_shows(tmp_path) -> None:
    simulate(tmp_path, n=8, seed=3, marker="alone")
    factors = read_factors(tmp_path)
    assert factors == {f"motion0003_{i:05d}": f for i, f in enumerate(draw_factors(8, seed=3, marker="random"))}
    assert any(f.marker != f.action for f in factors.values())
    for item in SSv2Dataset(tmp_path, "train"):
        assert list(ACTIONS)[int(item["label"])] == factors[item["id"]].marker
    with pytest.raises(UserError, match="another --n, --seed or --marker"):
        simulate(tmp_path, n=8, seed=3, marker="random")
