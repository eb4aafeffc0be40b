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
    assert [(r.name, r.value, r.error) for r in truth.rows] == [("pixel EF MAE", "5.42", "0.05")]
    assert (fidelity.rows[0].value, fidelity.rows[0].unavailable) == ("unavailable: offline", True)
    assert (general.name, general.rows[0].value) == ("measured on", "8")


def test_numbers_are_short_and_never_rounded_to_nothing() -> None:
    values = (62.03, 3.14159, 0.9123, 0.0, 0.00002, 8, True, "text")
    assert [readable(v) for v in values] == ["62.0", "3.14", "0.912", "0.000", "2.00e-05", "8", "yes", "text"]
