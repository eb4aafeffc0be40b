"""metrics.json becomes grouped rows; a missing metric keeps its reason."""

from __future__ import annotations

from lvcf.report.metrics import metric_groups, readable


def test_groups_join_errors_and_keep_the_reason_of_what_is_missing() -> None:
    flat = {
        "n": 8,
        "truth/pixel_ef_mae": 5.418,
        "truth/pixel_ef_mae.se": 0.0512,
        "fidelity/lpips": "unavailable: offline",
    }
    truth, fidelity, general = metric_groups(flat)
    assert [(r.figure.name, r.value, r.error) for r in truth.rows] == [("pixel EF MAE", "5.42", "0.05")]
    assert (fidelity.rows[0].value, fidelity.rows[0].unavailable) == ("unavailable: offline", True)
    assert (general.name, general.rows[0].value) == ("measured on", "8")


def test_numbers_are_short_and_never_rounded_to_nothing() -> None:
    values = (62.03, 3.14159, 0.9123, 0.0, 0.00002, 8, True, "text")
    assert [readable(v) for v in values] == ["62.0", "3.14", "0.912", "0.000", "2.00e-05", "8", "yes", "text"]


def test_an_interval_takes_the_decimals_of_its_mean_and_the_clips_behind_it_are_told() -> None:
    flat = {"adherence/mae": 12.345, "adherence/mae.ci_low": 9.87, "adherence/mae.ci_high": 15.0, "adherence/mae.n": 7}
    (row,) = metric_groups(flat, "%")[0].rows
    assert (row.figure.title, row.figure.better) == ("mean absolute error (%)", "lower")
    assert (row.value, row.interval, row.clips, row.ends) == ("12.3", "9.9 to 15.0", "7", (9.87, 15.0))


def test_memory_is_shown_in_its_unit() -> None:
    flat = {"cost/peak_memory_bytes": 3.0 * 2**20, "cost/peak_memory_bytes.se": 0.5 * 2**20}
    (row,) = metric_groups(flat)[0].rows
    assert (row.figure.title, row.value, row.error) == ("peak memory (MiB)", "3.00", "0.50")
