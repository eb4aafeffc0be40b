"""A small but realistic run folder: two finished clips of the phantom and a failed one with a nasty id."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from lvcf.cli import main
from lvcf.data.video import write_lossless, write_preview
from lvcf.phantoms.echo.simulate import EchoFactors, Ventricle, ejected, render
from lvcf.runs.panel import panel_frames
from tests.steering.bands import section

NASTY = "<script>alert('id')<"
FPS = 8.0
TIMES = np.arange(16) / FPS
VERSIONS = {"lvcf": "0.1.0", "torch": "2.15.0"}


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _colour(factors: EchoFactors) -> NDArray[np.uint8]:
    return np.repeat(render(factors, np.round(TIMES * 50) / 50)[..., None], 3, axis=-1)


def _area(factors: EchoFactors) -> list[float]:
    shape = Ventricle.of(factors)
    ratio = 1 - factors.ef / 100 * ejected(factors.phase + TIMES * factors.heart_rate / 60)
    return [float(1.55 * shape.length * shape.width * r**0.6) for r in ratio]


def _trajectory(before: float, after: float, steps: int) -> list[dict[str, float]]:
    rows = []
    for step in range(steps):
        prediction = after + (before - after) * 0.55**step
        loss = ((prediction - after) / 12) ** 2
        weight = 0.05 + 0.3 * (1 - np.exp(-loss))
        t = 0.9 * (1 - step / steps)
        rows.append({"step": step, "t": t, "weight": weight, "loss": loss, "prediction": prediction})
    return rows


def _finished(run: Path, name: str, seed: int, ef: float, target: float, after: float, status: str) -> None:
    folder = run / "predictions" / name
    folder.mkdir(parents=True)
    factors = EchoFactors.sample(np.random.default_rng(seed)).do(ef)
    factual, counterfactual = _colour(factors), _colour(factors.do(after))
    change = np.abs(counterfactual.astype(float) - factual).mean(axis=-1)
    mask = np.clip(gaussian_filter(change, (1, 3, 3)) / 12 - 0.3, 0, 1)
    write_lossless(folder / "factual.mkv", factual, FPS)
    write_lossless(folder / "counterfactual.mkv", counterfactual, FPS)
    np.savez_compressed(folder / "mask.npz", mask=np.round(mask * 255).astype(np.uint8))
    write_preview(folder / "panel.mp4", panel_frames(factual, counterfactual, mask), FPS)
    areas = [_area(factors), _area(factors.do(after)), _area(factors.do(target))]
    curves = dict(zip(("factual", "counterfactual", "truth"), areas, strict=True))
    ed, es = int(np.argmax(areas[0])), int(np.argmin(areas[0]))
    _write_json(folder / "curves.json", {"what": "ventricle area", "unit": "px^2", **curves, "ed": ed, "es": es})
    result = {
        "schema_version": 2,
        "id": name,
        "status": status,
        "hint": "" if status == "reached" else "The last step was still 7.2 % away; try more steps.",
        "task": "regression",
        "unit": "%",
        "target": {"low": target, "high": target, "text": f"{target:g}"},
        "prediction_before": ef + 0.7,
        "said_before": ef + 0.7,
        "prediction_reference": ef - 0.4,
        "prediction_after": after + 0.2,
        "class_before": "",
        "class_after": "",
        "trajectory": _trajectory(ef, after, 10),
        "steps": 10,
        "gradient_evaluations": 20,
        "seconds": 3.14,
        "peak_memory_bytes": 734_003_200,
        "seed": 0,
        "method": "AGG + ADS + MSPR",
        "fps": FPS,
        "mask_share": float(mask.mean()),
        "versions": VERSIONS,
    }
    _write_json(folder / "result.json", result)


def _failed(run: Path) -> None:
    folder = run / "predictions" / NASTY
    folder.mkdir(parents=True)
    hint = "Videos/<b>clip</b>.avi: truncated, 12 of 180 frames are there; copy it again"
    result = {"schema_version": 2, "id": NASTY, "status": "failed", "hint": hint, "seed": 0, "versions": VERSIONS}
    _write_json(folder / "result.json", result)


@pytest.fixture
def run_folder(tmp_path: Path, rendered_run: Path) -> Path:
    """A copy of the run that a test may change."""
    return Path(shutil.copytree(rendered_run, tmp_path / "phantom-ef"))


@pytest.fixture(scope="session")
def rendered_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What ``lvcf predict`` and ``lvcf evaluate`` leave behind, with ``table.csv`` of an ablation."""
    return make_run(tmp_path_factory.mktemp("report") / "phantom-ef")


