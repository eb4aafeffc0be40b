"""``lvcf evaluate RUN``: measure a run's counterfactuals from the written files; of lvcf predict or lvcf steer."""

from __future__ import annotations

import argparse
import math
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lvcf.data.clip import SIMULATED
from lvcf.errors import UserError
from lvcf.files import write_json, write_rows
from lvcf.measure.against import correlations, paired_tests
from lvcf.measure.clip import composition, facts, in_region, lpips_key, measure_clip, read_region, way_back
from lvcf.measure.parallel import measure_each
from lvcf.measure.summary import TRANSITION, VALIDITY, summarise
from lvcf.measure.table import Line
from lvcf.metrics.fidelity import LPIPS_FILES, lpips_unavailable
from lvcf.metrics.statistics import LEVEL
from lvcf.metrics.unavailable import unavailable
from lvcf.models.targets.base import TargetModel
from lvcf.phantoms.truth import find_oracle, find_truths
from lvcf.report.metrics import unit_of
from lvcf.report.terminal import Evaluated, print_runs
from lvcf.runs.folder import Prediction, is_steering_run, read_manifest, read_predictions, read_table, unfinished
from lvcf.wandb_runs.verbs import log_evaluation

NEEDS_FEATURES = ("realism/fid", "realism/kid", "realism/fvd", "minimality/cld")
PREDICT_ONLY, STEERING_ONLY = ("oracle", "with_model", "against", "logger"), ("clip", "captioner", "embedder", "dover")
"""Options of one kind of run alone."""


def main(args: list[str]) -> int:
    """Parse the command line, evaluate every run, print their table; returns 1 if a clip failed."""
    parser = argparse.ArgumentParser(prog="lvcf evaluate", description=__doc__)
    parser.add_argument(
        "runs",
        type=Path,
        nargs="+",
        metavar="RUN",
        help="folder of an lvcf predict or lvcf steer run; several are told side by side",
    )
    parser.add_argument("--oracle", help="weights of the model that guidance never saw, instead of the phantom's own")
    parser.add_argument(
        "--features",
        nargs="+",
        default=[],
        metavar="NETWORK",
        help="for FID, KID, FVD, CLD: inception:FILE, i3d:FILE, videomae:FOLDER, module:PACKAGE.CLASS, oracle (clips) "
        "or oracle-frames",
    )
    parser.add_argument("--with-model", action="store_true", help="ask the explained model again: COUT and robustness")
    parser.add_argument("--region", type=Path, help="where change is wanted: a PNG or NPZ, or a folder with one per id")
    parser.add_argument(
        "--against", type=Path, metavar="RUN", help="an evaluated run on the same clips to test against"
    )
    parser.add_argument("--lpips", type=Path, metavar="FOLDER", help="where LPIPS' weights lie if not in torch's cache")
    parser.add_argument("--logger", choices=["wandb"], help="log configuration, metrics and clips to W&B as well")
    parser.add_argument("--log-ids", action="store_true", help="log the clips' names instead of hashes of them")
    _add_steering_options(parser)
    options = parser.parse_args(args)
    steered = {run: is_steering_run(run) for run in dict.fromkeys(options.runs)}
    for run, by_steer in steered.items():
        _check_options(run, by_steer, options)
    statuses = [status for run, by_steer in steered.items() if by_steer for status in _evaluate_steering(run, options)]
    predicted = [_evaluate_one(run, options) for run, by_steer in steered.items() if not by_steer]
    if predicted:
        print_runs(predicted)
    return int("failed" in [*statuses, *(status for run in predicted for status in run.statuses)])


def _check_options(run: Path, steered: bool, options: argparse.Namespace) -> None:
    """The options are of the run's kind.

    Raises:
        UserError: one is not.
    """
    for name in PREDICT_ONLY if steered else STEERING_ONLY:
        if getattr(options, name):
            verb = "predict" if steered else "steer"
            raise UserError(f"--{name.replace('_', '-')}: only of an lvcf {verb} run; {run} is another; leave it out")


def _evaluate_one(run: Path, options: argparse.Namespace) -> Evaluated:
    metrics, rows = evaluate(run, options)
    if options.logger:
        log_evaluation(run, metrics, rows, hash_ids=not options.log_ids)
    return Evaluated(run, metrics, [row["status"] for row in rows], unit_of(read_predictions(run)))


def _add_steering_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("of an lvcf steer run")
    group.add_argument("--clip", metavar="FOLDER", help="a CLIP of transformers: temporal consistency, text alignment")
    group.add_argument("--captioner", metavar="FOLDER", help="an image-text-to-text model that describes the clips")
    group.add_argument("--embedder", metavar="FOLDER", help="a text encoder that compares the descriptions")
    group.add_argument("--dover", type=Path, metavar="FILE", help="DOVER as ONNX: video quality")


