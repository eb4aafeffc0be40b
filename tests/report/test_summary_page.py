"""The page of ``lvcf summarise``: stands alone, escapes, looks right, and opens fast."""

from __future__ import annotations

import base64
import io
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from lvcf.cli.summarise import summarise_run
from lvcf.runs.panel import difference_colours
from tests.browser import Page, browse
from tests.report.conftest import NASTY
from tests.report.test_browser import VISIBLE_CLIPS, check_looks, choose
from tests.report.test_page import _Outline
from tests.test_summarise import LEFT, SIDE, add_clip, brighter, evaluated, grain, make_run, write_manifest

CLIPS, SECONDS = 1000, 2.0
REGIONS = f"left ventricle: {LEFT}\n"


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browse(tmp_path / "profile", tmp_path) as tab:
        tab.window(1280, 900)
        yield tab


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A summarised run with every part of the page.  Read only."""
    folder = tmp_path_factory.mktemp("summary")
    (folder / "regions.yaml").write_text(REGIONS)
    run = evaluated(make_run(folder / "toy"), [(20.0 + i, 22.0 + i * (-1) ** i) for i in range(16)])
    return summarise_run(run, folder / "regions.yaml").parent


def pictures(text: str, words: str) -> list[np.ndarray]:
    """The pictures inside the page whose alternative text begins with some words."""
    found = re.findall(rf'<img src="data:image/png;base64,([^"]+)"[^>]*alt="{words}', text)
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(one))).convert("RGB")) for one in found]


def test_all_that_the_page_loads_lies_beside_it(made: Path) -> None:
    text = (made / "summary.html").read_text()
    outline = _Outline(text)
    addresses = {a for a in outline.addresses if not a.startswith(("#", "data:"))}
    files = {unquote(a) for a in addresses if a.endswith((".jpg", ".mp4"))}
    assert len(files) == 2 * 16
    assert not re.search(r"https?://|@import", text)
    assert all((made / name).is_file() for name in files if name.endswith(".jpg"))
    assert all((made / unquote(a)).is_dir() for a in addresses if a.endswith("/"))
    assert {a[1:] for a in outline.addresses if a.startswith("#")} <= {*outline.ids}
    assert len(outline.ids) == len(set(outline.ids))


def test_maps_show_what_was_drawn_in_the_panels_colours(made: Path) -> None:
    text = (made / "summary.html").read_text()
    everyone, down, up = pictures(text, "mean signed change")
    left, right, outside = (12, 6), (12, 18), (2, 2)
    pale = difference_colours(np.zeros(1), 1)[0]
    for picture in (everyone, down, up):
        assert picture.shape == (SIDE, SIDE, 3)
        assert np.array_equal(picture[outside], pale)
    assert up[left][0] > up[left][2]  # brighter is red
    assert np.array_equal(up[right], pale)
    assert down[right][2] > down[right][0]  # darker is blue
    assert np.array_equal(down[left], pale)
    (region,) = pictures(text, "Mean change with the outline of left ventricle")
    corner = (3 * LEFT[1], 3 * LEFT[0])
    assert region[corner].tolist() == [64, 224, 255]


def test_thumbnails_are_the_frame_that_changed_most(made: Path) -> None:
    picture = Image.open(made / "predictions" / "clip_14" / "thumbnail.jpg")
    assert picture.size == (288, 96)
    factual, final, signed = (np.asarray(picture, dtype=float)[:, i * 96 : i * 96 + 96] for i in range(3))
    inside = np.s_[20:76, 12:36]
    assert (final - factual)[inside].mean() == pytest.approx(34.0, abs=2.0)  # 20 + 14 levels
    assert abs((final - factual)[:, 44:].mean()) < 1.0
    assert signed[inside][..., 0].mean() > signed[inside][..., 2].mean() + 50


def test_a_clips_name_is_escaped_and_leads_to_the_report_where_there_is_one(tmp_path: Path, rendered_run: Path) -> None:
    run = Path(shutil.copytree(rendered_run, tmp_path / "phantom"))
    name = "<script>alert(1)<"
    add_clip(run, name, grain(1), brighter(grain(1), LEFT, 9))
    shutil.rmtree(run / "predictions" / NASTY)
    write_manifest(run)
    text = summarise_run(run).read_text()
    assert name not in text
    assert "predictions/%3Cscript%3Ealert%281%29%3C/" in text
    (run / "report.html").write_text("there")
    text = summarise_run(run).read_text()
    assert 'href="report.html#clip-1"><bdi>&lt;script&gt;' in text
    assert 'href="report.html#clip-3"><bdi>echo_0007' in text


def test_clips_are_sorted_and_filtered(made: Path, page: Page) -> None:
    page.open(made / "summary.html")
    shown = VISIBLE_CLIPS.replace("'article'", "'#list > article'")
    shown = shown.replace("'h3'", "'.id'").replace("innerText", "textContent")
    assert page.js(shown) == [f"clip_{i:02}" for i in range(16)]
    choose(page, ".tools", "figure", "change_levels")
    page.click("[name=order]")
    assert page.js(shown)[:2] == ["clip_15", "clip_14"]
    choose(page, ".tools", "figure", "region/left ventricle")
    choose(page, ".tools", "low", "0.5")
    assert sorted(page.js(shown)) == [f"clip_{i:02}" for i in range(0, 16, 2)]
    assert page.problems == []


def test_it_looks_right(made: Path, page: Page) -> None:
    check_looks(page, made / "summary.html")


@pytest.mark.slow
def test_a_thousand_clips_open_in_two_seconds(tmp_path: Path, page: Page) -> None:
    run = evaluated(make_run(tmp_path / "large", CLIPS), [(20.0 + i % 40, 22.0 + i % 37) for i in range(CLIPS)])
    path = summarise_run(run)
    assert path.stat().st_size < 3e6
    loads = []
    for _ in range(3):
        page.requests.clear()
        page.open(path)
        assert page.js("document.querySelectorAll('#list > article').length") == CLIPS
        page.wait("performance.getEntriesByName('first-contentful-paint').length > 0")
        loads.append(page.js("performance.getEntriesByType('navigation')[0].loadEventEnd") / 1000)
        assert len(page.requests) < CLIPS / 4  # pictures far below the window wait until they are looked at
    assert min(loads) < SECONDS
