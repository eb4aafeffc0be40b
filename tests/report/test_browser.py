"""The pages in a real browser: sorting, filtering, panels in step, keys, looks at both widths in both themes, print."""

from __future__ import annotations

import base64
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from lvcf.cli.report import write_report
from lvcf.data.video import read_video
from lvcf.study.analyse import analyse
from tests.browser import Page, browse
from tests.report.conftest import FRAMES, level
from tests.study.conftest import answer, made_runs, made_study, study

__all__ = ["made_runs", "made_study", "study"]  # fixtures

LOOKS = [(1280, False), (1280, True), (390, False), (390, True)]
VISIBLE_CLIPS = (
    "[...document.querySelectorAll('article')].filter(e => !e.hidden).map(e => e.querySelector('h3').innerText)"
)
ROWS = "[...document.querySelectorAll('#rows tr')].filter(e => !e.hidden).map(e => e.cells[0].firstChild.data.trim())"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browse(tmp_path / "profile", tmp_path) as tab:
        tab.window(1280, 900)
        yield tab


def choose(page: Page, form: str, name: str, value: str) -> None:
    """Give a field a value as a user does: the page hears of it."""
    field = f"document.querySelector({json.dumps(form)}).elements[{json.dumps(name)}]"
    page.js(
        f"{field}.value = {json.dumps(value)}; for (const e of ['input', 'change']) {field}.dispatchEvent(new Event(e))"
    )


def screenshot(page: Page) -> NDArray[np.uint8]:
    """The whole page in grey."""
    answer = page.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(answer["data"]))).convert("L"))


def check_looks(page: Page, path: Path) -> None:
    """Nothing but files is asked for; no text is faint, no control nameless or tiny, no page wider than the window."""
    page.requests.clear()
    page.open(path)
    for width, dark in LOOKS:
        page.window(width, 900, dark)
        assert page.js("document.documentElement.scrollWidth") <= width
        contrasts = page.contrasts()
        assert len(contrasts) > 20
        assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}
        visible = "[...document.querySelectorAll('button, select, input')].filter(e => e.checkVisibility())"
        assert min(page.js(f"{visible}.map(e => (e.closest('label') ?? e).getBoundingClientRect().height)")) >= 24
    assert page.unnamed() == []
    words = "[...document.querySelectorAll('img, svg')].map(e => e.alt || e.getAttribute('aria-label'))"
    assert None not in page.js(words)
    assert page.requests
    assert {url.partition(":")[0] for url in page.requests} <= {"file", "data"}
    assert page.problems == []


def test_a_run_is_sorted_and_filtered_by_status_and_by_figure(run_folder: Path, page: Page) -> None:
    page.open(write_report(run_folder))
    nasty, low, high = page.js(VISIBLE_CLIPS)
    assert (low, high) == ("echo_0002", "echo_0007")
    page.click("[data-status=reached]:is(button)")
    assert page.js(VISIBLE_CLIPS) == [high]
    assert page.js("document.querySelector('.tools output').textContent") == "1 of 3 shown"
    page.click("[type=reset]")
    page.wait("document.querySelector('.tools output').textContent === '3 of 3 shown'")
    choose(page, ".tools", "figure", "fidelity/ssim")
    assert page.js(VISIBLE_CLIPS) == [low, high, nasty]  # 0.84, 0.91, unknown
    assert page.js("document.querySelector('article .sorted').textContent") == "SSIM: 0.84"
    page.click("[name=order]")
    assert page.js(VISIBLE_CLIPS) == [high, low, nasty]  # what is unknown stays last
    choose(page, ".tools", "high", "0.9")
    assert page.js(VISIBLE_CLIPS) == [low]
    choose(page, ".tools", "figure", "truth/pixel_ef_error")
    assert page.js(VISIBLE_CLIPS)[0] == high  # the only one that has it; the bounds are empty again
    assert page.problems == []


