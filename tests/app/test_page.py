"""The page in a real browser, from a server that was started as a user starts it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.app.test_jobs import Brightness
from tests.browser import Page, browse
from tests.helpers import ROOT

pytest.importorskip("gradio", reason="the app extra is not installed")

from lvcf.app.page import choose, own_fields, shown, three
from lvcf.errors import UserError

FIELDS = ("model.pt2", "a class", "a, b", "logits", "", 1.0, "0 to 1", 112, 16, "BCTHW", "0", "1")
PLACES = ("file", "says", "labels", "gives", "unit", "scale", "span", "size", "frames", "layout", "mean", "std")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's, of ``lvcf app``; what it keeps is gone when it ends."""
    temporary = tmp_path_factory.mktemp("temporary")
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(temporary), "GRADIO_SERVER_NAME": "0.0.0.0"}
    command = [sys.executable, "-m", "lvcf", "app", "--port", "0"]
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        (found,) = re.findall(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        yield f"{found}/"
        assert list(temporary.glob("lvcf_app_*"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
        assert not list(temporary.glob("lvcf_app_*"))
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Page]:
    with browse(tmp_path / "profile", tmp_path) as tab:
        tab.window(1300, 900)
        yield tab


def open_page(page: Page, address: str) -> None:
    page.visit(address)
    page.wait("document.querySelector('#example') !== null")


def status(address: str, headers: dict[str, str] | None = None) -> int:
    try:
        return int(urllib.request.urlopen(urllib.request.Request(address, headers=headers or {}), timeout=60).status)
    except urllib.error.HTTPError as error:
        return error.code


@pytest.mark.slow
def test_an_example_is_explained_and_the_folder_downloaded(address: str, page: Page, tmp_path: Path) -> None:
    open_page(page, address)
    assert page.js("document.querySelector('#go').disabled")  # no clip yet
    page.click("#example")
    page.wait("document.querySelector('#reading .said') !== null && !document.querySelector('#go').disabled")
    assert page.js("document.querySelector('#reading .said').textContent").endswith("%")
    page.write("#value textarea, #value input", "delta:-20")
    page.write("#steps input[type=number]", "2")
    page.click("#go")
    page.wait("document.querySelector('#stop') !== null")
    page.wait("document.querySelector('#result .result') !== null", patience=300)
    said = page.js("document.querySelector('#result').innerText")
    assert "How not to read it" in said
    assert "The clip you gave is simulated." in said
    page.wait("document.querySelector('#result video').readyState > 1")
    assert page.js("document.querySelector('#result video').videoWidth") > 1000
    page.wait("document.querySelector('#download') !== null")
    page.click("#download")
    packed = next(iter(wait_for(tmp_path, "*.zip")))
    with zipfile.ZipFile(packed) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith("/result.json")]
        result = json.loads(archive.read(name))
        assert any(name.endswith("/report.html") for name in archive.namelist())
    assert result["status"] == page.js("document.querySelector('#result .result').dataset.status")
    assert result["target"]["low"] == pytest.approx(result["prediction_before"] - 20, abs=1e-3)
    assert {url.split("/")[2] for url in page.requests if url.startswith("http")} == {address.split("/")[2]}
    assert {url.partition(":")[0] for url in page.requests} <= {"http", "data", "blob", "about"}
    assert page.problems == []
    assert {*page.unnamed()} <= {"image"}  # Gradio's icons, beside controls that have names


@pytest.mark.slow
def test_a_file_that_is_no_clip_and_a_target_that_is_none_are_told_in_one_line(
    address: str, page: Page, tmp_path: Path
) -> None:
    open_page(page, address)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    page.give_file("#upload input[type=file]", broken)
    toast = "(document.querySelector('.toast-body, .toast-wrap')?.innerText ?? '')"
    page.wait(f"{toast}.includes('broken.mp4')")
    assert "/" not in page.js(toast).replace("and/or", "").partition("broken.mp4")[0]  # no folder of the server's
    page.click("#domain label:nth-of-type(2)")
    page.wait("document.querySelector('#steps input[type=number]').value !== ''")
    page.click("#example")
    page.wait("document.querySelectorAll('#reading .shares li').length === 4", patience=180)
    page.wait("document.querySelector('#label') !== null")  # classes are chosen, not written
    page.window(390, 900)
    assert page.js("document.documentElement.scrollWidth") <= 390


@pytest.mark.slow
def test_a_model_of_ones_own_is_used_once_its_fields_are_filled_in(address: str, page: Page, tmp_path: Path) -> None:
    torch.jit.script(Brightness()).save(str(tmp_path / "brightness.pt"))
    open_page(page, address)
    page.click("#example")
    page.wait("document.querySelector('#reading .said') !== null", patience=180)
    page.click("#which label:nth-of-type(2)")
    page.wait("document.querySelector('#reading .said') === null")
    page.give_file("#model input[type=file]", tmp_path / "brightness.pt")
    page.wait("document.querySelector('#model').innerText.includes('brightness')")
    page.write("#labels textarea, #labels input", "dark, bright")
    page.click("#use")
    said = "document.querySelector('#reading .said')?.textContent ?? ''"
    page.wait(f"/^(dark|bright)$/.test({said})", patience=180)
    assert page.js("document.querySelectorAll('#reading .shares li').length") == 2
    assert page.problems == []


def wait_for(folder: Path, pattern: str) -> list[Path]:
    end = time.monotonic() + 60
    while not list(folder.glob(pattern)):
        assert time.monotonic() < end
        time.sleep(0.1)
    return list(folder.glob(pattern))


@pytest.mark.slow
def test_only_this_computer_is_answered_and_no_file_but_what_was_given(address: str) -> None:
    assert status(address) == 200
    port = int(address.rstrip("/").rpartition(":")[2])
    with pytest.raises(ConnectionRefusedError):  # another of this computer's addresses
        socket.create_connection(("127.0.0.2", port), timeout=5).close()
    assert status(address, {"Host": "elsewhere.example"}) == 403
    for path in ("/etc/passwd", str(ROOT / "README.md"), str(ROOT / "lvcf" / "app" / "page.py"), "README.md"):
        assert status(f"{address}gradio_api/file={path}") in (403, 404)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("file", None, "no file yet"),
        ("labels", "only one", "two or more"),
        ("mean", "0, 1", "three with commas"),
        ("std", "much", "std 'much'"),
        ("std", "0", "must be above 0"),
        ("size", 0, "must be above 0"),
    ],
)
def test_a_field_that_makes_no_sense_is_told(field: str, value: object, told: str) -> None:
    own = tuple(value if name == field else known for name, known in zip(PLACES, FIELDS, strict=True))
    with pytest.raises(UserError, match=told):
        choose("phantom", "my own file", own)


