"""CI installs what the tests need, runs all of them, and takes a skipped test for a failed one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests import browser
from tests.helpers import ROOT

SKIPS = {
    "in the test": "def test_it():\n    pytest.skip('no browser')",
    "of an import": "def test_it():\n    pytest.importorskip('nowhere', reason='no browser')",
    "by a mark": "@pytest.mark.skipif(True, reason='no browser')\ndef test_it():\n    pass",
    "in a fixture": "@pytest.fixture\ndef page():\n    pytest.skip('no browser')\n\n\ndef test_it(page):\n    pass",
    "of a whole file": "pytest.importorskip('nowhere', reason='no browser')\n\n\ndef test_it():\n    pass",
    "by unittest": "def test_it():\n    raise unittest.SkipTest('no browser')",
}


def run_tests(folder: Path, source: str, no_skips: str) -> subprocess.CompletedProcess[str]:
    """pytest on one file, beside a test that passes."""
    (folder / "test_made.py").write_text(f"import unittest\nimport pytest\n\n\n{source}\n")
    (folder / "test_other.py").write_text("def test_other():\n    pass\n")
    (folder / "pytest.ini").write_text("[pytest]\n")
    shutil.copy(ROOT / "tests" / "skips.py", folder / "conftest.py")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=folder,
        env={**os.environ, "LVCF_NO_SKIPS": no_skips},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("case", SKIPS)
def test_a_skipped_test_fails_in_ci(case, tmp_path) -> None:
    done = run_tests(tmp_path, SKIPS[case], "1")
    assert done.returncode in (1, 2), done.stdout
    assert "no browser" in done.stdout
    assert "skipped where nothing may be (LVCF_NO_SKIPS=1)" in done.stdout
    elsewhere = run_tests(tmp_path, SKIPS[case], "")
    assert elsewhere.returncode == 0, elsewhere.stdout
    assert "1 passed, 1 skipped" in elsewhere.stdout


def test_what_no_installation_brings_stays_a_skip(tmp_path) -> None:
    done = run_tests(tmp_path, "def test_it():\n    pytest.skip('needs a CUDA GPU')", "1")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 skipped" in done.stdout


def test_a_test_that_is_known_to_fail_is_no_skip(tmp_path) -> None:
    done = run_tests(tmp_path, "@pytest.mark.xfail\ndef test_it():\n    raise OSError", "1")
    assert done.returncode == 0, done.stdout
    assert "1 passed, 1 xfailed" in done.stdout


def test_the_projects_own_tests_are_judged_so(request) -> None:
    assert request.config.pluginmanager.hasplugin("tests.skips")


@pytest.fixture
def bare(tmp_path):
    """Runs .ci/run on a machine that has nothing but these commands; each call is written down."""
    tools, calls = tmp_path / "bin", tmp_path / "calls"
    tools.mkdir()
    for name in ("bash", "dirname"):
        (tools / name).symlink_to(shutil.which(name))

    def command(name: str, code: str = "") -> None:
        path = tools / name
        path.write_text(f'#!/bin/bash\necho "{name} $*${{LVCF_NO_SKIPS:+ without skips}}" >>{calls}\n{code}\n')
        path.chmod(0o755)

    def run(user: str = "0", make: str = "", **commands: str) -> tuple[subprocess.CompletedProcess[str], list[str]]:
        (tools / "id").write_text(f"#!/bin/bash\necho {user}\n")
        (tools / "id").chmod(0o755)
        command("make", make)
        for name, code in commands.items():
            command(name.replace("_", "-"), code)
        done = subprocess.run(
            ["bash", str(ROOT / ".ci" / "run")], env={"PATH": str(tools)}, capture_output=True, text=True, check=False
        )
        return done, calls.read_text().splitlines()

    return run


MADE = ["make test without skips", "make test-slow without skips", "make lint without skips"]


def test_ci_installs_a_browser_and_runs_the_slow_tests_too(bare) -> None:
    done, calls = bare(apt_get="")
    assert done.returncode == 0, done.stderr
    installs = [call for call in calls if call.startswith("apt-get")]
    assert [call.split()[1] for call in installs] == ["update", "install"]
    assert "chromium" in installs[1].split()
    assert calls[2:] == MADE


def test_ci_leaves_a_browser_that_is_there_alone(bare) -> None:
    done, calls = bare(apt_get="", chromium="")
    assert (done.returncode, calls) == (0, MADE)


@pytest.mark.parametrize("commands", [{"user": "1000", "apt_get": ""}, {}], ids=["not root", "no apt-get"])
def test_ci_says_where_no_browser_can_be_installed(bare, commands) -> None:
    done, calls = bare(**commands)
    assert calls == MADE  # the browser's tests fail then
    assert "Chromium" in done.stderr


@pytest.mark.parametrize("target", ["test", "test-slow", "lint"])
def test_ci_fails_where_a_part_of_it_fails(bare, target) -> None:
    done, calls = bare(chromium="", make=f'[ "$1" != {target} ]')
    assert done.returncode != 0
    assert calls[-1] == f"make {target} without skips"


def stub(folder: Path, code: str) -> None:
    (folder / "chromium").write_text(f"#!/bin/bash\n{code}\n")
    (folder / "chromium").chmod(0o755)


def test_the_browser_asks_for_nothing_and_starts_on_an_empty_profile(tmp_path, monkeypatch) -> None:
    stub(tmp_path, f'printf "%s\\n" "$@" >{tmp_path}/arguments; ls {tmp_path}/profile >{tmp_path}/before 2>&1')
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(AssertionError, match="the browser is gone"), browser.browse(tmp_path / "profile", tmp_path):
        pass
    arguments = (tmp_path / "arguments").read_text().split()
    network = {"--disable-quic", "--disable-background-networking", "--disable-component-update", "--disable-sync"}
    assert {"--headless", "--no-sandbox", *network} <= set(arguments)
    assert f"--user-data-dir={tmp_path / 'profile'}" in arguments
    assert "No such file" in (tmp_path / "before").read_text()


def test_a_browser_that_does_not_answer_fails_its_test_in_time(tmp_path, monkeypatch) -> None:
    stub(tmp_path, "exec sleep 20")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.setattr(browser, "PATIENCE", 0.2)
    with pytest.raises(AssertionError, match="no answer"), browser.browse(tmp_path / "profile", tmp_path):
        pass


def test_make_lets_python_keep_what_it_compiled(tmp_path, monkeypatch) -> None:
    """Else every start of lvcf in the tests compiles torch and diffusers again: CI would not end in its time."""
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    (tmp_path / "print.mk").write_text("print:\n\t@env\n")
    command = ["make", "-f", "Makefile", "-f", tmp_path / "print.mk", "print"]
    done = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True)
    assert "PYTHONDONTWRITEBYTECODE" not in done.stdout
