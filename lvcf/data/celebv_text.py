"""CSVC's benchmark (Spyrou et al. 2025) on CelebV-Text: 67 clips, four interventions, questions with two options.

Its two files are read as they are published; the clips are the user's own.

- ``counterfactual_explicit.json``: ``{clip: {"factual": prompt, "counterfactual": {edit: prompt}}}``
- ``questions_explicit.json``: ``{clip: {edit: {"prompt": prompt, "questions": [{"question": text, "options":
  {"A": answer, "B": answer}, "correctAnswer": answer}]}}}``

Edits are age, gender, beard and bald, and each turns its own attribute over: so what the clip shows is the other option
of that question.  In a question of gender the right answer is always option A, so options are not taken in their order.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from lvcf.data.clip import Clip, check_names
from lvcf.data.sampled import SampledDataset
from lvcf.data.tables import read_json
from lvcf.data.video import SUFFIXES, clip_indices
from lvcf.errors import UserError

EDITS = {"age": "age", "gender": "gender", "beard": "beard", "bald": "baldness"}
"""The files' attributes, and what the graph ``celebv_text.yaml`` calls them."""
PROMPTS, QUESTIONS = "counterfactual_explicit.json", "questions_explicit.json"


@dataclass(frozen=True)
class Asked:
    """A question with two options, in lower case; ``right`` is the one the edited clip should show."""

    question: str
    options: tuple[str, str]
    right: str

    @property
    def other(self) -> str:
        """The wrong option."""
        return next(option for option in self.options if option != self.right)


@dataclass(frozen=True)
class Entry:
    """One clip of the benchmark.

    Attributes:
        factual: its prompt.
        prompts: of every edit, by the graph's variable.
        questions: about every edit, by the graph's variables: first the edited one, then the one asked about.
    """

    factual: str
    prompts: dict[str, str]
    questions: dict[str, dict[str, Asked]]

    @property
    def values(self) -> dict[str, str]:
        """What the clip shows."""
        return {name: asked[name].other for name, asked in self.questions.items()}


class CelebVTextDataset(SampledDataset):
    """The benchmark's clips: a folder of frames ``<clip>/00000.jpg`` ... each, or a video ``<clip>.mp4``.

    Args:
        root: the folder of the clips.
        prompts: ``counterfactual_explicit.json``.
        questions: ``questions_explicit.json``.
        frames: frames per clip, from the first.
        fps: frames per second; of a folder, all its frames follow each other at this rate.
        size: height and width of the clip.
        record_errors: return an unreadable clip with its ``error`` instead of raising.

    Raises:
        UserError: a file is missing or has another shape, or two clips would share a folder.
    """

    def __init__(
        self,
        root: Path,
        prompts: Path,
        questions: Path,
        frames: int = 24,
        fps: float = 25.0,
        size: int = 512,
        record_errors: bool = False,
    ) -> None:
        super().__init__(root, frames, fps, size, False, record_errors)
        self.entries = read_benchmark(Path(prompts), Path(questions))
        self.ids = list(self.entries)
        check_names(Path(prompts), self.ids)
        if not self.root.is_dir():
            raise UserError(f"{self.root}: no such folder; set data.root to the one with the benchmark's clips")

    def __getitem__(self, index: int) -> Clip:
        name = self.ids[index]
        return self.clip(
            name,
            self.root / name,
            lambda: self._decode(name),
            label=math.nan,
            prompt=self.entries[name].factual,
            neutral_prompt="",  # the prompts say nothing but the graph's variables
        )

    def known(self, name: str) -> dict[str, str]:
        """What a clip shows, by the questions' options."""
        return self.entries[name].values

    def asked(self, name: str, do: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """The benchmark's own questions and right answers about ``do``; none if it is not one of its edits."""
        edited, entry = self._edit_of(name, do), self.entries[name]
        about = entry.questions[edited] if edited else {}
        return {variable: (asked.question, asked.right) for variable, asked in about.items()}

    def given(self, name: str, do: Mapping[str, str]) -> str:
        """The benchmark's own prompt for ``do``; empty if it is not one of its edits."""
        edited = self._edit_of(name, do)
        return self.entries[name].prompts.get(edited, "") if edited else ""

    def _edit_of(self, name: str, do: Mapping[str, str]) -> str | None:
        """The benchmark's edit that sets just this, by the graph's variable."""
        (edited, *more), questions = list(do), self.entries[name].questions
        known = not more and edited in questions and questions[edited][edited].right == do[edited]
        return edited if known else None

    def _decode(self, name: str) -> Tensor:
        videos = [path for suffix in SUFFIXES if (path := self.root / f"{name}{suffix}").is_file()]
        return self.of_video(videos[0]) if videos else self.of_pictures(self.root / name, self.fps)

    def choose(self, times: NDArray[np.float64]) -> NDArray[np.int64]:
        """From the first frame on."""
        return clip_indices(times, self.frames, self.fps, remedy="copy all its frames, or lower data.frames")


def read_benchmark(prompts: Path, questions: Path) -> dict[str, Entry]:
    """Both files' clips, in the order of the first.

    Raises:
        UserError: a file is missing, is no JSON, or has another shape; the message names the clip.
    """
    said, asked = (read_json(path, dict, "give the benchmark's file") for path in (prompts, questions))
    if lacking := [name for name in said if name not in asked]:
        raise UserError(f"{questions}: has no clip {lacking[0]}; give the file that belongs to {prompts}")
    entries = {}
    for name, entry in said.items():
        try:
            entries[name] = Entry(
                str(entry["factual"]).strip(),
                {EDITS[edit]: str(prompt).strip() for edit, prompt in entry["counterfactual"].items()},
                {EDITS[edit]: _questions(about["questions"]) for edit, about in asked[name].items()},
            )
            _ = entries[name].values
        except (KeyError, TypeError, AttributeError, StopIteration, ValueError) as error:
            told = f"no entry {error}" if isinstance(error, KeyError) else str(error) or type(error).__name__
            raise UserError(
                f"{prompts.name} and {questions.name}: clip {name}: {told}; {PROMPTS} and {QUESTIONS} are of the "
                "shape needed"
            ) from error
        if set(entries[name].questions) != set(EDITS.values()):
            raise UserError(
                f"{questions}: clip {name} has questions on {', '.join(asked[name])}; all of {', '.join(EDITS)} are "
                "needed to tell what it shows"
            )
    if not entries:
        raise UserError(f"{prompts}: holds no clip; give the benchmark's {PROMPTS}")
    return entries


def _questions(given: list[dict[str, Any]]) -> dict[str, Asked]:
    """Questions by the graph's variable that their words name."""
    found = {}
    for entry in given:
        text, options = str(entry["question"]), [str(option).lower() for option in entry["options"].values()]
        right, named = str(entry["correctAnswer"]).lower(), re.findall(r"\b(age|gender|beard|bald)\b", text.lower())
        if len(set(named)) != 1:
            raise ValueError(f"'{text}' names none or several of {', '.join(EDITS)}")
        if len(set(options)) != 2 or right not in options:
            raise ValueError(f"'{text}' needs two options of which '{right}' is one, not {', '.join(options)}")
        found[EDITS[named[0]]] = Asked(text, (options[0], options[1]), right)
    return found
