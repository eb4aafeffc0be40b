"""CLD of a run's counterfactuals, its own factual clips being the real ones."""

from __future__ import annotations

import torch
from torch import Tensor

from lvcf.metrics.latent_divergence import feature_distance, latent_divergence
from lvcf.runs.folder import Prediction

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
