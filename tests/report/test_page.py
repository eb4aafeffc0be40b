"""The page stands alone, escapes what came from file names, and is honest about what is missing."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from lvcf.cli.report import main, write_report
from lvcf.errors import UserError
from lvcf.report.templates import ANCHORS

NASTY = "<script>alert('id')<"


class _Outline(HTMLParser):
    """Collects tags, addresses, ids and the text of headings and badges."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.statuses: list[str] = []
        self.ids: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what would load something, and the cards."""
        fields = dict(attrs)
        self.tags.append(tag)
        self.addresses += [fields[k] or "" for k in ("src", "href", "poster", "srcset", "action") if k in fields]
        self.ids += [fields["id"] or ""] if "id" in fields else []
        if tag == "article":
            self.statuses.append(fields["data-status"] or "")


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _page(run: Path) -> str:
    return write_report(run).read_text(encoding="utf-8")


def test_everything_is_inside_the_page(run_folder: Path) -> None:
    page = _page(run_folder)
    outline = _Outline(page)
    loaded = [address for address in outline.addresses if not address.startswith("#")]
    assert len(loaded) == 4
    assert all(a.startswith("data:") for a in loaded)
    assert {address[1:] for address in outline.addresses if address not in loaded} <= {*outline.ids}
    assert not re.search(r"https?://|@import|url\((?!\"\$\{poster\}\")", page)
    assert "link" not in outline.tags
    assert outline.tags.count("video") == 2
    assert outline.tags.count("script") == 1
    assert len(outline.ids) == len(set(outline.ids))


def test_names_and_hints_are_escaped_and_a_failed_clip_is_shown(run_folder: Path) -> None:
    page = _page(run_folder)
    assert NASTY not in page
    assert "<b>clip</b>" not in page
    assert "&lt;script&gt;alert" in page
    assert "truncated, 12 of 180 frames" in page
    assert _Outline(page).statuses == ["failed", "not_reached", "reached"]
    assert "1 of 3 clips reached the target, 1 did not, 1 failed." in page


def test_it_says_what_it_explains_and_what_was_simulated(run_folder: Path) -> None:
    page = _page(run_folder)
    assert "This page explains the model, not the patient." in page
    assert "a phantom of the heart, no patient." in page
    assert "Truth (simulated)" in page
    assert '<li>LPIPS <span class="quiet">(no weights in the cache)</span></li>' in page
    assert "lvcf predict --config phantom.yaml" in page
    assert "torch 2.15.0" in page
    assert "Not evaluated yet" not in page


def test_readings_stand_beside_the_target_with_units(run_folder: Path) -> None:
    words = " ".join(re.sub(r"<[^>]+>", " ", _page(run_folder)).split())
    assert "62.7 % → 30.6 % target 30 %" in words
    assert "Ventricle area, measured in the pixels" in words
    assert "gradient evaluations 20" in words


def _change(run: Path, clip: str, **entries: Any) -> None:
    path = run / "predictions" / clip / "result.json"
    _write_json(path, json.loads(path.read_text(encoding="utf-8")) | entries)


def _words(run: Path) -> str:
    return " ".join(unescape(re.sub(r"<[^>]+>", "", _page(run))).split())


def test_clips_come_first_and_every_word_of_the_method_leads_to_the_guide(run_folder: Path) -> None:
    page = _page(run_folder)
    assert page.index('id="clips"') < page.index('id="metrics"') < page.index('id="reading"')
    for word in ("AGG", "ADS", "MSPR"):
        assert re.search(f'<dd>.*<a class="word" href="#word-[a-z]+">{word}</a>', page)
    assert '<a class="word" href="#word-mask">mask</a>' in page
    assert "4.5 M autoencoder" in page  # millions, not the model explained
    labels = {*ANCHORS.values()}
    assert {part.removeprefix("word-") for part in _Outline(page).ids if part.startswith("word-")} == labels


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ((67.9, 59.7, 47.9), "8.2 of the 20.0 points are the backbone's reconstruction, before any guidance."),
        ((67.9, 66.0, 47.9), ""),
        ((30.0, 33.0, 28.5), "The backbone's reconstruction alone moves the reading by +3.00 points; the whole change"),
        ((30.0, 34.0, 33.0), "The backbone's reconstruction alone moves the reading by +4.00 points; the whole change"),
    ],
)
def test_what_the_reconstruction_alone_did_is_a_warning(run_folder: Path, change, says) -> None:
    names = ("prediction_before", "prediction_reference", "prediction_after")
    _change(run_folder, "echo_0007", **dict(zip(names, change, strict=True)))
    warned = bool(says)
    page, words = _page(run_folder), _words(run_folder)
    assert ("reached, in part by the reconstruction" in page) == warned
    assert ("In 1 of the clips that reached it, the backbone's reconstruction" in words) == warned
    assert says in words
    assert ("are the backbone's reconstruction" in words or "alone moves the reading" in words) == warned


def test_the_warning_of_a_classifier_is_about_the_targets_probability(run_folder: Path) -> None:
    target = {"low": 1, "high": 1, "text": "happy"}
    known = {"class_before": "sad", "class_after": "happy", "unit": "probability", "status": "not_reached"}
    known |= {"prediction_before": 0.03, "prediction_reference": 0.456, "prediction_after": 0.462}
    _change(run_folder, "echo_0007", task="classification", target=target, trajectory=[], **known)
    words = _words(run_folder)
    assert "0.426 of the 0.432 by which the target's probability moved are the backbone's reconstruction" in words
    assert "The model says the target class, but with a probability of 0.462" in words


def test_a_clip_that_cannot_be_drawn_is_counted_filtered_and_told(run_folder: Path) -> None:
    hint = "this backbone cannot draw the clip; fine-tune it"
    _change(run_folder, "echo_0002", status="not_drawable", hint=hint)
    page = _page(run_folder)
    assert "1 of 3 clips reached the target, 1 not drawable, 1 failed." in page
    assert 'data-status="not_drawable" aria-pressed="false">not drawable 1</button>' in page
    assert '<span class="badge not_drawable">not drawable</span>' in page
    assert f'<p class="warning">{hint}</p>' in page
    assert "50 % of those that did not fail" in page


def test_one_clip_has_no_interval_and_targets_no_needless_decimals(run_folder: Path) -> None:
    manifest = json.loads((run_folder / "manifest.json").read_text(encoding="utf-8"))
    _write_json(run_folder / "manifest.json", manifest | {"ids": ["echo_0007"]})
    metrics = {"n": 1, "adherence/within_tolerance": 1.0, "adherence/within_tolerance.ci_low": 0.21}
    _write_json(run_folder / "metrics.json", metrics | {"adherence/within_tolerance.ci_high": 1.0})
    _change(run_folder, "echo_0007", target={"low": 47.8698, "high": 47.8698, "text": "47.8698"})
    page = _page(run_folder)
    assert "1 of 1 clip reached the target." in page
    assert "interval 2" not in page
    assert "0.21" not in page
    assert "target 47.9 %" in page
    assert "Reading against target, all clips" not in page


def test_two_folders_are_refused_with_what_compares_them(run_folder: Path) -> None:
    with pytest.raises(UserError, match=r"a page is about one folder; compare runs with lvcf evaluate one two, or"):
        main(["one", "two"])


def test_a_summary_that_is_there_is_linked(run_folder: Path) -> None:
    assert 'href="summary.html"' not in _page(run_folder)
    (run_folder / "summary.html").touch()
    assert 'href="summary.html"' in _page(run_folder)


def test_before_evaluate_it_says_so(run_folder: Path) -> None:
    for path in [run_folder / "metrics.json", run_folder / "table.csv", *run_folder.glob("predictions/*/curves.json")]:
        path.unlink()
    page = _page(run_folder)
    assert f"Not evaluated yet: run <code>lvcf evaluate {run_folder}</code>" in page
    assert "Ventricle area, measured" not in page
    assert 'id="comparison"' not in page


def test_a_classifier_without_guidance_and_clips_to_come(run_folder: Path) -> None:
    path = run_folder / "predictions" / "echo_0007" / "result.json"
    result = json.loads(path.read_text(encoding="utf-8"))
    target = {"low": 3, "high": 3, "text": "Happy & calm"}
    change = {"task": "classification", "unit": "", "target": target, "prediction_after": 0.93, "trajectory": []}
    _write_json(path, result | change)
    manifest = json.loads((run_folder / "manifest.json").read_text(encoding="utf-8"))
    _write_json(run_folder / "manifest.json", manifest | {"ids": [*manifest["ids"], "later"]})
    page = _page(run_folder)
    assert "target class Happy &amp; calm" in page
    assert "0.930" in page
    assert "1 more clip is not made yet" in page


def test_the_verb_prints_the_path(run_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(run_folder)]) == 0
    assert capsys.readouterr().out.strip() == str(run_folder / "report.html")


def test_the_same_files_give_the_same_page(run_folder: Path) -> None:
    assert _page(run_folder) == _page(run_folder)


def test_mistakes_name_the_file_and_the_fix(tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(UserError, match="gone: no such folder; give a run's"):
        write_report(tmp_path / "gone")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"empty: holds no run \(manifest\.json\), no ablation"):
        write_report(tmp_path / "empty")
    (run_folder / "metrics.json").write_text("{", encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.json: damaged .* run the command that wrote it again"):
        write_report(run_folder)


def test_means_stand_with_their_intervals(run_folder: Path) -> None:
    page = _page(run_folder)
    assert "2.6 to 4.8" in page
    assert "50 % of those that did not fail, 95 % interval 9 to 91 %" in page


def test_the_report_needs_no_torch() -> None:
    check = "import sys, lvcf.cli.report; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0
