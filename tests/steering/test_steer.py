"""The shipped steering configuration, tiny: from a simulated set to a table, resumed and replayed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lvcf.cli import main
from lvcf.configuration import read_section
from lvcf.data.face_attributes import ATTRIBUTES
from lvcf.data.ferv39k import FERV39KDataset
from lvcf.data.video import read_video
from lvcf.models.targets.face_attributes import AttributeResNet3D
from lvcf.phantoms.face.attributes import values_of
from lvcf.phantoms.face.set import read_factors
from lvcf.runs.folder import read_predictions
from tests.helpers import fails

METHODS = ["graph", "steered"]


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    torch.manual_seed(0)
    folder: Path = tmp_path_factory.mktemp("attributes")
    AttributeResNet3D(channels=(8, 8, 16)).save_pretrained(folder)
    return folder


@pytest.fixture
def section(face_root, backbone_folder, weights, tmp_path) -> dict[str, Any]:
    """The shipped configuration with everything tiny."""
    content = read_section("steering/face.yaml", "steer")
    content |= {"output": str(tmp_path / "run"), "methods": METHODS, "clips": 1, "threads": 1}
    content["budget"] = {"edits": 2, "calls": 6, "patience": 2}
    content["interventions"] = [{"gender": "other"}]
    content["editor"]["init_args"]["backbone"]["init_args"]["weights"] = str(backbone_folder)
    content["editor"]["init_args"]["steps"] = 2
    content["judge"]["init_args"]["weights"] = str(weights)
    content["evaluator"]["init_args"] |= {"root": str(face_root), "frames": 1}
    content["data"]["init_args"] |= {"root": str(face_root), "frames": 2}
    return content


def first_clip(root: Path) -> str:
    return FERV39KDataset(root, "all").ids[0]


def steer(section: dict[str, Any], tmp_path: Path, *more: str) -> list[str]:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"steer": section}))
    return ["steer", "--config", str(tmp_path / "mine.yaml"), *more]


def test_from_clips_to_a_table_then_again_then_from_the_record(section, tmp_path, capfd, face_root) -> None:
    run = tmp_path / "run"
    assert main(steer(section, tmp_path)) == 0
    printed = capfd.readouterr().out
    assert "steered" in printed
    assert "by the evaluating judge" in printed
    predictions = read_predictions(run)
    name = first_clip(face_root)
    factors = read_factors(face_root)[name]
    assert [p.result["method"] for p in predictions] == METHODS
    for prediction in predictions:
        result = prediction.result
        factual = values_of(factors)
        other = "woman" if factors.gender == "man" else "man"
        assert result["id"] == prediction.folder.name == f"{name}.gender_other.{result['method']}"
        assert (result["clip"], result["factual"], result["intervention"]) == (name, factual, {"gender": other})
        roles = {answer["attribute"]: answer["role"] for answer in result["evaluation"]}
        assert roles == {"age": "preserved", "gender": "intervened", "beard": "descendant", "baldness": "descendant"}
        right = {a["attribute"]: a["observed"] == result["target"][a["attribute"]] for a in result["evaluation"]}
        assert result["measured"]["joint"] == float(all(right.values()))
        assert result["measured"]["minimality"] == float(right["age"])
        assert result["measured"]["violations"] == sum(not right[n] for n in ("age", "beard", "baldness"))
        assert result["status"] == ("reached" if all(right.values()) else "not_reached")
        best = read_video(prediction.folder / "attempts" / f"{result['best']:02d}.mkv").frames
        assert (prediction.counterfactual() == best).all()
        assert prediction.factual().shape == best.shape == (*prediction.mask().shape, 3)
        assert result["cost"]["edits"] == len(result["history"]) <= 2
    table = json.loads((run / "metrics.json").read_text())
    assert table["steered/n"] == 1
    assert table["steered/joint"] == predictions[1].result["measured"]["joint"]
    assert table["steered/tokens"].startswith("unavailable")  # a network counts none
    before = {path: path.stat().st_mtime_ns for path in run.rglob("result.json")}
    assert main(steer(section, tmp_path)) == 0
    assert before == {path: path.stat().st_mtime_ns for path in run.rglob("result.json")}
    shutil.rmtree(predictions[0].folder)
    assert main(steer(section, tmp_path)) == 0
    assert (predictions[0].folder / "result.json").is_file()
    capfd.readouterr()
    assert main(["steer", "--replay", str(run)]) == 0
    assert "the records run again" in capfd.readouterr().out
    result = json.loads((predictions[1].folder / "result.json").read_text())
    result["history"][0]["prompt"] = "something else"
    (predictions[1].folder / "result.json").write_text(json.dumps(result))
    assert main(["steer", "--replay", str(run)]) == 1
    assert predictions[1].id in capfd.readouterr().out
    section["seed"] = 1
    assert "another seed; choose another output" in fails(capfd, steer(section, tmp_path))


def test_factual_values_from_the_judge_and_from_a_file(section, tmp_path, face_root) -> None:
    name = first_clip(face_root)
    section |= {"methods": ["initial"], "factual": "judge"}
    assert main(steer(section, tmp_path)) == 0
    (prediction,) = read_predictions(tmp_path / "run")
    (line,) = (tmp_path / "run" / "observed" / name / "calls.jsonl").read_text().splitlines()
    seen = {answer["attribute"]: answer["observed"] for answer in json.loads(line)["answer"]["answers"]}
    assert prediction.result["factual"] == seen
    wished = {**{name: domain[0] for name, domain in ATTRIBUTES.items()}, "beard": True}
    (tmp_path / "known.json").write_text(json.dumps({name: wished}))
    section |= {"factual": str(tmp_path / "known.json"), "output": str(tmp_path / "other")}
    assert main(steer(section, tmp_path)) == 0
    (prediction,) = read_predictions(tmp_path / "other")
    assert prediction.result["factual"] == {**wished, "beard": "yes"}
    assert prediction.result["source_prompt"].startswith("face of a young woman with a beard in a")
