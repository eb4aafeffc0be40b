"""The page about all clips of a run together, as ``summary.html.j2`` wants it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterable, Mapping, Sequence
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from lvcf.files import Json
from lvcf.measure.changes import ALL, DOWN, STAY, UP, Change, Maps
from lvcf.measure.names import ORACLE_MOVED, STATUSES, Figure, figure_of
from lvcf.measure.overall import BEFORE, Summary, Told, attributes, followed, groups_of, inside_regions, placed_in
from lvcf.metrics.clusters import CLEAR, FEWEST
from lvcf.report.metrics import plain, readable, unit_of
from lvcf.report.pictures import (
    SIDE,
    THUMBNAIL,
    grey_picture,
    outlined_picture,
    signed_picture,
    size_colours,
    size_picture,
)
from lvcf.report.run_page import moved_line, reconstruction_warning, target_text
from lvcf.report.summary_plots import change_plot, moves_plot
from lvcf.report.templates import gradient, ramp
from lvcf.runs.folder import Prediction, read_manifest, unfinished

REPRESENTATIVE = 4
"""Clips that are shown of a cluster."""
TOPS = (0.1, 0.2, 0.5, 1, 2, 3, 4, 5, 6, 8, 10, 15, 20, 30, 40, 60, 80, 100, 150, 200, 255)
"""Levels at which a scale may end."""
FACTS = (
    ("target", "target"),
    ("model explained", "target_model"),
    ("video model", "backbone"),
    ("method", "method"),
    ("prompt", "prompt"),
)
"""What the run's manifest tells, by what it is called."""
ASKED = {ALL: "All clips", UP: "Asked to rise", DOWN: "Asked to fall", STAY: "Asked to stay"}


def summary_context(summary: Summary) -> Json:
    """What ``summary.html.j2`` shows."""
    manifest, changes, unit = read_manifest(summary.run), summary.changes, unit_of(summary.predictions)
    groups = {name: changes.maps[name] for name in groups_of(changes)}
    top, scale, highest = _top(groups.values()), _signed_scale(groups.values()), _highest(groups.values())
    named = {name: _named(name, summary.drawn) for name in groups}
    counts = {status: sum(clip.status == status for clip in changes.clips) for status in STATUSES}
    cards = _cards(summary)
    evaluate = f"lvcf evaluate {shlex.quote(str(summary.run))}"
    return {
        "name": summary.run.resolve().name,
        "gradient": ramp(),
        "sizes_colours": gradient(size_colours(np.linspace(0, 1, 11), 1)),
        "manifest": manifest,
        "facts_rows": [(key, str(manifest[name])) for key, name in FACTS],
        "told_of": _told_of(summary, counts),
        "doubtful": sum(c.status == "reached" and bool(reconstruction_warning(c.result)) for c in summary.drawn),
        "pending": unfinished(manifest, len(summary.predictions), "predict"),
        "simulated": bool(summary.metrics and summary.metrics.get("simulated")),
        "evaluated": summary.metrics is not None,
        "evaluate": evaluate,
        "summarise": f"lvcf summarise {shlex.quote(str(summary.run))}",
        "no_oracle": _no_oracle(summary, evaluate),
        "aligned": _aligned(summary),
        "top": f"{top:g}",
        "scale": f"{scale:g}",
        "groups": [_group(named[name], maps, (top, scale, highest), changes.fps) for name, maps in groups.items()],
        "left_out_groups": len({clip.asked for clip in changes.clips}) - len(groups) + 1 if len(groups) > 1 else 0,
        "names": list(named.values()),
        "regions": _regions(summary, top),
        "attributes": _attributes(summary, unit, named),
        "clusters": _clusters(summary, named, cards),
        "moves": _moves(summary, unit, cards),
        "statuses": STATUSES,
        "counts": counts,
        "figures": _figures(summary, cards, unit),
        "clips": list(cards.values()),
        "thumbnail": {"height": SIDE, "width": _wide(changes.maps[ALL])},
    }


def _told_of(summary: Summary, counts: Mapping[str, int]) -> str:
    """Over how many clips the page tells, and which are left out."""
    text = (
        f"{len(summary.changes.clips)} clips: {counts['reached']} reached the target, {counts['not_reached']} did not."
    )
    out = {name: sum(p.status == name for p in summary.predictions) for name in ("not_drawable", "failed")}
    others = [f"{count} {STATUSES[name]}" for name, count in out.items() if count]
    return text + (f" Left out: {', '.join(others)}." if others else "")


def _aligned(summary: Summary) -> str:
    """What of the clips is laid on each other."""
    sizes = summary.changes.sizes
    if len(sizes) == 1:
        frames, height, width = next(iter(sizes))
        return f"All clips have {frames} frames of {width} x {height} pixels, which are laid on each other as they are"
    return f"The clips have {len(sizes)} sizes; each is stretched to the first one's grid and length"


def _named(group: str, clips: Sequence[Prediction]) -> str:
    classifier = any(clip.result["task"] == "classification" for clip in clips)
    return f"Asked for {group}" if classifier and group != ALL else ASKED[group]


