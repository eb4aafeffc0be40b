"""The record of a loop: every call as a JSON line, every edited clip beside it.  A record is enough to run again."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from lvcf.data.clip import round_to_8_bits, to_clip, to_frames
from lvcf.data.video import read_video, write_lossless
from lvcf.errors import UserError
from lvcf.errors import line as one_line
from lvcf.runs.cost import forget_peak, now, peak_memory
from lvcf.steering.answers import CaseError, NoAnswerError, Reply, reason
from lvcf.steering.judges.base import frames_hash

T = TypeVar("T", bound=BaseModel)
Called = TypeVar("Called")
Line = dict[str, Any]
Made = tuple[Path, Line]
"""An edited clip's video and the line of its record."""
COUNTED = ("judge", "rewrite", "paraphrase")
"""Kinds of calls that the budget counts; evaluation is not steering."""


class RecordError(UserError):
    """A record that is damaged, ends early, or is of other calls."""


class Recorded(BaseModel):
    """What every line of a record has to hold."""

    model_config = ConfigDict(extra="allow", strict=True)

    key: str
    kind: str
    answer: Line | None
    problem: str
    seconds: float
    tokens: int | None = None
    peak_memory_bytes: int | None = None


class Edited(BaseModel):
    """The answer of an edit: its video, in the record's folder, and the hash of its frames."""

    video: str = Field(pattern=r"^attempts/\d+\.mkv$")
    sha256: str


class Transcript:
    """Answers calls from a record as far as it goes, then makes and records them.

    A live transcript forgets its record from the first call that got no answer on, so that it is asked again.

    Args:
        folder: with ``calls.jsonl`` and ``attempts/``.
        fps: of the clips.
        live: whether calls may be made; otherwise all have to be in the record.
        made: edits of other records by their key; the same one is copied, and costs what it cost there.

    Raises:
        RecordError: the record is damaged, or ends early and may not go on.
    """

    def __init__(self, folder: Path, fps: float, live: bool = True, made: Mapping[str, Made] | None = None) -> None:
        self.folder, self.fps, self.live, self.made = folder, fps, live, made or {}
        self.path = folder / "calls.jsonl"
        self.record = self._read()
        self.lines: list[Line] = []

    def edit(self, who: str, request: Line, run: Callable[[], Tensor]) -> Tensor:
        """An edited clip ``(3, T, H, W)`` on 8-bit levels.

        Args:
            who: the editor.
            request: prompt, negative, seed, and the source's hash.
            run: makes the clip.

        Raises:
            CaseError: it broke down.
            RecordError: the record is of another call, or its clip is another one.
        """
        line = self._recorded("edit", who, request) or self._copied(_head("edit", who, request)["key"])
        if line is None:
            with _spending() as spent:
                clip = round_to_8_bits(_called(who, run).float().cpu())
            write_lossless(self.folder / (name := self._new_video()), to_frames(clip), self.fps)
            answer = {"video": name, "sha256": frames_hash(to_frames(clip))}
            self._add({**_head("edit", who, request), "answer": answer, "problem": "", **spent})
            return clip
        path = self.folder / line["answer"]["video"]
        frames = read_video(path).frames if path.is_file() else None
        if frames is None or frames_hash(frames) != line["answer"]["sha256"]:
            raise RecordError(f"{path}: not the clip that was recorded; remove {self.folder}")
        return to_clip(frames, frames.shape[1])

    def _copied(self, key: str) -> Line | None:
        """The line of an edit that another record has made, with its video; none if there is no such edit."""
        if key not in self.made:
            return None
        video, line = self.made[key]
        shutil.copyfile(video, self.folder / (name := self._new_video()))
        line = {**line, "answer": {**line["answer"], "video": name}}
        self._add(line)
        return line

    def _new_video(self) -> str:
        (self.folder / "attempts").mkdir(parents=True, exist_ok=True)
        return f"attempts/{self.count('edit'):02d}.mkv"

    def ask(self, kind: str, who: str, request: Line, expected: type[T], run: Callable[[], Reply[T]]) -> T:
        """A judge's or rewriter's typed answer.

        Args:
            kind: judge, rewrite, paraphrase, observe or evaluate.
            who: who is asked.
            request: everything the answer hangs on, as JSON.
            expected: the answer's type.
            run: asks.

        Raises:
            NoAnswerError: there was none.
            CaseError: who was asked broke down.
            RecordError: the record is of another call, or its answer is none.
        """
        line = self._recorded(kind, who, request)
        if line is None:
            line = self._ask(_head(kind, who, request), run)
            self._add(line)
        if line["problem"]:
            raise NoAnswerError(line["problem"])
        try:
            return expected.model_validate(line["answer"])
        except ValidationError as error:
            raise RecordError(
                f"{self.path}, line {len(self.lines)}: no answer of a {kind}; remove the folder"
            ) from error

    def _ask(self, line: Line, run: Callable[[], Reply[T]]) -> Line:
        spent: Line = {}
        try:
            with _spending() as spent:
                reply = _called(line["who"], run)
        except NoAnswerError as problem:
            return {**line, **_told(problem), "answer": None, "problem": one_line(str(problem)), **spent}
        facts = {"images": reply.images, "requests": reply.requests, **_told(reply)}
        answer = reply.answer.model_dump(mode="json")
        return {**line, **facts, "answer": answer, "problem": "", **spent}

    def count(self, *kinds: str) -> int:
        """Calls of some kinds so far."""
        return sum(line["kind"] in kinds for line in self.lines)

    def cost(self) -> dict[str, Any]:
        """Edits, calls, tokens (None where nobody counts them), seconds and the peak of memory so far.

        The peak is that of the hungriest call: the GPU's where there is one, else this process's resident set.
        """
        tokens = [line["tokens"] for line in self.lines if line.get("tokens") is not None]
        peaks = [line["peak_memory_bytes"] for line in self.lines if "peak_memory_bytes" in line]
        return {
            "edits": self.count("edit"),
            "calls": self.count(*COUNTED),
            "tokens": sum(tokens) if tokens else None,
            "seconds": sum(line["seconds"] for line in self.lines),
            "peak_memory_bytes": max(peaks) if peaks else None,
        }

    def _recorded(self, kind: str, who: str, request: Line) -> Line | None:
        """The record's next line if there is one.

        Raises:
            RecordError: it is of another call, or the record has ended and nothing may be asked.
        """
        place = len(self.lines)
        if place >= len(self.record):
            if self.live:
                return None
            raise RecordError(
                f"{self.path}: the record ends before call {place + 1} ({kind}); run it again without --replay"
            )
        line = self.record[place]
        if line["key"] != _head(kind, who, request)["key"]:
            raise RecordError(
                f"{self.path}, line {place + 1}: records another {line['kind']} than the {kind} asked for now; "
                "use the settings of the record, or remove the folder"
            )
        self.lines.append(line)
        return line

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")

    def _read(self) -> list[Line]:
        if not self.path.is_file():
            return []
        lines = read_calls(self.path, unfinished=self.live)
        if self.live:
            lines = lines[: next((i for i, line in enumerate(lines) if line["problem"]), len(lines))]
            kept = self.path.with_name(f".{self.path.name}.partial")
            kept.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
            kept.replace(self.path)
        return lines


