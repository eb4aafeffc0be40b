"""Clips to repair a target model on: training clips, each beside a counterfactual of a run and what that is to be read.

A counterfactual is labelled by its factual clip, since its change was declared irrelevant, by a person's table, or by
an oracle.  docs/method.md, 25.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from lvcf.data.clip import Batch, Clip, ClipDataset, to_clip
from lvcf.data.tables import read_rows
from lvcf.data.video import Frames
from lvcf.datamodules.base import ClipDataModule, Stage
from lvcf.errors import UserError
from lvcf.files import Json
from lvcf.models.targets.base import TargetModel
from lvcf.runs.folder import Prediction, is_steering_run, read_manifest, read_predictions

CLIP_COLUMN, LABEL_COLUMN = "clip", "label"


@dataclass(frozen=True)
class Pair:
    """A clip of a run: both videos as 8-bit frames ``(T, H, W, 3)``, which stay in memory.

    Attributes:
        id: the clip's name.
        factual: the clip.
        counterfactual: what the run made of it.
        label: the factual clip's class or value, as text; what M said, of a clip without one.
        declared: the counterfactual's.
        same: whether that is the same one, so that the change between them is irrelevant.
    """

    id: str
    factual: Frames
    counterfactual: Frames
    label: str
    declared: str
    same: bool


class RepairBatch(Batch):
    """Training clips as ever, each beside a pair of the runs.

    Attributes:
        pair: names of the pairs.
        factual: ``(B, 3, T, H, W)``.
        counterfactual: ``(B, 3, T, H, W)``.
        pair_label: of the factual clips, as text.
        declared: of the counterfactuals, as text.
        same: ``(B,)`` bool.
    """

    pair: list[str]
    factual: torch.Tensor
    counterfactual: torch.Tensor
    pair_label: list[str]
    declared: list[str]
    same: torch.Tensor


def read_pairs(run: Path, labels: Mapping[str, str] | None = None, oracle: TargetModel | None = None) -> list[Pair]:
    """The finished clips of a run with what their counterfactuals are declared to be.

    Args:
        run: of lvcf predict.
        labels: by clip; a clip that is not among them is left out.  None: every counterfactual keeps its clip's label.
        oracle: reads the counterfactuals instead.

    Raises:
        UserError: the folder is no such run, or holds no finished clip.
    """
    if is_steering_run(run):
        raise UserError(f"data.runs {run}: a run of lvcf steer; give one of lvcf predict")
    tolerance = float(read_manifest(run)["tolerance"])
    finished = [p for p in read_predictions(run) if not p.failed]
    if not finished:
        raise UserError(f"data.runs {run}: no finished clip; run lvcf predict first")
    return [_pair(p, labels, oracle, tolerance) for p in finished if labels is None or p.id in labels]


def _pair(
    prediction: Prediction, labels: Mapping[str, str] | None, oracle: TargetModel | None, tolerance: float
) -> Pair:
    label, counterfactual = label_of(prediction.result), prediction.counterfactual()
    declared = label if labels is None else labels[prediction.id]
    if oracle is not None:
        declared = _read(oracle, counterfactual)
    same = _alike(label, declared, tolerance)
    return Pair(prediction.id, prediction.factual(), counterfactual, label, declared, same)


def label_of(result: Json) -> str:
    """A factual clip's own label in a ``result.json``, or else what M said of it."""
    if result["label"] is not None:
        return str(result["label"])
    return str(result["class_before"] if result["task"] == "classification" else result["said_before"])


@torch.no_grad()
def _read(oracle: TargetModel, frames: Frames) -> str:
    output = oracle(to_clip(frames, frames.shape[1])[None])[0]
    return oracle.class_of(output) or str(float(output))


def _alike(label: str, declared: str, tolerance: float) -> bool:
    try:
        return abs(float(label) - float(declared)) <= tolerance
    except ValueError:  # classes
        return label == declared


def read_labels(path: Path) -> dict[str, str]:
    """A table of what people saw in counterfactuals, columns ``clip`` and ``label``.

    Raises:
        UserError: it cannot be read, lacks a column or a label, or names a clip twice.
    """
    columns, rows = read_rows(path)
    for column in (CLIP_COLUMN, LABEL_COLUMN):
        if column not in columns:
            raise UserError(f"{path}: column {column} is missing; the table has {CLIP_COLUMN}, {LABEL_COLUMN}")
    found: dict[str, str] = {}
    for line, row in rows:
        name, label = row[CLIP_COLUMN].strip(), row[LABEL_COLUMN].strip()
        if not label:
            raise UserError(f"{path}, line {line}: clip '{name}' has no label; give one, or leave the line out")
        if name in found:
            raise UserError(f"{path}, line {line}: clip '{name}' is there twice; remove one")
        found[name] = label
    return found


