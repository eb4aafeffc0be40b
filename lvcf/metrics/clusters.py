"""Clusters of points, how clear they are, and their typical members.  docs/summaries.md.

k-means after a principal component analysis; the number by the mean silhouette (Rousseeuw 1987).  k-means finds
clusters in any cloud, so the silhouette is compared with that of clouds which have none: normal ones of the same
covariance, as SigClust does (Liu et al. 2008).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import pairwise_distances_chunked, silhouette_samples, silhouette_score

Points = NDArray[np.float64]

FEWEST, MOST = 10, 8
"""Points below which no clusters are sought, and most clusters that are."""
COMPONENTS = 10
CLEAR = 0.25
"""Mean silhouette from which there is structure at all (Kaufman and Rousseeuw 1990, table 4)."""
CLOUDS = 19
"""Clouds without clusters: the best silhouette of all of them is passed by chance once in twenty times."""
STARTS = 4
SAMPLE = 1000
"""Points that the number is sought with, where there are more: silhouettes take time with their square."""
SEED = 0


@dataclass(frozen=True)
class Clusters:
    """Points in clusters, the largest first.

    Attributes:
        labels: of every point ``(n,)``, from 0.
        silhouettes: of every point ``(n,)``, in [-1, 1]: 1 is deep inside its cluster, below 0 nearer to another.
        scores: mean silhouette by number of clusters, of all numbers tried.
        chance: the best score of clouds without clusters.
        typical: by cluster its points, from the medoid (least mean distance to the others) outwards.
    """

    labels: NDArray[np.int64]
    silhouettes: Points
    scores: dict[int, float]
    chance: float
    typical: list[list[int]]

    @property
    def score(self) -> float:
        """The mean silhouette of all points."""
        return float(self.silhouettes.mean())

    @property
    def clear(self) -> bool:
        """Whether there are clusters: by :data:`CLEAR`, and by more than chance."""
        return self.score >= CLEAR and self.score > self.chance


def find_clusters(points: Points, number: int | None = None, seed: int = SEED) -> Clusters:
    """Cluster points ``(n, d)``, the same way every time.

    Args:
        points: at least three different ones, and more than ``number``.
        number: of clusters; None for the one with the best silhouette.
        seed: of the starts and of the clouds.
    """
    drawn = np.random.default_rng(seed)
    reduced = PCA(min(COMPONENTS, *points.shape), svd_solver="full").fit_transform(points)
    seen = reduced if len(reduced) <= SAMPLE else drawn.choice(reduced, SAMPLE, replace=False)
    different = len(np.unique(seen, axis=0))
    numbers = [number] if number else range(2, min(MOST, different - 1) + 1)
    scores = _scores(seen, numbers, seed)
    clouds = (seen.std(axis=0, ddof=1) * drawn.standard_normal(seen.shape) for _ in range(CLOUDS))
    chance = max(max(_scores(cloud, numbers, seed).values()) for cloud in clouds)
    labels = _by_size(_labels(reduced, max(scores, key=scores.__getitem__), seed))
    return Clusters(labels, silhouette_samples(reduced, labels), scores, chance, typical(reduced, labels))


def typical(points: Points, labels: NDArray[np.int64]) -> list[list[int]]:
    """Every cluster's points by their mean distance to its others, the medoid first."""
    found = []
    for label in range(labels.max() + 1):
        members = np.flatnonzero(labels == label)
        parts = pairwise_distances_chunked(points[members], reduce_func=lambda distances, _: distances.mean(axis=1))
        found.append([int(members[i]) for i in np.concatenate(list(parts)).argsort(kind="stable")])
    return found


def _labels(points: Points, number: int, seed: int) -> NDArray[np.int64]:
    return np.asarray(KMeans(number, n_init=STARTS, random_state=seed).fit_predict(points), dtype=np.int64)


def _scores(points: Points, numbers: Iterable[int], seed: int) -> dict[int, float]:
    return {k: float(silhouette_score(points, _labels(points, k, seed))) for k in numbers}


def _by_size(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """Numbers by falling size, equal ones by their first point."""
    _, first, sizes = np.unique(labels, return_index=True, return_counts=True)
    order = np.lexsort((first, -sizes))
    return np.asarray(order.argsort()[labels], dtype=np.int64)
