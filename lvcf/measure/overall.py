"""What a run's edits have in common, as figures with their intervals: what ``summary.json`` holds.  Light: no torch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lvcf.files import Json
from lvcf.measure.changes import ALL, STAY, Change, Changes, asked_of, descriptors, is_still
from lvcf.measure.names import ORACLE_MOVED
from lvcf.measure.table import Line
from lvcf.metrics.clusters import CLEAR, FEWEST, Clusters, find_clusters
from lvcf.metrics.statistics import Interval, Values, interval, mean_interval, pearson, share_interval
from lvcf.runs.folder import Prediction

BEFORE = "label"
"""What a data set says of a regressor's factual."""
MOVED, STAYED = ("truth/pixel_", "truth/action_unit", "truth/path_"), ("leakage/",)
"""Beginnings of the keys of what a simulator's attributes did: of the one that was asked to move, and of the others."""
ONES = "truth/pixel_class"
"""Beginning of the keys of zeros and ones among them."""
Attributes = dict[str, dict[str, "Told"]]
"""Means by key and group."""
SHOWN_GROUPS = 6
"""Groups that are told apart beside all clips, at most: the largest."""
APART = 10
"""Clips that are listed where M and the oracle disagree most, at most; never more than a quarter of them."""


@dataclass(frozen=True)
class Told:
    """A mean over clips: of how many, and its interval where it has one."""

    value: float
    ends: Interval | None
    clips: int

    @property
    def json(self) -> Json:
        """As it stands in ``summary.json``."""
        ends = {} if self.ends is None else {"ci_low": self.ends.low, "ci_high": self.ends.high}
        return {"mean": self.value, **ends, "n": self.clips}