def test_a_runs_panels_and_its_playhead_follow_the_slider(run_folder: Path, page: Page) -> None:
    page.open(write_report(run_folder))
    page.js("document.querySelector('.player').scrollIntoView()")
    page.wait("/frame/.test(document.querySelector('.player output').textContent)")
    page.click(".player .play")
    assert page.js("document.querySelectorAll('.player')[0].querySelectorAll('canvas').length") == 4
    slider = "document.querySelector('.player [type=range]')"
    page.js(f"{slider}.value = 3; {slider}.dispatchEvent(new Event('input')); {slider}.focus()")
    page.wait("document.querySelector('.player output').textContent.startsWith('frame 4 of 16')")
    page.press("ArrowRight")
    after = 4
    page.wait(f"document.querySelector('.player output').textContent.startsWith('frame {after + 1} of 16')")
    head = "document.querySelector('.playhead')"
    at, left, right = page.js(f"(h => [h.getAttribute('x1'), h.dataset.left, h.dataset.right].map(Number))({head})")
    assert (at - left) / (right - left) == pytest.approx(after / 15, abs=1e-6)
    assert page.js(f"{slider}.getAttribute('aria-valuetext')") == "frame 5 of 16, 0.50 seconds"


def test_the_poster_is_on_the_tiles_before_the_video_and_alone_in_print(run_folder: Path, page: Page) -> None:
    path = write_report(run_folder)
    text = path.read_text(encoding="utf-8")
    path.write_text(re.sub(r"data:video/mp4;base64,[^\"]+", "data:video/mp4;base64,", text), encoding="utf-8")
    page.window(1280, 300)
    page.open(path)
    boxes = page.js(
        "[...[...document.querySelectorAll('.player')].at(-1).querySelectorAll('canvas')]"
        ".map(c => c.getBoundingClientRect())"
        ".map(b => [b.x + scrollX, b.y + scrollY, b.width, b.height].map(Math.round))"
    )
    factual = read_video(run_folder / "predictions" / "echo_0007" / "factual.mkv").frames
    shot = screenshot(page)
    assert len(boxes) == 4
    tiles = [shot[y : y + h, x : x + w] for x, y, w, h in boxes]
    drawn = np.asarray(Image.fromarray(tiles[0]).resize((112, 112)), dtype=np.float32)
    likeness = [np.corrcoef(drawn.ravel(), frame[..., 0].astype(np.float32).ravel())[0, 1] for frame in factual]
    assert max(likeness) > 0.95  # one of the clip's frames, in its place
    assert min(tile.std() for tile in tiles) > 5
    page.call("Emulation.setEmulatedMedia", media="print")
    assert page.js("document.querySelectorAll('.panel video').length") == 0  # no bar over the picture
    assert page.js("[...document.querySelectorAll('.panel img')].every(e => e.checkVisibility() && e.naturalWidth > 0)")


def test_not_drawable_clips_are_filtered_by_their_own_button(run_folder: Path, page: Page) -> None:
    path = run_folder / "predictions" / "echo_0002" / "result.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(result | {"status": "not_drawable"}), encoding="utf-8")
    page.open(write_report(run_folder))
    page.click("[data-status=not_drawable]:is(button)")
    assert page.js(VISIBLE_CLIPS) == ["echo_0002"]
    amber = page.js("getComputedStyle(document.querySelector('.badge.not_drawable')).color")
    assert amber == page.js(
        "(e => (e.className = 'badge not_reached', document.body.append(e), getComputedStyle(e).color))"
        "(document.createElement('span'))"
    )


def greys(page: Page) -> list[int]:
    """The grey in the middle of every canvas of the viewer, as it is on the screen."""
    boxes = "[...document.querySelectorAll('#viewer canvas')].map(c => c.getBoundingClientRect())"
    middles = page.js(f"{boxes}.map(b => [scrollX + b.x + b.width / 2, scrollY + b.y + b.height / 2])")
    shot = screenshot(page)
    return [int(shot[int(y), int(x)]) for x, y in middles]


