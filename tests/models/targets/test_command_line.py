"""Someone's own model on the command line: by class_path, and behind an endpoint that goes away in the middle."""

from __future__ import annotations

import numpy as np
import pytest

from lvcf.cli import main
from tests.helpers import fails, predict_arguments, results, subset
from tests.models.targets.endpoint import Endpoint


@pytest.fixture
def arguments(tmp_path, echo_root, backbone_folder, target_folder) -> list[str]:
    data = subset(echo_root, tmp_path / "data", 3)
    given = predict_arguments(data, backbone_folder, target_folder, tmp_path / "run", "--model.target=delta:1")
    return [option for option in given if "target_model" not in option]


def declared(class_path: str, **options: object) -> list[str]:
    told = {"takes.range": [-1, 1], "takes.size": 32, "answer.task": "regression", "answer.scale": 20.0, **options}
    flags = [f"--model.target_model.{name}={value}" for name, value in told.items()]
    return [f"--model.target_model=lvcf.models.targets.{class_path}", *flags]


def test_any_module_by_class_path(arguments, tmp_path) -> None:
    own = declared("exported.ModuleTarget", network="tests.toys.LinearTarget")
    assert main([*arguments, *own]) == 0
    written = results(tmp_path / "run")
    assert len(written) == 3
    assert all("queries" not in result for result in written.values())
    assert {result["task"] for result in written.values()} == {"regression"}


def test_a_module_that_is_declared_wrongly_is_told_before_anything_runs(capfd, arguments, tmp_path) -> None:
    own = declared("exported.ModuleTarget", network="tests.toys.BrightDark")
    line = fails(capfd, [*arguments, *own])
    assert "BrightDark: the target model's output has shape (2, 2), a regression answer" in line
    assert not (tmp_path / "run").exists()


def test_clips_of_another_length_are_told_before_anything_is_edited(capfd, arguments, tmp_path) -> None:
    own = declared("exported.ModuleTarget", network="tests.toys.LinearTarget", **{"takes.frames": 12})
    assert "takes 12 frames, the clips have 16; set data.frames" in fails(capfd, [*arguments, *own])
    assert results(tmp_path / "run") == {}


def test_an_endpoint_that_goes_away_is_told_and_the_run_goes_on_later(capfd, arguments, tmp_path) -> None:
    run = tmp_path / "run"

    def mean(clips: np.ndarray) -> np.ndarray:
        return 50.0 + 50.0 * clips.mean(axis=(1, 2, 3, 4))

    served = Endpoint("npy", mean)
    served.fault = lambda: 503 if len(results(run)) >= 2 else None  # after the first batch
    patience = {"url": served.url, "retries": 1, "back_off": 0.01, "plan.directions": 4, "plan.budget": 20}
    own = declared("black_box.HttpTarget", **patience)
    line = fails(capfd, [*arguments, *own])
    assert f"{served.url}: no answer after 2 attempts" in line
    kept = {path: path.stat().st_mtime_ns for path in run.glob("predictions/*/result.json")}
    assert len(kept) == 2
    served.fault = lambda: None
    assert main([*arguments, *own]) == 0
    served.close()
    written = results(run)
    assert len(written) == 3
    assert all(path.stat().st_mtime_ns == then for path, then in kept.items())
    assert all(result["queries"] > 3 for result in written.values())
