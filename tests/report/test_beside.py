"""Two runs of the same clips on one page: matched by id, what only one has is said, all panels in step."""

from __future__ import annotations

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from lvcf.cli import main
from lvcf.cli.report import write_report
from lvcf.report import run_page
from tests.browser import browse
from tests.report.test_browser import check_looks

NAME = "other-run"


@pytest.fixture
def other(run_folder: Path) -> Path:
    """The same clips by another method, but for one that has another name."""
    run = Path(shutil.copytree(run_folder, run_folder.parent / NAME))
    manifest = json.loads((run / "manifest.json").read_text())
    ids = ["echo_0099" if name == "echo_0002" else name for name in manifest["ids"]]
    (run / "manifest.json").write_text(json.dumps(manifest | {"ids": ids, "method": "SG + last correction"}))
    (run / "predictions" / "echo_0002").rename(run / "predictions" / "echo_0099")
    for name, change in (("echo_0099", {"id": "echo_0099"}), ("echo_0007", {"prediction_after": 41.7})):
        path = run / "predictions" / name / "result.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
    return run


def articles(page: str) -> dict[str, str]:
    """The page's cards by the clip's name."""
    return {re.findall("<bdi>(.*?)</bdi>", card)[0]: card for card in re.findall("<article.*?</article>", page, re.S)}


def test_clips_are_matched_by_id_and_what_one_run_alone_has_is_said(run_folder: Path, other: Path) -> None:
    page = write_report(run_folder, other).read_text(encoding="utf-8")
    cards = articles(page)
    shared, alone = cards["echo_0007"], cards["echo_0002"]
    assert shared.count("<video") == 2
    assert "62.7 → 41.7 %, target 30 %" in shared
    assert "41.7" not in alone
    assert alone.count("<video") == 1
    assert f'{NAME}: <span class="quiet">has no such clip.</span>' in alone
    (failed,) = (card for name, card in cards.items() if name not in ("echo_0007", "echo_0002"))
    assert failed.count("<video") == 0
    assert f'{NAME}: <span class="badge failed">' in failed
    assert f"Clips that {NAME} alone has: echo_0099." in page
    assert "last correction" in page.split('<div id="list">')[0].split('id="clips"')[1]


def test_a_page_without_another_run_says_nothing_of_one(run_folder: Path) -> None:
    page = write_report(run_folder).read_text(encoding="utf-8")
    assert "has no such clip" not in page
    assert not re.search("<video[^>]*data-title", page)


def test_linked_videos_lead_to_the_other_folder(run_folder: Path, other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_page, "EMBEDDED", 0)
    page = write_report(run_folder, other).read_text(encoding="utf-8")
    found = re.findall('(?:src|poster)="([^"]+)"', articles(page)["echo_0007"])
    assert len(found) == 4
    assert all((run_folder / one).is_file() for one in found)
    places = {Path(os.path.normpath(run_folder / one)).parents[2].name for one in found}
    assert places == {run_folder.name, NAME}


def test_what_is_no_other_run_is_told(
    run_folder: Path, other: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = json.loads((other / "manifest.json").read_text())
    for name in manifest["ids"]:
        if name != "echo_0099":
            shutil.rmtree(other / "predictions" / name)
    for beside, told in (
        (run_folder, "is the run that the page is about"),
        (other, "has no clip of"),
        (tmp_path / "nothing", "nothing"),
    ):
        assert main(["report", str(run_folder), "--beside", str(beside)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert told in line
    assert main(["report", str(run_folder), str(other)]) == 2
    assert f"lvcf report {run_folder} --beside {other}" in capsys.readouterr().err


def test_both_runs_panels_are_on_the_same_frame(run_folder: Path, tmp_path: Path) -> None:
    """The same run twice: whatever frame is sought, the tiles of one row are those of the other."""
    copied = Path(shutil.copytree(run_folder, tmp_path / "copy"))
    with browse(tmp_path / "profile", tmp_path) as page:
        page.window(1280, 900)
        page.open(write_report(run_folder, copied))
        player = "[...document.querySelectorAll('.player')].at(-1)"
        page.js(f"{player}.scrollIntoView()")
        page.wait(f"/frame/.test({player}.querySelector('output').textContent)")
        assert page.js(f"[...{player}.querySelectorAll('h4')].map(e => e.textContent)") == [run_folder.name, "copy"]
        page.js(f"{player}.querySelector('.play').click()")
        shots = []
        for frame in (3, 11):
            slider = f"{player}.querySelector('[type=range]')"
            page.js(f"{slider}.value = {frame}; {slider}.dispatchEvent(new Event('input'))")
            page.wait(f"{player}.querySelector('output').textContent.startsWith('frame {frame + 1} of 16')")
            tiles = page.js(f"[...{player}.querySelectorAll('canvas')].map(c => c.toDataURL())")
            assert len(tiles) == 8
            assert tiles[:4] == tiles[4:]
            shots.append(tiles)
        assert shots[0][1] != shots[1][1]
        check_looks(page, run_folder / "report.html")
