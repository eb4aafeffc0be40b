"""A run of 1,000 clips on two ranks that is killed ten times: is every clip there once, and what does the run take?

    python -m benchmarks.many

Clips and networks are tiny and the weights random: what is measured is how lvcf runs, not what it explains.  ``lvcf
predict`` is killed (SIGKILL, both ranks) at moments drawn by ``--seed``, each time started again with the same command,
and at last let end.  Then every clip has to have one whole folder, which nobody touched after it was first seen, and
nothing may be left beside them; the clips of one shard, computed anew by one process that nobody kills, have to be the
same bit for bit.  Memory is the resident memory of both ranks' processes, sampled (Linux); the run's page is opened in
Chromium.
Needs ``pip install -e '.[dev]'``.  Writes ``benchmarks/results/many.md``.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lvcf.data.video import write_preview
from lvcf.models.backbones.ltx import new_ltx_backbone
from lvcf.models.targets.ejection_fraction import EchoResNet3D
from lvcf.runs.folder import read_manifest
from lvcf.runs.writer import SHOWN
from tests.browser import browse
from tests.tiny_ltx import tiny_denoiser, tiny_vae

RESULTS = Path("benchmarks/results/many.md")
RANKS, BATCH = 2, 4
SHARD = "13/25"
"""The part of the clips that is made anew."""
TWO_RANKS = (f"--trainer.devices={RANKS}", "--trainer.strategy=ddp")
NETWORKS = {"backbone": "backbone", "target_model": "target"}
SIZE, FRAMES, FPS = 32, 5, 8.0
VOLATILE = ("seconds", "peak_memory_bytes")
WARM = 40
"""Clips of a start after which its memory is looked at: before, libraries are still loading."""
PERIOD = 0.5
"""Seconds between two looks."""
MEBI = 2**20


class Look(NamedTuple):
    """One process at one moment."""

    start: int
    pid: int
    clips: int
    resident: int


@dataclass
class Watch:
    """What was seen from outside while a run was made.

    Attributes:
        looks: memory, in bytes, by the number of clips in the run's folder.
        stamps: when each clip's folder was written, as first seen.
        leftovers: hidden names that kills left in ``predictions/``, for the next start to clear.
    """

    looks: list[Look] = field(default_factory=list)
    stamps: dict[str, int] = field(default_factory=dict)
    leftovers: set[str] = field(default_factory=set)


class Cost(NamedTuple):
    """Of a command: seconds by the clock and of the CPU, and the most memory that a process of it held, in bytes."""

    seconds: float
    cpu: float
    memory: int


def write_clips(root: Path, n: int, seed: int) -> None:
    """Clips of a square that moves to the right; those that are there stay."""
    root.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for number in range(n):
        left, top = random.integers(2, 14, 2)
        video = np.full((FRAMES, SIZE, SIZE, 3), random.integers(20, 60), np.uint8)
        colour = random.integers(100, 255, 3)
        for i, frame in enumerate(video):
            frame[top : top + 12, left + i // 2 : left + i // 2 + 12] = colour
        if not (path := root / f"{number:04d}.mp4").exists():
            write_preview(path, video, FPS)


def save_networks(folder: Path) -> None:
    """A random backbone and a random target model."""
    torch.manual_seed(0)
    tiny_vae().save_pretrained(folder / "vae")
    words = ["ejection", "fraction", "percent"]
    new_ltx_backbone(tiny_denoiser(), str(folder / "vae"), words, 16, 1).save_pretrained(folder / "backbone")
    EchoResNet3D(channels=(8, 8, 16)).save_pretrained(folder / "target")


def command(folder: Path, output: Path, *more: str) -> list[str]:
    """``lvcf predict`` on those clips and networks into ``output``."""
    networks = [f"--model.{key}.weights={folder / name}" for key, name in NETWORKS.items()]
    clips = ["--data=VideoFolderDataModule", f"--data.root={folder / 'clips'}", f"--data.size={SIZE}"]
    clips += [f"--data.frames={FRAMES}", f"--data.batch_size={BATCH}"]
    quick = ["--model.steps=2", "--trainer.accelerator=cpu", "--trainer.precision=32-true", "--threads=1"]
    quick += ["--trainer.callbacks.GradientGuidance.samples=1"]
    quiet = ["--trainer.enable_progress_bar=false"]
    given = [*networks, f"--model.output={output}", *clips, *quick, *quiet, *more]
    return [sys.executable, "-m", "lvcf", "predict", "--config", "phantom.yaml", *given]


def run_killed(arguments: list[str], output: Path, clips: int, kills: int, seed: int) -> Watch:
    """Make a run that is killed ``kills`` times, each time when a number of clips drawn by ``seed`` is there."""
    random, watch = np.random.default_rng(seed), Watch()
    for start, wanted in enumerate([*sorted(random.integers(1, clips, kills).tolist()), clips]):
        last, delay = start == kills, float(random.uniform(0, 2))
        process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, start_new_session=True)
        _watch(process, output, clips if last else wanted, start, watch)
        if last:
            if process.wait() not in (0, 1):
                raise SystemExit(f"the last start ended with {process.returncode}")
            break
        time.sleep(delay)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        watch.stamps |= {name: at for name, at in stamps(output).items() if name not in watch.stamps}
        watch.leftovers |= {path.name for path in (output / "predictions").glob(".*")}
        print(f"kill {start + 1} of {kills}: {len(watch.stamps)} of {clips} clips are there", flush=True)
    return watch


def _watch(process: subprocess.Popen[bytes], output: Path, until: int, start: int, watch: Watch) -> None:
    """Look at a run's processes until it has so many clips, or ended.

    Raises:
        SystemExit: it ended before.
    """
    while (there := len(stamps(output))) < until:
        if process.poll() is not None:
            raise SystemExit(f"start {start + 1} ended with {process.returncode} at {there} of {until} clips")
        watch.looks += [Look(start, pid, there, resident) for pid, resident in _memory(process.pid)]
        time.sleep(PERIOD)


def _memory(pid: int) -> Iterator[tuple[int, int]]:
    """Resident bytes of a process and of those that it started."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:  # it has just ended
        return
    yield pid, pages * os.sysconf("SC_PAGE_SIZE")
    for child in children:
        yield from _memory(int(child))