def _evaluate_steering(run: Path, options: argparse.Namespace) -> list[str]:
    """The same of a steering run, which has a table of its own; returns its results' statuses."""
    from lvcf.steering.evaluate import evaluate_steering  # transformers takes seconds to load
    from lvcf.steering.terminal import print_details, print_judges, print_methods

    metrics, rows = evaluate_steering(run, options)
    print_methods(run, metrics, rows)
    print_details(metrics, rows)
    print_judges(run)
    return [row["status"] for row in rows]


def evaluate(run: Path, options: argparse.Namespace) -> tuple[dict[str, Any], list[Line]]:
    """Write ``predictions.csv`` and ``metrics.json``; returns the metrics and the rows, one per clip."""
    from lvcf.measure.sets import told_apart  # scikit-learn takes seconds to load

    manifest, predictions = read_manifest(run), read_predictions(run)
    if not predictions:
        raise UserError(f"{run}: no finished clip; run lvcf predict first")
    root, done = Path(manifest["data"]), [p for p in predictions if not p.failed]
    truths = find_truths(manifest, done)
    judge, no_judge = find_oracle(truths, options.oracle)
    ask = _asker(run, manifest["tolerance"]) if options.with_model else None
    others, alike = _other_run(done, options.against)
    sets, by_clip = _sets(done, options.features, judge)

    def measured(prediction: Prediction) -> Line:
        row = facts(prediction)
        if prediction.failed:
            return row
        row |= measure_clip(prediction, truths.of_clip.get(prediction.id), judge, options.lpips)
        row |= composition(row, manifest["tolerance"]) | way_back(prediction, root)
        row |= ask(prediction) if ask else {}
        row |= in_region(prediction, read_region(options.region, prediction)) if options.region else {}
        row |= by_clip.get(prediction.id, {})
        return row | ({_correlation_key(options.against): alike.get(prediction.id, math.nan)} if alike else {})

    rows = list(measure_each(measured, predictions))
    told = unfinished(manifest, len(predictions), "predict")
    metrics = summarise(rows) | ({"unfinished": told} if told else {})
    metrics |= {
        "method": manifest["method"],
        "prompt": manifest["prompt"],
        "simulated": SIMULATED in manifest["notice"],
    }
    metrics |= sets | told_apart(done) | truths.missing | no_judge | _not_measured(metrics, options)
    write_rows(run / "predictions.csv", rows)
    write_json(run / "metrics.json", metrics)
    if others:
        _write_tests(run, rows, others, options.against)
    return metrics, rows


def _asker(run: Path, tolerance: float) -> Callable[[Prediction], Line]:
    """What asks the run's own model again about a clip."""
    from lvcf.measure.model import ask_again, load_target_model  # Lightning takes seconds to load

    model = load_target_model(run)
    return lambda prediction: ask_again(prediction, model, tolerance)


def _sets(
    predictions: list[Prediction], extractors: list[str], judge: TargetModel | None
) -> tuple[dict[str, Any], dict[str, Line]]:
    """Distances between sets, for every extractor; and, by clip, from the clip to sets."""
    if not extractors:
        return dict.fromkeys(NEEDS_FEATURES, unavailable("name a network, --features")), {}
    from lvcf.measure.sets import realism  # transformers takes seconds to load

    figures, by_clip = dict[str, Any](), defaultdict[str, Line](dict)
    for text in extractors:
        found, rows = realism(predictions, text, judge)
        figures |= found
        for name, row in rows.items():
            by_clip[name] |= row
    return figures, by_clip


def _not_measured(metrics: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Why figures that need something more are not there."""
    reasons = {lpips_key(net): lpips_unavailable(net, options.lpips) for net in LPIPS_FILES}
    if not options.with_model:
        reasons |= dict.fromkeys((*TRANSITION, *VALIDITY), unavailable("ask the model again, --with-model"))
    return {key: reason for key, reason in reasons.items() if key not in metrics}


def _correlation_key(other: Path) -> str:
    return f"explanation/change_correlation[{other.resolve().name}]"


def _other_run(predictions: list[Prediction], other: Path | None) -> tuple[list[Line], dict[str, float]]:
    """The other run's rows, and how alike the two explanations of every shared clip are; nothing without a run.

    Raises:
        UserError: it was not evaluated, or shares no clip.
    """
    if other is None:
        return [], {}
    if is_steering_run(other):
        raise UserError(f"--against {other}: a run of lvcf steer; give one of lvcf predict")
    theirs, rows = read_predictions(other), read_table(other / "predictions.csv")
    if not (alike := correlations(predictions, [p for p in theirs if not p.failed])):
        raise UserError(f"--against {other}: shares no finished clip with this run; give a run over the same clips")
    return rows, alike


def _write_tests(run: Path, rows: list[Line], others: list[Line], other: Path) -> None:
    """``against_<other>.csv``, and what differs on the terminal."""
    tests = paired_tests(rows, others)
    if not tests:
        print(f"{other}: nothing to test: every figure is the same, or known of a single clip")
        return
    path = run / f"against_{other.resolve().name}.csv"
    write_rows(path, tests)
    differing = [test["metric"] for test in tests if test["p_holm"] < 1.0 - LEVEL]
    print(f"{path}: {len(tests)} metrics tested; differing: {', '.join(differing) or 'none'}")
