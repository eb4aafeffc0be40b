"""Writing a run, for predict and steer alike: its manifest, and per clip a folder that is whole or not there."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lvcf.data.video import Frames, read_video, write_lossless, write_preview
from lvcf.errors import UserError
from lvcf.files import Json, read_record, write_json
from lvcf.runs.lock import locked, waited_for
from lvcf.runs.panel import beside, panel_frames

UNCOMPARED = ("command", "versions", "threads", "ranks", "notice")
"""Entries of the manifest that may differ in a resumed run."""
LAST = ("data", "configuration")
"""Those that are told only where no other differs: a setting that does is in them too."""
SHOWN = ("factual.mkv", "counterfactual.mkv", "mask.npz", "panel.mp4")
"""The files that show a clip and its counterfactual."""
OTHERS = "counterfactuals.mp4"
"""The film of a clip and its counterfactuals, where there are several."""


@contextmanager
def opened(run: Path, manifest: Json, configuration: str, option: str, clips: range = range(0)) -> Iterator[None]:
    """Be the one that writes a run, or some clips of it: a new one, or what is left of this one.

    Args:
        run: its folder, which is made.
        manifest: what the run is.
        configuration: the command line's whole configuration.
        option: what the user names the folder by.
        clips: numbers of the clips that this process writes, if others may write others.

    Raises:
        UserError: it cannot be written, holds another run, or another process is writing there.
    """
    try:
        (run / "predictions").mkdir(parents=True, exist_ok=True)
        (run / ".writable").touch()
        (run / ".writable").unlink(missing_ok=True)  # another shard has
    except OSError as error:
        raise UserError(f"{run}: cannot be written ({error.strerror}); choose another {option}") from error
    with locked(run, option, clips):
        with alone(run):
            check_same(run, manifest, option)
            write_json(run / "manifest.json", manifest)
            (run / "config.yaml").write_text(configuration, encoding="utf-8")
        yield


def alone(run: Path) -> AbstractContextManager[int]:
    """Wait to be the only process here: for the files of the whole run, which every shard writes."""
    return waited_for(run / "config.yaml")


def check_same(run: Path, manifest: Json, option: str) -> None:
    """A resumed run must be the same run: other noise, batches or settings would mix two experiments.

    Raises:
        UserError: the folder holds a run with other entries than these of the manifest.
    """
    if not (run / "manifest.json").exists():
        return
    old, new = read_record(run / "manifest.json"), json.loads(json.dumps(manifest))
    differing = [key for key in new if key not in UNCOMPARED and old.get(key) != new[key]]
    told = [key for key in differing if key not in LAST] or [key for key in LAST if key in differing]
    if told:
        raise UserError(f"{run}: holds a run with another {', '.join(told)}; choose another {option} or delete it")


@contextmanager
def clip_folder(folder: Path, goes_on: bool = False) -> Iterator[Path]:
    """Yields the hidden folder in which a clip's files are made; it gets its name once all are there.

    Args:
        folder: the clip's, in ``predictions/`` of the run.
        goes_on: keep what an earlier try left that failed or was killed; else it is made anew.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    if not goes_on:
        shutil.rmtree(partial, ignore_errors=True)
    elif folder.exists():  # failed
        folder.rename(partial)
    partial.mkdir(parents=True, exist_ok=True)
    yield partial
    shutil.rmtree(folder, ignore_errors=True)  # a failed try's
    partial.replace(folder)


def write_shown(folder: Path, factual: Frames, counterfactual: Frames, mask: NDArray[np.uint8], fps: float) -> None:
    """Write the :data:`SHOWN` files of a clip, ``(T, H, W, 3)``, and its mask, ``(T, H, W)``.

    Raises:
        RuntimeError: the saved counterfactual does not hold the levels that were judged.
    """
    write_lossless(folder / "factual.mkv", factual, fps)
    write_lossless(folder / "counterfactual.mkv", counterfactual, fps)
    if not np.array_equal(read_video(folder / "counterfactual.mkv").frames, counterfactual):
        raise RuntimeError(f"{folder}: the saved counterfactual differs from the one that was judged")
    np.savez_compressed(folder / "mask.npz", mask=mask)
    write_preview(folder / "panel.mp4", panel_frames(factual, counterfactual, mask / 255.0), fps)


def write_others(folder: Path, factual: Frames, counterfactuals: Sequence[Frames], fps: float) -> None:
    """Write a clip's further counterfactuals, and ``counterfactuals.mp4``, which shows all beside the clip.

    Args:
        folder: the clip's.
        factual: the clip ``(T, H, W, 3)``.
        counterfactuals: of the same shape; the first is there already.
        fps: of all.
    """
    for number, frames in enumerate(counterfactuals[1:], start=2):
        write_lossless(folder / f"counterfactual_{number}.mkv", frames, fps)
    write_preview(folder / OTHERS, beside(factual, counterfactuals), fps)


@cache
def versions(*packages: str) -> dict[str, str]:
    """Of lvcf and of what decides digits."""
    return {name: version(name) for name in packages}
