"""What the page has done, without the page: examples, readings, counterfactuals of a model of one's own, the zip."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import lvcf
from lvcf.app.domains import DOMAINS, FPS, FRAMES, Domain, Given, example
from lvcf.app.jobs import FULL, Choice, OwnModel, StoppedError, Worker, pack
from lvcf.app.words import reading_html, result_html
from lvcf.cli.report import write_report
from lvcf.data.video import write_lossless
from lvcf.errors import UserError
from lvcf.explain import Reading
from lvcf.explanation import Explanation, failure
from lvcf.presets import methods
from tests.toys import GaussianBackbone, LinearTarget

BY_NAME = {domain.name: domain for domain in DOMAINS}
SEED = 1000
"""The first that the page draws."""


class Brightness(nn.Module):
    """Two logits that the mean of a clip ``(B, 3, T, H, W)`` in 0-1 decides."""

    def forward(self, clips: Tensor) -> Tensor:
        mean = clips.mean((1, 2, 3, 4)) - 0.2
        return torch.stack([-40.0 * mean, 40.0 * mean], dim=1)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> OwnModel:
    path = tmp_path_factory.mktemp("model") / "brightness.pt"
    torch.jit.script(Brightness()).save(str(path))
    return OwnModel(path, lvcf.ClipInput(range=(0, 1)), lvcf.Answer("classification", labels=("dark", "bright")))


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker()


def explained() -> Explanation:
    video = torch.linspace(-0.8, 0.8, 8 * 16 * 16).reshape(1, 8, 16, 16).repeat(3, 1, 1, 1)
    made = lvcf.Explainer(LinearTarget(), GaussianBackbone(), [], size=16, progress=False, steps=2)
    return made.explain(video, 60, "<b>clip</b>")


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_an_example_is_read_as_what_it_was_made_with(domain: Domain, worker: Worker, tmp_path: Path) -> None:
    given = example(domain, SEED, tmp_path)
    found = worker.read(Choice(domain), given)
    assert found.clip.shape == (FRAMES, 112, 112, 3)
    if len(found.says) == 1:
        (said,) = found.says.values()
        made = float(given.truth.split()[-2])
        assert abs(said - made) < 10  # points; 2.6 is its error on validation clips
    else:
        assert sum(found.says.values()) == pytest.approx(1.0, abs=1e-5)
        assert given.truth.lower().endswith(max(found.says, key=lambda name: found.says[name]).lower())


@pytest.mark.parametrize("domain", DOMAINS, ids=lambda domain: domain.name)
def test_the_usual_steps_are_those_of_the_method(domain: Domain) -> None:
    known = methods(domain.name)
    assert Choice(domain).usual_steps == known[domain.method].settings["steps"]
    assert FULL in known


def test_examples_differ_and_a_seed_tells_which(tmp_path: Path) -> None:
    one, same, other = (BY_NAME["motion"].draw(seed) for seed in (SEED, SEED, SEED + 1))
    assert np.array_equal(one.frames, same.frames)
    assert not np.array_equal(one.frames, other.frames)


def test_a_model_of_ones_own_says_its_classes_and_stops_when_asked(
    own: OwnModel, worker: Worker, tmp_path: Path
) -> None:
    given = example(BY_NAME["phantom"], SEED, tmp_path)
    choice = Choice(BY_NAME["phantom"], own)
    found = worker.read(choice, given)
    mean = found.clip.mean() / 255 - 0.2
    assert found.says["bright"] == pytest.approx(1 / (1 + np.exp(-80 * mean)), abs=1e-3)
    told: list[tuple[int, int, int, float]] = []

    def tell(*how_far: Any) -> None:
        told.append(how_far)
        worker.stop()

    with pytest.raises(StoppedError):
        worker.explain(choice, given, "other", 2, tell)
    assert [how_far[:3] for how_far in told] == [(1, 0, 2)]


@pytest.mark.parametrize(
    ("target", "told"), [("", "no such class"), ("brihgt", "did you mean bright"), ("30", "no such")]
)
def test_a_target_that_is_none_is_told(own: OwnModel, worker: Worker, tmp_path: Path, target: str, told: str) -> None:
    given = example(BY_NAME["phantom"], SEED, tmp_path)
    with pytest.raises(UserError, match=told):
        worker.explain(Choice(BY_NAME["phantom"], own), given, target, 2, lambda *how_far: None)


def test_a_clip_that_is_too_short_is_told(worker: Worker, tmp_path: Path) -> None:
    path = tmp_path / "short.mkv"
    write_lossless(path, np.zeros((4, 32, 32, 3), dtype=np.uint8), FPS)
    with pytest.raises(UserError, match=r"short.mkv.*lasts 0\.38 s"):
        worker.read(Choice(BY_NAME["motion"]), Given(path, ""))


def test_a_model_file_that_is_none_is_told_and_the_next_choice_works(
    worker: Worker, own: OwnModel, tmp_path: Path
) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(b"no graph")
    given = example(BY_NAME["phantom"], SEED, tmp_path)
    with pytest.raises(UserError, match="not TorchScript"):
        worker.read(Choice(BY_NAME["phantom"], OwnModel(path, own.takes, own.answer)), given)
    assert set(worker.read(Choice(BY_NAME["phantom"], own), given).says) == {"dark", "bright"}


def test_the_zip_holds_the_folder_that_the_verbs_read(tmp_path: Path) -> None:
    found = explained()
    first = pack(found, tmp_path, write_report)
    place = tmp_path / "out"
    with zipfile.ZipFile(first) as archive:
        archive.extractall(place)
    (run,) = place.iterdir()
    held = {path.relative_to(run).as_posix() for path in run.rglob("*") if path.is_file()}
    (clip,) = (run / "predictions").iterdir()
    made = {
        f"predictions/{clip.name}/{name}" for name in ("result.json", "factual.mkv", "counterfactual.mkv", "panel.mp4")
    }
    assert {"manifest.json", "report.html", *made} <= held
    assert json.loads((clip / "result.json").read_text())["status"] == found.status
    assert len(lvcf.load_run(run)) == 1
    assert pack(found, tmp_path, write_report).is_file()  # in the first one's place


def test_what_was_given_stays_text(tmp_path: Path) -> None:
    """Class names and messages come from a user's model and files: no tag of theirs becomes one of the page."""
    nasty = "<script>alert(1)</script>"
    clip = np.zeros((4, 16, 16, 3), dtype=np.uint8)
    given = Given(tmp_path / "clip.mkv", "", nasty)
    pages = [
        reading_html(BY_NAME["phantom"], given, Reading(clip, {nasty: 0.7, "b": 0.3}), own=True),
        reading_html(BY_NAME["phantom"], given, Reading(clip, {nasty: 12.0}), own=True),
        result_html(failure(nasty, nasty, seed=0), False, [nasty]),
    ]
    for page in pages:
        assert "<script" not in page
        assert "&lt;script&gt;alert(1)" in page


def test_the_page_says_what_came_out_and_how_not_to_read_it() -> None:
    found = explained()
    page = result_html(found, True, ["Trained on clips of nobody."])
    assert f'data-status="{found.status}"' in page
    assert "you asked for 60" in page
    assert "data:video/mp4;base64," in page
    for caveat in ("what the model reacts to", "Trained on clips of nobody.", "is simulated", "this very file"):
        assert caveat in page
    assert "is simulated" not in result_html(found, False, [])
