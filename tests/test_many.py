"""benchmarks/many.py in small: two ranks, killed three times at moments that a seed draws, leave every clip once."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.many import (
    MEBI,
    TWO_RANKS,
    Look,
    command,
    differing,
    faults,
    growth,
    run_killed,
    save_networks,
    stamps,
    write_clips,
)
from lvcf.cli import main
from lvcf.runs.folder import read_manifest

CLIPS = 24


@pytest.mark.slow  # five starts of lvcf predict
def test_two_ranks_killed_three_times_make_every_clip_once(tmp_path) -> None:
    write_clips(tmp_path / "clips", CLIPS, 0)
    save_networks(tmp_path)
    run, alone = tmp_path / "run", tmp_path / "alone"
    watch = run_killed(command(tmp_path, run, *TWO_RANKS), run, CLIPS, 3, 0)
    assert faults(run, watch) == []
    assert len(stamps(run)) == len(read_manifest(run)["ids"]) == CLIPS
    arguments = command(tmp_path, alone, "--shard=2/3")
    assert main(arguments[arguments.index("predict") :]) == 0
    assert len(stamps(alone)) == CLIPS // 3
    assert differing(run, alone) == []
    found = damaged(run)
    assert {fault.partition(": ")[2] for fault in faults(run, watch)} == found


def damaged(run: Path) -> set[str]:
    """Damage a run in every way that is looked for; returns what should be said of it."""
    (run / "predictions" / "0000" / "mask.npz").unlink()
    (run / "predictions" / ".0001.partial").mkdir()
    result = run / "predictions" / "0002" / "result.json"
    result.write_text(result.read_text())
    return {"no mask.npz", "no clip's folder", "left over", "written again"}


def test_growth_is_the_slope_within_processes_that_are_warm() -> None:
    """Two processes of 500 and 900 MiB that grow by 2 MiB per 100 clips; before, both load their libraries."""
    looks = [
        Look(start, pid, clips, int((size + 0.02 * clips - 300 * (clips < first + 20)) * MEBI))
        for start, pid, first, size in ((0, 7, 0, 500), (1, 7, 200, 900))
        for clips in range(first, first + 160, 4)
    ]
    assert growth(looks) / MEBI == pytest.approx(2.0, abs=1e-6)
