"""What the files of one counterfactual of a steering run show: pixels, and what a user's networks say of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor

from lvcf.data.clip import SIMULATED, to_clip
from lvcf.data.video import Frames
from lvcf.errors import UserError
from lvcf.files import Json, Record
from lvcf.measure.clip import read_region
from lvcf.measure.table import Line
from lvcf.metrics import change
from lvcf.metrics.captions import SentenceEmbedder, caption_similarity
from lvcf.metrics.clip_score import ClipEmbedder, temporal_consistency, text_alignment
from lvcf.metrics.dover import Dover
from lvcf.metrics.fidelity import lpips_distance, lpips_network, lpips_unavailable, restored, ssim, ssim_outside
from lvcf.metrics.region import Region
from lvcf.metrics.unavailable import unavailable
from lvcf.phantoms.face.attribute_truth import AttributeTruth, is_known, read_factors
from lvcf.phantoms.face.factors import FaceFactors
from lvcf.phantoms.truth import read_set
from lvcf.runs.folder import Prediction
from lvcf.steering.case import Case
from lvcf.steering.graph import stored_graph
from lvcf.steering.judges.base import Shown
from lvcf.steering.judges.local import LocalModel

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

    def __call__(self, prediction: Prediction) -> Line:
        """Everything but the judge's answers, of a prediction that did not fail."""
        edited, source = prediction.counterfactual(), prediction.factual()
        final, factual = (to_clip(frames, frames.shape[1]) for frames in (edited, source))
        case, truth = self._case(prediction.result), self._truth(prediction.result, source.shape[1])
        row: Line = {"fidelity/ssim": ssim(final, factual), "proximity/l1_levels": change.l1(final, factual)}
        row |= self._lpips("fidelity/lpips", final, factual)
        if truth is not None:
            row |= truth.compare(source, edited, prediction.mask()) | _nearness(
                truth, final, factual, prediction.result["target"]
            )
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
        """What was asked, by what is right."""
        right = result.get("right") or None  # runs of before have none
        facts = (result["clip"], result["words"], self.graph, result["factual"], result["intervention"])
        return Case(*facts, known=right)

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

    def _outside(self, final: Tensor, factual: Tensor, region: Tensor) -> Line:
        row: Line = {
            "outside/ssim": ssim_outside(final, factual, region),
            "outside/l1_levels": change.change_outside(final, factual, region),
        }
        return row | self._lpips("outside/lpips", restored(final, factual, region), factual)

    def _lpips(self, key: str, one: Tensor, other: Tensor) -> Line:
        if lpips_unavailable("alex", self.lpips):
            return {}
        return {key: lpips_distance(one, other, lpips_network("alex", self.lpips))}


def _nearness(truth: AttributeTruth, final: Tensor, factual: Tensor, target: dict[str, str]) -> Line:
    """Likeness to the true counterfactual, and whether steering aims at what is true."""
    true = to_clip(truth.video, truth.video.shape[1])
    row: Line = {"truth/ssim": ssim(final, true), "truth/ssim_of_truth": ssim(true, factual)}
    return row | {"truth/target_is_true": float(all(truth.values[n] == value for n, value in target.items()))}


DESCRIBE = "Describe who is shown, the clothes and the background in one sentence. Say nothing about {}."
"""After CSVC's minimality: descriptions that leave the graph's variables out should stay the same."""
CAPTIONED = 4
"""Frames that a captioner is shown."""


class Networks:
    """The networks that the command line names, asked about a factual clip once in a process.

    Args:
        options: clip, captioner, embedder, dover.
        attributes: the graph's variables, which captions leave out.

    Raises:
        UserError: one does not load, or a captioner comes without an embedder.
    """

    def __init__(self, options: argparse.Namespace, attributes: Iterable[str]) -> None:
        if bool(options.captioner) != bool(options.embedder):
            raise UserError("--captioner, --embedder: caption similarity needs both; give the other one too")
        self.clip = ClipEmbedder(options.clip) if options.clip else None
        self.dover = Dover(options.dover) if options.dover else None
        self.captioner = LocalModel(options.captioner) if options.captioner else None
        self.embedder = SentenceEmbedder(options.embedder) if options.embedder else None
        self.instruction = DESCRIBE.format(", ".join(attributes))
        self._known: dict[tuple[str, str], tuple[Line, str]] = {}

    def __call__(self, name: str, final: Tensor, factual: Tensor, words: str) -> Line:
        """Figures of a counterfactual beside its factual clip's, both ``(3, T, H, W)``.

        Args:
            name: the factual clip's.
            final: the counterfactual.
            factual: the factual clip.
            words: what the counterfactual should show; of a clip and intervention the same for every method.
        """
        if (name, words) not in self._known:
            self._known[name, words] = self._figures(factual, words), self._describe(factual)
        of_factual, caption = self._known[name, words]
        row = self._figures(final, words) | {f"{key}_of_factual": value for key, value in of_factual.items()}
        if self.embedder is not None:
            row["captions/similarity"] = caption_similarity(self.embedder, self._describe(final), caption)
        return row

    def missing(self) -> dict[str, str]:
        """Why figures are not there."""
        reasons: dict[str, str] = {}
        if self.clip is None:
            reasons |= dict.fromkeys(("clip/consistency", "clip/text_alignment"), unavailable("name a CLIP, --clip"))
        if self.embedder is None:
            reasons["captions/similarity"] = unavailable("name two networks, --captioner and --embedder")
        if self.dover is None:
            reasons["quality/dover"] = unavailable("give DOVER's ONNX file, --dover")
        return reasons

    def _figures(self, video: Tensor, words: str) -> Line:
        row: Line = {}
        if self.clip is not None:
            frames = self.clip.frames(video)
            row["clip/consistency"] = temporal_consistency(frames)
            row["clip/text_alignment"] = text_alignment(frames, self.clip.text(words))
        if self.dover is not None:
            row |= {f"quality/dover_{name}": score for name, score in self.dover(video).items()}
        return row

    def _describe(self, video: Tensor) -> str:
        if self.captioner is None:
            return ""
        frames: list[Frames] = list(Shown("", video, 1.0).frames(CAPTIONED))
        return self.captioner.write(self.instruction, frames)[0]
