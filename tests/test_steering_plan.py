"""benchmarks/plans/steering.md is what its script computes, make runs just that, and no other run is looked at."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from benchmarks import steering_plan, steering_planned
from benchmarks.steering_plan import BETTER, CLIPS, INTERVENTIONS, METHODS, PLAN, POWER, RUN_SEED, SET_SEED, plan
from benchmarks.steering_planned import check, compared, counted, page, table
from lvcf.configuration import read_section
from lvcf.errors import UserError
from lvcf.metrics.power import clips_needed, sign_test
from lvcf.phantoms.face.set import simulate
from lvcf.steering.graph import read_graph
from tests.helpers import ROOT

RULE = re.search(r"^bench-steering:.*?\n\n", (ROOT / "Makefile").read_text(), flags=re.DOTALL | re.MULTILINE)[0]


def test_the_page_is_what_the_script_computes() -> None:
    assert PLAN.read_text() == plan()
    assert clips_needed(BETTER, steering_plan.WORSE, POWER) == CLIPS
    section = read_section("steering/face.yaml", "steer")
    assert (section["interventions"], section["budget"]) == (INTERVENTIONS, steering_plan.BUDGET)
    assert section["factual"] == "data"


def test_make_runs_the_plan() -> None:
    assert f"--n {CLIPS} --seed {SET_SEED}\n" in RULE
    assert f"--methods '[{','.join(METHODS)}]' --clips {CLIPS} --seed {RUN_SEED} " in RULE
    for option, path in (("out", steering_plan.SET), ("data.root", steering_plan.SET), ("output", steering_plan.RUN)):
        assert f"--{option} {path}" in RULE
    assert f"--evaluator.root {steering_plan.SET} " in RULE


def test_nothing_else_uses_its_seeds() -> None:
    files = [path for part in ("lvcf", "configs", "tests", "docs") for path in (ROOT / part).rglob("*.*")]
    texts = {path: path.read_text(errors="ignore") for path in files if path.suffix in (".py", ".yaml", ".md", ".sh")}
    texts[ROOT / "Makefile"] = (ROOT / "Makefile").read_text().replace(RULE, "")
    used = re.compile(rf"(?i)seed\W*({SET_SEED}|{RUN_SEED})\b")
    assert used.search(RULE)
    assert not [path for path, text in texts.items() if used.search(text)]


def results(right: dict[str, list[int]]) -> list[dict[str, Any]]:
    """Of clip i and a method, as many of four interventions right as given."""
    return [
        {"clip": f"c{i:02d}", "method": method, "measured": {"joint": float(k < n)}}
        for method, numbers in right.items()
        for i, n in enumerate(numbers)
        for k in range(4)
    ]


RIGHT = {
    "steered": [4, 4, 3, 2, 4, 4, 1],
    "initial": [3, 2, 2, 1, 3, 3, 1],
    "graph": [4, 4, 3, 2, 4, 3, 2],
    "best_of_n": [4, 4, 3, 2, 4, 4, 1],
}


def test_clips_that_differ_are_counted() -> None:
    counts = counted(results(RIGHT))
    assert compared(counts, "initial") == (6, 0, 1, sign_test(6, 0))
    assert compared(counts, "graph") == (1, 1, 5, 1.0)
    told = table(counts).splitlines()
    assert told[2].startswith("| initial | 6 | 0 | 1 | 0.786 | 0.536 | +0.250 (")
    assert told[2].endswith("| 0.0312, primary |")
    assert told[4].startswith("| best of n | 0 | 0 | 7 | 0.786 | 0.786 | +0.000 (")


def test_what_failed_or_was_not_evaluated_is_not_right() -> None:
    made = results({method: [4, 4] for method in reversed(METHODS)})
    made[0] = {"clip": "c00", "method": "steered", "status": "failed"}
    made[1] = {**made[1], "measured": {"joint": "unavailable: no answer"}}
    assert counted(made)["steered"].tolist() == [2.0, 4.0]


@pytest.fixture
def run(tmp_path, monkeypatch) -> Path:
    """The planned run in small: two clips."""
    simulate(tmp_path / "set", 2, SET_SEED)
    for name, value in (("CLIPS", 2), ("SET", tmp_path / "set")):
        monkeypatch.setattr(steering_planned, name, value)
    graph = read_graph("steering/graphs/face.yaml").model_dump(mode="json")
    ids = [f"c{i}.{next(iter(do))}_other.{method}" for i in range(2) for do in INTERVENTIONS for method in METHODS]
    manifest = {"ids": ids, "graph": graph, "evaluation_graph": graph, "interventions": INTERVENTIONS}
    manifest |= {"methods": METHODS, "seed": RUN_SEED, "budget": steering_plan.BUDGET, "factual": "data"}
    manifest |= {"data": str(tmp_path / "set"), "evaluator": f"ruler {tmp_path / 'set'}"}
    folder = tmp_path / "run"
    for name in ids:
        clip, _, method = name.split(".")
        result = {"id": name, "clip": clip, "method": method, "status": "reached", "measured": {"joint": 1.0}}
        (folder / "predictions" / name).mkdir(parents=True)
        (folder / "predictions" / name / "result.json").write_text(json.dumps(result))
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_the_whole_planned_run_is_looked_at_and_nothing_else(run, tmp_path) -> None:
    assert "| initial | 0 | 0 | 2 | 1.000 | 1.000 |" in page(run)
    assert "Not run yet." in page(tmp_path / "nothing")
    manifest = json.loads((run / "manifest.json").read_text())
    for name, value in (("seed", 0), ("methods", METHODS[:2]), ("evaluator", "ruler elsewhere"), ("factual", "judge")):
        (run / "manifest.json").write_text(json.dumps({**manifest, name: value}))
        with pytest.raises(UserError, match=f"{name} is .*, planned is "):
            check(run)
    (run / "manifest.json").write_text(json.dumps(manifest))
    gone = run / "predictions" / manifest["ids"][-1] / "result.json"
    kept = gone.read_text()
    gone.unlink()
    with pytest.raises(UserError, match="31 of 32 counterfactuals; there is one look"):
        page(run)
    gone.write_text(kept)
    check(run)


def test_other_clips_are_not_the_planned_ones(run, monkeypatch) -> None:
    monkeypatch.setattr(steering_planned, "SET_SEED", 3)
    with pytest.raises(UserError, match="not the planned clips"):
        check(run)