def make_run(run: Path) -> Path:
    _finished(run, "echo_0007", 3, 62.0, 30.0, 30.4, "reached")
    _finished(run, "echo_0002", 5, 28.0, 70.0, 62.8, "not_reached")
    _failed(run)
    manifest = {
        "schema_version": 2,
        "ids": ["echo_0002", "echo_0007", NASTY],
        "seed": 0,
        "target": "uniform:15..80:10",
        "method": "AGG + ADS + MSPR",
        "prompt": "neutral",
        "command": "lvcf predict --config phantom.yaml --run runs/phantom-ef",
        "notice": ["The clips are simulated: a phantom of the heart, no patient.", "Trained on simulated clips only."],
        "versions": VERSIONS,
        "target_model": "EjectionFraction (phantom)",
        "backbone": "LTX, 4.5 M autoencoder, 4.2 M denoiser",
    }
    _write_json(run / "manifest.json", manifest)
    metrics = {
        "adherence/mae": 3.71,
        "adherence/mae.se": 0.55,
        "adherence/mae.ci_low": 2.63,
        "adherence/mae.ci_high": 4.79,
        "adherence/reached": 0.5,
        "truth/pixel_ef_mae": 5.42,
        "truth/pixel_ef_mae.se": 1.1,
        "truth/ruler_ef_mae": 1.3,
        "fidelity/ssim": 0.912,
        "fidelity/lpips": "unavailable: no weights in the cache",
        "n": 2,
        "simulated": True,
    }
    _write_json(run / "metrics.json", metrics)
    rows = "id,status,fidelity/ssim,truth/pixel_ef_error\necho_0007,reached,0.91,3.5\necho_0002,not_reached,0.84,\n"
    (run / "predictions.csv").write_text(rows, encoding="utf-8")
    table = "method,EF MAE,pixel EF MAE,LPIPS\nAGG,0.32,5.4,unavailable: no weights\nprompt only,9.4,10.6,0.12\n"
    (run / "table.csv").write_text(table, encoding="utf-8")
    return run


FRAMES, SIDE = 6, 32


def level(frame: int, brighter: int) -> int:
    """Grey of a frame, so that a picture tells which frame it is."""
    return 20 + 25 * frame + brighter


def make_cell(folder: Path, method: str, brighter: int, statuses: dict[str, str], metrics: dict[str, Any]) -> None:
    """A small finished run: every clip is a grey that grows frame by frame, its counterfactual some levels brighter."""
    for name, status in statuses.items():
        place = folder / "predictions" / name
        place.mkdir(parents=True)
        result: dict[str, Any] = {"id": name, "status": status, "hint": "Truncated; copy it again."}
        if status != "failed":
            grey = np.array([level(frame, 0) for frame in range(FRAMES)], dtype=np.uint8)
            factual = np.broadcast_to(grey[:, None, None, None], (FRAMES, SIDE, SIDE, 3)).copy()
            counterfactual, mask = factual + np.uint8(brighter), np.zeros((FRAMES, SIDE, SIDE))
            write_lossless(place / "factual.mkv", factual, FPS)
            write_lossless(place / "counterfactual.mkv", counterfactual, FPS)
            write_preview(place / "panel.mp4", panel_frames(factual, counterfactual, mask), FPS)
            after = {"prediction_before": 60.0, "prediction_after": 30.0 + brighter / 10, "fps": FPS, "steps": brighter}
            target = {"low": 30.0, "high": 30.0, "text": "30"}
            result |= {"task": "regression", "unit": "%", "target": target, **after}
        _write_json(place / "result.json", result)
    manifest = {"ids": list(statuses), "target": "30", "target_model": "Toy", "backbone": "Toy", "prompt": "neutral"}
    _write_json(
        folder / "manifest.json", manifest | {"data": "clips", "seed": 0, "notice": ["The clips are simulated."]}
    )
    _write_json(folder / "metrics.json", {"n": len(statuses), **metrics, "simulated": True})
    ssim = "".join(f"{name},{0.9 - brighter / 1000 - i / 100}\n" for i, name in enumerate(statuses))
    (folder / "predictions.csv").write_text(f"id,fidelity/ssim\n{ssim}", encoding="utf-8")
    (folder / "cell.yaml").write_text("predict: {}\n", encoding="utf-8")


