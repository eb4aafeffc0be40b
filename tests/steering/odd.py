"""Editors, judges, rewriters and clips of the toy world that break down in one case, for ``lvcf steer``."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lvcf.data.clip import Clip, round_to_8_bits
from lvcf.datamodules.base import Stage
from lvcf.errors import UserError
from lvcf.steering.answers import UNSURE, Question, Reply, Rewrite, Seen
from lvcf.steering.case import Case
from lvcf.steering.judges.base import Attempt, Rewriter, Shown
from tests.steering.bands import CLIPS, BandModule, Clips
from tests.steering.painted import BandEditor, BandJudge, paint, read

ODD, FINE = "one", "two"
"""The clip that something happens to: the young woman; and the one that nothing happens to."""


def is_odd(clip: Tensor) -> bool:
    """Whether a clip is the odd one: who is young has a dark first band."""
    return read(clip)["age"] < 0.5


def is_factual(shown: Shown) -> bool:
    """Whether a clip is shown as it is."""
    return torch.equal(shown.video, round_to_8_bits(paint(CLIPS[shown.id])))


def break_down(how: str) -> None:
    """Raise what a part may raise."""
    if how == "key":
        raise KeyError("layer\x1b[31m\n9")
    if how == "memory":
        raise MemoryError
    if how == "user":
        raise UserError("the clip is 15 pixels high; choose a multiple of 8")
    if how == "assert":
        raise AssertionError("what\nnow")


class OddEditor(BandEditor):
    """Breaks down, or makes what is no edit, of the odd clip alone."""

    def __init__(self, how: str, needs: Sequence[str] = ()) -> None:
        super().__init__(needs)
        self.how = how

    @property
    def identity(self) -> str:
        return "odd bands"

    def prepare(self, clip: Tensor, source_prompt: str) -> Any:
        state = super().prepare(clip, source_prompt), is_odd(clip)
        if self.how == "in place":
            clip.fill_(-1.0)
        return state

    def edit(self, state: Any, prompt: str, negative: str, seed: int) -> Any:
        shown, odd = state
        clip = super().edit(shown, prompt, negative, seed)
        if not odd:
            return clip
        break_down(self.how)
        made = {
            "nan": clip.clone().index_fill_(1, torch.tensor([1]), float("nan")),
            "infinity": clip / 0.0,
            "shorter": clip[:, :1],
            "turned": clip.transpose(0, 1),
            "nothing": None,
        }
        return made.get(self.how, clip)


class MeetingEditor(BandEditor):
    """Edits once as many processes are here as the environment says; where it says so, one is killed, once."""

    def edit(self, state: Any, prompt: str, negative: str, seed: int) -> Tensor:
        here, processes = Path(os.environ["HERE"]), int(os.environ["PROCESSES"])
        (here / str(os.getpid())).touch()
        ends = time.monotonic() + 120
        while len(list(here.glob("[0-9]*"))) < processes and time.monotonic() < ends:
            time.sleep(0.02)
        if len(self.edits) == 1 and (here / "kill").exists():
            with suppress(FileNotFoundError):  # the other one was faster
                (here / "kill").unlink()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().edit(state, prompt, negative, seed)


class OddJudge(BandJudge):
    """Breaks down at the odd clip's edits, or draws on what it is shown; never at the clip as it is."""

    def __init__(self, how: str, name: str = "odd judge") -> None:
        super().__init__(name)
        self.how = how

    def look(self, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
        reply, odd = super().look(shown, questions), shown.id == ODD and not is_factual(shown)
        if self.how == "in place":
            shown.video.fill_(1.0)
        if odd:
            break_down(self.how)
        return reply


class OddObserver(OddJudge):
    """Breaks down when it is asked what the odd clip shows."""

    def look(self, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
        if shown.id == ODD and is_factual(shown):
            break_down(self.how)
        return BandJudge.look(self, shown, questions)


class UnsureObserver(BandJudge):
    """Cannot tell a beard."""

    def look(self, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
        answers = super().look(shown, questions).answer.answers
        unsure = (a.model_copy(update={"observed": UNSURE}) if a.attribute == "beard" else a for a in answers)
        return Reply(Seen(answers=tuple(unsure)))


class OddRewriter(Rewriter):
    """Always breaks down."""

    identity = "odd rewriter"

    def __init__(self, how: str) -> None:
        self.how = how

    def rewrite(self, case: Case, attempts: Sequence[Attempt]) -> Reply[Rewrite]:
        break_down(self.how)
        raise NotImplementedError

    def paraphrase(self, case: Case) -> Reply[Rewrite]:
        break_down(self.how)
        raise NotImplementedError


class OddClips(Clips):
    """Reading the odd clip breaks down."""

    how = ""

    def __getitem__(self, index: int) -> Clip:
        if self.ids[index] == ODD:
            break_down(self.how)
        return super().__getitem__(index)

    def known(self, name: str) -> dict[str, str]:
        """Of the odd clip nothing."""
        return {FINE: CLIPS[FINE]}[name]


class OddModule(BandModule):
    """Clips of which one cannot be read, or is not in the set's tables."""

    def __init__(self, how: str = "") -> None:
        super().__init__()
        self.how = how

    def make_dataset(self, stage: Stage) -> Clips:
        clips = OddClips("")
        clips.how = self.how
        return clips