def stamps(output: Path) -> dict[str, int]:
    """When each whole clip's ``result.json`` was written, by the clip's name."""
    found = (output / "predictions").glob("[!.]*/result.json")
    return {path.parent.name: path.stat().st_mtime_ns for path in found}


def growth(looks: Sequence[Look]) -> float:
    """Bytes by which a process grows per 100 clips of the run: one slope within all processes, after warming up."""
    processes = defaultdict[tuple[int, int], list[Look]](list)
    for look in looks:
        processes[look.start, look.pid].append(look)
    x, y = list[float](), list[float]()
    for seen in processes.values():
        warm = [look for look in seen if look.clips >= seen[0].clips + WARM]
        if len(warm) > 1:
            x += list(np.array([look.clips for look in warm]) - np.mean([look.clips for look in warm]))
            y += list(np.array([look.resident for look in warm]) - np.mean([look.resident for look in warm]))
    return float(100 * np.dot(x, y) / np.dot(x, x)) if x else float("nan")


def faults(output: Path, watch: Watch) -> list[str]:
    """What is wrong with a finished run: clips missing, half there, made twice, or something left over."""
    names, there = read_manifest(output)["ids"], output / "predictions"
    whole = [(name, file) for name in names for file in ("result.json", *SHOWN)]
    found = [f"{name}: no {file}" for name, file in whole if not (there / name / file).is_file()]
    found += [f"{path}: no clip's folder" for path in sorted(there.iterdir()) if path.name not in {*names}]
    found += [f"{path}: left over" for path in sorted(output.rglob(".*.partial"))]
    now = stamps(output)
    return found + [f"{name}: written again" for name, at in watch.stamps.items() if now.get(name) != at]


def differing(output: Path, other: Path) -> list[str]:
    """Which clips of another run of the same batches are not bit for bit this one's."""
    names = sorted(stamps(other))
    return [name for name in names if _content(output, name) != _content(other, name)]


