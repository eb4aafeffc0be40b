"""Serving: only this computer, only what was given, one line where it cannot."""

from __future__ import annotations

import socket
import sys

import pytest

from lvcf.app.serve import HOST, free_port
from lvcf.cli import main


def test_a_port_that_is_taken_is_told_and_none_finds_another() -> None:
    with socket.socket() as one:
        one.bind((HOST, 0))
        one.listen()
        taken = one.getsockname()[1]
        assert main(["app", "--port", str(taken)]) == 2
    assert free_port(0) > 0


@pytest.mark.parametrize("port", ["-1", "70000"])
def test_a_port_that_is_none_is_told(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["app", f"--port={port}"]) == 2
    assert f"--port {port}: taken, or not allowed" in capsys.readouterr().err


def test_without_gradio_the_fix_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in [name for name in sys.modules if name.partition(".")[0] == "gradio" or name == "lvcf.app.page"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert main(["app", "--port", "0"]) == 2
    assert capsys.readouterr().err == "lvcf app: lvcf app needs Gradio, which is an extra: pip install 'lvcf[app]'\n"
