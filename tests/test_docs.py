"""The documentation's pages: links, class paths, options and scripts that they name exist, and the site builds."""

from __future__ import annotations

import html
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lvcf.cli.lightning import LvcfCLI  # knows every data module
from lvcf.datamodules.base import ClipDataModule
from lvcf.parsing import arguments_of
from lvcf.tasks.counterfactual import CounterfactualTask
from lvcf.tasks.denoiser import DenoiserTask
from lvcf.tasks.repair import RepairTask
from tests.helpers import ROOT
from tests.test_readme import PAGES, README

TASKS = (CounterfactualTask, DenoiserTask, RepairTask)
NAMED = sorted({name for text in (README, *PAGES.values()) for name in re.findall(r"\blvcf(?:\.\w+)+", text)})


def slug(heading: str) -> str:
    """A heading's anchor, as Python-Markdown makes it."""
    return re.sub(r"[-\s]+", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower())


def anchors(page: Path) -> set[str]:
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", PAGES[page], flags=re.MULTILINE)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", PAGES[page]):
        file, _, anchor = link.partition("#")
        target = (page.parent / file).resolve() if file else page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target), link


def test_what_pages_take_from_other_files_is_there() -> None:
    taken = [line for text in PAGES.values() for line in re.findall(r'^--8<-- "(.+)"$', text, flags=re.MULTILINE)]
    assert len(taken) >= 3
    for name, _, part in (line.partition(":") for line in taken):
        text = (ROOT / name).read_text()
        assert not part or part.isdigit() or f"--8<-- [start:{part}]" in text.partition(f"[end:{part}]")[0], name


def resolve(name: str) -> Any:
    """A module, or an attribute of one."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            found = getattr(found, part)
        return found
    raise ModuleNotFoundError(name)


def test_every_class_path_named_exists() -> None:
    assert len(NAMED) > 30
    for name in NAMED:
        resolve(name)
    with pytest.raises(AttributeError):
        resolve("lvcf.models.targets.base.NoSuchModel")


def options_of(kind: type) -> set[str]:
    """Arguments of a class and of everything made from it."""
    kinds = [kind]
    for found in kinds:
        kinds += found.__subclasses__()
    return {name for found in kinds for name in arguments_of(found)}


def test_every_option_named_exists() -> None:
    assert LvcfCLI
    known = {"data": options_of(ClipDataModule), "model": set().union(*map(options_of, TASKS))}
    named = {pair for text in PAGES.values() for pair in re.findall(r"--(data|model)\.(\w+)", text)}
    assert {("data", "crop"), ("model", "prompt")} <= named
    unknown = {(kind, option) for kind, option in named if option not in known[kind]}
    assert unknown <= {("data", "clips")}  # of `lvcf fit`, whose clips are one of those data modules


def test_every_script_named_exists() -> None:
    scripts = {name for text in (README, *PAGES.values()) for name in re.findall(r"python (\w+/\w+\.py)", text)}
    assert "benchmarks/sanity.py" in scripts
    assert not [name for name in scripts if not (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    for name in ("mkdocs", "material", "mkdocstrings", "latex2mathml"):
        pytest.importorskip(name, reason="`make docs` installs what builds the site")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    run = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert "WARNING" not in run.stderr
    return folder


def test_the_site_builds_without_a_warning_and_fetches_nothing(site) -> None:
    for page in PAGES:
        assert (site / page.relative_to(ROOT / "docs")).with_suffix(".html").is_file()
    fetched = re.compile(r'<(?:script|img|iframe|link)\b[^>]*?(?:src|href)="((?:https?:)?//[^"]+)"')
    assert fetched.search('<script defer src="https://elsewhere/x.js">')
    for page in site.rglob("*.html"):
        assert not fetched.findall(page.read_text()), page


def test_equations_are_mathml_without_a_rest_of_latex(site) -> None:
    written = len(re.findall(r"^```math$|\$`[^`]+`\$", PAGES[ROOT / "docs" / "method.md"], flags=re.MULTILINE))
    equations = re.findall(r"<math.*?</math>", (site / "method.html").read_text(), flags=re.DOTALL)
    assert len(equations) == written > 20
    for equation in equations:
        words = html.unescape(re.sub(r"<[^>]+>", "", equation))
        assert not re.search(r"[\\&]", words), words


def test_measured_tables_and_blocks_to_copy_are_on_the_pages(site) -> None:
    for page, heading in (("results", "share recovered"), ("full_tables", "share, smooth")):
        assert f"<th>{heading}</th>" in (site / f"{page}.html").read_text()
    assert "mymodel.MyModel" in re.sub(r"<[^>]+>", "", (site / "own_model.html").read_text())


def test_the_first_page_says_what_the_words_mean() -> None:
    glossary = PAGES[ROOT / "docs" / "index.md"].partition("## Glossary")[2]
    words = {word for row in re.findall(r"^\| ([^|]+) \|", glossary, flags=re.MULTILINE) for word in row.split(", ")}
    assert words >= {"M", "target", "oracle", "ruler", "ceiling", "neutral", "mask", "share recovered", "prompt"}
    assert words >= {"AGG", "ADS", "MSPR", "prompt only", "full", "last correction"}