def _content(output: Path, name: str) -> list[Any]:
    folder = output / "predictions" / name
    result = json.loads((folder / "result.json").read_text())
    videos = [(folder / file).read_bytes() for file in ("factual.mkv", "counterfactual.mkv")]
    facts = {key: value for key, value in result.items() if key not in VOLATILE}
    return [facts, *videos, np.load(folder / "mask.npz")["mask"].tolist()]


def timed(*arguments: str) -> Cost:
    """Run ``lvcf``; on a machine that others use too, the CPU's seconds are what compares."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", "lvcf", *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"lvcf {' '.join(arguments)} ended with {process.returncode}")
    return Cost(time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def opened(page: Path, folder: Path) -> tuple[float, int]:
    """Seconds until a page is loaded in a headless Chromium, and how many clips it shows."""
    with browse(folder / "profile", folder) as tab:
        tab.window(1280, 900)
        began = time.monotonic()
        tab.open(page)
        return time.monotonic() - began, int(tab.js("document.querySelectorAll('article').length"))


def told(folder: Path, watch: Watch, minutes: float, shard: str) -> list[tuple[str, str]]:
    """What is to be said of a finished run and of its clips of ``shard`` that were made anew.

    Args:
        folder: with ``run`` and ``alone``.
        watch: what was seen while the run was made.
        minutes: it took.
        shard: of ``alone``.
    """
    run, alone = folder / "run", folder / "alone"
    wrong, others, again, there = faults(run, watch), differing(run, alone), len(stamps(alone)), len(stamps(run))
    evaluated, reported = timed("evaluate", str(run)), timed("report", str(run))
    page = run / "report.html"
    seconds, shown = opened(page, folder)
    return [
        ("clips with a folder", f"{there} of {len(read_manifest(run)['ids'])}"),
        ("missing, half there, written again or left over", "; ".join(wrong[:5]) or "none"),
        ("half-made folders that kills left and later starts cleared", str(len(watch.leftovers))),
        (f"bit-identical to one undisturbed process (`--shard {shard}`)", f"{again - len(others)} of {again}"),
        ("memory of a rank, at most", f"{max(look.resident for look in watch.looks) / MEBI:.0f} MiB"),
        ("growth of a rank per 100 clips of the run", f"{growth(watch.looks) / MEBI:+.2f} MiB"),
        ("time of the run, with all starts", f"{minutes:.0f} min"),
        ("`lvcf evaluate`", f"{evaluated.cpu:.0f} s of CPU, {evaluated.memory / MEBI:.0f} MiB"),
        ("`lvcf report`", f"{reported.cpu:.0f} s of CPU, {reported.memory / MEBI:.0f} MiB"),
        ("the page", f"{page.stat().st_size / MEBI:.1f} MiB, {shown} clips, loaded in {seconds:.1f} s"),
    ]


def text_of(rows: Sequence[tuple[str, str]], clips: int, kills: int) -> str:
    """Markdown."""
    said = f"Random weights, clips of {SIZE} px; {clips} clips on {RANKS} ranks of one CPU, killed {kills} times"
    lines = [f"{said};", "made by `make bench-many`.", "", "| measured | |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {figure} |" for name, figure in rows)]) + "\n"


def main() -> None:
    """Make the clips, the killed run and its page; write what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0, help="of the clips and of the moments of the kills")
    parser.add_argument("--output", type=Path, default=Path("runs/many"), help="is made anew")
    options = parser.parse_args()
    folder: Path = options.output
    shutil.rmtree(folder, ignore_errors=True)
    write_clips(folder / "clips", options.clips, options.seed)
    save_networks(folder)
    began = time.monotonic()
    killed = command(folder, folder / "run", *TWO_RANKS)
    watch = run_killed(killed, folder / "run", options.clips, options.kills, options.seed)
    minutes = (time.monotonic() - began) / 60
    subprocess.run(command(folder, folder / "alone", f"--shard={SHARD}"), stdout=subprocess.DEVNULL, check=True)
    text = text_of(told(folder, watch, minutes, SHARD), options.clips, options.kills)
    RESULTS.write_text(text)
    print(text)


if __name__ == "__main__":
    main()
