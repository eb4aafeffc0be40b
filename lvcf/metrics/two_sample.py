"""Can counterfactuals be told from real clips?  A classifier's two-sample test (Lopez-Paz and Oquab 2017).

docs/metrics/plausible.md.  Frames are uint8 ``(T, H, W, 3)``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import laplace
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lvcf.data.video import Frames
from lvcf.metrics.plausible import LUMA
from lvcf.metrics.statistics import Interval, Values, interval

FOLDS = 5
FEWEST = 10
"""Clips of each kind below which no classifier is trained."""
COMPONENTS = 12
THUMBNAIL = 14
"""Height and width in pixels of the pictures that the first classifier sees: what is where."""
LEVELS = 3
"""Halvings of the frames whose edges the second classifier sees: how it is drawn."""


@dataclass(frozen=True)
class TwoSample:
    """How well counterfactuals can be told from real clips.

    Attributes:
        auc: area under the ROC curve on held-out clips: 0.5 cannot be told apart, 1 always.
        interval: over clips.
    """

    auc: float
    interval: Interval | None


def two_sample(made: Sequence[Frames], real: Sequence[Frames]) -> dict[str, TwoSample]:
    """Train and test classifiers on held-out folds, by what they see.

    Args:
        made: counterfactuals.
        real: clips of the set, of the classes that the counterfactuals should show.

    Returns:
        ``pictures``: small thumbnails; ``drawing``: edges and colours at several sizes, and how they change in time.
        Empty with fewer than :data:`FEWEST` clips of a kind.
    """
    if min(len(made), len(real)) < FEWEST:
        return {}
    is_made = np.repeat([1, 0], [len(made), len(real)])
    return {
        name: _told_apart(np.stack([describe(clip) for clip in (*made, *real)]), is_made)
        for name, describe in (("pictures", thumbnails), ("drawing", drawing))
    }


def _told_apart(features: NDArray[np.float64], is_made: NDArray[np.int64]) -> TwoSample:
    parts = min(COMPONENTS, len(is_made) // 3)
    classifier = make_pipeline(StandardScaler(), PCA(parts, random_state=0), StandardScaler(), LogisticRegression())
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    scores = cross_val_predict(classifier, features, is_made, cv=folds, method="decision_function")
    return TwoSample(float(roc_auc_score(is_made, scores)), interval(_auc, scores, is_made.astype(np.float64)))


def _auc(scores: Values, is_made: Values, axis: int) -> Values:
    """The same as the Mann-Whitney statistic, for every resample along ``axis``."""
    higher = np.moveaxis(np.asarray(scores), axis, -1)
    made = np.moveaxis(np.asarray(is_made), axis, -1)
    order = np.argsort(higher, axis=-1)
    ranks = np.empty_like(higher)
    np.put_along_axis(ranks, order, np.arange(1.0, higher.shape[-1] + 1.0), axis=-1)
    ones = made.sum(-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(((ranks * made).sum(-1) - ones * (ones + 1.0) / 2.0) / (ones * (made.shape[-1] - ones)))


def thumbnails(clip: Frames) -> NDArray[np.float64]:
    """Four frames of the clip, small, in one vector."""
    few = clip[np.linspace(0, len(clip) - 1, 4).round().astype(int)].astype(np.float64)
    side = min(few.shape[1:3]) // THUMBNAIL * THUMBNAIL
    cut = few[:, :side, :side]
    blocks = cut.reshape(4, THUMBNAIL, side // THUMBNAIL, THUMBNAIL, side // THUMBNAIL, 3)
    return np.asarray(blocks.mean(axis=(2, 4)).ravel())


def drawing(clip: Frames) -> NDArray[np.float64]:
    """Percentiles of edges in space and time of the frames halved none to two times, and the colours' moments."""
    gray = clip @ LUMA
    told = [clip.reshape(-1, 3).mean(0), clip.reshape(-1, 3).std(0)]
    for _ in range(LEVELS):
        edges = np.stack([laplace(frame) for frame in gray])
        changes = np.diff(gray, axis=0)
        told += [np.percentile(np.abs(values), (50, 80, 95, 99)) for values in (edges, changes)]
        height, width = (side // 2 * 2 for side in gray.shape[1:])
        gray = gray[:, :height, :width].reshape(len(gray), height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return np.asarray(np.log1p(np.concatenate(told)))
