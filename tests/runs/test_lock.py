"""Locks where two processes meet, and where a file system has none."""

from __future__ import annotations

import errno
import fcntl
from types import SimpleNamespace

import pytest

from lvcf.errors import UserError
from lvcf.runs import lock
from lvcf.runs.lock import locked, waited_for


def lockless(number: int) -> SimpleNamespace:
    """The module ``fcntl`` of a file system on which every lock fails."""

    def fails(*arguments: object) -> None:
        raise OSError(number, "no")

    names = ("LOCK_EX", "LOCK_NB")
    return SimpleNamespace(lockf=fails, flock=fails, **{name: getattr(fcntl, name) for name in names})


def test_without_locks_work_goes_on(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(lock, "fcntl", lockless(errno.ENOLCK))
    with locked(tmp_path), waited_for(tmp_path / "file"):
        pass


def test_a_folder_that_is_taken_is_refused(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(lock, "fcntl", lockless(errno.EAGAIN))
    with pytest.raises(UserError, match="wait for it or choose another place"), locked(tmp_path, "place"):
        pass


def test_a_file_that_is_held_is_waited_for(tmp_path) -> None:
    with (tmp_path / "file").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        held = [other]

        def let_go(text: str, flush: bool) -> None:
            fcntl.flock(held.pop(), fcntl.LOCK_UN)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lock, "print", let_go, raising=False)  # it tells that it waits, then waits
            with waited_for(tmp_path / "file", "waiting"):
                assert not held
