"""The columns and rows of a table of methods: where figures stand, and how two methods are compared in one."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lvcf.measure.names import (
    CONFIDENCE_BEFORE,
    ERROR,
    ERROR_BEFORE,
    FIGURES,
    FLIPPED,
    FLIPPED_FROM_RIGHT,
    HIGHER,
    LOWER,
    SQUARED_ERROR,
    SSIM_OFF,
    WITHIN,
    WITHIN_BEFORE,
)

if TYPE_CHECKING:  # it takes a second to load
    import pandas as pd

COLUMNS = {
    "R2": "adherence/r2",
    "MAE": "adherence/mae",
    "MAE before correction": "adherence/mae_before_correction",
    "RMSE": "adherence/rmse",
    "within": "adherence/within_tolerance",
    "within before correction": "adherence/within_tolerance_before_correction",
    "flip rate": "adherence/flip_rate",
    "flip, was right": "adherence/flip_rate_from_right",
    "confidence": "adherence/confidence",
    "confidence before correction": "adherence/confidence_before_correction",
    "SSIM": "fidelity/ssim",
    "SSIM of truth": "truth/ssim_of_truth",
    "LPIPS": "fidelity/lpips",
    "FID": "realism/fid",
    "FID floor": "realism/fid_floor",
    "FVD": "realism/fvd",
    "FVD floor": "realism/fvd_floor",
    "share, smooth": "truth/share_recovered_smooth",
    "share, raw": "truth/share_recovered_raw",
    "pixel EF off": "truth/pixel_ef_error",
    "pixel EF r": "truth/pixel_ef_r",
    "oracle EF off": "truth/oracle_ef_error",
    "pixel class": "truth/pixel_class",
    "pixel class of truth": "truth/pixel_class_of_truth",
    "oracle class": "truth/oracle_class",
    "ruler off": "truth/ruler_error",
    "off manifold": "plausible/off_manifold",
    "on manifold": "plausible/on_manifold",
    "strict class": "plausible/strict_class",
    "sharpness": "plausible/sharpness",
    "told apart": "plausible/two_sample",
    "mask IoU": "truth/mask_iou",
    "EDV leak %": "leakage/edv_percent",
    "L1": "truth/l1_levels",
    "back SSIM": "reversibility/ssim",
    "back L1": "reversibility/l1_levels",
    "steps": "cost/steps",
    "gradients": "cost/gradient_evaluations",
    "queries": "cost/queries",
    "s/clip": "cost/seconds",
}
"""Table headings and the metrics behind them; a metric may go on in brackets, as ``realism/fid[...]`` does."""
COMPARED = {
    "R2": (SQUARED_ERROR, "squared error"),
    "MAE": (ERROR, "error"),
    "MAE before correction": (ERROR_BEFORE, "error before the last correction"),
    "RMSE": (SQUARED_ERROR, "squared error"),
    "within": (WITHIN, "reached"),
    "flip rate": (FLIPPED, "flipped"),
    "flip, was right": (FLIPPED_FROM_RIGHT, "flipped"),
    "within before correction": (WITHIN_BEFORE, "reached before the last correction"),
    "confidence before correction": (CONFIDENCE_BEFORE, "confidence before the last correction"),
}
"""Of a column what is compared clip by clip: a key of the tidy table, and words; else the column's own key."""
SIGNS = {HIGHER: 1, LOWER: -1}


@dataclass(frozen=True)
class Compared:
    """How two methods are compared in one column.

    Attributes:
        key: of the tidy table.
        what: the figure of one clip that is compared, in words.
        sign: 1 if higher is better, -1 if lower.
    """

    key: str
    what: str
    sign: int


def compared(heading: str, truth_known: bool) -> Compared | None:
    """How to compare a column; None where neither end is better, and of costs and of figures of networks.

    Args:
        heading: of a table.
        truth_known: whether the true counterfactuals are; SSIM is then judged by its distance to theirs.
    """
    if heading not in COLUMNS or COLUMNS[heading].startswith("cost/"):
        return None
    key, what = COMPARED.get(heading, (COLUMNS[heading], heading))
    if heading == "SSIM" and truth_known:
        key, what = SSIM_OFF, "distance to the truth's SSIM"
    better = FIGURES[key].better
    return Compared(key, what, SIGNS[better]) if better else None


@dataclass(frozen=True)
class Result:
    """One row of a table of methods.

    Attributes:
        method: its name.
        metrics: flat, as in ``metrics.json``; empty if it failed.
        table: tidy, its clips' figures; None where these are not known.
        control: shown for orientation; never best.
        problem: why there are no figures.
        paper: a published row's source, such as ``Table 1``; empty of a measured row.
        note: on a published row, what does not cohere in it.
    """

    method: str
    metrics: dict[str, Any]
    table: pd.DataFrame | None = None
    control: bool = False
    problem: str = ""
    paper: str = ""
    note: str = ""

    @property
    def kind(self) -> str:
        """paper, failed, control or method."""
        if self.paper or self.problem:
            return "paper" if self.paper else "failed"
        return "control" if self.control else "method"


def headings_of(metrics: Iterable[dict[str, Any]]) -> dict[str, str]:
    """:data:`COLUMNS`, with one heading per network where a metric's key names one: ``FID [NETWORK]``.

    Args:
        metrics: the rows' flat metrics.

    Returns:
        Headings, each with the key, or with the beginning of the key up to a comma, for :func:`figure_of`.
    """
    found = [key for row in metrics for key in row]
    headings = {}
    for heading, key in COLUMNS.items():
        networks = [name[len(key) + 1 :].split(",")[0] for name in found if name.startswith(f"{key}[")]
        if not networks:
            headings[heading] = key
        for network in dict.fromkeys(networks):
            headings[f"{heading} [{network}]"] = f"{key}[{network},"
    return headings


def figure_of(metrics: dict[str, Any], key: str, suffix: str = "") -> Any:
    """A figure, or with a suffix its error or an end of its interval; None if it is not there."""
    whole = key if not key.endswith(",") else next((name for name in metrics if name.startswith(key)), key)
    return metrics.get(f"{whole}{suffix}")


def shown(row: dict[str, Any], heading: str) -> str:
    """A table entry: the figure with its standard error, at as many digits as its size asks for."""
    value, error = row.get(heading), row.get(f"{heading} se")
    if not isinstance(value, float):
        return str(row[heading]) if heading in ("method", "n") else "–"
    digits = 3 if abs(value) < 2 else 2 if abs(value) < 20 else 1
    return f"{value:.{digits}f}" + (f" ± {error:.{digits}f}" if isinstance(error, float) else "")


def table_row(result: Result, headings: dict[str, str]) -> dict[str, Any]:
    """A line of ``table.csv``: every figure with standard error and interval under the table's headings."""
    row: dict[str, Any] = {"method": result.method, "kind": result.kind, "n": result.metrics.get("n", "")}
    row |= {"failed clips": result.metrics.get("failed", ""), "problem": result.problem}
    for heading, key in headings.items():
        row[heading] = figure_of(result.metrics, key)
        for name, suffix in (("se", ".se"), ("low", ".ci_low"), ("high", ".ci_high")):
            row[f"{heading} {name}"] = figure_of(result.metrics, key, suffix)
    return row
