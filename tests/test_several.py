"""Several counterfactuals of a clip: the first is what one alone is, the others differ, and all that is told is so."""

from __future__ import annotations

import json
import math
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import lvcf
from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.cli import main
from lvcf.data.video import read_video
from lvcf.diversity import apart, log_det
from lvcf.errors import UserError
from lvcf.guidance.weight import ConstantWeight
from lvcf.runs.panel import GAP, beside
from lvcf.settings import Settings
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.helpers import predict_arguments, results, subset
from tests.toys import GaussianBackbone, LinearTarget, make_clips, predict

METHOD = [GradientGuidance(samples=1, noise=0.1, weight=ConstantWeight(0.1)), LastCorrection(steps=10)]


def run(tmp_path: Path, **options):
    task = CounterfactualTask(GaussianBackbone(), LinearTarget(), "60", tmp_path, **{"steps": 4, **options})
    return predict(task, make_clips(2), METHOD)


def latents(*levels: float) -> Tensor:
    return torch.stack([torch.full((1, 2, 1, 2, 2), level) for level in levels])


def test_two_are_as_different_as_the_closed_form_says() -> None:
    assert float(log_det(latents(0.0, 0.5))) == pytest.approx(math.log(1.0001**2 - (1 / 1.5) ** 2), abs=1e-5)
    both = torch.cat([latents(0.0, 0.5), latents(0.0, 2.0)], dim=1)
    torch.testing.assert_close(log_det(both), torch.tensor([math.log(1.0001**2 - (1 / d) ** 2) for d in (1.5, 3.0)]))


def test_the_gradient_is_finite_where_two_are_one() -> None:
    assert apart(latents(0.3)[0], [*latents(0.3, 0.3, 0.9)]).isfinite().all()


def test_the_gradient_is_that_of_the_determinant() -> None:
    generator = torch.Generator().manual_seed(0)
    point, *others = torch.randn(3, 1, 2, 1, 2, 2, generator=generator).double()
    others = [other.float() for other in others]
    found, step = apart(point, others).flatten(), 1e-3
    for place in range(8):
        shift = torch.zeros(8).index_fill(0, torch.tensor(place), step).view_as(point)
        ends = [float(log_det(torch.stack([(point + sign * shift).float(), *others]))) for sign in (1, -1)]
        assert float(found[place]) == pytest.approx((ends[0] - ends[1]) / (2 * step), abs=2e-3)


def test_the_first_is_what_one_alone_is(tmp_path) -> None:
    alone, several = run(tmp_path), run(tmp_path, n_counterfactuals=3)
    for one, first in zip(alone, several, strict=True):
        assert torch.equal(one.video, first.video)
        assert one.facts["trajectory"] == first.facts["trajectory"]
        assert len(first.more) == 2
        assert one.more == []


@pytest.mark.parametrize("inversion", ["fresh", "recorded", "sdedit"])
def test_diversity_takes_them_apart_and_each_is_valid(tmp_path, inversion) -> None:
    distances = {}
    for weight in (0.0, 0.5):
        edits = run(tmp_path, n_counterfactuals=3, diversity=weight, inversion=inversion)
        for edit in edits:
            each = [edit.video, *(other.video for other in edit.more)]
            distances.setdefault(weight, []).append(
                np.mean([float((one - two).abs().mean()) for one, two in combinations(each, 2)])
            )
            for video in each:
                assert float(LinearTarget()(video[None]).detach()) == pytest.approx(60.0, abs=1.0)
    assert all(far > near + 0.02 for near, far in zip(distances[0.0], distances[0.5], strict=True))


def test_all_keep_what_may_not_change(tmp_path) -> None:
    for edit, clip in zip(run(tmp_path, n_counterfactuals=2, region=(0, 0, 5, 3)), make_clips(2), strict=True):
        for video in (edit.video, edit.more[0].video):
            changed = (video - clip["video"]).abs() > 0.5 / 127.5
            assert changed[..., :3, :5].any()
            assert not changed[..., 3:, :].any()
            assert not changed[..., 5:].any()


