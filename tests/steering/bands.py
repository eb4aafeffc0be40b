"""A data module of the toy world, for ``lvcf steer``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lvcf.data.clip import Clip, ClipDataset
from lvcf.datamodules.base import ClipDataModule, Stage
from tests.steering.painted import FPS, OLD_BEARDED_MAN, WORDS, YOUNG_WOMAN, paint

TOYS = "tests.steering.painted"
CLIPS = {"one": YOUNG_WOMAN, "two": OLD_BEARDED_MAN}


class Clips(ClipDataset):
    def __init__(self, broken: str) -> None:
        self.ids, self.broken = list(CLIPS), broken

    def __getitem__(self, index: int) -> Clip:
        name = self.ids[index]
        return {
            "video": paint(CLIPS[name]),
            "id": name,
            "label": 0.0,
            "prompt": WORDS,
            "neutral_prompt": WORDS,
            "fps": FPS,
            "error": "two.avi: truncated; copy it again" if name == self.broken else "",
        }


class BandModule(ClipDataModule):
    """Two clips; one may be unreadable."""

    def __init__(self, broken: str = "") -> None:
        super().__init__(batch_size=1, num_workers=0)
        self.broken = broken

    def make_dataset(self, stage: Stage) -> Clips:
        return Clips(self.broken)


class KnownClips(Clips):
    """Clips of a simulator, in whose world a woman who is a man has no beard, whatever the graph says."""

    def known(self, name: str) -> dict[str, str]:
        return CLIPS[name]

    def truth(self, name: str, do: Mapping[str, str]) -> dict[str, str]:
        return {**CLIPS[name], **do, "beard": "no"}


class KnownModule(BandModule):
    """A simulated set."""

    def make_dataset(self, stage: Stage) -> Clips:
        return KnownClips(self.broken)


def section(folder: Path) -> dict[str, Any]:
    """A small run's configuration; it goes into ``folder``."""
    return {
        "graph": "steering/graphs/celebv_text.yaml",
        "interventions": [{"beard": "other"}, {"gender": "other"}],
        "output": str(folder / "run"),
        "budget": {"edits": 3, "calls": 9, "patience": 3},
        "threads": 1,
        "editor": {"class_path": f"{TOYS}.BandEditor", "init_args": {"needs": ["old very old"]}},
        "judge": {"class_path": f"{TOYS}.BandJudge"},
        "rewriter": {"class_path": "lvcf.steering.judges.graph_rewriter.GraphRewriter"},
        "evaluator": {"class_path": f"{TOYS}.BandJudge", "init_args": {"name": "other eyes"}},
        "data": {"class_path": "tests.steering.bands.BandModule"},
    }
