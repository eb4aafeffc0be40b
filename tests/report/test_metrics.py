"""metrics.json becomes grouped rows; a missing metric keeps its reason."""

from __future__ import annotations

import pytest

from lvcf.report.metrics import measured, metric_groups, not_measured, readable, short


def test_groups_join_errors_and_keep_the_reason_of_what_is_missing() -> None:
    flat = {
        "n": 8,
        "truth/pixel_ef_mae": 5.418,
        "truth/pixel_ef_mae.se": 0.0512,
        "fidelity/lpips": "unavailable: offline",
    }
    fidelity, truth, general = metric_groups(flat)
    assert [(r.figure.name, r.value, r.error) for r in truth.rows] == [("pixel EF MAE", "5.42", "0.05")]
    assert (fidelity.rows[0].value, fidelity.rows[0].unavailable) == ("unavailable: offline", True)
    assert (general.name, general.rows[0].value) == ("measured on", "8")
    assert not_measured([fidelity, truth]) == {"offline": ["LPIPS"]}
    assert [group.name for group in measured([fidelity, truth, general])] == ["truth"]


def test_numbers_are_short_and_never_rounded_to_nothing() -> None:
    values = (62.03, 3.14159, 0.9123, 0.0, 0.00002, 8, True, "text")
    assert [readable(v) for v in values] == ["62.0", "3.14", "0.912", "0.000", "2.00e-05", "8", "yes", "text"]


def test_groups_come_as_a_reader_asks_whatever_the_order_of_the_file() -> None:
    names = ("cost", "truth", "explanation", "realism", "fidelity", "adherence", "own")
    groups = metric_groups({f"{name}/something": 1.5 for name in names})
    assert [group.name for group in groups] == [*reversed(names[:-1]), "own"]


@pytest.mark.parametrize(
    ("value", "low", "high", "shown"),
    [
        (12.0, 12.0, 12.0, ("12", "")),
        (0.9312, 0.912, 0.957, ("0.93", "0.91 to 0.96")),
        (0.9312, 0.929, 0.934, ("0.931", "0.929 to 0.934")),
        (2560.4, 2550.2, 2570.9, ("2560", "2550 to 2571")),
        (1.0, 0.51, 1.0, ("1.00", "0.51 to 1.00")),
    ],
)
def test_digits_are_those_that_the_interval_leaves(value, low, high, shown) -> None:
    (row,) = metric_groups({"a/b": value, "a/b.ci_low": low, "a/b.ci_high": high})[0].rows
    assert (row.value, row.interval) == shown


@pytest.mark.parametrize("behind", [{"n": 1}, {"n": 8, "a/b.n": 1}])
def test_one_clip_has_no_interval(behind) -> None:
    (row,) = metric_groups({"a/b": 1.0, "a/b.ci_low": 0.21, "a/b.ci_high": 1.0, **behind})[0].rows
    assert (row.interval, row.ends) == ("", None)


def test_a_target_has_no_needless_decimals() -> None:
    assert [short(value) for value in (47.8698, 30.0, 0.25, 112.0, 3.456, -5.0)] == [
        *("47.9", "30", "0.25", "112", "3.46", "-5"),
    ]


def test_an_interval_takes_the_decimals_of_its_mean_and_the_clips_behind_it_are_told() -> None:
    flat = {"adherence/mae": 12.345, "adherence/mae.ci_low": 9.87, "adherence/mae.ci_high": 15.0, "adherence/mae.n": 7}
    (row,) = metric_groups(flat, "%")[0].rows
    assert (row.figure.title, row.figure.better) == ("mean absolute error (%)", "lower")
    assert (row.value, row.interval, row.clips, row.ends) == ("12", "10 to 15", "7", (9.87, 15.0))


def test_memory_is_shown_in_its_unit() -> None:
    flat = {"cost/peak_memory_bytes": 3.0 * 2**20, "cost/peak_memory_bytes.se": 0.5 * 2**20}
    (row,) = metric_groups(flat)[0].rows
    assert (row.figure.title, row.value, row.error) == ("peak memory (MiB)", "3.00", "0.50")