class RepairDataset(ClipDataset):
    """The training clips, each beside a pair drawn at random; an epoch is one pass over the clips.

    Args:
        clips: the training clips.
        pairs: of the runs, at least one.

    Raises:
        UserError: the pairs' clips have another shape.
    """

    def __init__(self, clips: ClipDataset, pairs: list[Pair]) -> None:
        self.clips, self.pairs, self.ids = clips, pairs, clips.ids
        shape = tuple(clips[0]["video"].shape[1:])
        for pair in pairs:
            for frames in (pair.factual, pair.counterfactual):
                if frames.shape[:3] != shape:
                    raise UserError(
                        f"data.runs: clip '{pair.id}' has {frames.shape[0]} frames of {frames.shape[2]}x"
                        f"{frames.shape[1]}, the training clips {shape[0]} of {shape[2]}x{shape[1]}; set the frames "
                        "and size of data.clips to the run's"
                    )

    def __getitem__(self, index: int) -> Clip:
        pair = self.pairs[int(torch.randint(len(self.pairs), ()))]
        beside: dict[str, Any] = {
            "pair": pair.id,
            "factual": to_clip(pair.factual, pair.factual.shape[1]),
            "counterfactual": to_clip(pair.counterfactual, pair.counterfactual.shape[1]),
            "pair_label": pair.label,
            "declared": pair.declared,
            "same": pair.same,
        }
        return cast(Clip, self.clips[index] | beside)


class RepairDataModule(ClipDataModule):
    """A data module of clips with the counterfactuals of runs, whose changes are declared irrelevant.

    Args:
        clips: M's training and validation clips.
        runs: folders of lvcf predict against M.
        labels: a table of what people saw in the counterfactuals, columns ``clip`` and ``label``: a change is then
            irrelevant where the label is the clip's own, and clips that are not named are left out.
        oracle: a model that says it instead.
        held_out: clips that M is measured on before and after, by name; by default the test split of ``clips``.
        batch_size: clips per batch, and as many pairs.
        num_workers: loader processes.

    Raises:
        UserError: there is no run, or both a table and an oracle.
    """

    def __init__(
        self,
        clips: ClipDataModule,
        runs: list[Path],
        labels: Path | None = None,
        oracle: TargetModel | None = None,
        held_out: dict[str, ClipDataModule] | None = None,
        batch_size: int = 8,
        num_workers: int = 0,
    ) -> None:
        super().__init__(batch_size, num_workers)
        if not runs:
            raise UserError("data.runs []: name at least one folder of lvcf predict")
        if labels is not None and oracle is not None:
            raise UserError(f"data.labels {labels}: give a table or data.oracle, not both")
        self.clips, self.runs, self.labels = clips, runs, labels
        self.oracle = None if oracle is None else oracle.freeze()
        self.held_out = held_out or {}
        self.pairs: list[Pair] = []

    @property
    def is_judged(self) -> bool:
        """Whether somebody says what each counterfactual shows."""
        return self.labels is not None or self.oracle is not None

    @property
    def declared_by(self) -> str:
        """Who says what the counterfactuals show."""
        if self.labels is not None:
            return f"labels of {self.labels}"
        return "the clip's own label" if self.oracle is None else f"oracle {type(self.oracle).__name__}"

    def setup(self, stage: str) -> None:
        """Read the runs.

        Raises:
            UserError: one is no such run, a table names no clip of them, or held-out clips are among those trained on.
        """
        if stage != "fit" or self.pairs:
            return
        labels = None if self.labels is None else read_labels(self.labels)
        self.pairs = [pair for run in self.runs for pair in read_pairs(run, labels, self.oracle)]
        if labels is not None and (odd := labels.keys() - {pair.id for pair in self.pairs}):
            raise UserError(f"{self.labels}: no run has a finished clip '{min(odd)}'; correct its name")
        if not self.pairs:
            raise UserError(f"{self.labels}: names no clip; write a line for every counterfactual that was looked at")
        self._check_held_out()

    def held_out_sets(self) -> dict[str, ClipDataset]:
        """What M is measured on before and after, by name."""
        named = {name: module.make_dataset("predict") for name, module in self.held_out.items()}
        return named or {"test": self.clips.make_dataset("test")}

    def make_dataset(self, stage: Stage) -> ClipDataset:
        """Training clips beside pairs; the clips' own data set of every other stage."""
        clips = self.clips.make_dataset(stage)
        return RepairDataset(clips, self.pairs) if stage == "train" else clips

    def _check_held_out(self) -> None:
        training = self.clips.make_dataset("train")
        known = {(_root(training), name) for name in training.ids}
        for run in self.runs:
            known |= {(Path(read_manifest(run)["data"]).resolve(), name) for name in read_manifest(run)["ids"]}
        for name, clips in self.held_out_sets().items():
            seen = next((one for one in clips.ids if (_root(clips), one) in known), None)
            if seen is not None:
                raise UserError(
                    f"data.held_out {name}: clip '{seen}' is trained on, or in a run of data.runs; hold other clips out"
                )


def _root(clips: ClipDataset) -> Path:
    return Path(getattr(clips, "root", ".")).resolve()