def test_fields_become_a_model() -> None:
    choice = choose("face", "my own file", FIELDS)
    assert choice.own is not None
    assert choice.own.answer.labels == ("a", "b")
    assert choice.own.takes.mean == (0.0, 0.0, 0.0)
    assert choice.method == "full, n = 1"
    regression = (*FIELDS[:1], "a value", "", "logits", " % ", 12, *FIELDS[6:])
    made = choose("phantom", "my own file", regression).own
    assert made is not None
    assert (made.answer.task, made.answer.unit, made.answer.scale) == ("regression", "%", 12.0)
    assert choose("phantom", "the one that comes with it", FIELDS).own is None
    assert three("mean", "1, 2, 3") == (1.0, 2.0, 3.0)


def test_there_is_a_field_for_everything_that_is_read() -> None:
    import gradio

    with gradio.Blocks(analytics_enabled=False):
        assert len(own_fields()) == len(FIELDS)


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ("/kept/lvcf_app_x/uploads/ab12/clip.mp4: damaged; copy it again", "clip.mp4: damaged; copy it again"),
        ("target '20..3': swap them", "target '20..3': swap them"),
        ("write 0/1, or a/b", "write 0/1, or a/b"),
    ],
)
def test_a_message_names_the_file_and_not_where_the_server_keeps_it(told: str, left: str) -> None:
    assert shown(UserError(told)) == left
