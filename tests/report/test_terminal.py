"""The tables on the terminal: its own width, words, groups, runs side by side, and what is missing by its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from lvcf.report.terminal import Evaluated, print_runs
from lvcf.runs.folder import read_predictions
from lvcf.steering.figures import facts
from lvcf.steering.terminal import print_details, print_methods

METRICS: dict[str, Any] = {
    "n": 3,
    "failed": 1,
    "method": "AGG",
    "prompt": "neutral",
    "simulated": True,
    "cost/steps": 12.0,
    "cost/steps.ci_low": 12.0,
    "cost/steps.ci_high": 12.0,
    "cost/peak_memory_bytes": 1717956608.0,
    "truth/pixel_ef_error": 5.4182,
    "fidelity/ssim": 0.9312,
    "fidelity/ssim.se": 0.0123,
    "fidelity/ssim.ci_low": 0.9112,
    "fidelity/ssim.ci_high": 0.9512,
    "fidelity/ssim.n": 2,
    "adherence/mae": 0.241,
    "explanation/cout": "unavailable: ask the model again, --with-model",
    "explanation/insertion": "unavailable: ask the model again, --with-model",
    "realism/fvd": "unavailable: name a network, --features",
}
STATUSES = ["reached", "not_drawable", "not_reached", "failed"]


def printed(capsys, monkeypatch, columns: int, *runs: Evaluated) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(columns))
    print_runs(runs)
    return [line.rstrip() for line in capsys.readouterr().out.splitlines()]


def run(name: str, **changes: Any) -> Evaluated:
    return Evaluated(Path("runs") / name, METRICS | changes, STATUSES, "%")


def row(lines: list[str], name: str) -> list[str]:
    return next(line for line in lines if name in line).replace(name, "").split()


def test_a_narrow_terminal_shows_words_units_and_the_better_direction(capsys, monkeypatch) -> None:
    lines = printed(capsys, monkeypatch, 80, run("one"))
    assert max(map(len, lines)) <= 80
    text = " ".join(" ".join(lines).split())
    assert "4 simulated clips: 1 reached, 1 not reached, 1 not drawable, 1 failed" in text
    assert row(lines, "↓ denoising steps") == ["12"]
    assert row(lines, "↓ peak memory (MiB)") == ["1638"]
    assert row(lines, "↑ SSIM (2 clips)") == ["0.93", "0.91", "to", "0.95"]
    assert row(lines, "↓ mean absolute error (%)") == ["0.241"]
    assert "fidelity/ssim" not in text
    groups = [line.strip() for line in lines if line.strip() in ("adherence", "fidelity", "truth (simulated)", "cost")]
    assert groups == ["adherence", "fidelity", "truth (simulated)", "cost"]


def test_what_was_not_measured_is_a_line_for_every_reason(capsys, monkeypatch) -> None:
    lines = printed(capsys, monkeypatch, 80, run("one"))
    told = [line for line in lines if line.startswith("not measured")]
    assert told == [
        "not measured: FVD (name a network, --features)",
        "not measured: COUT, insertion (ask the model again, --with-model)",
    ]


def test_a_wide_terminal_shows_keys_and_errors_too(capsys, monkeypatch) -> None:
    lines = printed(capsys, monkeypatch, 200, run("one"))
    assert row(lines, "↑ SSIM (2 clips)") == ["0.93", "0.91", "to", "0.95", "0.01", "fidelity/ssim"]


def test_runs_stand_side_by_side_in_one_table(capsys, monkeypatch) -> None:
    other = run("two", **{"fidelity/ssim": 0.8, "explanation/cout": 0.25, "adherence/mae": "unavailable: offline"})
    lines = printed(capsys, monkeypatch, 80, run("one"), other)
    assert max(map(len, lines)) <= 80
    assert row(lines, "measure") == ["one", "two"]
    assert row(lines, "↑ SSIM (2 clips)") == ["0.93", "(0.91..0.95)", "0.80", "(0.91..0.95)"]
    assert row(lines, "↑ COUT") == ["–", "0.250"]
    assert row(lines, "↓ mean absolute error (%)") == ["0.241", "–"]
    assert sum(line.startswith("runs/") for line in lines) == 2
    assert not any("COUT" in line for line in lines if line.startswith("not measured"))


def test_runs_of_one_name_are_told_apart_by_their_folders(capsys, monkeypatch) -> None:
    runs = [Evaluated(Path(folder) / "x", METRICS, STATUSES, "%") for folder in ("a", "b")]
    assert row(printed(capsys, monkeypatch, 80, *runs), "measure") == ["a/x", "b/x"]


def test_a_steering_runs_methods_fit_a_narrow_terminal(made_steering: Path, capsys, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    metrics = json.loads((made_steering / "metrics.json").read_text(encoding="utf-8"))
    rows = [facts(prediction.result) for prediction in read_predictions(made_steering)]
    print_methods(made_steering, metrics, rows)
    print_details(metrics, rows)
    lines = capsys.readouterr().out.splitlines()[1:]  # the first names the folder
    assert max(len(line.rstrip()) for line in lines) <= 80
    assert row(lines, "measure") == ["initial", "paraphrase", "graph", "best_of_n", "steered"]
    assert row(lines, "↑ joint")[-1] == "1.00"
    assert row(lines, "↑ effectiveness")  # not broken within the word
    assert any(line.startswith("not measured: DOVER (") for line in lines)
