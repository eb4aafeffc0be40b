"""The numbers of docs/method.md: whatever cites one cites one that is there."""

from __future__ import annotations

import ast
import re

import pytest

from tests.helpers import ROOT

PAGE = (ROOT / "docs" / "method.md").read_text()
NUMBERS = [int(number) for number in re.findall(r"^## (\d+)\. ", PAGE, flags=re.MULTILINE)]
CITED = re.compile(r"docs/method\.md, (\d+(?:(?:, | and | to )\d+)*)")


def cited(text: str) -> set[int]:
    """``docs/method.md, 2, 5 and 6`` cites three."""
    return {int(number) for found in CITED.findall(text) for number in re.findall(r"\d+", found)}


@pytest.fixture(scope="module")
def docstrings() -> dict[str, str]:
    """All of a file, in one line."""
    found = {}
    for path in [*(ROOT / "lvcf").rglob("*.py"), *(ROOT / "tests").rglob("*.py")]:
        kinds = (ast.Module, ast.ClassDef, ast.FunctionDef)
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
        texts = [ast.get_docstring(node) or "" for node in nodes]
        found[path.relative_to(ROOT).as_posix()] = " ".join(" ".join(texts).split())
    return found


def test_equations_are_numbered_from_1_without_a_gap() -> None:
    assert list(range(1, len(NUMBERS) + 1)) == NUMBERS
    assert len(NUMBERS) >= 15


def test_a_citation_is_read_to_its_end() -> None:
    assert cited("x (docs/method.md, 2, 5 and 6); y.  docs/method.md, 11.  docs/method.md") == {2, 5, 6, 11}


def test_every_number_that_a_docstring_cites_is_on_the_page(docstrings) -> None:
    found = set().union(*map(cited, docstrings.values()))
    assert {1, 2, 4, 5, 9, 10, 12} <= found <= set(NUMBERS)


def test_every_page_that_a_docstring_cites_is_there(docstrings) -> None:
    pages = {page for text in docstrings.values() for page in re.findall(r"\bdocs/[\w/]+\.md", text)}
    assert {"docs/method.md", "docs/metrics/truth.md"} <= pages
    assert not [page for page in pages if not (ROOT / page).is_file()]


def test_no_docstring_cites_a_document_of_another_place(docstrings) -> None:
    assert [name for name, text in docstrings.items() if "DESIGN" in text] == []


def test_every_number_that_the_guidance_page_gives_is_on_the_page() -> None:
    text = (ROOT / "docs" / "guidance.md").read_text()
    given = {int(number) for found in re.findall(r"[(;] ?(\d+(?:, \d+)*)\)", text) for number in found.split(", ")}
    assert {2, 5, 8, 13} <= given <= set(NUMBERS)