def _group(name: str, maps: Maps, scales: tuple[float, float, float], fps: float) -> Json:
    """Its pictures and plots, in the scales of all maps, of all signed maps and of all curves."""
    top, scale, highest = scales
    mean, spread = maps.mean("curve"), maps.spread("curve")
    return {
        "name": name,
        "clips": maps.clips,
        "reached": maps.reached,
        "pictures": [
            ("mean factual", grey_picture(maps.mean("factual"))),
            ("mean change", size_picture(maps.mean("change"), top)),
            ("spread over clips", size_picture(maps.spread("change"), top)),
            ("mean signed change", signed_picture(maps.mean("signed"), scale)),
        ],
        "film": [signed_picture(part, scale) for part in maps.mean("film")],
        "plot": change_plot(mean.tolist(), spread.tolist(), fps, highest),
    }


def _regions(summary: Summary, top: float) -> list[Json]:
    changes = summary.changes
    return [
        {
            "name": name,
            "picture": outlined_picture(changes.maps[ALL].mean("change"), top, changes.regions[name].mean("region")),
            "area": _percent(groups[ALL]["area"].value),
            "clips": groups[ALL]["share"].clips,
            "verdict": _verdict(groups[ALL]["share"], groups[ALL]["area"].value),
            "shares": [_share_cell(groups.get(group)) for group in groups_of(changes)],
        }
        for name, groups in inside_regions(changes).items()
        if ALL in groups
    ]


def _share_cell(found: dict[str, Told] | None) -> Json | None:
    if found is None:
        return None
    share, ends = found["share"], found["share"].ends
    between = f"{_percent(ends.low)} to {_percent(ends.high)}" if ends else ""
    return {"value": _percent(share.value), "interval": between, "times": readable(share.value / found["area"].value)}


def _verdict(share: Told, area: float) -> str:
    """Whether a region has more of the change than its area would have by itself."""
    if share.ends is None:
        return "one clip"
    if share.ends.low > area:
        return "more than its area"
    return "less than its area" if share.ends.high < area else "as its area"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share < 0.0995 else f"{100 * share:.0f} %"


def _attributes(summary: Summary, unit: str, named: Mapping[str, str]) -> Json | None:
    """What the simulator's attributes did, as rows of a table; None where nothing was measured."""
    moved, stayed = attributes(summary.lines, summary.changes)
    follows = followed(summary.drawn, summary.changes)
    if not (moved or stayed or follows):
        return None
    return {
        "follows": (follows[0], [_cell(follows[1].get(group)) for group in named]) if follows else None,
        "moved": [_row(key, rows, unit, named) for key, rows in moved.items()],
        "stayed": [_row(key, rows, unit, named) for key, rows in stayed.items()],
    }


def _row(key: str, rows: Mapping[str, Told], unit: str, named: Mapping[str, str]) -> Json:
    own = {BEFORE: Figure("value before", "Of the factual, by the data set.", unit=unit)}
    return {
        "key": key,
        "figure": own.get(key) or figure_of(key, unit),
        "cells": [_cell(rows.get(group)) for group in named],
    }


def _cell(found: Told | None) -> Json | None:
    if found is None:
        return None
    ends = found.ends
    between = f"{readable(ends.low, found.value)} to {readable(ends.high, found.value)}" if ends else ""
    return {"value": readable(found.value), "interval": between}


def _clusters(summary: Summary, named: Mapping[str, str], cards: Mapping[str, Json]) -> Json:
    """What the clusters are, or why there are none; of those that are not clear the clips in the middle of all."""
    limits = {"threshold": f"{CLEAR:g}", "fewest": FEWEST}
    if summary.clusters is None:
        return limits | {"found": False}
    clips, clusters = summary.clusters
    maps = [_film([clips[i] for i in members]) for members in clusters.typical]
    scale = _scale_of(np.abs(film).max() for film in maps)
    return (
        limits
        | {
            "found": True,
            "stand_apart": clusters.clear,  # a dict has its own clear
            "score": readable(clusters.score),
            "chance": readable(clusters.chance),
            "number": len(clusters.typical),
            "tried": [(k, readable(score)) for k, score in clusters.scores.items()],
            "scale": f"{scale:g}",
            "clusters": [
                {
                    "clips": len(members),
                    "silhouette": readable(float(clusters.silhouettes[members].mean())),
                    "asked": _composition([clips[i] for i in members], named),
                    "film": [signed_picture(part, scale) for part in film],
                    "typical": [cards[clips[i].id] for i in members[:REPRESENTATIVE]],
                }
                for members, film in zip(clusters.typical, maps, strict=True)
            ],
        }
    )


def _film(clips: Sequence[Change]) -> NDArray[np.float64]:
    return np.asarray(np.mean([clip.film for clip in clips], axis=0, dtype=np.float64))


def _composition(clips: Sequence[Change], named: Mapping[str, str]) -> str:
    counts: dict[str, int] = {}
    for clip in clips:
        counts[clip.asked] = counts.get(clip.asked, 0) + 1
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    words = {asked: named.get(asked, f"Asked for {asked}") for asked in counts}
    return ", ".join(f"{count} {words[asked][0].lower()}{words[asked][1:]}" for asked, count in ordered)


