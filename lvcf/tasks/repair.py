"""Repair a target model: fine-tune it on counterfactuals whose change is declared irrelevant.  docs/method.md, 25."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader
from torchmetrics import MetricCollection

from lvcf.checks import check_number
from lvcf.data.clip import Batch, ClipDataset
from lvcf.datamodules.repair import RepairBatch, RepairDataModule
from lvcf.errors import UserError, hint
from lvcf.files import write_json
from lvcf.models.targets.base import TargetModel
from lvcf.phantoms.reliance import reliance_on_marker
from lvcf.region import Region, check_region, may_change, read_region, written
from lvcf.tasks.optim import finite
from lvcf.tasks.target import TargetTask, degrade, disagreement, scores_of

REPORT = "repair.json"
AT_ONCE = 8
"""Clips that are measured at once."""
Figures = dict[str, dict[str, float]]
"""By held-out set, then by figure."""


class RepairTask(TargetTask):
    """Cross-entropy (of values Huber's loss) on training clips and counterfactuals, and a loss of consistency.

    The data module is :class:`~lvcf.datamodules.repair.RepairDataModule`.

    Args:
        network: M, with its weights.
        output: where the repaired weights are put, with ``repair.json``: M on held-out clips before and after.
        region: where changes are irrelevant, if not everywhere; see :data:`~lvcf.region.Region`.  Training clips are
            then shown with the counterfactuals' content inside it, and keep their labels.
        consistency: weight of the loss between M's answers to clips that differ in what is irrelevant.
        lr: peak learning rate.
        blur: largest blur of the degradation, in pixels.
        noise: its largest noise, on the [-1, 1] scale.
        gain: its largest relative change of brightness.

    Raises:
        UserError: a number is out of range, the region is none, or M's labels do not exclude each other.
    """

    def __init__(
        self,
        network: TargetModel,
        output: Path,
        region: Region | None = None,
        consistency: float = 1.0,
        lr: float = 1e-3,
        blur: float = 1.5,
        noise: float = 0.1,
        gain: float = 0.15,
    ) -> None:
        super().__init__(network, output, lr, blur, noise, gain)
        check_number("model.consistency", consistency, 0.0)
        check_region(region, ())
        if network.multi_label:
            raise UserError(f"model.network {type(network).__name__}: is multi-label; only single labels are repaired")
        self.region, self.find, self.consistency = region, read_region(region), consistency
        self.before: Figures = {}
        self.after: Figures = {}

    @property
    def _data(self) -> RepairDataModule:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, RepairDataModule):
            raise UserError("data: a repair needs lvcf.datamodules.repair.RepairDataModule; write it as data's class")
        return data

    def setup(self, stage: str) -> None:
        """Check what is declared, and measure M as it is."""
        super().setup(stage)
        if stage == "fit" and not self.before:
            if self.find is not None and self._data.is_judged:
                raise UserError(
                    f"model.region {self.region}: clips keep their labels whatever is shown there; leave out "
                    "data.labels and data.oracle"
                )
            for pair in self._data.pairs:
                self._numbers([pair.label, pair.declared], [pair.id] * 2)
            self.network.to(self.trainer.strategy.root_device)
            self.before = self._on_held_out()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The losses on as many clips as pairs."""
        self._check(batch)
        pairs: RepairBatch = batch  # type: ignore[assignment]  # of the data module that was asked for
        if self.find is None:
            loss = self._loss(self._degraded(batch["video"]), batch["label"]) + self._of_pairs(pairs)
        else:
            loss = self._of_region(pairs)
        self.log("train/loss", loss, prog_bar=True)
        return finite(loss)

    def _of_pairs(self, batch: RepairBatch) -> Tensor:
        """Counterfactuals as they are declared, and as their clips where the change is irrelevant."""
        declared = self._numbers(batch["declared"], batch["pair"])
        factual, counterfactual = (self.network(self._degraded(batch[k])) for k in ("factual", "counterfactual"))
        apart = disagreement(self.network, factual, counterfactual) * batch["same"]
        return self._of_output(counterfactual, declared) + self.consistency * apart.mean()

    def _of_region(self, batch: RepairBatch) -> Tensor:
        """Training clips with and without the counterfactuals' content in the region."""
        clip, label = batch["video"], batch["label"]
        inside = torch.stack([self._inside(name, x) for name, x in zip(batch["pair"], batch["factual"], strict=True)])
        pasted = torch.where(inside, batch["counterfactual"], clip)
        as_is, changed = (self.network(self._degraded(video)) for video in (clip, pasted))
        apart = disagreement(self.network, as_is, changed).mean()
        return self._of_output(as_is, label) + self._of_output(changed, label) + self.consistency * apart

    def _inside(self, name: str, video: Tensor) -> Tensor:
        return may_change(self.find, (), name, video)

    def _degraded(self, video: Tensor) -> Tensor:
        return degrade(video, self.blur, self.noise, self.gain)

    def _numbers(self, texts: list[str], names: list[str]) -> Tensor:
        """Class indices or values of labels as text.

        Raises:
            UserError: one is no class of M, or no number.
        """
        numbers = [self._number(text, name) for text, name in zip(texts, names, strict=True)]
        return torch.tensor(numbers, device=self.device)

    def _number(self, text: str, name: str) -> float:
        if self.network.task == "classification":
            if text not in self.network.labels:
                raise UserError(f"clip '{name}': label '{text}' is no class of M; {hint(text, self.network.labels)}")
            return float(self.network.labels.index(text))
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise UserError(f"clip '{name}': label '{text}' is no number, but M is a regressor; give a value")
        return value

    def on_fit_end(self) -> None:
        """Save M, measure it again and write both."""
        super().on_fit_end()
        self.after = self._on_held_out()
        if self.trainer.is_global_zero:
            write_json(self.output / REPORT, self._report())

    def _report(self) -> dict[str, Any]:
        data = self._data
        return {
            "runs": [str(run) for run in data.runs],
            "declared_by": data.declared_by,
            "region": None if self.region is None else written(self.region),
            "pairs": len(data.pairs),
            "irrelevant": sum(pair.same for pair in data.pairs) if self.region is None else len(data.pairs),
            "training_clips": len(data.clips.make_dataset("train").ids),
            "steps": self.trainer.global_step,
            "consistency": self.consistency,
            "before": self.before,
            "after": self.after,
        }

    def _on_held_out(self) -> Figures:
        self.network.eval()
        return {name: measured(self.network, clips) for name, clips in self._data.held_out_sets().items()}


@torch.no_grad()
def measured(model: TargetModel, clips: ClipDataset) -> dict[str, float]:
    """How right M is on clips; of simulated clips with a marker also how much it relies on that."""
    device = next(model.parameters()).device
    scores = MetricCollection(scores_of(model)).to(device)
    loader: DataLoader[Batch] = DataLoader(clips, AT_ONCE)  # type: ignore[arg-type]  # collation makes batches of clips
    for batch in loader:
        label = batch["label"].long() if model.task == "classification" else batch["label"].float()
        scores.update(model(batch["video"].to(device)), label.to(device))
    found = {"clips": float(len(clips))}
    found |= {name: float(value) for name, value in scores.compute().items() if value.isfinite()}  # R2 needs two
    root = getattr(clips, "root", None)
    told = None if root is None else reliance_on_marker(model, root)
    return found if told is None else found | {"reliance_on_marker": told}
