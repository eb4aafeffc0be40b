"""Locks on folders, so that two processes do not write into one."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lvcf.errors import UserError


@contextmanager
def locked(folder: Path, option: str = "--model.output", clips: range = range(0)) -> Iterator[None]:
    """Be the only lvcf that writes into a folder, which is made if it is not there.

    The lock is the process's own: it goes with the process, however that ends, even if its loader processes live on.

    Args:
        folder: a run's, or a data set's.
        option: what the user names it by.
        clips: numbers of the clips that this process writes, if others may write others.

    Raises:
        UserError: another process holds it, or one of these clips.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".writing").open("a") as stream:
        try:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB, len(clips), clips.start)  # a byte a clip; no length: all
        except (BlockingIOError, PermissionError) as error:
            raise UserError(
                f"{folder}: another lvcf is writing here; wait for it or choose another {option}"
            ) from error
        except OSError:  # a file system without locks
            pass
        yield


@contextmanager
def waited_for(path: Path, waiting: str = "") -> Iterator[int]:
    """Hold a lock file, after waiting for it; gives its descriptor: a process that inherits it holds it too.

    Args:
        path: of the lock file.
        waiting: what to print if another process holds it.
    """
    with path.open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                print(waiting, flush=True)
            fcntl.flock(stream, fcntl.LOCK_EX)
        except OSError:  # a file system without locks
            pass
        yield stream.fileno()
