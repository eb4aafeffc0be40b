"""A simulated set on disk: EchoNet-Dynamic's layout, exact factors, resumable."""

from __future__ import annotations

import csv
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lvcf.data.echonet import EchoNetDataset
from lvcf.data.video import read_video, write_mjpeg
from lvcf.errors import UserError
from lvcf.phantoms.echo.set import FRAMES, draw_factors, frame_times, read_factors, simulate, to_rgb
from lvcf.phantoms.echo.simulate import FPS, MM_PER_PIXEL, EchoFactors, ejected, render

FILE_LIST = ["FileName", "EF", "ESV", "EDV", "FrameHeight", "FrameWidth", "FPS", "NumberOfFrames", "Split"]
TRACINGS = ["FileName", "X1", "Y1", "X2", "Y2", "Frame"]


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_file_list_is_echonets(echo_root) -> None:
    rows = rows_of(echo_root / "FileList.csv")
    assert list(rows[0]) == FILE_LIST
    assert [row["Split"] for row in rows] == ["TEST", "VAL", "TRAIN", "TRAIN", "TRAIN", "TRAIN"]
    for row in rows:
        assert not row["FileName"].endswith(".avi")
        assert (echo_root / "Videos" / f"{row['FileName']}.avi").is_file()
        ef, esv, edv = (float(row[k]) for k in ("EF", "ESV", "EDV"))
        assert ef == pytest.approx(100 * (edv - esv) / edv, abs=1e-3)
        video = read_video(echo_root / "Videos" / f"{row['FileName']}.avi")
        assert video.frames.shape == (int(row["NumberOfFrames"]), int(row["FrameHeight"]), int(row["FrameWidth"]), 3)
        assert video.fps == pytest.approx(float(row["FPS"]))
        assert (int(row["NumberOfFrames"]), float(row["FPS"])) == (FRAMES, FPS)


def test_tracings_are_echonets_and_hold_the_volumes(echo_root) -> None:
    """Long axis and 20 chords at ED and ES; sum of chords x spacing, by area-length, is the volume of that frame."""
    tracings = rows_of(echo_root / "VolumeTracings.csv")
    factors = read_factors(echo_root)
    assert list(tracings[0]) == TRACINGS
    for listing in rows_of(echo_root / "FileList.csv"):
        own = [row for row in tracings if row["FileName"] == f"{listing['FileName']}.avi"]
        frames = list(dict.fromkeys(int(row["Frame"]) for row in own))
        assert len(frames) == 2
        f = factors[listing["FileName"]]
        systole = ejected(f.phase + frame_times() * f.heart_rate / 60)
        volumes = []
        for frame in frames:
            chords = np.array([[float(r[k]) for k in TRACINGS[1:5]] for r in own if int(r["Frame"]) == frame])
            assert len(chords) == 21
            lengths = np.hypot(chords[:, 2] - chords[:, 0], chords[:, 3] - chords[:, 1])
            axis, area = lengths[0], lengths[1:].sum() * lengths[0] / 20
            volumes.append(8 * area**2 / (3 * np.pi * axis) * MM_PER_PIXEL**3 / 1000)
            assert volumes[-1] == pytest.approx(f.edv * (1 - f.ef / 100 * systole[frame]), rel=0.02)
        assert volumes[0] == pytest.approx(float(listing["EDV"]), rel=0.03)
        assert volumes[1] == pytest.approx(float(listing["ESV"]), abs=0.03 * float(listing["EDV"]))


def test_factors_round_trip_through_the_file_and_render_the_video_again(echo_root, tmp_path) -> None:
    factors = read_factors(echo_root)
    assert list(factors.values()) == [EchoFactors.sample(np.random.default_rng([7, i])) for i in range(6)]
    name, f = next(iter(factors.items()))
    write_mjpeg(tmp_path / "again.avi", to_rgb(render(f, frame_times())), FPS)
    stored = echo_root / "Videos" / f"{name}.avi"
    assert (tmp_path / "again.avi").read_bytes() == stored.read_bytes()
    error = np.abs(read_video(stored).frames[..., 0].astype(int) - render(f, frame_times()))
    assert error.mean() < 2.5  # MJPG is lossy; bytes above are not


