"""A graph's file that cannot be meant is refused in one line, before a prompt is made of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lvcf.configuration import config_folder
from lvcf.errors import UserError
from lvcf.steering.graph import read_graph

SHIPPED = (config_folder() / "steering" / "graphs" / "celebv_text.yaml").read_text()
SPOILT = {
    "a width": (SHIPPED.replace("a {age}", "a {age:>2000000000}"), "says how to write 'age'; write {age} alone"),
    "a width by a slot": (SHIPPED.replace("a {age}", "a {age:{gender}}"), "says how to write 'age'"),
    "a conversion": (SHIPPED.replace("a {age}", "a {age!z}"), "says how to write 'age'"),
    "deep brackets": ("[" * 5000, "not readable as YAML"),
    "a date that is none": ("name: !!timestamp 2020-13-99", "not readable as YAML"),
}


@pytest.mark.parametrize("what", SPOILT)
def test_what_cannot_be_meant_is_refused(what, tmp_path: Path) -> None:
    text, told = SPOILT[what]
    assert text != SHIPPED
    (tmp_path / "graph.yaml").write_text(text)
    with pytest.raises(UserError) as error:
        read_graph(tmp_path / "graph.yaml")
    assert told in str(error.value)
    assert str(error.value).isprintable()
