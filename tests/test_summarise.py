"""``lvcf summarise`` as a user runs it: what its files say is what the clips show, in flat memory."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lvcf.cli import main
from lvcf.data.video import Frames, write_lossless
from lvcf.files import write_json, write_rows
from lvcf.measure.changes import gather
from lvcf.runs.folder import read_predictions
from tests.helpers import fails

FRAMES, SIDE, FPS = 8, 24, 8.0
LEFT, RIGHT = [2, 4, 10, 20], [14, 4, 22, 20]


def grain(seed: int) -> Frames:
    return np.random.default_rng(seed).integers(60, 120, (FRAMES, SIDE, SIDE, 3), dtype=np.uint8)


def brighter(factual: Frames, box: list[int], levels: int, frames: slice = slice(None)) -> Frames:
    """A clip whose box is so many levels brighter in some frames."""
    left, top, right, bottom = box
    changed = factual.astype(np.int16)
    changed[frames, top:bottom, left:right] += levels
    return changed.astype(np.uint8)


def add_clip(run: Path, name: str, factual: Frames, final: Frames, **facts: Any) -> None:
    folder = run / "predictions" / name
    folder.mkdir(parents=True)
    write_lossless(folder / "factual.mkv", factual, FPS)
    write_lossless(folder / "counterfactual.mkv", final, FPS)
    target = facts.pop("target", 50.0)
    edges = {"low": target, "high": target, "text": f"{target:g}"}
    result = {"schema_version": 2, "id": name, "status": "reached", "task": "regression", "unit": "%", "target": edges}
    result |= {"prediction_before": 30.0, "prediction_reference": 30.1, "prediction_after": target, "fps": FPS}
    write_json(folder / "result.json", result | {"frames": FRAMES, "hint": ""} | facts)


def write_manifest(run: Path, notice: str = "The clips are simulated.") -> Path:
    ids = sorted(folder.name for folder in (run / "predictions").iterdir())
    told = {"ids": ids, "target": "50", "target_model": "Toy", "backbone": "Toy", "method": "AGG", "prompt": "neutral"}
    write_json(
        run / "manifest.json", told | {"seed": 0, "command": "lvcf predict", "notice": [notice], "data": "clips"}
    )
    return run


def make_run(run: Path, clips: int = 16) -> Path:
    """Every even clip was asked to rise and is brighter on the left, every odd one to fall and darker on the right."""
    for i in range(clips):
        factual, rises = grain(i), i % 2 == 0
        box, levels = (LEFT, 20 + i % 16) if rises else (RIGHT, -20 - i % 16)
        before = 30.0 if rises else 70.0
        add_clip(run, f"clip_{i:02}", factual, brighter(factual, box, levels), prediction_before=before)
    return write_manifest(run)


@pytest.fixture(scope="session")
def made_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("summarise") / "toy")


@pytest.fixture
def run(made_run: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made_run, tmp_path / "toy"))


def summary(run: Path) -> dict[str, Any]:
    return json.loads((run / "summary.json").read_text())


def lines(run: Path) -> list[dict[str, str]]:
    with (run / "summary.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_levels_regions_and_clusters_are_what_was_drawn(run: Path, tmp_path: Path, capsys) -> None:
    mask = np.zeros((SIDE, SIDE), dtype=np.uint8)
    mask[:, : SIDE // 2] = 255
    Image.fromarray(mask).save(tmp_path / "half.png")
    corners = [[14, 4], [22, 4], [22, 20], [14, 20]]
    regions = {"left": LEFT, "right": corners, "left half": "half.png"}
    (tmp_path / "regions.json").write_text(json.dumps(regions))
    assert main(["summarise", str(run), "--regions", str(tmp_path / "regions.json")]) == 0
    assert capsys.readouterr().out == f"{run / 'summary.html'}\n"
    told, area = summary(run), 8 * 16 / SIDE**2
    assert {name: group["n"] for name, group in told["groups"].items()} == {"all clips": 16, "up": 8, "down": 8}
    assert told["groups"]["up"]["change_levels"]["mean"] == pytest.approx(area * np.mean(range(20, 36, 2)))
    found = {(name, group): row["share"]["mean"] for name, of in told["regions"].items() for group, row in of.items()}
    assert {key: share for key, share in found.items() if key[1] != "all clips"} == {
        ("left", "up"): 1.0,
        ("left", "down"): 0.0,
        ("right", "up"): 0.0,
        ("right", "down"): 1.0,
        ("left half", "up"): 1.0,
        ("left half", "down"): 0.0,
    }
    assert found["left", "all clips"] == 0.5
    assert told["regions"]["left"]["all clips"]["area"]["mean"] == pytest.approx(area)
    assert told["regions"]["left half"]["all clips"]["area"]["mean"] == pytest.approx(0.5)
    clusters = told["clusters"]
    assert clusters["clear"]
    assert [cluster["n"] for cluster in clusters["clusters"]] == [8, 8]
    assert clusters["silhouette"] == pytest.approx(1.0, abs=0.01)  # at length 1 all that rise are the same edit
    rows = lines(run)
    assert [row["asked"] for row in rows] == ["up", "down"] * 8
    assert len({(row["asked"], row["cluster"]) for row in rows}) == 2
    assert [float(row["change_levels"]) for row in rows] == pytest.approx([area * (20 + i) for i in range(16)])


def test_the_same_files_give_the_same_page_and_the_report_is_left_alone(run: Path) -> None:
    def written() -> dict[str, bytes]:
        names = ("summary.html", "summary.json", "summary.csv", "predictions/clip_00/thumbnail.jpg")
        return {name: (run / name).read_bytes() for name in names}

    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert main(["summarise", str(run)]) == 0
    first = written()
    assert main(["summarise", str(run)]) == 0
    assert written() == first
    assert {path: path.read_bytes() for path in before} == before


def test_a_change_in_time_stands_in_its_frames(tmp_path: Path) -> None:
    run = tmp_path / "late"
    for i in range(3):
        add_clip(run, f"clip_{i}", grain(i), brighter(grain(i), LEFT, 40, slice(6, 8)))
    assert main(["summarise", str(write_manifest(run))]) == 0
    told, levels = summary(run)["groups"]["all clips"], 40 * 8 * 16 / SIDE**2
    assert told["change_over_time"] == pytest.approx([0.0] * 6 + [levels] * 2, abs=1e-3)
    assert told["spread_over_time"] == pytest.approx([0.0] * 8, abs=1e-2)
    assert summary(run)["clusters"] is None  # too few clips
    assert [float(row["changes_most_at_s"]) for row in lines(run)] == [0.75] * 3


def test_failed_and_not_drawable_clips_are_told_and_left_out(run: Path) -> None:
    for name, status in (("clip_00", "failed"), ("clip_01", "not_drawable"), ("clip_02", "not_reached")):
        path = run / "predictions" / name / "result.json"
        result = json.loads(path.read_text()) | {"status": status}
        write_json(path, {"id": name, "status": "failed", "hint": "no"} if status == "failed" else result)
    assert main(["summarise", str(run)]) == 0
    told = summary(run)
    assert (told["n"], told["left_out"]) == (14, 2)
    assert told["groups"]["up"] | {"change_levels": 0, "change_over_time": 0, "spread_over_time": 0} == {
        "n": 7,
        "reached": 6,
        "change_levels": 0,
        "change_over_time": 0,
        "spread_over_time": 0,
    }
    rows = {row["id"]: row for row in lines(run)}
    assert rows["clip_00"]["change_levels"] == rows["clip_01"]["change_levels"] == ""
    assert rows["clip_02"]["change_levels"]
    page = (run / "summary.html").read_text()
    assert "14 clips: 13 reached the target, 1 did not. Left out: 1 not drawable, 1 failed." in page


def test_a_classifiers_clips_are_split_by_the_class_asked_for(tmp_path: Path) -> None:
    run = tmp_path / "classes"
    for i in range(6):
        said = {"class_before": "sad", "class_after": "happy"}
        label = ("happy", "<i>calm")[i % 2]
        edges = {"low": 1.0, "high": 1.0, "text": label}
        add_clip(run, f"clip_{i}", grain(i), brighter(grain(i), LEFT, 20), task="classification", unit="", **said)
        path = run / "predictions" / f"clip_{i}" / "result.json"
        write_json(path, json.loads(path.read_text()) | {"target": edges})
    assert main(["summarise", str(write_manifest(run))]) == 0
    assert list(summary(run)["groups"]) == ["all clips", "<i>calm", "happy"]
    page = (run / "summary.html").read_text()
    assert "Asked for &lt;i&gt;calm" in page
    assert "<i>calm" not in page


def evaluated(run: Path, moves: list[tuple[float, float]]) -> Path:
    """As ``lvcf evaluate`` leaves it: M moved by the first, the oracle by the second."""
    rows = []
    for i, (model, oracle) in enumerate(moves):
        path = run / "predictions" / f"clip_{i:02}" / "result.json"
        result = json.loads(path.read_text())
        write_json(path, result | {"prediction_after": result["prediction_before"] + model})
        measured = {"truth/pixel_ef": 40.0 + i, "truth/pixel_ef_error": 2.0, "leakage/brightness_levels": 0.5}
        facts = {"id": f"clip_{i:02}", "status": "reached", "task": "regression", "label": 30.0}
        rows.append(facts | measured | {"truth/oracle_moved": oracle})
        curves = {"what": "ventricle area", "unit": "px^2", "factual": [100.0, 50.0], "truth": [100.0, 70.0]}
        write_json(path.with_name("curves.json"), curves | {"counterfactual": [100.0, 55.0 + i % 2 * 10]})
    write_rows(run / "predictions.csv", rows)
    write_json(run / "metrics.json", {"n": len(moves), "simulated": True})
    return run


def test_the_oracle_is_compared_and_the_clips_furthest_apart_are_listed(run: Path) -> None:
    rng = np.random.default_rng(0)
    model = np.linspace(10, 40, 16)
    oracle = model + rng.normal(0, 1, 16)
    oracle[5], oracle[11] = -8.0, 5.0
    evaluated(run, list(zip(model.tolist(), oracle.tolist(), strict=True)))
    assert main(["summarise", str(run)]) == 0
    told = summary(run)["oracle"]
    assert told["correlation"]["mean"] == pytest.approx(np.corrcoef(model, oracle)[0, 1])
    assert told["correlation"]["ci_low"] < told["correlation"]["mean"] < told["correlation"]["ci_high"]
    assert told["moved_the_same_way"]["mean"] == pytest.approx(15 / 16)
    apart = list(told["furthest_apart"])
    assert apart[:2] == ["clip_05", "clip_11"]
    assert len(apart) == 4  # never more than a quarter
    assert float(lines(run)[5]["truth/oracle_moved"]) == -8.0


def test_attributes_are_those_that_evaluation_measured(run: Path) -> None:
    evaluated(run, [(20.0, 18.0 + i / 10) for i in range(16)])
    assert main(["summarise", str(run)]) == 0
    told = summary(run)
    assert told["attributes"]["truth/pixel_ef"]["all clips"]["mean"] == pytest.approx(47.5)
    assert told["attributes"]["label"]["all clips"]["mean"] == 30.0
    assert told["attributes"]["leakage/brightness_levels"]["all clips"] == {
        "mean": 0.5,
        "ci_low": 0.5,
        "ci_high": 0.5,
        "n": 16,
    }
    # half of the clips make 5 of 20 px², half 15: by least squares a half of the true move
    assert told["true_move_followed"]["all clips"]["mean"] == pytest.approx(0.5)
    assert told["oracle"]["correlation"] is None  # M moved by the same everywhere
    page = (run / "summary.html").read_text()
    assert "No correlation: one of the two moved by the same on every clip" in page


def test_what_is_not_evaluated_says_what_to_do(run: Path) -> None:
    assert main(["summarise", str(run)]) == 0
    page = (run / "summary.html").read_text()
    assert f"run <code>lvcf evaluate {run}</code> first" in page
    assert f"run lvcf evaluate {run} first, which asks the oracle" in page
    assert "--regions FILE" in page


def test_nothing_changed_is_said_and_nothing_breaks(tmp_path: Path) -> None:
    run = tmp_path / "nothing"
    for i in range(12):
        add_clip(run, f"clip_{i:02}", grain(i), grain(i), status="not_reached")
    write_manifest(run)
    (tmp_path / "regions.yaml").write_text("left: [2, 4, 10, 20]\n")
    assert main(["summarise", str(run), "--regions", str(tmp_path / "regions.yaml")]) == 0
    told = summary(run)
    assert told["groups"]["all clips"]["change_levels"] == {"mean": 0.0, "ci_low": 0.0, "ci_high": 0.0, "n": 12}
    assert told["regions"] == {}
    assert told["clusters"] is None


def test_a_table_of_polygons_need_not_name_every_clip(run: Path, tmp_path: Path) -> None:
    named = [f"clip_{i:02}" for i in range(0, 16, 2)]
    write_rows(tmp_path / "left.csv", [{"clip": name, "polygon": "2 4, 10 4, 10 20, 2 20"} for name in named])
    (tmp_path / "regions.yaml").write_text("left: left.csv\n")
    assert main(["summarise", str(run), "--regions", str(tmp_path / "regions.yaml")]) == 0
    left = summary(run)["regions"]["left"]
    assert left["all clips"]["share"] == {"mean": 1.0, "ci_low": pytest.approx(0.67, abs=0.02), "ci_high": 1.0, "n": 8}
    assert "down" not in left


BAD_REGIONS = {
    "no file": (None, ["regions.yaml: no such file"]),
    "no YAML": ("a: [1, 2", ["regions.yaml: is no YAML"]),
    "a list": ("- 1", ["regions.yaml: names no region"]),
    "a number": ("septum: 3", ["septum: 3 is no region; give a box"]),
    "no box": ("septum: [9, 1, 3, 5]", ["septum: [9, 1, 3, 5]: is no box"]),
    "a box outside": ("septum: [0, 0, 30, 30]", ["septum: [0, 0, 30, 30]: leaves the clips' 24x24 pixels"]),
    "two points": ("septum: [[1, 2], [3, 4]]", ["septum: polygon", "has 2 points"]),
    "a polygon outside": ("septum: [[1, 2], [30, 4], [5, 9]]", ["septum: the polygon leaves its 24x24 pixels"]),
    "no mask": ("septum: none.png", ["septum:", "none.png: no such file"]),
}


@pytest.mark.parametrize("case", BAD_REGIONS)
def test_bad_regions(case: str, run: Path, tmp_path: Path, capfd) -> None:
    content, words = BAD_REGIONS[case]
    path = tmp_path / "regions.yaml"
    if content is not None:
        path.write_text(content)
    line = fails(capfd, ["summarise", str(run), "--regions", str(path)])
    assert line.startswith(f"lvcf summarise: --regions {path}")
    assert all(word in line for word in words), line
    assert not (run / "summary.html").exists()


@pytest.mark.parametrize(("number", "word"), [("1", "from 2 up"), ("16", "only 16 clips were drawn")])
def test_bad_numbers_of_clusters(number: str, word: str, run: Path, capfd) -> None:
    line = fails(capfd, ["summarise", str(run), "--clusters", number])
    assert line.startswith(f"lvcf summarise: --clusters {number}: ")
    assert word in line


def test_other_folders_are_refused_in_a_line(tmp_path: Path, run: Path, capfd) -> None:
    assert "no such run folder" in fails(capfd, ["summarise", str(tmp_path / "none")])
    steered = tmp_path / "steered"
    steered.mkdir()
    write_json(steered / "manifest.json", {"ids": [], "evaluation_graph": {}})
    assert "a run of lvcf steer" in fails(capfd, ["summarise", str(steered)])
    for path in (run / "predictions").glob("*/result.json"):
        write_json(path, {"id": path.parent.name, "status": "failed", "hint": "no"})
    assert "none of its 16 clips was drawn" in fails(capfd, ["summarise", str(run)])
    shutil.rmtree(run / "predictions")
    assert "no finished clip" in fails(capfd, ["summarise", str(run)])


def test_a_damaged_clip_is_named(run: Path, capfd) -> None:
    write_lossless(run / "predictions" / "clip_03" / "factual.mkv", grain(3)[:, :12], FPS)
    assert "clip_03: damaged (factual and counterfactual have different sizes)" in fails(capfd, ["summarise", str(run)])


def test_the_number_of_clusters_may_be_given(run: Path) -> None:
    assert main(["summarise", str(run), "--clusters", "2"]) == 0
    assert list(summary(run)["clusters"]["silhouette_by_number"]) == ["2"]


def test_clips_of_other_sizes_are_laid_on_the_firsts_grid(tmp_path: Path) -> None:
    run, left = tmp_path / "sizes", np.s_[:, :, :12]
    for i, side in enumerate((24, 48)):
        factual = np.full((FRAMES * (i + 1), side, side, 3), 80, dtype=np.uint8)
        final = factual.copy()
        final[left if side == 24 else np.s_[:, :, :24]] += 30
        add_clip(run, f"clip_{i}", factual, final)
    write_manifest(run)
    changes = gather(read_predictions(run), {}, lambda *_: None)
    mean = changes.maps["all clips"].mean("change")
    assert mean.shape == (24, 24)
    assert mean[:, :12] == pytest.approx(30.0)
    assert mean[:, 12:] == pytest.approx(0.0)
    assert changes.maps["all clips"].spread("change") == pytest.approx(0.0, abs=1e-3)
    assert changes.sizes == {(8, 24, 24): 1, (16, 48, 48): 1}


def test_memory_does_not_grow_with_the_clips(made_run: Path) -> None:
    predictions = read_predictions(made_run)[:2]

    def peak(times: int) -> int:
        tracemalloc.start()
        gather(predictions * times, {}, lambda *_: None)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    few, many = peak(5), peak(50)
    film = 4 * 32 * 32 * 4
    assert many - few < 90 * 2 * film  # what is kept of a clip is its film, however long and large it is


def test_help_needs_no_torch_and_no_scikit_learn() -> None:
    code = "import sys; from lvcf.cli import main\ntry: main(['summarise', '--help'])\nexcept SystemExit: pass\n"
    code += "sys.exit(bool({'torch', 'sklearn', 'matplotlib'} & {*sys.modules}))"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL, check=False).returncode == 0
