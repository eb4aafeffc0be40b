"""A run's results as tables (pandas), from Python."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lvcf.runs.folder import is_steering_run, read_manifest, read_predictions, read_table

FACTS = ("id", "status", "hint", "method", "prediction_before", "prediction_after", "class_before", "class_after")


def load_run(run: str | Path) -> pd.DataFrame:
    """One row per clip: what was asked, what M said before and after, how it went.

    Raises:
        UserError: the folder is no run, or damaged.
    """
    read_manifest(Path(run))  # says what is missing
    results = [prediction.result for prediction in read_predictions(Path(run))]
    facts = [{name: result.get(name) for name in FACTS} for result in results]
    targets = [{"target": (result.get("target") or {}).get("text")} for result in results]
    return pd.DataFrame([fact | target for fact, target in zip(facts, targets, strict=True)])


def evaluate(run: str | Path, *options: str) -> pd.DataFrame:
    """Measure a run as ``lvcf evaluate`` does; the tidy table: clip, target, method, key, value.

    Keys are those of ``metrics.json``, of adherence those of :func:`lvcf.measure.table.adherence`; of a steering run
    the target is the intervention.

    Args:
        run: a folder that ``lvcf predict``, ``lvcf steer`` or ``Explanation.save`` wrote.
        options: of ``lvcf evaluate``, such as ``"--with-model"``.

    Raises:
        UserError: the folder is no run, or an option is none.
    """
    from lvcf.cli.evaluate import main  # torchmetrics takes seconds to load
    from lvcf.measure.table import tidy
    from lvcf.steering import figures

    folder = Path(run)
    main([str(folder), *options])
    if is_steering_run(folder):
        return figures.tidy(figures.lines_of(folder))
    table = tidy(read_table(folder / "predictions.csv"), read_manifest(folder)["method"])
    return table.dropna(subset="value").reset_index(drop=True)
