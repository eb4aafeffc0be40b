"""A long run needs no more memory than a short one."""

from __future__ import annotations

import gc

from lightning import Callback

from lvcf.cli import main
from lvcf.edits import Edit
from lvcf.phantoms.echo.set import simulate
from tests.helpers import predict_arguments, results

CLIPS = 6


def alive() -> int:
    return sum(isinstance(thing, Edit) for thing in gc.get_objects())


class Memory(Callback):
    """How many edits the process holds after every batch."""

    edits: list[int] = []  # noqa: RUF012  # the command line makes the object; the test reads the class

    def on_predict_batch_end(self, *_arguments: object) -> None:
        self.edits.append(alive())


class Garbage(Callback):
    """What of every batch only the garbage collector frees: it looks at what is old so seldom that a run grows."""

    kinds: list[set[str]] = []  # noqa: RUF012  # as above

    def on_predict_batch_start(self, *_arguments: object) -> None:
        gc.collect()
        gc.set_debug(gc.DEBUG_SAVEALL)

    def on_predict_batch_end(self, *_arguments: object) -> None:
        gc.collect()
        self.kinds.append({type(thing).__name__ for thing in gc.garbage})
        gc.set_debug(0)
        gc.garbage.clear()


def test_no_batch_stays_in_memory(tmp_path, backbone_folder, target_folder) -> None:
    simulate(tmp_path / "data", n=CLIPS, seed=7)
    Memory.edits.clear()
    Garbage.kinds.clear()
    others = alive()  # other tests' in this process
    arguments = predict_arguments(
        tmp_path / "data", backbone_folder, target_folder, tmp_path / "run", "--model.steps=1"
    )
    watching = [f"--trainer.callbacks+=tests.faults.test_long_runs.{name}" for name in ("Memory", "Garbage")]
    try:
        assert main([*arguments, *watching]) == 0
    finally:
        gc.set_debug(0)
    assert len(results(tmp_path / "run")) == CLIPS
    assert max(Memory.edits) - others <= 4  # a batch of 2, and the one before it
    assert len(Garbage.kinds) == CLIPS // 2
    for kinds in Garbage.kinds[1:]:  # the first draws what the others share
        assert not kinds & {"Tensor", "VideoFrame", "Figure", "SamplingState"}
