"""Realism of a run's counterfactuals as a set: FID, KID and FVD, each beside its real-against-real floor.

A clip is never compared with itself: that would reward doing nothing.  The clips are split into two halves by their
names; the counterfactuals of each half are compared with the factual clips of the other, and the two distances
averaged.  The floor is the same with the factual clips in place of the counterfactuals, so doing nothing scores it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from lvcf.data.clip import hash_share
from lvcf.measure.clip import clips_of
from lvcf.measure.table import Line
from lvcf.metrics.features import FeatureExtractor, load_extractor
from lvcf.metrics.latent_divergence import feature_distance, latent_divergence
from lvcf.metrics.realism import frechet_distance, kernel_distance, warn_if_few
from lvcf.metrics.statistics import spread
from lvcf.metrics.two_sample import FEWEST as TOLD_APART
from lvcf.metrics.two_sample import two_sample
from lvcf.metrics.unavailable import UnavailableError, unavailable
from lvcf.models.targets.base import TargetModel
from lvcf.runs.folder import Prediction

Distance = Callable[[Tensor, Tensor], float]
OF_FRAMES: dict[str, Distance] = {"fid": frechet_distance, "kid": kernel_distance}
OF_CLIPS: dict[str, Distance] = {"fvd": frechet_distance}
FEWEST = 4
"""Clips: two in each half."""


def realism(
    predictions: list[Prediction], text: str, oracle: TargetModel | None
) -> tuple[dict[str, Any], dict[str, Line]]:
    """FID and KID on features of frames, or FVD and CLD on features of clips.

    Args:
        predictions: finished clips.
        text: the extractor, as :data:`lvcf.metrics.features.FORMS` says.
        oracle: what ``oracle`` stands for there.

    Returns:
        The set's figures: keys name the metric, the extractor, the size of both halves, frames and resolution;
        ``_floor`` is real against real.  And by clip the rest of its row.

    Raises:
        UserError: there is no such extractor, or it does not take the clips.
    """
    clips = len({_clip(prediction) for prediction in predictions})
    if clips < FEWEST:
        return {f"realism/{text}": unavailable(f"needs {FEWEST} clips, two in each half; there are {clips}")}, {}
    try:
        extractor = load_extractor(text, oracle)
    except UnavailableError as missing:
        return {f"realism/{text}": unavailable(missing)}, {}
    parts = split(predictions)
    halves = [features_of(half, extractor) for half in parts]
    final, _ = clips_of(predictions[0])
    frames, height, width = final.shape[1:]
    sizes, of_clips = "+".join(str(len(half)) for half in parts), f"frames={frames},{height}x{width}"
    about = f"{extractor.name},n={sizes},{of_clips}"
    found: dict[str, Any] = {}
    for name, distance in (OF_FRAMES if extractor.of_frames else OF_CLIPS).items():
        (one_final, one_real), (other_final, other_real) = halves
        if distance is frechet_distance:
            warn_if_few(min(len(one_real), len(other_real)), one_real.shape[1], f"realism/{name}[{about}]")
        crossed = distance(other_real, one_final) + distance(one_real, other_final)
        found[f"realism/{name}[{about}]"] = crossed / 2.0
        found[f"realism/{name}_floor[{about}]"] = distance(one_real, other_real)
    if extractor.of_frames or clips < len(predictions):  # CLD pairs every counterfactual with a clip of its own
        return found, {}
    key = f"minimality/cld[{extractor.name},n={len(predictions)},{of_clips}]"
    everyone = [prediction for half in parts for prediction in half]
    values = divergences(everyone, *(torch.cat(features) for features in zip(*halves, strict=True)))
    return found, {prediction.id: {key: value} for prediction, value in zip(everyone, values, strict=True)}


def told_apart(predictions: list[Prediction]) -> dict[str, Any]:
    """Whether a classifier tells the counterfactuals from the clips that they were made of, by what it sees."""
    if len(predictions) < TOLD_APART:
        return {"plausible/two_sample": unavailable(f"needs {TOLD_APART} clips; there are {len(predictions)}")}
    made, real = (p.counterfactual() for p in predictions), (p.factual() for p in predictions)
    told: dict[str, Any] = {}
    for seen, found in two_sample(made, real).items():
        key = f"plausible/two_sample[{seen},n={len(predictions)}]"
        told |= {key: found.auc} | spread(key, None, found.interval)
    return told


def split(predictions: list[Prediction]) -> tuple[list[Prediction], list[Prediction]]:
    """Two halves that share no clip and hang on the clips' names alone, their clips of equal number or one apart."""
    clips = sorted({_clip(prediction) for prediction in predictions}, key=hash_share)
    ordered = sorted(predictions, key=lambda prediction: hash_share(_clip(prediction)))
    one, other = ([p for p in ordered if clips.index(_clip(p)) % 2 == half] for half in (0, 1))
    return one, other


def _clip(prediction: Prediction) -> str:
    """The factual clip's name: a steering run edits a clip more than once."""
    return str(prediction.result.get("clip", prediction.id))


@torch.no_grad()
def features_of(predictions: list[Prediction], extractor: FeatureExtractor) -> tuple[Tensor, Tensor]:
    """Features of the counterfactuals ``(n, D)`` and of their factual clips ``(m, D)``, each of these once."""
    finals: list[Tensor] = []
    factuals: dict[str, Tensor] = {}
    for prediction in predictions:
        final, factual = clips_of(prediction)
        finals.append(extractor(final[None]).float())
        if (name := _clip(prediction)) not in factuals:
            factuals[name] = extractor(factual[None]).float()
    return torch.cat(finals), torch.cat(list(factuals.values()))


BINS = 5
"""Of a regressor's readings, equally frequent: clips in one bin are of one kind."""


def divergences(predictions: list[Prediction], finals: Tensor, factuals: Tensor) -> list[float]:
    """CLD of every clip; NaN where no other clip is of its kind, or of the target's.

    What a clip shows is what M reads, since that is what the counterfactual was asked to change.

    Args:
        predictions: finished clips ``n``.
        finals: features of their counterfactuals ``(n, D)``.
        factuals: features of their factual clips ``(n, D)``.
    """
    kinds, wanted = _kinds(predictions)
    found = []
    for i in range(len(predictions)):
        real = feature_distance(factuals, factuals[i])
        others = [j for j in range(len(predictions)) if j != i]
        own = real[[j for j in others if kinds[j] == kinds[i]]]
        target = real[[j for j in others if kinds[j] == wanted[i]]]
        found.append(latent_divergence(float(feature_distance(finals[i], factuals[i])), own, target))
    return found


def _kinds(predictions: list[Prediction]) -> tuple[list[str], list[str]]:
    """What M reads of every factual clip, and what it should say: classes, or bins."""
    results = [prediction.result for prediction in predictions]
    if results[0]["task"] == "classification":
        return [r["class_before"].lower() for r in results], [r["target"]["text"].lower() for r in results]
    readings = torch.tensor([r["prediction_before"] for r in results], dtype=torch.float64)
    middles = torch.tensor([(r["target"]["low"] + r["target"]["high"]) / 2.0 for r in results], dtype=torch.float64)
    edges = readings.quantile(torch.linspace(0.0, 1.0, BINS + 1, dtype=torch.float64)[1:-1])
    before, target = ([str(int(place)) for place in torch.bucketize(v, edges)] for v in (readings, middles))
    return before, target
