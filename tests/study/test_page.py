"""The page in a real browser: a rater reads, clicks, types, closes, comes back, saves; the analysis reads the file."""

from __future__ import annotations

import json
import time
from pathlib import Path

from lvcf.study.analyse import analyse
from tests.browser import PATIENCE, Page, browse
from tests.study.conftest import key_of, panel

READY = "!document.getElementById('form').disabled"
TRIALS = 8


def begin(page: Page, study: Path) -> None:
    page.window(1280, 900)
    page.open(study / "raters" / "index.html")
    page.click("#begin")
    page.wait(READY)


def shown(page: Page) -> str:
    """The name of the comparison on the screen."""
    return page.js("video.src.split('/').pop().split('.')[0]")


def is_checked(page: Page, question: str, choice: str) -> bool:
    return page.js(f"document.querySelector('[name={question}][value={choice}]').checked")


def test_a_rater_answers_leaves_comes_back_and_saves(study, tmp_path) -> None:
    """Half by mouse, half by keyboard; prefers the first run, and is right in the checks."""
    trials = key_of(study)["trials"]
    with browse(tmp_path / "profile", tmp_path) as page:
        begin(page, study)
        for number in range(1, 4):
            page.wait(f"document.querySelector('h2').textContent === 'Comparison {number} of {TRIALS}' && {READY}")
            trial = trials[shown(page)]
            choice = panel(trial, "intact" if trial["check"] else "first")
            for question in ("realism", "faithfulness", "localisation"):
                page.click(f"[name={question}][value={choice}]")
                assert is_checked(page, question, choice)
            page.click("#next")
        left = page.js("state.order.join()")
        assert page.problems == []
    with browse(tmp_path / "profile", tmp_path) as page:  # closed and opened again
        page.window(1280, 900)
        page.open(study / "raters" / "index.html")
        page.wait(READY)
        assert page.js("document.querySelector('h2').textContent") == f"Comparison 4 of {TRIALS}"
        assert page.js("state.order.join()") == left
        assert page.js("document.getElementById('count').textContent") == f"3 of {TRIALS} answered"
        for number in range(4, TRIALS + 1):
            page.wait(f"document.querySelector('h2').textContent === 'Comparison {number} of {TRIALS}' && {READY}")
            trial = trials[shown(page)]
            for _ in range(3):
                page.press(panel(trial, "intact" if trial["check"] else "first").lower())
            page.press("Enter")
        page.wait("!document.getElementById('end').hidden")
        page.click("#save")
        saved = arrived(tmp_path)
        assert page.problems == []
    content = json.loads(saved.read_text())
    assert content["study"] == key_of(study)["study"]
    assert len(content["answers"]) == TRIALS
    result = analyse(study, [saved])
    assert result["dropped"] == []
    assert [row["first"] for row in result["questions"].values()] == [1.0, 1.0, 1.0]


def arrived(folder: Path) -> Path:
    end = time.monotonic() + PATIENCE
    while not (found := list(folder.glob("answers-*.json"))):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found[0]


def test_keys_answer_go_back_pause_and_can_be_turned_off(study, tmp_path) -> None:
    with browse(tmp_path / "profile", tmp_path) as page:
        begin(page, study)
        first = shown(page)
        page.press("Enter")
        assert "answer all three" in page.js("document.getElementById('missing').textContent")
        assert shown(page) == first
        for key in "abn":
            page.press(key)
        chosen = [("realism", "A"), ("faithfulness", "B"), ("localisation", "none")]
        assert all(is_checked(page, *answer) for answer in chosen)
        assert page.js("document.activeElement.id") == "next"
        page.press("Enter")  # the button's own
        page.wait(f"video.src && !video.src.endsWith('{first}.mp4') && {READY}")
        assert not page.js("Boolean(document.querySelector('#form :checked'))")
        page.press("Backspace")
        page.wait(f"video.src.endsWith('{first}.mp4') && {READY}")
        assert all(is_checked(page, *answer) for answer in chosen)
        page.wait("!video.paused")
        page.press("p")
        assert page.js("video.paused")
        page.click("#shortcuts")
        page.press("n")
        assert is_checked(page, "realism", "A")


def test_the_three_panels_are_drawn_from_the_clip_and_scrub_in_step(study, tmp_path) -> None:
    with browse(tmp_path / "profile", tmp_path) as page:
        begin(page, study)
        page.press("p")
        for frame in (2, 0):
            page.js(f"(() => {{ const s = get('frame'); s.value = {frame}; s.dispatchEvent(new Event('input')); }})()")
            page.wait(f"get('at').textContent === 'frame {frame + 1} of 4'")
        sizes = page.js("canvases.map(c => [c.width, c.height])")
        assert sizes == [[320, 320]] * 3
        assert page.js("video.videoWidth") == 960


def test_it_fits_is_named_and_has_contrast_on_desktop_and_phone_light_and_dark(study, tmp_path) -> None:
    with browse(tmp_path / "profile", tmp_path) as page:
        page.open(study / "raters" / "index.html")
        for width, height, dark in ((1280, 900, False), (1280, 900, True), (390, 844, False), (390, 844, True)):
            page.window(width, height, dark)
            page.js("go(-1)")
            check_look(page, width)
            page.click("#begin")
            page.wait(READY)
            page.press("a")
            check_look(page, width)
            page.js("go(trials.size)")
            page.click("#save")
            check_look(page, width)
        assert page.problems == []


def check_look(page: Page, width: int) -> None:
    assert page.js("document.documentElement.scrollWidth") <= width
    contrasts = page.contrasts()
    assert len(contrasts) > 4
    assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}
    visible = "[...document.querySelectorAll('button, .choices label')].filter(e => e.checkVisibility())"
    small = page.js(f"{visible}.filter(e => e.getBoundingClientRect().height < 40).map(e => e.textContent)")
    assert small == []
    assert page.unnamed() == []


def test_a_missing_clip_is_said_and_can_not_be_answered(study, tmp_path) -> None:
    for clip in (study / "raters" / "clips").iterdir():
        clip.unlink()
    with browse(tmp_path / "profile", tmp_path) as page:
        page.window(1280, 900)
        page.open(study / "raters" / "index.html")
        page.click("#begin")
        page.wait("!document.getElementById('broken').hidden")
        page.press("a")
        assert page.js("document.getElementById('form').disabled")
        assert not page.js("Boolean(document.querySelector('#form :checked'))")


def test_another_person_on_the_same_computer_begins_anew(study, tmp_path) -> None:
    with browse(tmp_path / "profile", tmp_path) as page:
        begin(page, study)
        page.press("a")
        before = page.js("state.rater")
        page.js("go(trials.size)")
        page.click("#save")
        page.click("#fresh")
        assert page.js("!document.getElementById('intro').hidden")
        assert page.js("state.rater") != before
        assert page.js("Object.keys(state.answers).length") == 0
