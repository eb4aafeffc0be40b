"""``lvcf summarise RUN``: what a model looks at over all clips of a run, on one page."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lvcf.errors import UserError
from lvcf.files import write_json, write_rows
from lvcf.runs.folder import Prediction, is_steering_run, read_metrics, read_predictions, read_table

if TYPE_CHECKING:  # scikit-learn takes seconds to load
    from lvcf.measure.changes import Marked
    from lvcf.measure.overall import Summary


def main(args: list[str]) -> int:
    """``lvcf summarise RUN``: write ``summary.html``, ``.json`` and ``.csv``, print the page's path; returns 0.

    Raises:
        UserError: RUN is no run of lvcf predict, holds no clip that was drawn, or an option does not fit it.
    """
    parser = argparse.ArgumentParser(
        prog="lvcf summarise",
        description="Write RUN/summary.html: where the changes of all clips lie, which regions and attributes moved, "
        "clusters of edits, M against the oracle. RUN/summary.json has its figures, RUN/summary.csv a line a clip.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of an lvcf predict run")
    parser.add_argument(
        "--regions",
        type=Path,
        metavar="FILE",
        help="YAML or JSON of names, each with a box [left, top, right, bottom], a polygon [[x, y], ...] or a mask's "
        "file: the share of the change in each",
    )
    parser.add_argument(
        "--clusters", type=int, metavar="K", help="how many clusters of edits, instead of the number that is clearest"
    )
    options = parser.parse_args(args)
    print(summarise_run(options.run, options.regions, options.clusters))
    return 0


def summarise_run(run: Path, regions: Path | None = None, clusters: int | None = None) -> Path:
    """Write ``summary.json``, ``summary.csv``, a ``thumbnail.jpg`` per clip and ``summary.html``; returns its path.

    Args:
        run: of ``lvcf predict``.
        regions: names and what they stand for (:func:`lvcf.measure.named_regions.read_regions`).
        clusters: how many; None for the clearest number.

    Raises:
        UserError: as of :func:`main`.
    """
    predictions = _finished(run)
    if clusters is not None and clusters < 2:
        raise UserError(f"--clusters {clusters}: give a whole number from 2 up, or leave it out")
    summary = _summary(run, predictions, _regions(regions), clusters)
    from lvcf.measure.overall import as_json, as_lines
    from lvcf.report.summary_page import summary_context
    from lvcf.report.templates import write_page

    write_json(run / "summary.json", as_json(summary))
    write_rows(run / "summary.csv", as_lines(summary))
    return write_page(run / "summary.html", "summary.html.j2", summary_context(summary))


def _finished(run: Path) -> list[Prediction]:
    if is_steering_run(run):
        raise UserError(
            f"{run}: a run of lvcf steer; lvcf summarise reads runs of lvcf predict (this one: lvcf report)"
        )
    predictions = read_predictions(run)
    if not predictions:
        raise UserError(f"{run}: no finished clip; run lvcf predict first")
    return predictions


def _regions(path: Path | None) -> dict[str, Marked]:
    if path is None:
        return {}
    from lvcf.measure.named_regions import read_regions  # torch takes seconds to load

    return read_regions(path)


def _summary(run: Path, predictions: list[Prediction], regions: dict[str, Marked], clusters: int | None) -> Summary:
    """Read the clips once, one after the other."""
    from tqdm import tqdm

    from lvcf.measure.changes import gather
    from lvcf.measure.overall import Summary, clusters_of, drawn, moves
    from lvcf.report.pictures import write_thumbnail

    clips = drawn(predictions)
    if not clips:
        raise UserError(f"{run}: none of its {len(predictions)} clips was drawn; lvcf report {run} tells why")
    table = run / "predictions.csv"
    lines = {line["id"]: line for line in read_table(table)} if table.is_file() else {}
    changes = gather(tqdm(clips, desc="summarise", unit="clip", disable=None), regions, write_thumbnail)
    found = clusters_of(changes, clusters)
    if clusters is not None and found is None:
        raise UserError(
            f"--clusters {clusters}: only {len(changes.clips)} clips were drawn, and more different edits are needed "
            "than clusters; give fewer, or leave it out"
        )
    return Summary(run, predictions, lines, read_metrics(run), changes, found, moves(clips, lines))