def test_every_one_has_starts_of_its_own(tmp_path) -> None:
    """A target out of reach: each of two counterfactuals is sampled twice."""
    task = CounterfactualTask(
        GaussianBackbone(), LinearTarget(), "99", tmp_path, steps=4, starts=2, n_counterfactuals=2
    )
    for edit in predict(task, make_clips(2), []):
        assert (edit.facts["steps"], edit.more[0].facts["steps"]) == (8, 8)
        assert edit.facts["start"] in (0, 1)
        assert edit.more[0].facts["start"] in (2, 3)


def test_from_python_all_are_there_and_shown() -> None:
    clip = (make_clips(1, 16, 8)[0]["video"] * 127.5).round() / 127.5
    e = lvcf.Explainer(
        LinearTarget(), GaussianBackbone(), METHOD, size=16, progress=False, steps=3, n_counterfactuals=3
    ).explain(clip, 60)
    each = [e, *e.more]
    assert [one.status for one in each] == ["reached"] * 3
    assert [told["prediction_after"] for told in e.facts["counterfactuals"]] == [one.after for one in each]
    levels = [[float(np.abs(a.video.astype(int) - b.video).mean()) for b in each] for a in each]
    np.testing.assert_allclose(e.facts["pairwise_levels"], levels)
    assert e._repr_html_().count("<video") == 2
    assert e.run["settings"]["n_counterfactuals"] == 3


def test_the_film_shows_every_one_beside_the_factual() -> None:
    factual, *others = (np.full((2, 336, 336, 3), level, dtype=np.uint8) for level in (100, 140, 60))
    film = beside(factual, others)
    assert film.shape == (2, 2 * 336 + GAP, 3 * 336 + 2 * GAP, 3)
    middle, below = 168, 336 + GAP + 168
    columns = [index * (336 + GAP) + 168 for index in range(3)]
    assert [film[0, middle, column].tolist() for column in columns] == [[100] * 3, [140] * 3, [60] * 3]
    brighter, darker = film[0, below, columns[1]].tolist(), film[0, below, columns[2]].tolist()
    assert brighter[0] > brighter[2]  # red
    assert darker[2] > darker[0]  # blue


def test_the_command_line_writes_tells_and_shows_them(
    echo_root, backbone_folder, target_folder, tmp_path, capsys
) -> None:
    data, folder = subset(echo_root, tmp_path / "data", 2), tmp_path / "run"
    arguments = predict_arguments(data, backbone_folder, target_folder, folder)
    assert main([*arguments, "--model.n_counterfactuals=3", "--model.steps=2"]) == 0
    apart_of = []
    for name, result in results(folder).items():
        place = folder / "predictions" / name
        names = ["counterfactual.mkv", "counterfactual_2.mkv", "counterfactual_3.mkv"]
        clips = [read_video(place / film).frames.astype(int) for film in names]
        levels = [[np.abs(one - two).mean() for two in clips] for one in clips]
        np.testing.assert_allclose(result["pairwise_levels"], levels)
        assert result["counterfactuals"][0]["prediction_after"] == result["prediction_after"]
        assert len(result["counterfactuals"]) == 3
        assert (place / "counterfactuals.mp4").is_file()
        apart_of.append(np.mean([levels[0][1], levels[0][2], levels[1][2]]))
    assert main(["evaluate", str(folder)]) == 0
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["diversity/l1_levels"] == pytest.approx(np.mean(apart_of))
    assert "apart" in capsys.readouterr().out
    assert main(["report", str(folder)]) == 0
    page = (folder / "report.html").read_text()
    assert page.count('aria-label="Factual and counterfactuals of') == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_counterfactuals": 0}, "model.n_counterfactuals 0: choose a finite number, at least 1"),
        ({"n_counterfactuals": 11}, "model.n_counterfactuals 11: .* at most 10"),
        ({"diversity": -0.1}, "model.diversity -0.1: choose a finite number, at least 0"),
    ],
)
def test_a_bad_number_is_refused(options, words) -> None:
    with pytest.raises(UserError, match=words):
        Settings(**options)
