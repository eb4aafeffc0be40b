"""Plans of ablations: grids, noises, shards, files that extend others, and what a user may get wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lvcf.ablation.cells import expand, label, reference, row_names, shard, slug
from lvcf.ablation.plan import read_plan
from lvcf.errors import UserError
from tests.helpers import fails

PLAN: dict[str, Any] = {
    "base": "phantom.yaml",
    "output": "out",
    "prompts": ["neutral"],
    "cases": {"do nothing": {"model": {"steps": 1}, "callbacks": []}, "prompt only": {"prompts": ["target"]}},
}


def sections(plan: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return dict(expand(plan, Path("out"), None))


def callback(section: dict[str, Any], name: str) -> dict[str, Any]:
    (found,) = [c for c in section["trainer"]["callbacks"] if c["class_path"].endswith(f".{name}")]
    return dict(found["init_args"])


# --- grids -------------------------------------------------------------------------------------------------------


def test_a_grid_is_every_combination_of_its_values_on_the_bases_method_beside_the_cases() -> None:
    grid = {
        "model.guidance_scale": [1, 2],
        "GradientGuidance.weight.lambda_max": [0.1, 0.2],
        "MultiScalePerceptualRefinement.radius": [2],  # not in the file: a default of the class
        "data.batch_size": [2],
        "data.fps": [4],  # of the data set
    }
    cells = sections({**PLAN, "grid": grid})
    points = [f"guidance_scale={s}, lambda_max={w}, radius=2, batch_size=2, fps=4" for s in (1, 2) for w in (0.1, 0.2)]
    assert list(cells) == ["do nothing", "prompt only", *points]
    for (scale, largest), name in zip([(1, 0.1), (1, 0.2), (2, 0.1), (2, 0.2)], points, strict=True):
        section = cells[name]
        assert section["model"]["init_args"]["guidance_scale"] == scale
        weight = callback(section, "GradientGuidance")["weight"]["init_args"]
        assert weight == {"lambda_min": 0.02, "lambda_max": largest, "alpha": 4.0}
        assert callback(section, "MultiScalePerceptualRefinement")["radius"] == 2
        assert section["data"]["init_args"]["batch_size"] == 2
        assert section["data"]["init_args"]["fps"] == 4
        names = [c["class_path"].rpartition(".")[2] for c in section["trainer"]["callbacks"]]
        assert names == [
            "GradientGuidance",
            "AdaptiveDenoisingSchedule",
            "MultiScalePerceptualRefinement",
            "LastCorrection",
            "PredictionWriter",
        ]


def test_a_grid_needs_no_cases_and_knows_prompts() -> None:
    plan = {**PLAN, "cases": {}, "prompts": ["neutral", "target"], "grid": {"model.steps": [2, 3]}}
    assert list(sections(plan)) == [f"steps={n}, {prompt}" for n in (2, 3) for prompt in ("neutral", "target")]


def test_keys_that_end_alike_are_told_apart_in_the_name() -> None:
    assert label({"model.steps": 3, "LastCorrection.steps": 4}) == "model.steps=3, LastCorrection.steps=4"
    assert label({"a.weights": [1.0, 0], "b.reference": "source"}) == "weights=[1.0, 0], reference=source"


def test_values_that_would_share_a_folder_are_refused() -> None:
    with pytest.raises(UserError, match="would share the folder guidance_scale_1"):
        sections({**PLAN, "grid": {"model.guidance_scale": [1, "1"]}})


# --- noises and rows ---------------------------------------------------------------------------------------------


def test_a_case_with_noises_is_a_cell_for_each_and_a_derived_row_follows_them() -> None:
    cases = {"first": {}, "free": {"noises": [1, 2]}, "full": {"prompts": ["neutral", "target"]}, "last": {}}
    plan = {**PLAN, "cases": cases, "derived": {"mean": {"mean_of": "free"}, "best": {"best_of": "free"}}}
    cells = sections(plan)
    assert [cells[f"free, noise {n}"]["model"]["init_args"]["noise_seed"] for n in (1, 2)] == [1, 2]
    assert "noise_seed" not in cells["first"]["model"]["init_args"]
    rows = ["first", "free, noise 1", "free, noise 2", "mean", "best", "full, neutral", "full, target", "last"]
    assert row_names(plan) == rows
    assert reference(plan) == "full, target"
    assert reference({**plan, "reference": "best"}) == "best"
    del cases["full"]
    assert reference(plan) == "last"


# --- shards ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 5, 9])
def test_shards_hold_every_cell_once_and_keep_a_cell_with_the_one_it_reads(n) -> None:
    plan = read_plan("ablations/phantom.yaml")
    cells = expand(plan, Path(plan["output"]), None)
    parts = [[name for name, _ in shard(cells, f"{i}/{n}")] for i in range(1, n + 1)]
    assert sorted(name for part in parts for name in part) == sorted(name for name, _ in cells)
    assert max(map(len, parts)) - min(map(len, parts)) <= 2  # the cell that follows another may be one more
    (part,) = [part for part in parts if "full, back again" in part]
    assert part.index("full, target") < part.index("full, back again")


def test_more_shards_than_cells_leaves_some_empty() -> None:
    cells = expand(PLAN, Path("out"), None)
    assert [len(shard(cells, f"{i}/4")) for i in (1, 2, 3, 4)] == [1, 1, 0, 0]


# --- extending ---------------------------------------------------------------------------------------------------


@pytest.fixture
def files(tmp_path, monkeypatch) -> Any:
    """Writes plans, as files of the working directory, and reads the last."""
    monkeypatch.chdir(tmp_path)

    def write(**plans: dict[str, Any]) -> dict[str, Any]:
        for name, plan in plans.items():
            (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump({"ablate": plan}, sort_keys=False))
        return read_plan(f"{list(plans)[-1]}.yaml")

    return write


UNDER = {
    **PLAN,
    "model": {"seed": 5},
    "cases": {"a": {"callbacks": []}, "b": {"noises": [1, 2]}, "c": {"prompts": ["target"]}},
    "derived": {"B": {"mean_of": "b"}},
    "controls": ["a", "B"],
    "reference": "b, noise 2",
}


def test_a_file_says_what_differs_from_the_one_it_extends(files) -> None:
    own = {"extends": "under.yaml", "output": "other", "cases": {"new": {}, "c": {"model": {"steps": 3}}}}
    plan = files(under=UNDER, own={**own, "model": {"tolerance": 2}})
    assert list(plan["cases"]) == ["new", "a", "b", "c"]
    assert plan["cases"]["c"] == {"prompts": ["target"], "model": {"steps": 3}}
    assert (plan["output"], plan["base"], plan["reference"]) == ("other", "phantom.yaml", "b, noise 2")
    assert plan["model"] == {"seed": 5, "tolerance": 2}
    assert "extends" not in plan


def test_what_is_said_of_rows_that_are_not_kept_is_left_out(files) -> None:
    plan = files(under=UNDER, own={"extends": "under.yaml", "keep": ["c", "a"]})
    assert list(plan["cases"]) == ["c", "a"]
    assert (plan["derived"], plan["controls"]) == ({}, ["a"])
    assert reference(plan) == "a"


def test_a_file_that_extends_itself_is_refused(files) -> None:
    with pytest.raises(UserError, match="extends itself"):
        files(one={"extends": "two.yaml"}, two={"extends": "one.yaml"})


# --- mistakes ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"grids": {}}, ["'grids' is no entry", "did you mean 'grid'"]),
        ({"prompts": ["neutral", "targe"]}, ["'targe' is no prompt", "'target'"]),
        ({"cases": {"a": {"callback": []}}}, ["'callback' is no entry of the case 'a'", "'callbacks'"]),
        ({"cases": {"a": {"prompts": ["x"]}}}, ["'x' is no prompt", "case 'a'"]),
        ({"grid": {"model.steps": 3}}, ["grid model.steps", "list"]),
        ({"grid": {"model.steps": []}}, ["grid model.steps", "list"]),
        ({"grid": {"model.stps": [3]}}, ["model.stps", "no argument 'stps'", "'steps'"]),
        ({"grid": {"model": [3]}}, ["grid key 'model'"]),
        ({"grid": {"steps": [3]}}, ["grid key 'steps'", "model"]),
        ({"grid": {"model.prompt": ["target"]}}, ["model.prompt", "prompts:"]),
        ({"grid": {"GradientGuidnce.samples": [3]}}, ["did you mean 'GradientGuidance'"]),
        ({"grid": {"GradientGuidance.weight.lambda": [3]}}, ["AdaptiveWeight has no argument 'lambda'"]),
        ({"grid": {"GradientGuidance.samples.n": [3]}}, ["'samples' is no class"]),
        ({"derived": {"R": {"median_of": "prompt only"}}}, ["derived 'R'", "mean_of"]),
        ({"derived": {"R": {"mean_of": "promptonly"}}}, ["derived 'R'", "'prompt only'"]),
        ({"derived": {"R": {"mean_of": "prompt only"}}}, ["derived 'R'", "noises"]),
        ({"reference": "nonsense"}, ["'nonsense' is no row", "do nothing, prompt only"]),
        ({"controls": ["nothing"]}, ["'nothing' is no case", "controls"]),
        ({"paper": {"rows": {}}}, ["paper", "table"]),
        ({"paper": {"table": "Table 1", "rows": {"RG": {"R3": 1.0}}}}, ["'R3' is no column", "R2, MAE"]),
        ({"paper": {"table": "Table 1", "rows": {"RG": {"R2": "high"}}}}, ["R2", "'high' is no number"]),
        ({"paper": {"table": "Table 1", "rows": {"RG": 1.0}}}, ["paper 'RG'"]),
        ({"base": "nowhere.yaml"}, ["nowhere.yaml"]),
    ],
)
def test_a_mistake_in_a_plan_is_told_before_anything_runs(changes, told, tmp_path, capfd) -> None:
    path, out = tmp_path / "plan.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump({"ablate": {**PLAN, **changes, "output": str(out)}}))
    line = fails(capfd, ["ablate", "--config", str(path)])
    assert all(part in line for part in told), line
    assert not out.exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "1/0", "1", "1/2/3", "a/b", "-1/2", ""])
def test_a_shard_that_is_none_is_refused(text, capfd) -> None:
    arguments = ["ablate", "--config", "ablations/phantom.yaml", "--dry-run", f"--shard={text}"]
    line = fails(capfd, arguments)
    assert "such as 1/4" in line


def test_cells_of_a_grid_have_safe_folders() -> None:
    assert slug("block_weights=[1, 0, 0], reference=source") == "block_weights__1__0__0___reference_source"