def figures(mae: float, half: float, ssim: float) -> dict[str, Any]:
    """A cell's metrics: an error with its interval, an SSIM beside the truth's 0.88."""
    ends = {"adherence/mae.ci_low": mae - half, "adherence/mae.ci_high": mae + half}
    lost = {"fidelity/lpips": "unavailable: no weights"}
    return {"adherence/mae": mae, **ends, "fidelity/ssim": ssim, "truth/ssim_of_truth": 0.88, **lost}


@pytest.fixture(scope="session")
def made_ablation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished cells and one that failed.  Read only."""
    folder = tmp_path_factory.mktemp("made") / "grid"
    clips = dict.fromkeys(("clip_a", "clip_b"), "reached")
    make_cell(folder / "do_nothing", "do nothing", 0, dict.fromkeys(clips, "not_reached"), figures(29.0, 2.0, 1.0))
    make_cell(folder / "full__target", "full", 40, clips, figures(0.3, 0.1, 0.9))
    make_cell(folder / "w_o_agg__target", "w/o AGG", 20, clips | {"clip_b": "failed"}, figures(0.35, 0.1, 0.8))
    (folder / "rg").mkdir()
    (folder / "rg" / "cell.yaml").write_text("predict: {}\n", encoding="utf-8")
    (folder / "rg" / "log.txt").write_text("working\nlvcf predict: no <memory> left\n", encoding="utf-8")
    lines = ["method,kind,n,problem,R2,R2 low,R2 high", "do nothing,control,2,,,,", "RG,failed,,it failed,,,"]
    lines += ['"w/o AGG, target",method,1,,,,', '"full, target",method,2,,,,', "R23,method,2,,0.71,0.62,0.8"]
    (folder / "table.csv").write_text("\n".join([*lines, "R23 (paper),paper,,,0.5,,", ""]), encoding="utf-8")
    tests = "column,method,reference,n,difference,ci_low,ci_high,p_holm,verdict\n"
    tests += 'MAE,do nothing,"full, target",2,28.7,26.0,31.0,0.01,worse\nMAE,RG,"full, target",1,3.0,,,,too few clips\n'
    (folder / "differences.csv").write_text(tests, encoding="utf-8")
    svg = '<svg xmlns="http://www.w3.org/2000/svg" width="40" height="20"><circle cx="9" cy="9" r="5"/></svg>'
    (folder / "pareto.svg").write_text(svg, encoding="utf-8")
    return folder


@pytest.fixture
def ablation(made_ablation: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made_ablation, tmp_path / "grid"))


def steer(folder: Path, **changes: Any) -> Path:
    """A small run of ``lvcf steer``: two clips, two interventions, all methods unless ``changes`` say otherwise."""
    content = section(folder) | changes
    (folder / "mine.yaml").write_text(yaml.safe_dump({"steer": content}), encoding="utf-8")
    main(["steer", "--config", str(folder / "mine.yaml")])
    return Path(content["output"])


@pytest.fixture(scope="session")
def made_steering(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A steering run, evaluated.  Read only."""
    run = steer(tmp_path_factory.mktemp("steered"))
    assert main(["evaluate", str(run)]) == 0
    return run


@pytest.fixture
def steering(made_steering: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(made_steering, tmp_path / "bands"))
