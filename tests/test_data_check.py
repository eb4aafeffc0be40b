"""``lvcf data check``: clean sets, and every kind of problem, by exit code and in words."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lvcf.cli import main
from lvcf.cli.data import MOST_SHOWN
from lvcf.data.video import write_lossless, write_mjpeg
from lvcf.phantoms.motion.set import VIDEO_FOLDER
from tests.helpers import fails, rewrite


def check(capsys, root: Path, kind: str) -> tuple[int, str]:
    """Exit code and what is printed, a table's rows with their cells joined by single blanks."""
    code = main(["data", "check", str(root), "--as", kind])
    printed = capsys.readouterr().out
    return code, "\n".join(" ".join(line.replace("│", " ").split()) for line in printed.splitlines())


@pytest.fixture
def echo(echo_root, tmp_path) -> Path:
    return Path(shutil.copytree(echo_root, tmp_path / "echo"))


@pytest.fixture
def motion(motion_root, tmp_path) -> Path:
    return Path(shutil.copytree(motion_root, tmp_path / "motion"))


def listing(root: Path) -> list[dict[str, str]]:
    with (root / "FileList.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def labels_of(root: Path, name: str):
    return json.loads((root / f"something-something-v2-{name}.json").read_text())


def write_labels(root: Path, name: str, content) -> None:
    (root / f"something-something-v2-{name}.json").write_text(json.dumps(content))


def test_a_clean_echo_set(capsys, echo_root) -> None:
    code, printed = check(capsys, echo_root, "echonet")
    assert code == 0
    rows = printed.splitlines()
    for row in ("TRAIN 4 7,465", "VAL 1 1,288", "TEST 1 1,277", "unreadable files 0", "size 112x112 6", "problems 0"):
        assert row in rows
    assert "50 frames per second 6" in rows
    assert "The clips are simulated." in printed


def test_a_clean_face_set(capsys, face_root) -> None:
    code, printed = check(capsys, face_root, "ferv39k")
    assert code == 0
    rows = printed.splitlines()
    for row in ("train 7 31,088", "test 1 7,847", "size 112x112 8", "25 frames per second 8", "problems 0"):
        assert row in rows


def test_what_is_wrong_with_a_face_set(capsys, face_root, tmp_path) -> None:
    root = Path(shutil.copytree(face_root, tmp_path / "face"))
    clips = sorted((root / "2_ClipsforFaceCrop").glob("*/*/*"))
    shutil.rmtree(clips[0])
    (clips[1] / "07.jpg").write_bytes(b"no picture")
    for extra in list(clips[2].glob("*.jpg"))[1:]:
        extra.unlink()
    code, printed = check(capsys, root, "ferv39k")
    flat = printed.replace("\n", "")
    assert code == 1
    assert f"{clips[0]}: not found" in flat
    assert f"{clips[1] / '07.jpg'}: not a readable image" in flat
    assert f"{clips[2]}: holds 1 frames" in flat
    (root / "Annotation" / "train.csv").write_text("path,id\nInterview/Happy/0001,2\n")
    assert "has label 2 (Fear) but lies in Happy (3)" in check(capsys, root, "ferv39k")[1]


def test_a_clean_motion_set(capsys, motion_root) -> None:
    code, printed = check(capsys, motion_root, "ssv2")
    assert code == 0
    rows = printed.splitlines()
    for row in ("train 6 168,913", "validation 1 24,777", "test 1 27,157", "classes 8 174", "problems 0"):
        assert row in rows
    assert "16 frames per second 8" in rows
    assert "classes without a clip in train 2" in rows
    assert "seconds (least, median, most) 3.00, 3.00, 3.00" in rows


ECHO_PROBLEMS = {
    "EF in words": (lambda rows: rows[2].update(EF="high"), "line 4: EF 'high' of"),
    "a split of its own": (lambda rows: rows[2].update(Split="HOLDOUT"), "line 4: Split 'HOLDOUT' of"),
    "twice": (lambda rows: rows.append(rows[0]), "is on line 2 already"),
    "no video": (lambda rows: rows[2].update(FileName="0X404"), "0X404.avi: not found, but FileList.csv lists it"),
    "a name that leaves": (lambda rows: rows[2].update(FileName="../x"), "'../x' is not a plain name"),
}


@pytest.mark.parametrize("case", ECHO_PROBLEMS)
def test_a_list_with_a_problem(case, capsys, echo) -> None:
    spoil, says = ECHO_PROBLEMS[case]
    rows = listing(echo)
    spoil(rows)
    rewrite(echo / "FileList.csv", rows)
    code, printed = check(capsys, echo, "echonet")
    assert code == 1
    assert says in printed
    assert "problems 1" in printed.splitlines()


def test_every_problem_is_told_not_only_the_first(capsys, echo) -> None:
    rows = listing(echo)
    for row in rows[:3]:
        row["EF"] = "none"
    rewrite(echo / "FileList.csv", rows)
    gone = echo / "Videos" / f"{rows[4]['FileName']}.avi"
    gone.unlink()
    code, printed = check(capsys, echo, "echonet")
    assert code == 1
    assert printed.count("EF 'none'") == 3
    assert f"{gone}: not found" in printed
    assert "problems 4" in printed.splitlines()
    assert "files that no list names 3" in printed.splitlines()  # the rows that could not be read


MOTION_PROBLEMS = {
    "unknown template": (
        lambda entries: entries[1].update(template="Moving [something] dawn"),
        "the nearest there is 'Moving something down'",
    ),
    "twice": (lambda entries: entries.append(entries[0]), "is there twice"),
    "no video": (lambda entries: entries[1].update(id="404"), "404.webm: not found"),
    "no placeholders": (lambda entries: entries[1].pop("placeholders"), "entry 2: 'placeholders' is missing"),
    "in two splits": (lambda entries: entries[1].update(id="motion0007_00000"), "is in train and in test"),
}


@pytest.mark.parametrize("case", MOTION_PROBLEMS)
def test_a_label_file_with_a_problem(case, capsys, motion) -> None:
    spoil, says = MOTION_PROBLEMS[case]
    entries = labels_of(motion, "train")
    spoil(entries)
    write_labels(motion, "train", entries)
    code, printed = check(capsys, motion, "ssv2")
    assert code == 1
    assert says in printed
    assert "problems 1" in printed.splitlines()


@pytest.mark.parametrize("content", [b"", b"not a video", None])
def test_a_damaged_webm_is_named(content, capsys, motion) -> None:
    name = labels_of(motion, "train")[0]["id"]
    video = motion / VIDEO_FOLDER / f"{name}.webm"
    video.write_bytes(video.read_bytes()[:2000] if content is None else content)
    code, printed = check(capsys, motion, "ssv2")
    assert code == 1
    assert str(video) in printed
    assert "problems 1" in printed.splitlines()


def test_a_folder_of_mixed_files(capsys, tmp_path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (60, 32, 48, 3), dtype=np.uint8)
    write_mjpeg(tmp_path / "a.avi", frames, 30.0)
    write_lossless(tmp_path / "b.mkv", frames[:, :24, :24], 25.0)
    write_lossless(tmp_path / "short.mkv", frames[:5], 25.0)
    write_lossless(tmp_path / "one.mkv", frames[:1], 25.0)
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    for name, numbers in (("pictures", range(60)), ("gap", [1, 2, 4])):
        (tmp_path / name).mkdir()
        for n in numbers:
            Image.new("RGB", (20, 16)).save(tmp_path / name / f"{n}.png")
    (tmp_path / "notes.txt").write_text("not a video")
    code, printed = check(capsys, tmp_path, "folder")
    assert code == 1
    rows = printed.splitlines()
    for row in (
        "files 5",
        "frame folders 2",
        "unreadable files 2",
        "size 48x32 3",
        "size 24x24 1",
        "size 20x16 1",
        "30 frames per second 1",
        "problems 4",
    ):
        assert row in rows
    assert "short.mkv: lasts 0.16 s; 16 frames at 8 fps need 1.88 s" in printed
    assert "one.mkv: lasts 0.00 s" in printed
    assert "broken.mp4: not a readable video" in printed
    assert "gap: picture 3 is missing" in printed
    assert "files that no list names" not in printed


def test_a_clean_folder(capsys, tmp_path) -> None:
    write_mjpeg(tmp_path / "a.avi", np.zeros((60, 32, 48, 3), dtype=np.uint8), 30.0)
    code, printed = check(capsys, tmp_path, "folder")
    assert code == 0
    assert printed.splitlines()[-2] == "problems 0"


def test_many_problems_are_counted_and_the_first_ones_told(capsys, echo) -> None:
    missing = [{**listing(echo)[0], "FileName": f"0X{i:03d}"} for i in range(MOST_SHOWN + 7)]
    rewrite(echo / "FileList.csv", missing)
    code, printed = check(capsys, echo, "echonet")
    assert code == 1
    assert printed.count("not found, but") == MOST_SHOWN
    assert printed.splitlines()[-1] == "... and 7 more"


MISTAKES = {
    "no folder": ("/nowhere/data", "folder", ["/nowhere/data", "no such folder"]),
    "nothing in it": ("{empty}", "folder", ["holds no"]),
    "no list": ("{empty}", "echonet", ["FileList.csv", "not found"]),
    "no labels": ("{empty}", "ssv2", ["labels.json", "not found"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_users_mistake(case, capfd, tmp_path) -> None:
    root, kind, says = MISTAKES[case]
    line = fails(capfd, ["data", "check", root.format(empty=tmp_path), "--as", kind])
    for text in says:
        assert text in line


@pytest.mark.parametrize("arguments", [[], ["check"], ["check", "x"], ["check", "x", "--as", "kinetics"], ["mend"]])
def test_a_wrong_command_line(capsys, arguments) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["data", *arguments])
    assert stopped.value.code == 2
    assert "usage: lvcf data" in capsys.readouterr().err