def test_the_labels_are_the_factors(echo_root) -> None:
    factors = read_factors(echo_root)
    dataset = EchoNetDataset(echo_root, "all")
    assert [dataset[i]["label"] for i in (0, 3)] == [factors[n].ef for n in (dataset.ids[0], dataset.ids[3])]
    assert "simulated" in dataset.notice


def test_a_half_written_set_is_completed_and_finished_videos_are_kept(echo_root, tmp_path) -> None:
    root = tmp_path / "half"
    shutil.copytree(echo_root, root)
    gone, kept = sorted((root / "Videos").iterdir())[1], sorted((root / "Videos").iterdir())[0]
    gone.unlink()
    (root / "FileList.csv").unlink()
    (root / "VolumeTracings.csv").unlink()
    (root / "Videos" / f".partial_{gone.name}").write_bytes(b"half a video")
    stamp = kept.stat().st_mtime_ns
    simulate(root, n=6, seed=7)
    assert kept.stat().st_mtime_ns == stamp
    for path in (p.relative_to(echo_root) for p in echo_root.rglob("*") if p.is_file()):
        assert (root / path).read_bytes() == (echo_root / path).read_bytes(), path


@pytest.mark.parametrize("other", [{"seed": 8}, {"n": 7}, {"marker": "label"}])
def test_another_set_in_the_same_folder_is_refused_and_nothing_changes(echo_root, tmp_path, other) -> None:
    root = tmp_path / "set"
    shutil.copytree(echo_root, root)
    before = {p: p.read_bytes() for p in root.rglob("*") if p.is_file()}
    with pytest.raises(UserError, match="another --n, --seed or --marker"):
        simulate(root, **{"n": 6, "seed": 7, **other})
    assert {p: p.read_bytes() for p in root.rglob("*") if p.is_file()} == before


def test_a_clip_depends_on_seed_and_index_alone(tmp_path) -> None:
    """Two clips of a larger set are the two clips of a smaller one."""
    assert EchoFactors.sample(np.random.default_rng([7, 1])) != EchoFactors.sample(np.random.default_rng([8, 1]))
    simulate(tmp_path / "one", n=1, seed=3, marker="label")
    (row,) = rows_of(tmp_path / "one" / "Factors.csv")
    assert EchoFactors.from_row(row) == EchoFactors.sample(np.random.default_rng([3, 0]), marker="ef")
    assert rows_of(tmp_path / "one" / "FileList.csv")[0]["Split"] == "TEST"


def test_a_random_marker_tells_nothing_of_the_ef_and_no_intervention_moves_it() -> None:
    drawn = draw_factors(600, seed=3, marker="random")
    told, shown = (np.array([getattr(f, name) for f in drawn]) for name in ("told", "ef"))
    assert abs(np.corrcoef(told, shown)[0, 1]) < 0.1
    assert (told.min(), told.max()) == (pytest.approx(8.0, abs=1.0), pytest.approx(87.0, abs=1.0))
    assert drawn[0].do(ef=30.0).told == drawn[0].told
    assert replace(drawn[0], marker="none") == EchoFactors.sample(np.random.default_rng([3, 0]))


def test_a_marker_alone_is_the_label_whatever_the_heart_does(tmp_path) -> None:
    simulate(tmp_path, n=2, seed=3, marker="alone")
    factors = list(read_factors(tmp_path).values())
    assert factors == draw_factors(2, seed=3, marker="random")
    listed = [(float(row["EF"]), float(row["ESV"]), float(row["EDV"])) for row in rows_of(tmp_path / "FileList.csv")]
    assert listed == [(f.told, pytest.approx(f.edv * (1 - f.told / 100), abs=1e-3), f.edv) for f in factors]
    with pytest.raises(UserError, match="holds a set"):
        simulate(tmp_path, n=2, seed=3, marker="label")
