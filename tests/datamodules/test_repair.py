"""`lvcf repair` as it is typed, on an echo run of a tiny backbone; what is declared, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from lvcf.cli import main
from lvcf.datamodules.repair import read_pairs
from lvcf.models.targets.ejection_fraction import echo_resnet_3d
from tests.helpers import fails, predict_arguments, results, rewrite, subset
from tests.toys import LinearTarget


@pytest.fixture(scope="module")
def place(tmp_path_factory, echo_root, backbone_folder, target_folder) -> Path:
    """A run over three clips, of which the set's split TRAIN holds others too, and other clips held out."""
    folder = tmp_path_factory.mktemp("repair")
    data = subset(echo_root, folder / "data", 3)
    (folder / "held_out").symlink_to(echo_root)
    (folder / "target").symlink_to(target_folder)
    assert main([*predict_arguments(data, backbone_folder, target_folder, folder / "run"), "--model.steps=2"]) == 0
    return folder


def section(place: Path, output: Path, **data: Any) -> list[str]:
    """A configuration's `repair:` and the command line that reads it."""
    clips = {"class_path": "lvcf.datamodules.echonet.EchoNetDataModule", "init_args": {"size": 32}}
    train = {**clips, "init_args": {"size": 32, "root": str(place / "held_out")}}
    model = "lvcf.models.targets.ejection_fraction.echo_resnet_3d"
    network = {"class_path": model, "init_args": {"weights": str(place / "target")}}
    parts = {"clips": train, "runs": [str(place / "run")], "batch_size": 2, **data}
    task = {"network": network, "output": str(output)}
    content = {
        "model": {"class_path": "lvcf.tasks.repair.RepairTask", "init_args": task},
        "data": {"class_path": "lvcf.datamodules.repair.RepairDataModule", "init_args": parts},
        "trainer": dict.fromkeys(("logger", "enable_progress_bar", "enable_checkpointing"), False)
        | {"max_steps": 2, "accelerator": "cpu"},
    }
    output.mkdir(exist_ok=True)
    (output / "mine.yaml").write_text(yaml.safe_dump({"repair": {"seed_everything": 1, **content}}))
    return ["repair", "--config", str(output / "mine.yaml")]


@pytest.mark.parametrize("region", [None, [4, 4, 20, 20]])
def test_the_verb_saves_another_model_and_tells_how_it_reads_held_out_clips(place, tmp_path, capsys, region) -> None:
    arguments = section(place, tmp_path / "out")
    assert main([*arguments, *([f"--model.region={region}"] if region else [])]) == 0
    report = json.loads((tmp_path / "out" / "repair.json").read_text())
    assert report["region"] == region
    assert report["declared_by"] == "the clip's own label"
    assert (report["pairs"], report["irrelevant"], report["steps"]) == (3, 3, 2)
    before, after = (report[when]["test"] for when in ("before", "after"))
    assert before["clips"] == after["clips"] == 1.0
    assert before["mae"] != after["mae"]
    old, new = (echo_resnet_3d(str(folder)).state_dict() for folder in (place / "target", tmp_path / "out"))
    assert any((old[name] != new[name]).any() for name in old)
    told = capsys.readouterr().out
    assert f"held out, test: mae {before['mae']:.3g} -> {after['mae']:.3g}" in told
    assert f"next: explain it by lvcf predict with --model.target_model.weights {tmp_path}/out" in told


def test_a_counterfactual_keeps_its_clips_label_unless_somebody_says_another(place) -> None:
    run = place / "run"
    truth = {name: result["label"] for name, result in results(run).items()}
    first, second, *_ = truth
    kept = {pair.id: pair for pair in read_pairs(run)}
    assert {name: float(pair.declared) for name, pair in kept.items()} == pytest.approx(truth)
    assert all(pair.same for pair in kept.values())
    assert (kept[first].factual != kept[first].counterfactual).any()
    tolerance = json.loads((run / "manifest.json").read_text())["tolerance"]
    said = {first: str(truth[first] + 0.9 * tolerance), second: str(truth[second] + 1.1 * tolerance)}
    judged = read_pairs(run, labels=said)
    assert [(pair.id, pair.declared, pair.same) for pair in judged] == [
        (first, said[first], True),
        (second, said[second], False),
    ]
    oracle = LinearTarget(slope=0.0, offset=truth[first])
    by_oracle = read_pairs(run, oracle=oracle)[0]
    assert (float(by_oracle.declared), by_oracle.same) == (pytest.approx(truth[first]), True)


def test_what_cannot_be_is_told_in_one_line(place, tmp_path, capfd) -> None:
    labels = tmp_path / "labels.csv"
    clips = {"class_path": "lvcf.datamodules.echonet.EchoNetDataModule", "init_args": {"root": str(place / "data")}}
    seen = {"mine": {**clips, "init_args": {**clips["init_args"], "size": 32, "predict_split": "all"}}}
    for data, table, reason in (
        ({"runs": []}, None, "name at least one folder"),
        ({"runs": [str(place / "data")]}, None, "holds no manifest.json"),
        ({"held_out": seen}, None, "is trained on, or in a run of data.runs"),
        ({"labels": str(labels)}, [{"clip": "nobody", "label": "3"}], "no run has a finished clip 'nobody'"),
        ({"labels": str(labels)}, [{"clip": "a", "value": "3"}], "column label is missing"),
        ({"labels": str(labels)}, [{"clip": "a", "label": ""}], "line 2: clip 'a' has no label"),
        ({"labels": str(labels)}, [{"clip": "a", "label": "3"}] * 2, "line 3: clip 'a' is there twice"),
    ):
        if table:
            rewrite(labels, table)
        assert reason in fails(capfd, section(place, tmp_path / "out", **data))


def test_clips_of_another_size_are_refused(place, tmp_path, capfd) -> None:
    told = fails(capfd, [*section(place, tmp_path / "out"), "--data.clips.size=64"])
    assert "has 16 frames of 32x32, the training clips 16 of 64x64" in told


def test_a_region_takes_no_labels_beside_it(place, tmp_path, capfd) -> None:
    labels = tmp_path / "labels.csv"
    rewrite(labels, [{"clip": next(iter(results(place / "run"))), "label": "40"}])
    told = fails(capfd, [*section(place, tmp_path / "out", labels=str(labels)), "--model.region=[0, 0, 8, 8]"])
    assert "leave out data.labels and data.oracle" in told


def test_a_task_of_another_kind_of_data_is_refused(place, tmp_path, capfd) -> None:
    arguments = section(place, tmp_path / "out")
    node = yaml.safe_load((tmp_path / "out" / "mine.yaml").read_text())
    node["repair"]["data"] = node["repair"]["data"]["init_args"]["clips"]
    (tmp_path / "out" / "mine.yaml").write_text(yaml.safe_dump(node))
    assert "a repair needs lvcf.datamodules.repair.RepairDataModule" in fails(capfd, arguments)
