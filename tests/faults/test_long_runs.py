"""A long run needs no more memory than a short one."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest
from lightning import Callback

from lvcf.cli import main
from lvcf.data.simulators.echo_set import simulate
from lvcf.tasks.edits import Edit
from tests.helpers import predict_arguments, results

CLIPS = 1000


def resident() -> int:
    """Bytes of this process."""
    (line,) = [row for row in Path("/proc/self/status").read_text().splitlines() if row.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


class Memory(Callback):
    """The process's size after every batch, and how many edits it holds."""

    sizes: list[int] = []  # noqa: RUF012  # the command line makes the object; the test reads the class
    edits: list[int] = []  # noqa: RUF012

    def on_predict_batch_end(self, *_arguments: object) -> None:
        self.sizes.append(resident())
        if len(self.sizes) <= 6:
            self.edits.append(sum(isinstance(thing, Edit) for thing in gc.get_objects()))


@pytest.mark.parametrize("clips", [8, pytest.param(CLIPS, marks=pytest.mark.slow)])
def test_memory_stays_flat(tmp_path, backbone_folder, target_folder, clips) -> None:
    simulate(tmp_path / "data", n=min(clips, 8), seed=7)
    many = repeated(tmp_path / "data", clips)
    Memory.sizes.clear()
    Memory.edits.clear()
    arguments = predict_arguments(many, backbone_folder, target_folder, tmp_path / "run", "--model.steps=1")
    assert main([*arguments, "--trainer.callbacks+=tests.faults.test_long_runs.Memory"]) == 0
    assert len(results(tmp_path / "run")) == clips
    assert max(Memory.edits) <= 4  # a batch of 2, and the one before it
    assert Memory.sizes[-1] <= 1.05 * Memory.sizes[len(Memory.sizes) // 5]


def repeated(root: Path, clips: int) -> Path:
    """The set with every video under many names."""
    (head, *rows) = (root / "FileList.csv").read_text().splitlines()
    lines = [head]
    for i in range(clips):
        name, _, rest = rows[i % len(rows)].partition(",")
        lines.append(f"{name}_{i},{rest}")
        (root / "Videos" / f"{name}_{i}.avi").hardlink_to(root / "Videos" / f"{name}.avi")
    (root / "FileList.csv").write_text("\n".join(lines) + "\n")
    return root
