"""``lvcf evaluate`` with everything it can measure, on two tiny runs; figures come out of predictions.csv again."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchmetrics.functional import concordance_corrcoef

from lvcf.cli import main
from lvcf.measure.against import correlations, paired_tests
from lvcf.measure.clip import clips_of, composition, moved
from lvcf.measure.model import load_target_model
from lvcf.measure.sets import realism, split
from lvcf.measure.summary import summarise
from lvcf.metrics.realism import frechet_distance
from lvcf.metrics.statistics import mean_interval, share_interval
from lvcf.metrics.transition import area
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.ejection_fraction import echo_frame_transformer
from lvcf.runs.folder import SUFFIXES, Prediction, read_predictions, read_table
from tests.helpers import fails, predict_arguments, results, subset


@pytest.fixture(scope="module")
def runs(tmp_path_factory, echo_root, backbone_folder, target_folder, oracle_folder) -> tuple[Path, Path]:
    """The same four clips with two seeds, both evaluated; the first with every option."""
    folder = tmp_path_factory.mktemp("runs")
    data = subset(echo_root, folder / "data", 4)
    Image.fromarray(np.repeat([[255], [0]], 56, axis=0).astype(np.uint8).repeat(112, axis=1)).save(folder / "top.png")
    for seed in (1, 0):
        arguments = predict_arguments(data, backbone_folder, target_folder, folder / f"seed{seed}")
        more = [f"--model.seed={seed}", "--data.size=112", "--model.steps=1", "--model.tolerance=50"]
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("lvcf.explanation.DRAWABLE", -1.0)  # random weights draw nothing
            assert main([*arguments, *more]) == 0
    first, second = folder / "seed0", folder / "seed1"
    oracle = ["--oracle", str(oracle_folder)]
    assert main(["evaluate", str(second), *oracle]) == 0
    everything = ["--with-model", "--features", "oracle", "oracle-frames", "--region", str(folder / "top.png")]
    with pytest.warns(UserWarning, match="biased upwards"):
        assert main(["evaluate", str(first), *oracle, *everything, "--against", str(second)]) == 0
    return first, second


def metrics_of(run: Path) -> dict:
    return json.loads((run / "metrics.json").read_text())


def test_every_mean_and_its_interval_comes_out_of_the_table_again(runs) -> None:
    """All figures of the run but the distances between sets, which are of no single clip."""
    metrics, rows = metrics_of(runs[0]), read_table(runs[0] / "predictions.csv")
    again = summarise(rows)
    figures = {k: v for k, v in metrics.items() if "/" in k and isinstance(v, float) and not k.startswith("realism/")}
    assert len(figures) > 60
    assert {k: again[k] for k in figures} == pytest.approx(figures)
    ssim = np.array([row["fidelity/ssim"] for row in rows])
    assert metrics["fidelity/ssim"] == pytest.approx(ssim.mean())
    found = mean_interval(ssim)
    assert [metrics[f"fidelity/ssim.ci_{end}"] for end in ("low", "high")] == pytest.approx([found.low, found.high])
    assert found.low <= metrics["fidelity/ssim"] <= found.high


def test_what_needs_more_is_unavailable_with_its_reason(runs) -> None:
    plain = metrics_of(runs[1])
    for key in ("realism/fid", "minimality/cld", "explanation/cout", "adherence/valid_reencoded"):
        assert plain[key].startswith("unavailable: "), key
    full = metrics_of(runs[0])
    assert "realism/fid" not in full
    assert isinstance(full["explanation/cout"], float)


def test_the_model_is_asked_about_the_clips_between(runs, target_folder) -> None:
    metrics, rows = metrics_of(runs[0]), read_table(runs[0] / "predictions.csv")
    model = load_target_model(runs[0])
    for row, prediction in zip(rows, read_predictions(runs[0]), strict=True):
        curves = json.loads((prediction.folder / "transition.json").read_text())
        target, original = (torch.tensor(curves[k]) for k in ("insertion", "insertion_original"))
        assert row["explanation/cout"] == pytest.approx(area(target) - area(original), abs=1e-6)
        final = float(model(clips_of(prediction)[0][None])[0])
        low, start = row["target_low"], row["prediction_before"]
        come = min(max(1 - abs(final - low) / abs(start - low), 0), 1)
        assert [curves["insertion"][-1], curves["deletion"][0]] == pytest.approx([come, come], abs=1e-3)
        assert [curves["insertion"][0], curves["deletion"][-1]] == pytest.approx([0, 0], abs=1e-3)
    assert metrics["adherence/valid_perturbed"] in (0.0, 0.25, 0.5, 0.75, 1.0)


def test_the_oracle_is_asked_about_the_factual_too(runs, oracle_folder) -> None:
    oracle = echo_frame_transformer(str(oracle_folder)).freeze()
    for row, prediction in zip(read_table(runs[1] / "predictions.csv"), read_predictions(runs[1]), strict=True):
        after, before = (float(oracle(clip[None])[0]) for clip in clips_of(prediction))
        assert row["truth/oracle_moved"] == pytest.approx(after - before, abs=1e-3)
        assert row["truth/oracle_moved"] == pytest.approx(row["truth/oracle_ef"] - before, abs=1e-3)


def test_a_classifying_oracle_moves_by_its_probability_of_the_target() -> None:
    class Oracle(TargetModel):
        task, labels = "classification", ("Sad", "Happy", "Calm")

        def forward(self, video: torch.Tensor) -> torch.Tensor:
            raise NotImplementedError

    before, after = torch.log(torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3]]))
    assert moved(Oracle(), after, before, "happy") == pytest.approx({"truth/oracle_moved": 0.4})
    assert moved(Oracle(), after, before, "no class of its") == {}


def test_the_region_is_measured_against_the_mask_and_the_change(runs) -> None:
    row, prediction = read_table(runs[0] / "predictions.csv")[0], read_predictions(runs[0])[0]
    mask = prediction.mask()
    final, factual = (v.astype(float) for v in (prediction.counterfactual(), prediction.factual()))
    assert row["region/mask_precision"] == pytest.approx(mask[:, :56].sum() / mask.sum())
    assert row["region/change_outside_levels"] == pytest.approx(np.abs(final - factual)[:, 56:].mean(), abs=1e-3)


def test_realism_names_what_it_was_measured_with_beside_its_floor(runs) -> None:
    metrics = metrics_of(runs[0])
    about = "n=2+2,frames=16,112x112]"
    for name, network in (("fvd", "oracle"), ("fid", "oracle-frames"), ("kid", "oracle-frames")):
        key = f"[EchoFrameTransformer-{network},{about}"
        assert isinstance(metrics[f"realism/{name}{key}"], float)
        assert isinstance(metrics[f"realism/{name}_floor{key}"], float)


class Level(torch.nn.Module):
    """Mean brightness of the clip and of its first row, in levels."""

    def forward(self, video: torch.Tensor) -> torch.Tensor:
        return torch.stack([video.mean(dim=(1, 2, 3, 4)), video[..., 0, :].mean(dim=(1, 2, 3))], dim=1) * 127.5


def test_doing_nothing_scores_the_floor_and_no_clip_meets_itself(runs, monkeypatch) -> None:
    predictions = read_predictions(runs[0])
    network = "module:tests.test_evaluation.Level"
    half, other = split(predictions)
    assert not {p.id for p in half} & {p.id for p in other}
    level = Level()
    finals, reals = ([level(torch.stack([clips_of(p)[i] for p in part])) for part in (half, other)] for i in (0, 1))
    found, rows = realism(predictions, network, None)
    key = "[Level,n=2+2,frames=16,112x112]"
    crossed = frechet_distance(reals[1], finals[0]) + frechet_distance(reals[0], finals[1])
    assert found[f"realism/fvd{key}"] == pytest.approx(crossed / 2)
    monkeypatch.setattr(Prediction, "counterfactual", Prediction.factual)
    nothing, _ = realism(predictions, network, None)
    assert nothing[f"realism/fvd{key}"] == pytest.approx(found[f"realism/fvd_floor{key}"])
    assert {tuple(row) for row in rows.values()} == {("minimality/cld[Level,n=4,frames=16,112x112]",)}
    assert rows.keys() == {p.id for p in predictions}
    too_few, _ = realism(predictions[:3], network, None)
    assert too_few[f"realism/{network}"].startswith("unavailable: needs 4 clips")


def test_two_runs_are_tested_clip_by_clip(runs) -> None:
    ours, theirs = (read_table(run / "predictions.csv") for run in runs)
    tests = {test["metric"]: test for test in paired_tests(ours, theirs)}
    written = {test["metric"]: float(test["p_holm"]) for test in csv_rows(runs[0] / "against_seed1.csv")}
    assert written == pytest.approx({name: test["p_holm"] for name, test in tests.items()})
    test = tests["proximity/l1_levels"]
    apart = [a["proximity/l1_levels"] - b["proximity/l1_levels"] for a, b in zip(ours, theirs, strict=True)]
    assert (test["n"], test["difference"]) == (4, pytest.approx(np.mean(apart)))
    assert test["p_permutation"] <= test["p_holm"] <= 1
    assert "temporal/warping_levels_of_factual" not in tests  # the same clips
    assert paired_tests(ours, [{**row, "id": f"other{row['id']}"} for row in theirs]) == []


def csv_rows(path: Path) -> list[dict]:
    with path.open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_two_explanations_are_correlated(runs) -> None:
    key = "explanation/change_correlation[seed1]"
    alike = correlations(*(read_predictions(run) for run in runs))
    assert metrics_of(runs[0])[key] == pytest.approx(np.mean(list(alike.values())))
    assert list(correlations(*[read_predictions(runs[0])] * 2).values()) == pytest.approx([1.0] * 4)


def test_the_clips_label_is_kept(runs, echo_root) -> None:
    labels = {row["FileName"]: float(row["EF"]) for row in csv_rows(echo_root / "FileList.csv")}
    assert {name: r["label"] for name, r in results(runs[0]).items()} == pytest.approx(
        {name: labels[name] for name in results(runs[0])}
    )


# --- rows ------------------------------------------------------------------------------------------------------------


def regressed(before: float, target: float, **more: object) -> dict:
    row = {
        "id": "a",
        "task": "regression",
        "status": "reached",
        "prediction_before": before,
        "prediction_after": target,
    }
    return {
        **row,
        "target": f"{target:g}",
        "target_low": target,
        "target_high": target,
        "proximity/l1_levels": 2.0,
        "fidelity/ssim": 0.9,
        **more,
    }


@pytest.mark.parametrize(("before", "asked"), [(30.0, False), (30.9, False), (32.0, True)])
def test_composition_is_of_clips_that_were_asked_for_what_is_said_already(before, asked) -> None:
    found = composition(regressed(before, 30.0), tolerance=1.0)
    assert math.isnan(found["composition/l1_levels"]) == asked
    same = {"task": "classification", "class_before": "sad", "target": "sad", "proximity/l1_levels": 2.0}
    assert composition({**same, "fidelity/ssim": 1.0}, 1.0) == {"composition/l1_levels": 2.0, "composition/ssim": 1.0}


def test_figures_that_some_clips_lack_tell_how_many_have_them() -> None:
    rows = [regressed(50.0, t, **{"explanation/cout": c}) for t, c in ((30.0, 0.5), (20.0, math.nan), (40.0, 0.1))]
    metrics = summarise(rows)
    assert (metrics["explanation/cout"], metrics["explanation/cout.n"]) == (pytest.approx(0.3), 2)
    assert "fidelity/ssim.n" not in metrics
    none = summarise([{**row, "explanation/cout": math.nan} for row in rows])
    assert none["explanation/cout"] == "unavailable: not defined on any clip"


def test_shares_have_wilsons_interval_and_rmse_that_of_its_square() -> None:
    rows = [regressed(50.0, 30.0 + i, **{"truth/pixel_class": 1.0}) for i in range(10)]
    for i, row in enumerate(rows):
        row["prediction_after"] += 0.1 * i
    metrics, full = summarise(rows), share_interval(np.ones(10))
    for key in ("adherence/within_tolerance", "truth/pixel_class"):
        assert (metrics[f"{key}.ci_low"], metrics[f"{key}.ci_high"]) == (full.low, full.high)
    squares = mean_interval((0.1 * np.arange(10)) ** 2)
    assert metrics["adherence/rmse.ci_high"] == pytest.approx(math.sqrt(squares.high))
    assert metrics["adherence/r2.ci_low"] <= metrics["adherence/r2"] <= metrics["adherence/r2.ci_high"]


def test_flips_over_the_clips_that_the_model_had_right() -> None:
    said = [("sad", "happy", "sad"), ("sad", "sad", "sad"), ("sad", "happy", "angry"), ("happy", "happy", "happy")]
    rows = [
        {"id": str(i), "task": "classification", "status": "reached", "prediction_after": 0.5, "target": "happy"}
        | {"class_before": before, "class_after": after, "label": label}
        for i, (before, after, label) in enumerate(said)
    ]
    metrics = summarise(rows)
    assert (metrics["adherence/flip_rate"], metrics["adherence/flip_rate.n"]) == (pytest.approx(2 / 3), 3)
    assert (metrics["adherence/flip_rate_from_right"], metrics["adherence/flip_rate_from_right.n"]) == (0.5, 2)
    assert metrics["adherence/confidence"] == 0.5
    unknown = summarise([{**row, "label": None} for row in rows])
    assert unknown["adherence/flip_rate_from_right"].startswith("unavailable: ")


def test_oracle_concordance_is_torchmetrics() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.uniform(20, 70, 12), rng.uniform(20, 70, 12)
    rows = [
        regressed(50.0, 30.0) | {"prediction_after": a, "truth/oracle_ef": b} for a, b in zip(one, other, strict=True)
    ]
    expected = float(concordance_corrcoef(torch.tensor(one), torch.tensor(other)))
    metrics = summarise(rows)
    assert metrics["explanation/oracle_concordance"] == pytest.approx(expected)
    assert metrics["explanation/oracle_concordance.ci_low"] < expected
    flat = summarise([{**row, "truth/oracle_ef": 30.0} for row in rows])
    assert flat["explanation/oracle_concordance"].startswith("unavailable: ")


def test_every_suffix_belongs_to_a_figure(runs) -> None:
    metrics = metrics_of(runs[0])
    ends = [key for key in metrics if key.endswith(SUFFIXES)]
    assert ends
    assert all(key.rpartition(".")[0] in metrics for key in ends)


# --- bad input -------------------------------------------------------------------------------------------------------

BAD = {
    "no such network": (["--features", "resnet"], ["--features resnet", "i3d:FILE"]),
    "no weights": (["--features", "i3d:/nowhere/i3d.pt"], ["/nowhere/i3d.pt", "not found"]),
    "no region": (["--region", "/nowhere/mask.png"], ["--region /nowhere/mask.png"]),
    "no mask": (["--region", "{run}/metrics.json"], ["metrics.json", "no mask"]),
    "a region of another size": (["--region", "{small}"], ["(16, 8, 8)", "(16, 112, 112)"]),
    "no other run": (["--against", "/nowhere/run"], ["/nowhere/run", "no such run folder"]),
    "another run not evaluated": (["--against", "{bare}"], ["predictions.csv", "lvcf evaluate"]),
    "no oracle": (["--oracle", "/nowhere/oracle"], ["/nowhere/oracle"]),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_options(case, capfd, runs, tmp_path, oracle_folder) -> None:
    options, says = BAD[case]
    Image.fromarray(np.zeros((8, 8), dtype=np.uint8)).save(tmp_path / "small.png")
    places = {"run": runs[0], "small": tmp_path / "small.png", "bare": copy_without_table(runs[1], tmp_path / "copy")}
    oracle = [] if "--oracle" in options else ["--oracle", str(oracle_folder)]
    line = fails(capfd, ["evaluate", str(runs[1]), *oracle, *(o.format(**places) for o in options)])
    for text in says:
        assert text in line


def copy_without_table(run: Path, to: Path) -> Path:
    """A run that was never evaluated."""
    to.mkdir()
    (to / "manifest.json").write_text((run / "manifest.json").read_text())
    (to / "predictions").symlink_to(run / "predictions")
    return to


def test_a_run_that_kept_no_configuration_cannot_ask_its_model(runs, tmp_path, capfd) -> None:
    bare = copy_without_table(runs[1], tmp_path / "copy")
    assert "--with-model needs" in fails(capfd, ["evaluate", str(bare), "--with-model"])
