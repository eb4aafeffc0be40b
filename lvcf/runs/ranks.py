"""One process of several: which one this is, and whether the one that started it is still there.  Light: no torch."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time

STARTED_BY = os.getppid()
PATIENCE = 15.0
"""Seconds that a later rank with an error gives rank 0 to end with the same one."""


def rank() -> int:
    """This process's number, as torchrun, Lightning's launcher or SLURM tells it; 0 in a run of one process."""
    told = [os.environ[name] for name in ("RANK", "LOCAL_RANK", "SLURM_PROCID") if name in os.environ]
    return int(told[0]) if told else 0


def orphaned() -> bool:
    """Whether this is a later rank and the process that started it has ended: nobody waits for its work."""
    return rank() > 0 and os.getppid() != STARTED_BY


def left_to_rank_0() -> bool:
    """Whether a later rank with an error keeps silent, because rank 0 ended too and has told the user.

    A mistake in the command is one of every rank: the user should read it once, and the exit code should be rank 0's.
    Lightning's launcher and torchrun kill all other processes as soon as one has failed, so the later ranks wait.
    """
    deadline = time.monotonic() + PATIENCE
    while rank() > 0 and not orphaned() and time.monotonic() < deadline:
        time.sleep(0.1)
    return orphaned()


def serve() -> None:
    """To begin a worker of a process pool with: it ends with the process that started it, and leaves Ctrl-C to that."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