def read_calls(path: Path, unfinished: bool = False) -> list[Line]:
    """The lines of a ``calls.jsonl``.

    Args:
        path: the file.
        unfinished: leave out a last line that is no JSON: the run was killed while it wrote.

    Raises:
        RecordError: a line is damaged.
    """
    rows, lines = path.read_bytes().splitlines(), []
    for number, row in enumerate(rows, start=1):
        try:
            lines.append(_checked(json.loads(row)))
        except ValidationError as error:
            raise RecordError(f"{path}, line {number}: no record of a call; remove the folder") from error
        except (ValueError, RecursionError) as error:
            if unfinished and number == len(rows):
                break
            raise RecordError(f"{path}, line {number}: no JSON ({error}); remove the folder") from error
    return lines


def _checked(line: Any) -> Line:
    """A line that holds what every line has to, and of an edit also where its video is.

    Raises:
        ValidationError: it does not.
    """
    kept = Recorded.model_validate(line)
    if kept.kind == "edit":
        Edited.model_validate(kept.answer)
    return dict(line)


def _called(who: str, run: Callable[[], Called]) -> Called:
    """What a call gives.

    Raises:
        NoAnswerError: from the call.
        CaseError: whatever else it raised, which may be anything.
    """
    try:
        return run()
    except (NoAnswerError, CaseError):
        raise
    except Exception as error:
        raise CaseError(f"{who}: {reason(error)}") from error


def _told(said: Reply[Any] | NoAnswerError) -> Line:
    """What a call took, whether an answer came of it or not."""
    return {"asked": said.asked, "tokens": said.tokens, "refused": [asdict(one) for one in said.refused]}


def _head(kind: str, who: str, request: Line) -> Line:
    """What is known of a call before it is made; the key is the hash of all of it."""
    head = {"kind": kind, "who": who, "request": request}
    return {"key": hashlib.sha256(json.dumps(head, sort_keys=True).encode()).hexdigest(), **head}


@contextmanager
def _spending() -> Iterator[Line]:
    """Yields what becomes, once the call has ended in any way, its seconds and its peak of memory."""
    device, spent = torch.device("cuda" if torch.cuda.is_available() else "cpu"), Line()
    measured, started = forget_peak(device), now(device)
    try:
        yield spent
    finally:
        spent |= {"seconds": now(device) - started}
        spent |= {"peak_memory_bytes": peak_memory(device)} if measured else {}
