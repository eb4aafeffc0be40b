"""A causal graph as a small picture: causes above their effects, and what an intervention does to each variable."""

from __future__ import annotations

from collections.abc import Mapping

from markupsafe import Markup

from lvcf.report.svg import arrow, box, line, shortened, svg, text
from lvcf.steering.answers import Role
from lvcf.steering.case import Case
from lvcf.steering.graph import CausalGraph

ROLES: dict[Role, str] = {"intervened": "is set", "descendant": "follows", "preserved": "stays"}
"""What an intervention does to a variable."""
WIDTH, TALL, GAP = 260.0, 38.0, 34.0
BESIDE = 3
"""Variables in a row; a deeper one stands below its causes."""
_LETTER, _ROOM, _APART = 7.0, 10.0, 14.0


def causal_plot(graph: CausalGraph, do: Mapping[str, str]) -> Markup:
    """The graph with every variable's part: what is set, what follows, what stays; edges that ``do`` cuts are dashed.

    Args:
        graph: what causes what.
        do: the variables that are set; their values are not shown.
    """
    roles, rows = roles_of(graph, do), _rows(graph)
    middles = {
        name: (WIDTH * (i + 0.5) / len(row), level * (TALL + GAP))
        for level, row in enumerate(rows)
        for i, name in enumerate(row)
    }
    edges = "".join(_edges(graph, name, middles, cut=name in do) for name in graph.variables)
    nodes = "".join(_node(name, *middles[name], roles[name], WIDTH / max(map(len, rows))) for name in graph.variables)
    return svg(WIDTH, len(rows) * (TALL + GAP) - GAP + 2, _words(graph, do, roles), edges, nodes)


def roles_of(graph: CausalGraph, do: Mapping[str, str]) -> dict[str, Role]:
    """What an intervention does to every variable."""
    case = Case("", "", graph, {}, do)
    return {name: case.role(name) for name in graph.variables}


def _rows(graph: CausalGraph) -> list[list[str]]:
    """The variables by their distance from a root, :data:`BESIDE` in a row."""
    depth: dict[str, int] = {}
    for name in graph.order:
        depth[name] = 1 + max((depth[parent] for parent in graph.parents(name)), default=-1)
    levels = [[name for name in graph.variables if depth[name] == level] for level in range(1 + max(depth.values()))]
    return [level[i : i + BESIDE] for level in levels for i in range(0, len(level), BESIDE)]


def _edges(graph: CausalGraph, name: str, middles: Mapping[str, tuple[float, float]], cut: bool) -> str:
    """The lines from a variable's causes; their ends stand apart."""
    x, y = middles[name]
    parents = sorted(graph.parents(name), key=lambda parent: middles[parent])
    parts = []
    for place, parent in enumerate(parents):
        left, top = middles[parent]
        ends = (left, top + TALL, x + (place - (len(parents) - 1) / 2) * _APART, y)
        parts.append(line(*ends, "edge cut") if cut else arrow(*ends, "edge"))
    return "".join(parts)


def _node(name: str, x: float, y: float, role: Role, room: float) -> str:
    wide = room - _ROOM
    words = text(x, y + 16, shortened(name, int(wide / _LETTER)), "middle", "name")
    return box(x - wide / 2, y + 1, wide, TALL, f"node {role}") + words + text(x, y + 31, ROLES[role], "middle")


def _words(graph: CausalGraph, do: Mapping[str, str], roles: Mapping[str, Role]) -> str:
    """The picture for who cannot see it."""
    causes = [f"{' and '.join(graph.parents(name))} to {name}" for name in graph.variables if graph.parents(name)]
    parts = [
        f"{', '.join(name for name in roles if roles[name] == role)} {told}"
        for role, told in ROLES.items()
        if role in roles.values()
    ]
    edges = "; ".join(causes) or "none"
    return f"Causal graph {graph.name}, edges from causes: {edges}. Under do({', '.join(do)}): {'; '.join(parts)}."
