"""A user's mistakes: exit code 2, one line that names the file, the value and the fix, no traceback, nothing lost."""

from __future__ import annotations

import csv
import json
import re
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pydicom
import pytest
import torch
from PIL import Image
from pydicom.data import get_testdata_file

from lvcf.cli import main
from lvcf.data.video import write_lossless, write_mjpeg, write_preview, write_webm
from lvcf.models.targets.ejection_fraction import EchoResNet3D
from tests.helpers import fails, predict_arguments, results, rewrite, subset, told


@pytest.fixture
def data(tmp_path, echo_root) -> Path:
    return subset(echo_root, tmp_path / "data", 3)


@pytest.fixture
def arguments(data, tmp_path, backbone_folder, target_folder) -> list[str]:
    return predict_arguments(data, backbone_folder, target_folder, tmp_path / "run")


def edit_list(data: Path, **changes: str) -> None:
    """Change cells of the second clip's row."""
    with (data / "FileList.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    rows[1].update(changes)
    rewrite(data / "FileList.csv", rows)


def all_in(data: Path, split: str) -> list[dict[str, str]]:
    """The list's rows with every clip in one split."""
    with (data / "FileList.csv").open(newline="") as stream:
        return [{**row, "Split": split} for row in csv.DictReader(stream)]


def drop_column(data: Path, name: str) -> None:
    with (data / "FileList.csv").open(newline="") as stream:
        rows = [{k: v for k, v in row.items() if k != name} for row in csv.DictReader(stream)]
    rewrite(data / "FileList.csv", rows)


BAD_LISTS = {
    "no list": (lambda d: (d / "FileList.csv").unlink(), ["FileList.csv", "not found", "lvcf simulate echo"]),
    "no EF": (lambda d: drop_column(d, "EF"), ["FileList.csv", "column EF is missing"]),
    "no FileName": (lambda d: drop_column(d, "FileName"), ["column FileName is missing"]),
    "no Split": (lambda d: drop_column(d, "Split"), ["column Split is missing"]),
    "empty file": (lambda d: (d / "FileList.csv").write_text(""), ["column FileName is missing"]),
    "NaN EF": (lambda d: edit_list(d, EF="nan"), ["line 3", "EF 'nan'", "correct or remove"]),
    "empty EF": (lambda d: edit_list(d, EF=""), ["line 3", "EF ''"]),
    "EF in words": (lambda d: edit_list(d, EF="high"), ["line 3", "EF 'high'"]),
    "EF of 130": (lambda d: edit_list(d, EF="130"), ["line 3", "EF '130'", "0..100"]),
    "EF below 0": (lambda d: edit_list(d, EF="-3"), ["line 3", "EF '-3'"]),
    "a name that leaves": (lambda d: edit_list(d, FileName="../../etc/passwd"), ["line 3", "'../../etc/passwd'"]),
    "an absolute name": (lambda d: edit_list(d, FileName="/etc/passwd"), ["line 3", "'/etc/passwd'"]),
    "two dots": (lambda d: edit_list(d, FileName=".."), ["line 3", "'..'"]),
    "no name": (lambda d: edit_list(d, FileName=""), ["line 3", "FileName ''"]),
}


@pytest.mark.parametrize("case", BAD_LISTS)
def test_bad_file_lists(case, capfd, arguments, data, tmp_path) -> None:
    spoil, says = BAD_LISTS[case]
    spoil(data)
    line = fails(capfd, arguments)
    for text in says:
        assert text in line
    assert results(tmp_path / "run") == {}


BAD_OPTIONS = {
    "missing root": (["--data.root=/nowhere/echo"], ["/nowhere/echo", "not found"]),
    "empty split": (["--data.predict_split=test", "--data.root={empty}"], ["no clip in split 'test'", "TRAIN"]),
    "unknown split": (["--data.predict_split=holdout"], ["predict_split", "holdout"]),
    "target outside": (["--model.target=130"], ["'130'", "0..100 %"]),
    "range outside": (["--model.target=-10..20"], ["-10 is outside"]),
    "target in words": (["--model.target=healthy"], ["'healthy'", "delta:-10"]),
    "reversed range": (["--model.target=60..20"], ["'60..20'", "swap"]),
    "unknown prompt": (["--model.prompt=factual"], ["prompt", "factual"]),
    "unknown solver": (["--model.solver=euler"], ["solver", "euler"]),
    "steps in words": (["--model.steps=many"], ["steps", "many"]),
    "unknown option": (["--model.stepz=3"], ["stepz"]),
    "unknown section": (["--modle.steps=3"], ["modle.steps"]),
    "no weights folder": (["--model.backbone.weights=/nowhere/backbone"], ["/nowhere/backbone", "make help"]),
    "no target weights": (["--model.target_model.weights=/nowhere/target"], ["/nowhere/target", "make help"]),
    "unknown data": (["--data=NoSuchDataModule"], ["NoSuchDataModule"]),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_options(case, capfd, arguments, data, tmp_path) -> None:
    options, says = BAD_OPTIONS[case]
    empty = tmp_path / "empty"
    empty.mkdir()
    rewrite(empty / "FileList.csv", all_in(data, "TRAIN"))
    line = fails(capfd, [*arguments, *(option.format(empty=empty) for option in options)])
    for text in says:
        assert text in line
    assert results(tmp_path / "run") == {}


# what a mistake in a number does before any clip is touched
BAD_NUMBERS = [
    "--model.steps=0",
    "--model.steps=-4",
    "--model.strength=0",
    "--model.strength=1.5",
    "--data.batch_size=0",
    "--data.frames=0",
    "--data.fps=0",
    "--data.size=0",
]


@pytest.mark.parametrize("option", BAD_NUMBERS)
def test_numbers_that_make_no_sense(option, capfd, arguments) -> None:
    line = fails(capfd, [*arguments, option])
    assert option.partition("=")[0].rpartition(".")[2].partition("_")[0] in line


@pytest.mark.parametrize("part", ["vae", "transformer", "text_encoder", "tokenizer", "scheduler"])
def test_a_backbone_that_lacks_a_part(part, capfd, arguments, tmp_path, backbone_folder) -> None:
    broken = tmp_path / "backbone"
    shutil.copytree(backbone_folder, broken)
    shutil.rmtree(broken / part)
    line = fails(capfd, [*arguments, f"--model.backbone.weights={broken}"])
    assert f"lacks {part}" in line
    assert str(broken) in line


DAMAGE = {
    "vae without weights": ("vae/diffusion_pytorch_model.safetensors", None),
    "transformer truncated": ("transformer/diffusion_pytorch_model.safetensors", b"\x08\x00"),
    "text encoder without weights": ("text_encoder/model.safetensors", None),
    "vae config not JSON": ("vae/config.json", b"{"),
    "scheduler config gone": ("scheduler/scheduler_config.json", None),
}


@pytest.mark.parametrize("case", DAMAGE)
def test_a_backbone_with_a_damaged_part(case, capfd, arguments, tmp_path, backbone_folder) -> None:
    file, content = DAMAGE[case]
    broken = tmp_path / "backbone"
    shutil.copytree(backbone_folder, broken)
    (broken / file).unlink()
    if content is not None:
        (broken / file).write_bytes(content)
    line = fails(capfd, [*arguments, f"--model.backbone.weights={broken}"])
    assert str(broken) in line


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
@pytest.mark.parametrize("damage", ["gone", "damaged"])
def test_a_target_model_with_a_missing_or_damaged_file(file, damage, capfd, arguments, tmp_path, target_folder) -> None:
    broken = tmp_path / "target"
    shutil.copytree(target_folder, broken)
    (broken / file).unlink()
    if damage == "damaged":
        (broken / file).write_bytes(b"{nonsense")
    line = fails(capfd, [*arguments, f"--model.target_model.weights={broken}"])
    assert str(broken) in line


def test_an_output_that_is_a_file(capfd, arguments, tmp_path) -> None:
    (tmp_path / "run").write_text("mine")
    line = fails(capfd, arguments)
    assert str(tmp_path / "run") in line
    assert "choose another --model.output" in line
    assert (tmp_path / "run").read_text() == "mine"


def test_an_output_that_cannot_be_written(capfd, arguments) -> None:
    line = fails(capfd, [*arguments, "--model.output=/proc/lvcf/run"])
    assert "/proc/lvcf/run: cannot be written" in line


def test_a_full_disk(capfd, arguments, tmp_path) -> None:
    """The kernel's own full device: writing the manifest fails with ENOSPC."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    run = tmp_path / "run"
    run.mkdir()
    (run / ".manifest.json.partial").symlink_to("/dev/full")
    line = fails(capfd, arguments)
    assert "the disk is full" in line


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["predict", "--config", "nowhere.yaml"], ["nowhere.yaml: no such configuration", "phantom.yaml"]),
        (["predict", "--config=nowhere.yaml"], ["nowhere.yaml: no such configuration"]),
        (["fit", "--config", "phantom.yaml"], ["has no section 'fit:'", "predict"]),
        (["validate", "--config", "phantom/target.yaml"], ["give its checkpoint with --ckpt_path"]),
        (["test", "--config", "phantom.yaml"], ["has no section 'test:'", "predict"]),
        (["fit"], ["model"]),
        (["predict", "--config"], ["config"]),
        (["evaluate", "/nowhere/run"], ["/nowhere/run: no such run folder"]),
        (["report", "/nowhere/run"], ["/nowhere/run"]),
        (["simulate", "echo", "--out", "never", "--n", "0"], ["--n 0", "at least one"]),
        (["simulate", "echo", "--out", "/proc/lvcf", "--n", "1"], ["/proc/lvcf: cannot be written"]),
        (["ablate", "--config", "nowhere.yaml"], ["nowhere.yaml"]),
    ],
    ids=lambda a: " ".join(a)[:40],
)
def test_bad_command_lines(arguments, says, capfd) -> None:
    line = fails(capfd, arguments)
    for text in says:
        assert text in line


@pytest.mark.parametrize("text", ["", "- a list\n", "predict: [1, 2]\n", "predict: {model: [\n", "\x00\x01"])
def test_a_config_file_that_is_none(text, capfd, tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(text.encode())
    assert str(path) in fails(capfd, ["predict", "--config", str(path)])


def test_a_config_that_is_binary(capfd, tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x80predict")
    assert str(path) in fails(capfd, ["predict", "--config", str(path)])


# --- one bad clip among many -------------------------------------------------------------------------------------


def grey(frames: int, size: int = 112) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (frames, size, size, 3), dtype=np.uint8)


def truncated(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


BAD_CLIPS = {
    "gone": (lambda p: p.unlink(), "no such video file"),
    "zero bytes": (lambda p: p.write_bytes(b""), "not a readable video"),
    "text": (lambda p: p.write_text("this is no video\n" * 100), "not a readable video"),
    "truncated": (truncated, "truncated|not a readable video"),
    "too short": (lambda p: write_mjpeg(p, grey(20), 50.0), r"lasts 0\.38 s; 16 frames at 8 fps need 1\.88 s"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "no such video file"),
}


@pytest.mark.parametrize("case", BAD_CLIPS)
def test_one_bad_clip_is_recorded_and_the_others_go_on(case, capfd, arguments, data, tmp_path) -> None:
    spoil, hint = BAD_CLIPS[case]
    names = [p.stem for p in sorted((data / "Videos").iterdir())]
    spoil(data / "Videos" / f"{names[1]}.avi")
    capfd.readouterr()
    assert main(arguments) == 1
    out, err = capfd.readouterr()
    assert "Traceback" not in out + err
    written = results(tmp_path / "run")
    assert list(written) == names
    assert [written[n]["status"] == "failed" for n in names] == [False, True, False]
    assert names[1] in written[names[1]]["hint"]
    assert re.search(hint, written[names[1]]["hint"])
    assert f"{names[1]}: failed: " in out
    assert (tmp_path / "run" / "predictions" / names[2] / "counterfactual.mkv").is_file()


def test_a_clip_of_other_frame_size_goes_through_or_fails_alone(capfd, arguments, data, tmp_path) -> None:
    names = [p.stem for p in sorted((data / "Videos").iterdir())]
    write_mjpeg(data / "Videos" / f"{names[0]}.avi", grey(128, 64), 50.0)
    assert main(arguments) == 0
    assert len(results(tmp_path / "run")) == 3


def test_when_every_clip_is_bad_each_is_recorded(capfd, arguments, data, tmp_path) -> None:
    for path in (data / "Videos").iterdir():
        path.write_bytes(b"")
    assert main(arguments) == 1
    assert {r["status"] for r in results(tmp_path / "run").values()} == {"failed"}
    assert "Traceback" not in capfd.readouterr().err


def test_a_repaired_clip_is_done_when_the_run_is_started_again(capfd, arguments, data, tmp_path) -> None:
    path = sorted((data / "Videos").iterdir())[1]
    good = path.read_bytes()
    path.write_bytes(b"")
    assert main(arguments) == 1
    path.write_bytes(good)
    assert main(arguments) == 0
    assert results(tmp_path / "run")[path.stem]["status"] != "failed"


def test_evaluate_keeps_a_failed_clip_apart(capfd, arguments, data, tmp_path, oracle_folder) -> None:
    path = sorted((data / "Videos").iterdir())[1]
    path.write_bytes(b"")
    assert main([*arguments, "--data.size=112", "--model.steps=1"]) == 1
    assert main(["evaluate", str(tmp_path / "run"), "--oracle", str(oracle_folder)]) == 1
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["n"], metrics["failed"]) == (2, 1)
    with (tmp_path / "run" / "predictions.csv").open(newline="") as stream:
        rows = {row["id"]: row for row in csv.DictReader(stream)}
    assert rows[path.stem]["status"] == "failed"
    assert rows[path.stem]["prediction_after"] == ""


def test_a_bad_training_clip_stops_fit_with_one_line(capfd, data, tmp_path) -> None:
    """Training must not learn from zeros: an unreadable clip is an error there."""
    rows = all_in(data, "TRAIN")
    rewrite(data / "FileList.csv", [*rows[:2], {**rows[2], "Split": "VAL"}])
    for row in rows[:2]:
        (data / "Videos" / f"{row['FileName']}.avi").write_bytes(b"")
    line = fails(capfd, fit_arguments(data, tmp_path))
    assert "Videos" in line


def fit_arguments(data: Path, tmp_path: Path) -> list[str]:
    return [
        "fit",
        "--config",
        "phantom/target.yaml",
        f"--data.root={data}",
        f"--model.output={tmp_path / 'weights'}",
        f"--trainer.logger.save_dir={tmp_path / 'logs'}",
        f"--trainer.default_root_dir={tmp_path}",
        "--data.num_workers=0",
        "--data.batch_size=2",
        "--trainer.fast_dev_run=true",
        "--trainer.accelerator=cpu",
        "--trainer.precision=32-true",
        "--trainer.enable_progress_bar=false",
        "--threads=1",
    ]


def test_a_tiny_decoder_of_another_backbone(capfd, data, tmp_path, backbone_folder) -> None:
    rows = all_in(data, "TRAIN")
    rewrite(data / "FileList.csv", [*rows[:2], {**rows[2], "Split": "VAL"}])
    changed = [a for a in fit_arguments(data, tmp_path) if not a.startswith(("--data", "phantom/"))]
    changed.insert(2, "phantom/tiny_decoder.yaml")
    changed += [f"--model.backbone.weights={backbone_folder}", f"--data.vae={backbone_folder / 'vae'}"]
    changed += [f"--data.cache={tmp_path / 'latents'}", "--data.batch_size=2"]
    changed += [f"--data.clips.{o}" for o in (f"root={data}", "num_workers=0", "batch_size=2", "size=32")]
    capfd.readouterr()
    assert main(changed) == 2
    *encoding, line = told(capfd.readouterr().err)
    assert all(progress.strip().startswith("encode ") for progress in encoding)
    assert "the tiny decoder takes 8 latent channels, the backbone's latents have 4" in line


HUNGRY = """
import torch
from lvcf.models.targets.base import TargetModel

class Hungry(TargetModel):
    bounds = (0.0, 100.0)

    def forward(self, video):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.")
"""


def test_a_lack_of_memory_names_the_setting(capfd, arguments, tmp_path, monkeypatch) -> None:
    (tmp_path / "hungry.py").write_text(HUNGRY)
    monkeypatch.chdir(tmp_path)
    kept = [a for a in arguments if not a.startswith("--model.target_model")]
    line = fails(capfd, [*kept, "--model.target_model=hungry.Hungry"])
    assert "out of memory; lower --data.batch_size" in line


# --- a user's own folder -----------------------------------------------------------------------------------------


def own(arguments: list[str], root: Path) -> list[str]:
    """The same command on a user's own folder."""
    kept = [a for a in arguments if not a.startswith("--data.")]
    return [
        *kept,
        "--data=VideoFolderDataModule",
        f"--data.root={root}",
        "--data.size=32",
        "--data.batch_size=2",
        "--model.target=30",
    ]


def test_an_empty_folder_of_videos(capfd, arguments, tmp_path) -> None:
    (tmp_path / "clips").mkdir()
    line = fails(capfd, own(arguments, tmp_path / "clips"))
    assert f"{tmp_path / 'clips'}: holds no .avi" in line


def test_a_missing_folder_of_videos(capfd, arguments, tmp_path) -> None:
    assert "does not exist" in fails(capfd, own(arguments, tmp_path / "clips"))


def pictures(folder: Path, numbers: Iterable[int] = range(20), size: int = 32) -> None:
    folder.mkdir(exist_ok=True)
    for n in numbers:
        Image.fromarray(grey(1, size)[0]).save(folder / f"{n:03d}.png")


def test_two_files_of_one_name(capfd, arguments, tmp_path) -> None:
    (tmp_path / "clips").mkdir()
    for suffix in ("avi", "mkv"):
        write_lossless(tmp_path / "clips" / f"a.{suffix}", grey(20, 32), 8.0)
    line = fails(capfd, own(arguments, tmp_path / "clips"))
    assert "'a.avi' and 'a.mkv' would share a folder; rename one" in line


def test_a_file_and_a_frame_folder_of_one_name(capfd, arguments, tmp_path) -> None:
    (tmp_path / "clips").mkdir()
    pictures(tmp_path / "clips" / "a")
    write_lossless(tmp_path / "clips" / "a.mkv", grey(20, 32), 8.0)
    assert "'a' and 'a.mkv' would share a folder" in fails(capfd, own(arguments, tmp_path / "clips"))


def corrupt(path: Path) -> None:
    """A third of the file is zeros."""
    write_webm(path, grey(40, 32), 16.0)
    content = bytearray(path.read_bytes())
    third = len(content) // 3
    content[third : 2 * third] = bytes(third)
    path.write_bytes(content)


def cut(path: Path) -> None:
    write_preview(path, grey(40, 32), 16.0)
    truncated(path)


def without_times(path: Path) -> None:
    dataset = pydicom.dcmread(str(get_testdata_file("examples_ybr_color.dcm", download=False)))
    for name in ("FrameTime", "FrameTimeVector", "FrameIncrementPointer", "CineRate", "RecommendedDisplayFrameRate"):
        if name in dataset:
            delattr(dataset, name)
    dataset.save_as(path)


def damaged(folder: Path) -> None:
    pictures(folder)
    (folder / "003.png").write_bytes(b"no picture")


BAD_OWN_CLIPS = {
    "corrupt.webm": (corrupt, r"corrupt\.webm: (truncated|not a readable video)"),
    "cut.mp4": (cut, r"cut\.mp4: not a readable video"),
    "damaged": (damaged, r"003\.png: not a readable image"),
    "gap": (lambda p: pictures(p, [1, 2, 3, 7, 8]), r"gap: picture 4 is missing \(3 between 1 and 8\)"),
    "mixed": (
        lambda p: (pictures(p), pictures(p, range(10, 20), 48)),
        "mixed: its pictures are of sizes 32x32 and 48x48",
    ),
    "one.mkv": (lambda p: write_lossless(p, grey(1, 32), 8.0), r"one\.mkv: holds 1 frame; .* moving picture"),
    "one_picture": (lambda p: pictures(p, [1]), "one_picture: holds 1 frames"),
    "picture.mov": (lambda p: Image.fromarray(grey(1, 32)[0]).save(p, "png"), r"picture\.mov: holds 1 frame"),
    "text.mp4": (lambda p: p.write_text("no video\n" * 300), r"text\.mp4: not a readable video"),
    "zero.avi": (lambda p: p.write_bytes(b""), r"zero\.avi: not a readable video"),
    "timeless.dcm": (
        without_times,
        r"timeless\.dcm: states no frame time for 30 frames \(none of FrameTimeVector",
    ),
}


def test_every_bad_clip_of_ones_own_is_recorded_and_the_others_go_on(capfd, arguments, tmp_path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for name, (make, _) in BAD_OWN_CLIPS.items():
        make(clips / name)
    write_lossless(clips / "good.mkv", grey(20, 32), 8.0)
    write_lossless(clips / "good_of_other_size.mkv", grey(20, 48), 8.0)
    pictures(clips / "good_pictures")
    capfd.readouterr()
    assert main([*own(arguments, clips), "--data.frame_folder_fps=8", "--model.steps=1"]) == 1
    out, err = capfd.readouterr()
    assert told(err) == []
    assert "Traceback" not in out
    written = results(tmp_path / "run")
    good = {name for name, result in written.items() if result["status"] != "failed"}
    assert good == {"good", "good_of_other_size", "good_pictures"}
    assert len(written) == len(good) + len(BAD_OWN_CLIPS)
    for name, (_, says) in BAD_OWN_CLIPS.items():
        hint = written[name.partition(".")[0]]["hint"]
        assert re.search(says, hint), hint
        assert out.count(hint) == 1
        assert "\n" not in hint


BAD_OWN_SETS = {
    "pictures without a rate": (
        "path\na.mkv\npictures\n",
        [],
        ["pictures: numbered pictures", "data.frame_folder_fps"],
    ),
    "a rate of 0": ("path\npictures\n", ["--data.frame_folder_fps=0"], ["data.frame_folder_fps 0", "above 0"]),
    "a column missing": ("path\na.mkv\n", ["--data.label_column=EF"], ["mine.csv: column EF is missing"]),
    "a label in words": ("path,label\na.mkv,high\n", [], ["mine.csv, line 2: label 'high' is no number"]),
    "a class misspelt": ("path,label\na.mkv,hihg\n", ["--data.labels=[low, high]"], ["'hihg'", "did you mean high?"]),
    "a clip gone": ("path\na.mkv\nb.mkv\n", [], ["mine.csv, line 3: path 'b.mkv' is not in"]),
    "a path that leaves": ("path\n../run\n", [], ["line 2: path '../run' is no path below"]),
    "a split that is empty": (
        "path,split\na.mkv,val\n",
        ["--data.predict_split=test"],
        ["no clip in split 'test'", "val 1"],
    ),
    "no such split": ("path\na.mkv\n", ["--data.predict_split=holdout"], ["predict_split", "holdout"]),
}


@pytest.mark.parametrize("case", BAD_OWN_SETS)
def test_a_bad_table_or_rate(case, capfd, arguments, tmp_path) -> None:
    text, options, says = BAD_OWN_SETS[case]
    (tmp_path / "mine.csv").write_text(text)
    (tmp_path / "clips").mkdir()
    write_lossless(tmp_path / "clips" / "a.mkv", grey(20, 32), 8.0)
    pictures(tmp_path / "clips" / "pictures")
    line = fails(capfd, [*own(arguments, tmp_path / "clips"), f"--data.table={tmp_path / 'mine.csv'}", *options])
    for words in says:
        assert words in line
    assert results(tmp_path / "run") == {}


def test_a_crop_that_does_not_fit_fails_the_clip(capfd, arguments, tmp_path) -> None:
    (tmp_path / "clips").mkdir()
    write_lossless(tmp_path / "clips" / "a.mkv", grey(20, 32), 8.0)
    assert main([*own(arguments, tmp_path / "clips"), "--data.crop=[0,0,500,500]"]) == 1
    assert "does not fit frames of 32x32" in results(tmp_path / "run")["a"]["hint"]
    assert told(capfd.readouterr().err) == []


def test_a_short_clip_of_ones_own_fails_with_the_way_out_and_loops_on_request(capfd, arguments, tmp_path) -> None:
    (tmp_path / "clips").mkdir()
    write_lossless(tmp_path / "clips" / "a.mkv", grey(6, 32), 8.0)
    assert main(own(arguments, tmp_path / "clips")) == 1
    assert "data.loop: true" in results(tmp_path / "run")["a"]["hint"]
    looped = [*own(arguments, tmp_path / "clips"), "--data.loop=true", f"--model.output={tmp_path / 'looped'}"]
    assert main(looped) == 0


def test_a_target_model_that_says_no_number_fails_every_clip(capfd, arguments, tmp_path, target_folder) -> None:
    """A target model whose weights hold NaN: no clip may be called done."""
    model = EchoResNet3D.from_pretrained(target_folder)
    with torch.no_grad():
        model.head.bias.fill_(float("nan"))
    model.save_pretrained(tmp_path / "broken")
    capfd.readouterr()
    assert main([*arguments, f"--model.target_model.weights={tmp_path / 'broken'}"]) == 1
    out, err = capfd.readouterr()
    assert told(err) == []
    written = results(tmp_path / "run").values()
    assert len(written) == out.count(": failed: ") == 3
    assert all("not a finite number" in r["hint"] and r["status"] == "failed" for r in written)
    assert not list((tmp_path / "run").rglob("*.mkv"))