def test_an_ablations_methods_show_the_same_frame_whatever_is_sought(ablation: Path, page: Page) -> None:
    page.open(write_report(ablation))
    ready = "document.querySelector('#viewer output').textContent.startsWith('frame {}')"
    page.wait("/frame/.test(document.querySelector('#viewer output').textContent)")
    page.click("#viewer .play")
    frame = "document.querySelector('#viewer [type=range]')"
    for wanted in (0, FRAMES - 1, 2):
        page.js(f"{frame}.value = {wanted}; {frame}.dispatchEvent(new Event('input'))")
        page.wait(ready.format(f"{wanted + 1} of {FRAMES}"))
        # factual and three methods' counterfactuals and differences: what moved by 0, 20 and 40 levels
        factual, nothing, _, without, _, full, _ = greys(page)
        found = (factual, nothing, without, full)
        assert found == pytest.approx([level(wanted, brighter) for brighter in (0, 0, 20, 40)], abs=6)
    assert page.problems == []


def test_an_ablations_clips_are_chosen_sorted_and_filtered(ablation: Path, page: Page) -> None:
    page.open(write_report(ablation))
    found = "[...document.querySelectorAll('#matrix tbody tr')].map(r => r.dataset.id)"
    assert page.js(found) == ["clip_a", "clip_b"]
    page.click("[data-status=failed]:is(#choices button)")
    assert page.js(found) == ["clip_b"]
    assert page.js("document.getElementById('clip').textContent") == "clip_b"
    page.wait("document.getElementById('viewer').textContent.includes('Truncated; copy it again.')")
    page.click("[data-status='']:is(#choices button)")
    page.js("document.querySelector('#matrix thead tr').cells[3].querySelector('button').focus()")
    page.press("Enter")  # by the last method's figure; the focus stays with the heading
    assert page.js("document.activeElement.closest('th').ariaSort") == "ascending"
    choose(
        page,
        "#choices",
        "figure",
        str(page.js("[...document.querySelector('#choices').figure.options].findIndex(o => o.text === 'SSIM')")),
    )
    assert page.js(found) == ["clip_b", "clip_a"]
    page.click("#choices [value='0']")
    assert page.js("document.querySelector('#matrix thead tr').cells.length") == 3
    page.click("#next")
    assert page.js("document.getElementById('clip').textContent") == "clip_a"


def test_an_ablations_rows_are_sorted_filtered_and_the_best_of_those_shown_is_marked(
    ablation: Path, page: Page
) -> None:
    page.open(write_report(ablation))
    mark = "[r.cells[0].firstChild.data.trim(), r.cells[k].querySelector('.mark')?.textContent ?? '']"
    marks = f"(k => Object.fromEntries([...document.querySelectorAll('#rows tr')].map(r => {mark})))"
    assert page.js(f"{marks}(2)") == {"do nothing": "", "RG": "", "w/o AGG, target": "☆", "full, target": "★"}
    assert page.js(f"{marks}(3)")["full, target"] == "★"  # 0.9 is nearer to the truth's 0.88 than 1.0 and 0.8
    page.js("document.querySelector('th[data-figure=\"adherence/mae\"] button').focus()")
    page.press("Enter")
    assert page.js(ROWS) == ["full, target", "w/o AGG, target", "do nothing", "RG"]
    assert page.js("document.querySelector('th[data-figure=\"adherence/mae\"]').ariaSort") == "ascending"
    page.press("Enter")
    assert page.js(ROWS) == ["do nothing", "w/o AGG, target", "full, target", "RG"]
    table = ablation / "table.csv"  # a control is never best; once doing nothing is a method, it can be
    table.write_text(table.read_text(encoding="utf-8").replace("control", "method"), encoding="utf-8")
    page.open(write_report(ablation))
    choose(page, ".tools", "figure", "adherence/mae")
    choose(page, ".tools", "low", "0.31")
    assert page.js(ROWS) == ["w/o AGG, target", "do nothing"]
    assert page.js(f"{marks}(2)")["w/o AGG, target"] == "★"  # the best of the two that are left
    page.click("[data-status=failed]:is(.tools button)")
    assert page.js(ROWS) == []


