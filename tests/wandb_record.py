"""Reading back what the W&B client wrote: the offline run's record file, and the files beside it."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK, HEAD = 32768, 7
"""The record file is a LevelDB log: blocks, in which every piece has a head of checksum, length and kind."""
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def records(path: Path) -> Iterator[Any]:
    """The protocol buffers of a ``run-*.wandb`` file, in order."""
    content = path.read_bytes()
    if len(content) < HEAD:
        return  # the client has not begun to write
    assert content[:4] == b":W&B"
    place, pieces = HEAD, b""  # the file's own head is as long as a piece's
    while place + HEAD <= len(content):
        if BLOCK - place % BLOCK < HEAD:  # no head fits: padding
            place += BLOCK - place % BLOCK
            continue
        _, length, kind = struct.unpack("<IHB", content[place : place + HEAD])
        pieces = (pieces if kind in (MIDDLE, LAST) else b"") + content[place + HEAD : place + HEAD + length]
        place += HEAD + length
        if place > len(content):
            return  # the client is still writing
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pieces)
            yield record


@dataclass(frozen=True)
class Written:
    """One offline run on the disk."""

    folder: Path

    @cached_property
    def records(self) -> list[Any]:
        """The client's own process closes the file soon after the run has ended."""
        (path,) = self.folder.glob("run-*.wandb")
        for _ in range(600):
            found = list(records(path))
            if any(r.WhichOneof("record_type") == "exit" for r in found):
                return found
            time.sleep(0.1)
        raise AssertionError(f"{path}: the run has not ended")

    @property
    def run(self) -> Any:
        """Group, job type, name and project."""
        return next(r.run for r in self.records if r.WhichOneof("record_type") == "run")

    @property
    def config(self) -> dict[str, Any]:
        """What was logged as configuration, nested."""
        found: dict[str, Any] = {}
        updates = [r.run.config.update for r in self.records if r.WhichOneof("record_type") == "run"]
        updates += [r.config.update for r in self.records if r.WhichOneof("record_type") == "config"]
        for item in (item for update in updates for item in update):
            found[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        return found

    @property
    def history(self) -> list[dict[str, Any]]:
        """What ``log`` was called with, flattened by the client."""
        rows = [r.history.item for r in self.records if r.WhichOneof("record_type") == "history"]
        return [{_key(item): json.loads(item.value_json) for item in row} for row in rows]

    @property
    def summary(self) -> dict[str, Any]:
        """The last value of everything, and what was put into the summary."""
        rows = [r.summary.update for r in self.records if r.WhichOneof("record_type") == "summary"]
        return {_key(item): json.loads(item.value_json) for row in rows for item in row}

    @property
    def metrics(self) -> dict[str, Any]:
        """Every number of the history."""
        return {k: v for row in self.history for k, v in row.items() if isinstance(v, int | float) and k[0] != "_"}

    @property
    def uploads(self) -> list[tuple[str, Path]]:
        """Name and local file of everything that ``wandb sync`` would upload: files and the entries of artifacts."""
        files = [f.path for r in self.records if r.WhichOneof("record_type") == "files" for f in r.files.files]
        entries = [
            (entry.path, Path(entry.local_path))
            for r in self.records
            if r.WhichOneof("record_type") == "artifact"
            for entry in r.artifact.manifest.contents
        ]
        return [(name, self.folder / "files" / name) for name in files] + entries

    def table(self, key: str) -> list[dict[str, Any]]:
        """A logged table's rows; media as the client describes them."""
        content = json.loads(self.media(f"{key}.table.json").read_text())
        return [dict(zip(content["columns"], row, strict=True)) for row in content["data"]]

    def media(self, name: str) -> Path:
        """The local file that would be uploaded under a name."""
        return dict(self.uploads)[name]


def _key(item: Any) -> str:
    return str(item.key or ".".join(item.nested_key))


def written(folder: Path) -> list[Written]:
    """The offline runs below ``folder``, oldest first."""
    found = {p.resolve() for p in folder.rglob("offline-run-*") if p.is_dir()}
    return [Written(p) for p in sorted(found, key=lambda p: p.stat().st_ctime_ns)]
