"""Can counterfactuals be told from real clips?  A classifier's two-sample test (Lopez-Paz and Oquab 2017).

docs/metrics/plausible.md.  Frames are uint8 ``(T, H, W, 3)``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import laplace
from scipy.stats import rankdata
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from lvcf.data.video import Frames
from lvcf.metrics.plausible import LUMA
from lvcf.metrics.statistics import Interval, Values, interval

FOLDS = 5
FEWEST = 10
"""Clips below which no classifier is trained."""
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


def two_sample(made: Iterable[Frames], real: Iterable[Frames]) -> dict[str, TwoSample]:
    """Train and test classifiers on held-out folds, by what they see; a clip and its counterfactual share a fold.

    No clip is kept: they may be read one by one.

    Args:
        made: counterfactuals, at least :data:`FEWEST`.
        real: the clip that each was made of.

    Returns:
        ``pictures``: small thumbnails; ``drawing``: edges and colours at several sizes, and how they change in time.
    """
    described = [[(thumbnails(clip), drawing(clip)) for clip in clips] for clips in (made, real)]
    return {
        name: _told_apart(*(np.stack([row[seen] for row in rows]) for rows in described))
        for seen, name in enumerate(("pictures", "drawing"))
    }


def _told_apart(made: NDArray[np.float64], real: NDArray[np.float64]) -> TwoSample:
    n = len(made)
    is_made, clip = np.repeat([1, 0], n), np.tile(np.arange(n), 2)
    whitened = PCA(min(COMPONENTS, n // 2), whiten=True, random_state=0)
    classifier = make_pipeline(StandardScaler(), whitened, LogisticRegression())
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=0)
    features = np.concatenate([made, real])
    scores = cross_val_predict(classifier, features, is_made, groups=clip, cv=folds, method="decision_function")
    return TwoSample(float(auc(scores[:n], scores[n:], axis=-1)), interval(auc, scores[:n], scores[n:]))


def auc(made: Values, real: Values, axis: int) -> Values:
    """How often, along ``axis``, a score of ``made`` is above one of ``real`` (the Mann-Whitney statistic)."""
    one, other = (np.moveaxis(np.asarray(scores), axis, -1) for scores in (made, real))
    ranks = rankdata(np.concatenate([one, other], axis=-1), axis=-1)[..., : one.shape[-1]]
    n = one.shape[-1]
    return np.asarray((ranks.sum(-1) - n * (n + 1.0) / 2.0) / (n * other.shape[-1]))


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
