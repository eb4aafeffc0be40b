"""What the written files of one counterfactual of a steering run show, beside what the judge says."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from torch import Tensor

from lvcf.data.clip import SIMULATED, to_clip
from lvcf.data.video import Frames
from lvcf.errors import UserError
from lvcf.evaluation.clip import read_region
from lvcf.evaluation.rows import Row
from lvcf.evaluation.steering_networks import Networks
from lvcf.evaluation.truths import read_set
from lvcf.files import Json, Record
from lvcf.metrics import change
from lvcf.metrics.fidelity import lpips_distance, lpips_network, lpips_unavailable, ssim
from lvcf.metrics.outside import restored, ssim_outside
from lvcf.metrics.region import Region
from lvcf.metrics.unavailable import unavailable
from lvcf.phantoms.face.attribute_truth import AttributeTruth, is_known, read_factors
from lvcf.phantoms.face.factors import FaceFactors
from lvcf.runs.folder import Prediction
from lvcf.steering.case import Case
from lvcf.steering.graph import stored_graph

OUTSIDE = ("outside/ssim", "outside/l1_levels", "outside/lpips")
TRUTH = ("truth/ssim", "truth/share_recovered_smooth", "truth/l1_levels")


class SteeringMeasures:
    """Measures of one counterfactual after the other.

    Args:
        manifest: the run's.
        options: of the command line: region, lpips, clip, captioner, embedder, dover.

    Raises:
        UserError: a network that was asked for does not load.
    """

    def __init__(self, manifest: Record, options: argparse.Namespace) -> None:
        self.graph = stored_graph(manifest, "evaluation_graph")
        self.no_truth = unavailable("only of the face phantom's clips the truth is known")
        self.factors: dict[str, FaceFactors] = {}
        if SIMULATED in manifest["notice"] and is_known(self.graph.variables):
            try:
                read_set(Path(manifest["data"]))
                self.factors = read_factors(Path(manifest["data"]))
            except UserError as problem:
                self.no_truth = unavailable(problem)
        self.lpips: Path | None = options.lpips
        self.region: Path | None = options.region
        self.networks = Networks(options, self.graph.variables)

    def __call__(self, prediction: Prediction) -> Row:
        """Everything but the judge's answers, of a prediction that did not fail."""
        edited, source = prediction.counterfactual(), prediction.factual()
        final, factual = (to_clip(frames, frames.shape[1]) for frames in (edited, source))
        case, truth = self._case(prediction.result), self._truth(prediction.result, source.shape[1])
        row: Row = {"fidelity/ssim": ssim(final, factual), "proximity/l1_levels": change.l1(final, factual)}
        row |= self._lpips("fidelity/lpips", final, factual)
        if truth is not None:
            row |= truth.compare(source, edited, prediction.mask()) | _nearness(truth, final, factual, case.target)
        region = self._region(prediction, source, truth)
        if region is not None:
            row |= self._outside(final, factual, torch.from_numpy(region))
        return row | self.networks(case.id, final, factual, case.say(case.target))

    def missing(self) -> dict[str, str]:
        """Why figures are not there."""
        reasons: dict[str, str] = {}
        if not self.factors:
            reasons |= dict.fromkeys(TRUTH, self.no_truth)
            if self.region is None:
                reasons |= dict.fromkeys(OUTSIDE, unavailable("mark where change is wanted, --region"))
        if no_lpips := lpips_unavailable("alex", self.lpips):
            reasons |= {"fidelity/lpips": no_lpips, "outside/lpips": no_lpips}
        return reasons | self.networks.missing()

    def _case(self, result: Json) -> Case:
        """What was asked, by the graph whose values are right."""
        noise = result["noise"] or None
        return Case(result["clip"], result["words"], self.graph, result["factual"], result["intervention"], noise)

    def _truth(self, result: Json, size: int) -> AttributeTruth | None:
        factors = self.factors.get(result["clip"])
        return AttributeTruth(factors, result, size) if factors else None

    def _region(self, prediction: Prediction, source: Frames, truth: AttributeTruth | None) -> Region | None:
        """Where change is wanted: as the user marked it for the clip, else where the truth changes."""
        if self.region is None:
            return truth.region(source) if truth else None
        clip, shape = prediction.result["clip"], source.shape[:3]
        marked = read_region(self.region, Prediction(prediction.folder, {**prediction.result, "id": clip}))
        if marked.shape != shape:
            raise UserError(f"--region: of {clip} has shape {marked.shape}, the clip {shape}; mark its pixels")
        return marked

    def _outside(self, final: Tensor, factual: Tensor, region: Tensor) -> Row:
        row: Row = {
            "outside/ssim": ssim_outside(final, factual, region),
            "outside/l1_levels": change.change_outside(final, factual, region),
        }
        return row | self._lpips("outside/lpips", restored(final, factual, region), factual)

    def _lpips(self, key: str, one: Tensor, other: Tensor) -> Row:
        if lpips_unavailable("alex", self.lpips):
            return {}
        return {key: lpips_distance(one, other, lpips_network("alex", self.lpips))}


def _nearness(truth: AttributeTruth, final: Tensor, factual: Tensor, expected: dict[str, str]) -> Row:
    """Likeness to the true counterfactual, and whether the graph expects what is true."""
    true = to_clip(truth.video, truth.video.shape[1])
    row: Row = {"truth/ssim": ssim(final, true), "truth/ssim_of_truth": ssim(true, factual)}
    return row | {"truth/target_is_true": float(all(truth.values[n] == value for n, value in expected.items()))}