@dataclass(frozen=True)
class Moves:
    """By how much M's and the oracle's readings of the same clips moved ``(n,)``; of a classifier their probabilities.

    Attributes:
        correlation: Pearson's; None where one of them is the same on every clip.
        same_way: share of clips on which both moved in the same direction.
    """

    ids: list[str]
    model: Values
    oracle: Values
    correlation: Told | None
    same_way: Told

    @property
    def apart(self) -> list[int]:
        """The clips on which the two disagree most, as places in ``ids``."""
        return [
            int(i)
            for i in np.argsort(-np.abs(self.model - self.oracle), kind="stable")[: min(APART, -(-len(self.ids) // 4))]
        ]


def told(values: Sequence[float], share: bool = False) -> Told | None:
    """The mean of what is finite, with its interval; None of nothing.

    Args:
        values: of the clips.
        share: they are in 0..1; where all are 0 or 1, the interval is Wilson's and not a bootstrap's.
    """
    known = np.array([value for value in values if math.isfinite(value)], dtype=np.float64)
    if not len(known):
        return None
    of_ones = share and {*known.tolist()} <= {0.0, 1.0}
    return Told(float(known.mean()), share_interval(known) if of_ones else mean_interval(known), len(known))


def groups_of(changes: Changes) -> dict[str, list[Change]]:
    """All clips, and those of the largest groups by what was asked; of a single group not again."""
    by_name: dict[str, list[Change]] = {}
    for clip in changes.clips:
        by_name.setdefault(clip.asked, []).append(clip)
    if len(by_name) < 2:
        return {ALL: changes.clips}
    largest = sorted(by_name, key=lambda name: (name == STAY, -len(by_name[name]), name))[:SHOWN_GROUPS]
    return {ALL: changes.clips, **{name: by_name[name] for name in largest}}


def inside_regions(changes: Changes) -> dict[str, dict[str, dict[str, Told]]]:
    """By region and group the ``share`` of the change in it and the ``area`` it covers; clips without it are left out.

    Every clip counts the same, however much it changed.
    """
    found: dict[str, dict[str, dict[str, Told]]] = {}
    for name in changes.regions:
        for group, clips in groups_of(changes).items():
            known = [clip for clip in clips if math.isfinite(clip.inside[name])]
            share, area = told([c.inside[name] for c in known], share=True), told([c.covered[name] for c in known])
            if share and area:
                found.setdefault(name, {})[group] = {"share": share, "area": area}
    return found


def attributes(lines: Mapping[str, Line], changes: Changes) -> tuple[Attributes, Attributes]:
    """What the simulator's attributes did, by key and group: the one that was asked to move, and the others."""
    keys = dict.fromkeys(key for line in lines.values() for key in line)
    kinds = []
    for starts in (MOVED, STAYED):
        rows = {key: _by_group(key, lines, changes) for key in keys if key.startswith(starts)}
        kinds.append({key: row for key, row in rows.items() if row})
    moved, stayed = kinds
    if moved and any(line.get("task") == "regression" for line in lines.values()):
        moved = {BEFORE: _by_group(BEFORE, lines, changes), **moved}
    return moved, stayed


def _by_group(key: str, lines: Mapping[str, Line], changes: Changes) -> dict[str, Told]:
    rows = {
        group: told(
            [float(lines[clip.id].get(key, math.nan)) for clip in clips if clip.id in lines], key.startswith(ONES)
        )
        for group, clips in groups_of(changes).items()
    }
    return {group: row for group, row in rows.items() if row}


def followed(predictions: Sequence[Prediction], changes: Changes) -> tuple[str, dict[str, Told]] | None:
    """How much of its true move what was measured over time made, by group, and what that is; None without curves.

    Of a clip, the part of (counterfactual − factual) along (truth − factual); 1 is the true move, 0 none, below 0 the
    other way.  Pooled: sums over the clips are divided, so that clips in which little should move count little.
    """
    parts, what = {}, ""
    for prediction in predictions:
        curves = prediction.curves
        if curves and curves["truth"]:
            factual = np.array(curves["factual"])
            made, true = (np.array(curves[name]) - factual for name in ("counterfactual", "truth"))
            parts[prediction.id], what = (float(made @ true), float(true @ true)), curves["what"]
    found = {}
    for group, clips in groups_of(changes).items():
        pairs = np.array([parts[clip.id] for clip in clips if clip.id in parts]).reshape(-1, 2)
        made, true = pairs.T
        if true.sum() > 0:
            share = float(made.sum() / true.sum())
            found[group] = Told(share, interval(_pooled, made, true), len(pairs))
    return (what, found) if found else None


def _pooled(made: Values, true: Values, axis: int) -> Any:
    return made.sum(axis) / true.sum(axis)


def moves(predictions: Sequence[Prediction], lines: Mapping[str, Line]) -> Moves | None:
    """M against the oracle, of the clips that were drawn; None where the evaluation asked no oracle."""
    known = [p for p in predictions if math.isfinite(float(lines.get(p.id, {}).get(ORACLE_MOVED, math.nan)))]
    if not known:
        return None
    model = np.array([p.result["prediction_after"] - p.result["prediction_before"] for p in known], dtype=np.float64)
    oracle = np.array([float(lines[p.id][ORACLE_MOVED]) for p in known], dtype=np.float64)
    same = told((np.sign(model) == np.sign(oracle)).astype(np.float64).tolist(), share=True)
    assert same is not None  # there is a clip
    correlation = None
    if len(known) > 1 and min(np.ptp(model), np.ptp(oracle)) > 0:
        correlation = Told(float(pearson(model, oracle, axis=-1)), interval(pearson, model, oracle), len(known))
    return Moves([p.id for p in known], model, oracle, correlation, same)


def clusters_of(changes: Changes, number: int | None) -> tuple[list[Change], Clusters] | None:
    """The edits that have a direction and their clusters; None of too few.

    Args:
        changes: of the run.
        number: of clusters; None for the clearest.
    """
    clips = [clip for clip in changes.clips if not is_still(clip)]
    least = FEWEST if number is None else number + 1
    if len(clips) < least:
        return None
    points = descriptors(clips)
    return (clips, find_clusters(points, number)) if len(np.unique(points, axis=0)) >= max(least, 3) else None


@dataclass(frozen=True)
class Summary:
    """What is told of a run.

    Attributes:
        run: its folder.
        predictions: all finished clips, in the manifest's order, failed ones too.
        lines: of ``predictions.csv`` by clip; empty before ``lvcf evaluate``.
        metrics: of ``metrics.json``; None before ``lvcf evaluate``.
        changes: of the clips that were drawn.
        clusters: the clips that were clustered and their clusters; None of too few.
        moves: M's and the oracle's; None without an oracle.
    """

    run: Path
    predictions: list[Prediction]
    lines: Mapping[str, Line]
    metrics: Json | None
    changes: Changes
    clusters: tuple[list[Change], Clusters] | None
    moves: Moves | None

    @property
    def drawn(self) -> list[Prediction]:
        """The clips that tell of the model: neither failed nor such as the video model cannot draw."""
        return drawn(self.predictions)


def drawn(predictions: Sequence[Prediction]) -> list[Prediction]:
    """The clips that are reached or not reached."""
    return [prediction for prediction in predictions if prediction.status in ("reached", "not_reached")]


def as_json(summary: Summary) -> Json:
    """``summary.json``."""
    changes = summary.changes
    groups = {}
    for name, clips in groups_of(changes).items():
        maps, levels = changes.maps[name], told([clip.levels for clip in clips])
        assert levels is not None  # no group is empty
        curves = {"change_over_time": maps.mean("curve"), "spread_over_time": maps.spread("curve")}
        curve = {key: [round(float(value), 4) for value in values] for key, values in curves.items()}
        groups[name] = {"n": maps.clips, "reached": maps.reached, "change_levels": levels.json, **curve}
    regions = {
        name: {group: {kind: row.json for kind, row in rows.items()} for group, rows in by_group.items()}
        for name, by_group in inside_regions(changes).items()
    }
    moved, stayed = attributes(summary.lines, changes)
    follows = followed(summary.drawn, changes)
    return {
        "n": len(changes.clips),
        "left_out": len(summary.predictions) - len(changes.clips),
        "simulated": bool(summary.metrics and summary.metrics.get("simulated")),
        "groups": groups,
        "regions": regions,
        "attributes": {
            key: {group: row.json for group, row in rows.items()} for key, rows in {**moved, **stayed}.items()
        },
        "true_move_followed": {group: row.json for group, row in follows[1].items()} if follows else None,
        "clusters": _clusters_json(summary.clusters),
        "oracle": _moves_json(summary.moves),
    }


def _moves_json(moves: Moves | None) -> Json | None:
    if moves is None:
        return None
    pairs = {moves.ids[i]: {"model": float(moves.model[i]), "oracle": float(moves.oracle[i])} for i in moves.apart}
    correlation = moves.correlation.json if moves.correlation else None
    return {"correlation": correlation, "moved_the_same_way": moves.same_way.json, "furthest_apart": pairs}


def _clusters_json(found: tuple[list[Change], Clusters] | None) -> Json | None:
    if found is None:
        return None
    clips, clusters = found
    members = [
        {"n": len(typical), "medoid": clips[typical[0]].id, "silhouette": float(clusters.silhouettes[typical].mean())}
        for typical in clusters.typical
    ]
    return {
        "clear": clusters.clear,
        "silhouette": clusters.score,
        "threshold": CLEAR,
        "silhouette_by_chance": clusters.chance,
        "silhouette_by_number": {str(k): score for k, score in clusters.scores.items()},
        "clusters": members,
    }


def as_lines(summary: Summary) -> list[Line]:
    """``summary.csv``: one line a clip of the run, in its order, failed ones too."""
    known = {clip.id: clip for clip in summary.changes.clips}
    placed = placed_in(summary.clusters)
    return [_line(p, known.get(p.id), summary.lines.get(p.id, {}), placed.get(p.id, {})) for p in summary.predictions]


def placed_in(found: tuple[list[Change], Clusters] | None) -> dict[str, Line]:
    """By clip its cluster, counted from 1, and how deep it lies in it."""
    if found is None:
        return {}
    clips, clusters = found
    rows = zip(clips, clusters.labels, clusters.silhouettes, strict=True)
    return {clip.id: {"cluster": int(label) + 1, "cluster_silhouette": float(depth)} for clip, label, depth in rows}


def _line(prediction: Prediction, clip: Change | None, measured: Line, placed: Line) -> Line:
    row: Line = {"id": prediction.id, "status": prediction.status}
    if not prediction.failed:
        result = prediction.result
        row |= {"asked": asked_of(result), "target": result["target"]["text"]}
        row |= {name: result[name] for name in ("prediction_before", "prediction_after")}
    if clip is not None:
        row |= {"change_levels": clip.levels, "changes_most_at_s": clip.second}
        row |= {f"region/{name}": share for name, share in clip.inside.items() if math.isfinite(share)}
        row |= placed
    return row | ({ORACLE_MOVED: measured[ORACLE_MOVED]} if ORACLE_MOVED in measured else {})