def _moves(summary: Summary, unit: str, cards: Mapping[str, Json]) -> Json | None:
    moves = summary.moves
    if moves is None:
        return None
    unit = {"%": "points", "": "probability"}.get(unit, unit)
    return {
        "plot": moves_plot(moves, unit),
        "clips": len(moves.ids),
        "unit": unit,
        "correlation": _cell(moves.correlation),
        "same": _clips_share(moves.same_way),
        "means": [readable(float(values.mean())) for values in (moves.model, moves.oracle)],
        "sizes": [readable(float(np.abs(values).mean())) for values in (moves.model, moves.oracle)],
        "apart": [
            cards[moves.ids[i]] | {"moved": [_signed(moves.model[i]), _signed(moves.oracle[i])]} for i in moves.apart
        ],
    }


def _clips_share(share: Told) -> str:
    between = f" ({100 * share.ends.low:.0f} to {100 * share.ends.high:.0f} %)" if share.ends else ""
    return f"{100 * share.value:.0f} % of the clips{between}"


def _no_oracle(summary: Summary, evaluate: str) -> str:
    """Why nothing is known of an oracle, and what to do."""
    if summary.metrics is None:
        return f"Of a simulated set: run {evaluate} first, which asks the oracle."
    if "truth/oracle" in summary.metrics:
        return f"The oracle was not asked: {summary.metrics['truth/oracle']}."
    if any(key.startswith("truth/oracle_") for key in summary.metrics):
        return f"The oracle was asked of the counterfactuals alone, by an older lvcf; run {evaluate} again."
    return "There is none: only simulated sets come with an oracle."


def _signed(value: float) -> str:
    return f"{value:+.3g}".replace("-", "−")


def _figures(summary: Summary, cards: Mapping[str, Json], unit: str) -> dict[str, Figure]:
    """What clips are sorted by."""
    own = {
        "change_levels": Figure("change", unit="levels"),
        "changes_most_at_s": Figure("changes most at", unit="s"),
        "model_moved": Figure("M moved by", unit=unit),
        "cluster": Figure("cluster"),
        "cluster_silhouette": Figure("silhouette"),
        **{f"region/{name}": Figure(f"share in {name}") for name in summary.changes.regions},
    }
    known = dict.fromkeys(key for card in cards.values() for key in card["numbers"])
    return {key: own.get(key) or figure_of(key, unit) for key in known}


def _cards(summary: Summary) -> dict[str, Json]:
    """What is shown of every clip that was drawn, by its name and in the order of the names."""
    known = {clip.id: clip for clip in summary.changes.clips}
    placed, has_report = placed_in(summary.clusters), (summary.run / "report.html").is_file()
    everyone = sorted(summary.predictions, key=lambda prediction: prediction.id)  # as the run's report has them
    found = {}
    for number, prediction in enumerate(everyone, start=1):
        if prediction.id in known:
            folder = f"predictions/{quote(prediction.folder.name)}"
            found[prediction.id] = {
                "id": prediction.id,
                "status": prediction.status,
                "reading": moved_line(prediction.result),
                "target": target_text(prediction.result),
                "picture": f"{folder}/{THUMBNAIL}",
                "panel": f"{folder}/panel.mp4",
                "more": f"report.html#clip-{number}" if has_report else f"{folder}/",
                "numbers": _numbers(
                    prediction,
                    known[prediction.id],
                    placed.get(prediction.id, {}),
                    summary.lines.get(prediction.id, {}),
                ),
            }
    return found


def _numbers(prediction: Prediction, clip: Change, placed: Json, line: Json) -> dict[str, float]:
    """What a clip is sorted by."""
    result = prediction.result
    numbers = {
        "change_levels": clip.levels,
        "changes_most_at_s": clip.second,
        "model_moved": result["prediction_after"] - result["prediction_before"],
        **placed,
        **{f"region/{name}": share for name, share in clip.inside.items()},
        **({ORACLE_MOVED: line[ORACLE_MOVED]} if ORACLE_MOVED in line else {}),
    }
    return {key: plain(value) for key, value in numbers.items() if math.isfinite(value)}


def _wide(maps: Maps) -> int:
    """Width in pixels of a thumbnail."""
    return round(3 * SIDE * maps.shape[2] / maps.shape[1])


def _top(groups: Iterable[Maps]) -> float:
    """Levels at which the colours of how much changed end, on all maps of the page."""
    return _scale_of(max(maps.mean("change").max(), maps.spread("change").max()) for maps in groups)


def _highest(groups: Iterable[Maps]) -> float:
    """Levels at which the axes of the curves end."""
    return 1.05 * max(float((maps.mean("curve") + maps.spread("curve")).max()) for maps in groups) or 1.0


def _signed_scale(groups: Iterable[Maps]) -> float:
    """Levels at which the colours of signed changes end."""
    return _scale_of(max(np.abs(maps.mean(name)).max() for name in ("signed", "film")) for maps in groups)


def _scale_of(largest: Iterable[float]) -> float:
    most = min(0.8 * max(largest), TOPS[-1])
    return next(level for level in TOPS if level >= most)
