"""A toy world for steering: a clip shows each variable as the brightness of a horizontal band; words paint it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lvcf.steering.answers import Question, Reply, Seen, most_probable
from lvcf.steering.case import Case
from lvcf.steering.editors.base import Editor
from lvcf.steering.graph import CausalGraph, read_graph
from lvcf.steering.judges.base import Judge, Shown

SIZE, FRAMES, FPS = 16, 3, 8.0
GRAPH = read_graph("steering/graphs/celebv_text.yaml")
WORDS = "a video of"
YOUNG_MAN = {"age": "young", "gender": "man", "beard": "no", "baldness": "no"}
YOUNG_WOMAN = {**YOUNG_MAN, "gender": "woman"}
OLD_BEARDED_MAN = {"age": "old", "gender": "man", "beard": "yes", "baldness": "no"}


def paint(values: dict[str, str], graph: CausalGraph = GRAPH) -> Tensor:
    """A clip ``(3, FRAMES, SIZE, SIZE)``: first value dark, last value bright."""
    clip, height = torch.zeros(3, FRAMES, SIZE, SIZE), SIZE // len(graph.variables)
    for band, (name, variable) in enumerate(graph.variables.items()):
        domain = list(variable.values)
        clip[:, :, band * height : (band + 1) * height] = -0.8 + 1.6 * domain.index(values[name]) / (len(domain) - 1)
    return clip


def read(clip: Tensor, graph: CausalGraph = GRAPH) -> dict[str, float]:
    """The place 0-1 of every variable in its domain."""
    height = clip.shape[-2] // len(graph.variables)
    means = [float(clip[..., i * height : (i + 1) * height, :].mean()) for i in range(len(graph.variables))]
    return {name: min(max((m + 0.8) / 1.6, 0.0), 1.0) for name, m in zip(graph.variables, means, strict=True)}


class BandEditor(Editor):
    """Paints what it reads in the prompt, with the prejudices of a real one.

    A beard makes an unnamed person a man, a named woman loses hers only if asked; ``needs`` lists words without which
    a value is not painted, ``deaf`` variables that never change, ``spoilt`` seeds that paint everything dark.
    """

    def __init__(self, needs: Sequence[str] = (), deaf: Sequence[str] = (), spoilt: Sequence[int] = ()) -> None:
        self.needs, self.deaf, self.spoilt = tuple(needs), tuple(deaf), tuple(spoilt)
        self.edits: list[tuple[str, str, int]] = []
        self.prepared = 0

    @property
    def identity(self) -> str:
        return f"bands {self.needs} {self.deaf}"

    def prepare(self, clip: Tensor, source_prompt: str) -> Any:
        self.prepared += 1
        shown = read(clip)
        return {n: list(v.values)[round(shown[n] * (len(v.values) - 1))] for n, v in GRAPH.variables.items()}

    def edit(self, state: Any, prompt: str, negative: str, seed: int) -> Tensor:
        self.edits.append((prompt, negative, seed))
        if seed in self.spoilt:
            return paint({name: next(iter(v.values)) for name, v in GRAPH.variables.items()})
        values = dict(state)
        words = f" {prompt} "
        for name, variable in GRAPH.variables.items():
            if name in self.deaf:
                continue
            if "no" in variable.values:
                values[name] = "no"
            for value, phrases in variable.values.items():
                for phrase in phrases:
                    wanted = [need for need in self.needs if need.startswith(f"{value} ")]
                    if f" {phrase} " in words and all(need.partition(" ")[2] in words for need in wanted):
                        values[name] = value
        if values["beard"] == "yes" and " woman " not in words:
            values["gender"] = "man"
        return paint(values)


class BandJudge(Judge):
    """Reads the bands."""

    def __init__(self, name: str = "bands") -> None:
        self.name, self.calls = name, 0

    @property
    def identity(self) -> str:
        return self.name

    def look(self, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
        self.calls += 1
        places = read(shown.video)
        answers = []
        for question in questions:
            place, last = places[question.attribute], len(question.options) - 1
            odds = {option: max(1.0 - abs(place * last - i), 0.0) for i, option in enumerate(question.options)}
            answers.append(most_probable(question, odds))
        return Reply(Seen(answers=tuple(answers)))


def case(factual: dict[str, str], graph: CausalGraph = GRAPH, **do: str) -> Case:
    return Case("clip", WORDS, graph, factual, do)
