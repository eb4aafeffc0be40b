"""With ``LVCF_NO_SKIPS=1``, as .ci/run sets it, a skipped test is a failed one: what can be installed runs there."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

MAY_SKIP = ("needs a CUDA GPU",)
"""Reasons that stay skips: of what no installation brings."""


def _judge(report: pytest.TestReport | pytest.CollectReport) -> None:
    if os.environ.get("LVCF_NO_SKIPS") != "1" or not report.skipped or hasattr(report, "wasxfail"):
        return
    path, line, reason = report.longrepr
    reason = reason.removeprefix("Skipped: ")
    if reason not in MAY_SKIP:
        report.outcome = "failed"
        report.longrepr = f"{path}:{line}: skipped where nothing may be (LVCF_NO_SKIPS=1): {reason}"


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _judge(report)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _judge(report)
    return report
