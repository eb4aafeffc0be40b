"""A long run needs no more memory than a short one."""

from __future__ import annotations

import gc
from pathlib import Path

from lightning import Callback

from lvcf.cli import main
from lvcf.data.simulators.echo_set import simulate
from lvcf.tasks.edits import Edit
from tests.helpers import predict_arguments, results

CLIPS = 8


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


def test_no_batch_stays_in_memory(tmp_path, backbone_folder, target_folder) -> None:
    simulate(tmp_path / "data", n=CLIPS, seed=7)
    Memory.sizes.clear()
    Memory.edits.clear()
    arguments = predict_arguments(
        tmp_path / "data", backbone_folder, target_folder, tmp_path / "run", "--model.steps=1"
    )
    assert main([*arguments, "--trainer.callbacks+=tests.faults.test_long_runs.Memory"]) == 0
    assert len(results(tmp_path / "run")) == CLIPS
    assert max(Memory.edits) <= 4  # a batch of 2, and the one before it
    assert Memory.sizes[-1] <= 1.05 * Memory.sizes[len(Memory.sizes) // 5]
