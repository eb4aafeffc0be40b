"""A picture of a graph shows every variable's part, every edge once, and which edges an intervention cuts."""

from __future__ import annotations

import re

import pytest

from lvcf.steering.causal_plot import BESIDE, WIDTH, causal_plot
from lvcf.steering.graph import CausalGraph
from tests.steering.painted import GRAPH


def graph_of(edges: dict[str, list[str]], names: str) -> CausalGraph:
    rules = [{"then": "a"}]
    return CausalGraph(
        name="letters & words",
        template=" ".join(f"{{{name}}}" for name in names.split()),
        variables={name: {"values": ["a", "b"], "question": "?"} for name in names.split()},
        mechanisms={child: {"parents": parents, "rules": rules} for child, parents in edges.items()},
    )


@pytest.mark.parametrize(
    ("do", "cut", "told"),
    [
        (("beard",), 2, "beard is set; age, gender, baldness stays"),
        (("gender",), 0, "gender is set; beard, baldness follows; age stays"),
        (("gender", "baldness"), 2, "gender, baldness is set; beard follows; age stays"),
        (("beard", "baldness"), 4, "beard, baldness is set; age, gender stays"),
    ],
)
def test_edges_into_what_is_set_are_cut_and_the_words_say_what_the_picture_shows(do, cut, told) -> None:
    picture = causal_plot(GRAPH, dict.fromkeys(do, "yes"))
    assert picture.count('class="edge cut"') == cut
    assert picture.count('class="edge"') == picture.count("<polygon") == 4 - cut
    assert f"Under do({', '.join(do)}): {told}." in picture
    assert "age and gender to beard; age and gender to baldness" in picture
    assert picture.count('class="node intervened"') == len(do)


def test_effects_stand_below_their_causes_and_no_row_is_wider_than_the_picture() -> None:
    names = "root other third fourth child grandchild_with_a_long_name"
    graph = graph_of({"child": ["root", "fourth"], "grandchild_with_a_long_name": ["child", "root"]}, names)
    picture = causal_plot(graph, {"child": "b"})
    boxes = re.findall(r'<rect class="node \w+" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)"', picture)
    places = dict(zip(names.split(), [tuple(map(float, box)) for box in boxes], strict=True))
    levels = {name: y for name, (_, y, _) in places.items()}
    for child in graph.mechanisms:
        assert all(levels[parent] < levels[child] for parent in graph.parents(child))
    rows = {y: sorted((x, x + wide) for x, other, wide in places.values() if other == y) for y in levels.values()}
    assert max(len(row) for row in rows.values()) == BESIDE
    for row in rows.values():
        edges = [end for box in row for end in box]
        assert edges == sorted(edges)  # side by side, none over another
        assert edges[0] >= 0
        assert edges[-1] <= WIDTH
    assert "grandchild_with_a_long_name</text>" not in picture
    assert "child and root to grandchild_with_a_long_name" in picture
    assert "letters &amp; words" in picture


def test_a_graph_without_edges_says_so() -> None:
    assert "edges from causes: none" in causal_plot(graph_of({}, "one two"), {"one": "b"})
