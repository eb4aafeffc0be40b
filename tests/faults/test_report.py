"""A page of many clips: its videos are linked, and neither page nor memory grows with them."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

from lvcf.cli.report import write_report
from lvcf.report import run_page
from tests.browser import browse
from tests.report.conftest import rendered_run

__all__ = ["rendered_run"]  # a fixture


def many(run: Path, to: Path, clips: int, name: str = "clip {}") -> Path:
    """A run with copies of one clip."""
    (to / "predictions").mkdir(parents=True)
    names = [name.format(i) for i in range(clips)]
    result = json.loads((run / "predictions" / "echo_0007" / "result.json").read_text())
    for one in names:
        folder = shutil.copytree(run / "predictions" / "echo_0007", to / "predictions" / one)
        (folder / "result.json").write_text(json.dumps(result | {"id": one}))
    manifest = json.loads((run / "manifest.json").read_text())
    (to / "manifest.json").write_text(json.dumps(manifest | {"ids": names}))
    return to


def addresses(page: str) -> list[str]:
    found = re.findall(r'<video [^>]*poster="([^"]*)" src="([^"]*)"', page)
    return [html.unescape(address) for pair in found for address in pair]


def test_above_a_number_of_clips_a_page_links_its_videos(rendered_run: Path, tmp_path: Path, monkeypatch) -> None:
    assert 10 < run_page.EMBEDDED < 100
    monkeypatch.setattr(run_page, "EMBEDDED", 2)
    few = write_report(many(rendered_run, tmp_path / "few", 2)).read_text()
    assert len(addresses(few)) == 4
    assert all(address.startswith("data:") for address in addresses(few))
    run = many(rendered_run, tmp_path / "run", 3, "a#b %41 {}")
    page = write_report(run).read_text()
    found = addresses(page)
    assert len(found) == 2 * 3
    assert all((run / unquote(address)).is_file() for address in found)
    assert found[0].startswith("predictions/a%23b%20%2541%20")
    assert len(page) < len(few) / 4
    assert "The videos stay in the run's folder" in page
    assert "media-src 'self' file:; img-src data: 'self' file:\"" in html.unescape(page)
    assert "3 of 3 clips reached" in page
    with browse(tmp_path / "profile", tmp_path) as tab:
        tab.window(1280, 900)
        tab.open(run / "report.html")
        tab.js("document.querySelector('.player').scrollIntoView()")
        tab.wait("/frame/.test(document.querySelector('.player output').textContent)")
        assert tab.js("document.querySelector('.player .panel img').src").endswith("poster.jpg")
        assert tab.problems == []


def test_a_page_that_fails_leaves_the_old_one_and_no_part(rendered_run: Path, tmp_path: Path) -> None:
    run = many(rendered_run, tmp_path / "run", 2)
    old = write_report(run).read_bytes()
    (run / "predictions" / "clip 1" / "panel.mp4").write_bytes(b"no video")
    with pytest.raises(Exception, match=r"panel\.mp4"):
        write_report(run)
    assert (run / "report.html").read_bytes() == old
    assert sorted(path.name for path in run.iterdir()) == ["manifest.json", "predictions", "report.html"]


@pytest.mark.slow
def test_three_hundred_clips_take_little_room(rendered_run: Path, tmp_path: Path) -> None:
    run = many(rendered_run, tmp_path / "run", 300)
    code = (  # not ru_maxrss, which a process inherits from the one that starts it
        "import sys, lvcf.cli.report; lvcf.cli.report.main(sys.argv[1:]); "
        "print(next(row.split()[1] for row in open('/proc/self/status') if row.startswith('VmHWM')))"
    )
    done = subprocess.run([sys.executable, "-c", code, str(run)], check=True, capture_output=True, text=True)
    most = int(done.stdout.splitlines()[-1])  # kB
    assert (run / "report.html").stat().st_size < 20e6
    assert most * 1024 < 500e6