def test_a_steering_runs_clips_are_chosen_by_intervention_and_show_what_the_judge_saw(
    steering: Path, page: Page
) -> None:
    page.open(write_report(steering))
    page.wait("/frame/.test(document.querySelector('#viewer output').textContent)")
    best = "[...document.querySelectorAll('#by-2 tr')].map(r => r.cells[2].querySelector('.mark').textContent)"
    assert page.js(best) == ["", "", "★", "★", "★"]  # initial and paraphrase leave her the beard
    choose(page, "#choices", "group", "do(gender)")
    assert page.js("[...document.querySelectorAll('#matrix tbody tr')].map(r => r.dataset.id)") == [
        "one, do(gender=other)",
        "two, do(gender=other)",
    ]
    page.click("#next")
    assert page.js("document.getElementById('clip').textContent") == "two, do(gender=other)"
    row = "[...document.querySelectorAll('#more tbody tr')].find(r => r.cells[0].firstChild.data === {})"
    cells = f"[...{row}.cells].map(c => [...c.childNodes].map(n => n.textContent).join('|'))"
    beard = page.js(cells.format("'beard'"))
    assert beard[:2] == ["beard|follows", "yes → no"]
    assert beard[2].startswith("yes| |wrong|confidence 1.00")  # the evaluating judge does not criticise
    assert beard[4].startswith("no| |right|confidence 1.00")
    assert page.js(cells.format("'violations'"))[2:] == ["1", "1", "0", "0", "0"]
    assert page.js(cells.format("'prompt'"))[1] == "a video of an old man with a beard"
    page.click("#choices [value='0']")
    assert page.js("document.querySelector('#more thead tr').cells.length") == 6
    page.click("#choices [value='0']")
    choose(page, "#choices", "group", "do(beard)")
    page.click("#more summary")
    assert page.js("document.querySelector('#more details summary').textContent") == "best_of_n: 3 attempts"
    link = page.js("document.querySelector('#more details a').getAttribute('href')")
    assert (steering / link).is_file()
    check_looks(page, steering / "report.html")


def test_a_studys_rows_choose_the_clip_by_key(study: Path, page: Page) -> None:
    for rater, wanted in (("r1", "first"), ("r2", "first"), ("r3", "none")):
        answer(study, rater, wanted)
    analyse(study, [])
    page.open(write_report(study))
    page.wait("/frame/.test(document.querySelector('#viewer output').textContent)")
    page.js("document.querySelectorAll('#votes button')[2].focus()")
    page.press("Enter")
    assert page.js("document.getElementById('clip').textContent") == page.js(
        "document.querySelectorAll('#votes button')[2].textContent"
    )
    page.wait("document.querySelectorAll('#viewer canvas').length === 3")
    assert page.js("[...document.querySelectorAll('#viewer figcaption')].map(e => e.textContent)") == [
        "guided-run",
        "original",
        "plain-run",
    ]
    check_looks(page, study / "report.html")


def test_a_runs_page_looks_right(run_folder: Path, page: Page) -> None:
    check_looks(page, write_report(run_folder))


def test_an_ablations_page_looks_right_and_every_control_is_reached_by_tab(ablation: Path, page: Page) -> None:
    check_looks(page, write_report(ablation))
    page.window(1280, 900)
    page.js("document.activeElement.blur()")
    controls = "[...document.querySelectorAll('button, select, input, summary')]"
    controls += ".filter(e => e.checkVisibility() && !e.disabled)"
    count, reached = page.js(f"{controls}.length"), set()
    for _ in range(count + 5):
        page.press("Tab")
        reached.add(page.js(f"{controls}.indexOf(document.activeElement)"))
    assert reached >= set(range(count))


def test_pages_print_without_their_controls_and_nothing_is_cut(
    ablation: Path, run_folder: Path, steering: Path, page: Page
) -> None:
    for path in (write_report(ablation), write_report(run_folder), write_report(steering)):
        page.open(path)
        page.call("Emulation.setEmulatedMedia", media="print")
        controls = "[...document.querySelectorAll('.tools, .play, [type=range]')]"
        assert not any(page.js(f"{controls}.map(e => e.checkVisibility())"))
        overflows = page.js("[...document.querySelectorAll('.scroll')].map(e => getComputedStyle(e).overflowX)")
        assert set(overflows) == {"visible"}
        printed = base64.b64decode(page.call("Page.printToPDF", printBackground=True)["data"])
        assert printed.startswith(b"%PDF-")
        page.call("Emulation.setEmulatedMedia", media="")
