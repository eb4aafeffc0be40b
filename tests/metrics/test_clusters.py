"""Clusters are found where they are, and not where there are none; averages over cells keep the mean."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import silhouette_score

from lvcf.metrics.clusters import find_clusters, typical
from lvcf.metrics.grid import cell_means


def blobs(centres: list[list[float]], sizes: list[int], spread: float) -> tuple[np.ndarray, np.ndarray]:
    rng, labels = np.random.default_rng(3), np.repeat(np.arange(len(sizes)), sizes)
    points = np.array(centres)[labels] + spread * rng.standard_normal((len(labels), len(centres[0])))
    order = rng.permutation(len(labels))
    return points[order], labels[order]


def test_three_clusters_are_three_and_the_largest_is_first() -> None:
    points, labels = blobs([[0, 0, 0], [8, 0, 0], [0, 8, 8]], [10, 25, 15], 1.0)
    found = find_clusters(points)
    assert found.clear
    assert np.array_equal(found.labels, np.array([2, 0, 1])[labels])
    assert max(found.scores, key=lambda k: found.scores[k]) == 3
    assert found.score == pytest.approx(silhouette_score(points, labels))  # three dimensions are all kept


@pytest.mark.parametrize("dimensions", [1, 2, 8])
def test_one_cloud_has_no_clear_clusters(dimensions: int) -> None:
    cloud = np.random.default_rng(dimensions).standard_normal((60, dimensions)) * 3.0 + 5.0
    found = find_clusters(cloud)
    assert not found.clear
    assert dimensions > 2 or found.score >= 0.25  # the silhouette alone would be deceived


def test_the_same_points_give_the_same_clusters_and_the_number_may_be_given() -> None:
    points, _ = blobs([[0, 0], [9, 0]], [12, 9], 1.0)
    one, other = find_clusters(points), find_clusters(points)
    assert np.array_equal(one.labels, other.labels)
    assert (one.score, one.chance, one.typical) == (other.score, other.chance, other.typical)
    assert set(find_clusters(points, 4).labels.tolist()) == {0, 1, 2, 3}


def test_the_medoid_is_nearest_to_all_others() -> None:
    points = np.array([[0.0], [1.0], [2.0], [10.0], [7.0], [7.5]])
    assert typical(points, np.array([0, 0, 0, 0, 1, 1])) == [[1, 2, 0, 3], [4, 5]]


@pytest.mark.parametrize(("size", "cells"), [((12, 9), (4, 3)), ((7, 5), (3, 4)), ((3, 2), (6, 5))])
def test_cells_keep_the_mean_and_weigh_by_overlap(size, cells) -> None:
    values = np.random.default_rng(0).standard_normal((2, *size)).astype(np.float32)
    found = cell_means(values, cells)
    assert found.shape == (2, *cells)
    assert found.mean((1, 2)) == pytest.approx(values.mean((1, 2)), abs=1e-5)
    fine = np.kron(values, np.ones((1, cells[0], cells[1])))  # every cell is a whole number of these
    parts = fine.reshape(2, cells[0], size[0], cells[1], size[1])
    assert found == pytest.approx(parts.mean((2, 4)), abs=1e-5)
