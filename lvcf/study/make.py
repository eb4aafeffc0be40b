"""``lvcf study make``: the raters' folder (a page and its clips) and the key that says what they see."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from lvcf.data.video import Frames, write_preview
from lvcf.errors import UserError
from lvcf.files import Json, write_json
from lvcf.report.templates import load_template
from lvcf.runs.folder import read_manifest
from lvcf.runs.panel import TILE, upscale
from lvcf.study.answers import CHOICES, FORMAT, NONE, QUESTIONS, VERSION
from lvcf.study.trials import Trial, draw_trials

KEY_VERSION = 1


def make_study(first: Path, second: Path, n: int, out: Path, seed: int, quantity: str) -> Path:
    """Write the study whole or not at all and return the page's path, ``out/raters/index.html``.

    ``out/raters`` tells nothing of the runs and is what raters get; ``out/key.json`` says what each panel shows,
    ``out/answers`` waits for the raters' files.  The same runs and seed give the same bytes.

    Args:
        first: a run folder.
        second: another run over the same clips, with the same targets.
        n: pairs; attention checks come on top.
        out: the folder to write.
        seed: of the choice of clips, the sides and the order.
        quantity: what a target value is a value of, in the raters' words, or nothing.

    Raises:
        UserError: ``out`` holds something already, or the runs do not give ``n`` pairs.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: holds something already, and answers belong to one study; choose another --out")
    names = _run_names(first, second)
    trials = draw_trials(first, second, n, seed, quantity)
    partial = out.resolve().with_name(f".{out.resolve().name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    for folder in ("raters/clips", "answers"):
        (partial / folder).mkdir(parents=True)
    digits = len(str(len(trials)))
    named = {f"{number:0{digits}}": trial for number, trial in enumerate(trials, 1)}
    items = tqdm(named.items(), desc="study make", unit="trial", disable=None)
    shown = [_write_clip(partial / "raters", *item) for item in items]
    study = _fingerprint(partial / "raters", shown)
    write_json(partial / "key.json", _key(study, seed, names, named))
    (partial / "raters" / "index.html").write_text(_page(study, shown), encoding="utf-8")
    if out.exists():
        out.rmdir()
    partial.replace(out)
    return out / "raters" / "index.html"


def _run_names(first: Path, second: Path) -> list[Json]:
    """Path, shortest telling name and method of both runs."""
    runs = [(run, read_manifest(run)) for run in (first, second)]
    same = first.resolve().name == second.resolve().name
    return [
        {"run": str(run), "name": str(run) if same else run.resolve().name, "method": manifest["method"]}
        for run, manifest in runs
    ]


def _write_clip(folder: Path, name: str, trial: Trial) -> Json:
    """One video of panel A, the original and panel B side by side, so that they run in step; returns what it shows."""
    fps = float(trial.pair[0].result["fps"])
    tiles = [_tile(frames) for frames in (trial.panel(0), trial.pair[0].factual(), trial.panel(1))]
    write_preview(folder / "clips" / f"{name}.mp4", np.concatenate(tiles, axis=2), fps)
    frames, height, width, _ = tiles[0].shape
    return {"name": name, "frames": frames, "fps": fps, "width": width, "height": height, "change": trial.change}


def _tile(frames: Frames) -> Frames:
    factor = max(1, round(TILE / frames.shape[1]))
    return np.asarray(np.clip(np.round(upscale(frames.astype(np.float32), factor)), 0, 255), dtype=np.uint8)


def _fingerprint(folder: Path, shown: list[Json]) -> str:
    """Of what raters see and are asked, and of nothing else: it can not be turned back into the key."""
    digest = hashlib.sha256(json.dumps([QUESTIONS, shown], sort_keys=True).encode())
    for trial in shown:
        digest.update((folder / "clips" / f"{trial['name']}.mp4").read_bytes())
    return digest.hexdigest()[:16]


def _key(study: str, seed: int, runs: list[Json], named: dict[str, Trial]) -> dict[str, Any]:
    trials = {
        name: {"id": trial.pair[0].id, "check": trial.is_check, "A": trial.shown[0], "B": trial.shown[1]}
        for name, trial in named.items()
    }
    first, second = runs
    return {
        "schema_version": KEY_VERSION,
        "study": study,
        "seed": seed,
        "first": first,
        "second": second,
        "trials": trials,
    }


def _page(study: str, shown: list[Json]) -> str:
    data = {"format": FORMAT, "version": VERSION, "study": study, "trials": shown}
    keys = {choice: ("n" if choice == NONE else choice.lower()) for choice in CHOICES}
    return load_template(Path(__file__).with_name("page.html.j2")).render(
        data=data, questions=QUESTIONS, choices=CHOICES, keys=keys, n=len(shown)
    )
