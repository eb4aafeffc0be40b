"""The graph against hand-computed interventions, an independent sampler, the phantom's own equations, and bad files."""

from __future__ import annotations

import json
from collections import Counter
from itertools import combinations, permutations, product
from pathlib import Path

import numpy as np
import pytest
import yaml

from lvcf.configuration import config_folder
from lvcf.errors import UserError
from lvcf.phantoms.face.attributes import set_values, values_of
from lvcf.phantoms.face.set import draw_factors
from lvcf.steering.case import Case, resolve
from lvcf.steering.graph import CausalGraph, read_graph

GRAPHS = sorted((config_folder() / "steering" / "graphs").glob("*.yaml"))
CELEBV, FACE = (read_graph(f"steering/graphs/{name}.yaml") for name in ("celebv_text", "face"))


def values(age: str, gender: str, beard: str = "no", baldness: str = "no") -> dict[str, str]:
    return {"age": age, "gender": gender, "beard": beard, "baldness": baldness}


# The benchmark's rules, by hand: to old man adds beard and baldness; to young man removes both; to man adds a beard
# (and baldness if old); to woman removes both; beard and baldness leave their parents alone.
BY_HAND = {
    "a young man gets old": (values("young", "man"), {"age": "old"}, values("old", "man", "yes", "yes")),
    "an old man gets young": (values("old", "man", "yes", "yes"), {"age": "young"}, values("young", "man")),
    "a young woman gets old": (values("young", "woman"), {"age": "old"}, values("old", "woman")),
    "a young woman to man": (values("young", "woman"), {"gender": "man"}, values("young", "man", "yes")),
    "an old woman to man": (values("old", "woman"), {"gender": "man"}, values("old", "man", "yes", "yes")),
    "an old man to woman": (values("old", "man", "yes", "yes"), {"gender": "woman"}, values("old", "woman")),
    "a beard": (values("young", "woman"), {"beard": "yes"}, values("young", "woman", "yes")),
    "no beard": (values("old", "man", "yes", "yes"), {"beard": "no"}, values("old", "man", "no", "yes")),
    "bald": (values("young", "woman"), {"baldness": "yes"}, values("young", "woman", "no", "yes")),
    "what is there": (values("old", "man"), {"age": "old"}, values("old", "man")),
    "two at once": (values("young", "woman"), {"gender": "man", "beard": "no"}, values("young", "man", "no")),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_celebv_text_by_hand(name) -> None:
    factual, do, expected = BY_HAND[name]
    assert CELEBV.counterfactual(factual, do) == expected


@pytest.mark.parametrize(
    ("name", "do", "expected"),
    [
        ("face_none", {"gender": "woman"}, values("old", "woman", "yes", "yes")),
        ("face_none", {"beard": "no"}, values("old", "man", "no", "yes")),
        ("face_inverse", {"gender": "woman"}, values("old", "woman", "yes", "yes")),
        ("celebv_text_inverse", {"baldness": "no"}, values("young", "man", "yes", "no")),
        ("celebv_text_inverse", {"beard": "no", "baldness": "no"}, values("young", "woman")),
    ],
)
def test_controls_by_hand(name, do, expected) -> None:
    graph = read_graph(f"steering/graphs/{name}.yaml")
    assert graph.counterfactual(values("old", "man", "yes", "yes"), do) == expected


def test_the_inverse_turns_every_edge_round_and_the_control_without_edges_has_none() -> None:
    def edges(name: str) -> set[tuple[str, str]]:
        graph = read_graph(f"steering/graphs/{name}.yaml")
        return {(parent, child) for child in graph.variables for parent in graph.parents(child)}

    for name in ("face", "celebv_text"):
        assert edges(f"{name}_inverse") == {(child, parent) for parent, child in edges(name)}
        assert edges(f"{name}_none") == set()


def chain(p: float, q: float, r: float) -> CausalGraph:
    """a -> b -> c and a -> c, two values each."""
    two = {"values": ["0", "1"], "question": "?"}
    table = {(0, 0): 0.1, (0, 1): 0.4, (1, 0): 0.7, (1, 1): 0.9}
    return CausalGraph.model_validate(
        {
            "name": "chain",
            "template": "{a} {b} {c}",
            "variables": dict.fromkeys("abc", two),
            "mechanisms": {
                "b": {
                    "parents": ["a"],
                    "probabilities": [
                        {"when": {"a": "0"}, "then": {"0": 1 - p, "1": p}},
                        {"then": {"0": 1 - q, "1": q}},
                    ],
                },
                "c": {
                    "parents": ["a", "b"],
                    "probabilities": [
                        {
                            "when": {"a": str(a), "b": str(b)},
                            "then": {"0": 1 - min(t + r, 1.0), "1": min(t + r, 1.0)},
                        }
                        for (a, b), t in table.items()
                    ],
                },
            },
        }
    )


def test_structure() -> None:
    graph = chain(0.2, 0.8, 0.0)
    assert graph.order.index("a") < graph.order.index("b") < graph.order.index("c")
    assert graph.descendants(["a"]) == {"b", "c"}
    assert graph.descendants(["b"]) == {"c"}
    assert graph.descendants(["c"]) == set()
    assert graph.ancestors(["c"]) == {"a", "b"}
    cut = graph.do(["b"])
    assert cut.parents("b") == ()
    assert cut.parents("c") == ("a", "b")
    assert cut.descendants(["a"]) == {"c"}
    assert graph.parents("b") == ("a",)  # the graph itself is left as it was


@pytest.mark.parametrize("seed", range(4))
def test_abduction_against_sampling(seed) -> None:
    """The value taken is the most probable one of all exogenous choices that explain what is seen, one child moving."""
    rng = np.random.default_rng(seed)
    p, q = rng.uniform(0.05, 0.95, 2)
    graph = chain(float(p), float(q), 0.05)
    u = rng.uniform(size=200_000)
    for a, b in product("01", repeat=2):
        at = {"0": p, "1": q}
        explains = (u >= 1 - at[a]) == (b == "1")  # b = 1 where u is in the last p of 0-1
        other = "1" if a == "0" else "0"
        share = np.mean(u[explains] >= 1 - at[other])
        if abs(share - 0.5) < 0.02:
            continue
        factual = {"a": a, "b": b, "c": "0"}
        assert graph.counterfactual(factual, {"a": other, "c": "0"})["b"] == ("1" if share > 0.5 else "0")


def of_three(names: tuple[str, ...], first: list[float], second: list[float]) -> CausalGraph:
    """a -> b, where b has three values that are listed as in ``names``, and low < middle < high is its order."""
    order = ("low", "middle", "high")
    rows = [dict(zip(order, shares, strict=True)) for shares in (first, second)]
    probabilities = [{"when": {"a": "0"}, "then": rows[0]}, {"then": rows[1]}]
    return CausalGraph.model_validate(
        {
            "name": "three",
            "template": "{a} {b}",
            "variables": {
                "a": {"values": ["0", "1"], "question": "?"},
                "b": {"values": list(names), "question": "?"},
            },
            "mechanisms": {"b": {"parents": ["a"], "order": list(order), "probabilities": probabilities}},
        }
    )


@pytest.mark.parametrize("seed", range(6))
def test_the_order_in_which_values_are_listed_means_nothing(seed) -> None:
    """Against sampling u by the order that the mechanism states, however the variable lists its values."""
    rng, order = np.random.default_rng(seed), ("low", "middle", "high")
    first, second = rng.dirichlet([1, 1, 1], 2)
    u = (np.arange(20_000) + 0.5) / 20_000
    before, after = (np.searchsorted(np.cumsum(shares), u) for shares in (first, second))
    for place, value in enumerate(order):
        likely = Counter(after[before == place]).most_common(1)[0][0]
        for names in permutations(order):
            graph = of_three(names, list(first), list(second))
            assert graph.counterfactual({"a": "0", "b": value}, {"a": "1"})["b"] == order[likely]


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_shipped_graphs_answer_alike_however_their_values_are_listed(path) -> None:
    graph = read_graph(path)
    turned = graph.model_dump()
    for variable in turned["variables"].values():
        variable["values"] = dict(reversed(variable["values"].items()))
    other = CausalGraph.model_validate(turned)
    assert list(other.variables["beard"].values) == list(graph.variables["beard"].values)[::-1]
    for combination in product(*(variable.values for variable in graph.variables.values())):
        factual = dict(zip(graph.variables, combination, strict=True))
        for name, variable in graph.variables.items():
            for value in variable.values:
                assert graph.counterfactual(factual, {name: value}) == other.counterfactual(factual, {name: value})


def by_exceptions(rules: list[dict], factual: dict[str, str], values: dict[str, str]) -> str:
    """A rule holds of a clip or the clip is an exception to it: the fewest exceptions that explain what is shown."""

    def child(shown: dict[str, str], exceptions: tuple[int, ...]) -> str:
        for i, rule in enumerate(rules):
            moved = rule.get("moved", "")
            counts = i not in exceptions and (not moved or shown[moved] != factual[moved])
            if counts and all(shown[k] == v for k, v in rule["when"].items()):
                return rule["then"]
        return factual["c"]

    for number in range(len(rules) + 1):
        explaining = [e for e in combinations(range(len(rules)), number) if child(factual, e) == factual["c"]]
        if explaining:
            (fewest,) = explaining  # there is one smallest set
            return child(values, fewest)
    raise AssertionError("all rules broken explain everything")


@pytest.mark.parametrize("seed", range(40))
def test_rules_against_every_set_of_exceptions(seed) -> None:
    """Random rules on two parents, a child of three values: abduction, action, prediction by enumeration."""
    rng, domains = np.random.default_rng(seed), {"a": "01", "b": "01", "c": "012"}
    rules: list[dict] = []
    for _ in range(4):
        when = {name: str(rng.choice(list("01"))) for name in "ab" if rng.integers(2)}
        moved = {"moved": str(rng.choice(["a", "b"]))} if rng.integers(3) == 0 else {}
        rules.append({"when": when, **moved, "then": str(rng.integers(3))})
    variables = {name: {"values": list(domain), "question": "?"} for name, domain in domains.items()}
    mechanisms = {"c": {"parents": ["a", "b"], "rules": rules}}
    content = {"name": "rules", "template": "{a} {b} {c}", "variables": variables, "mechanisms": mechanisms}
    graph = CausalGraph.model_validate(content)
    for shown in product(*domains.values()):
        factual = dict(zip(domains, shown, strict=True))
        for name in "ab":
            do = {name: "1" if factual[name] == "0" else "0"}
            assert graph.counterfactual(factual, do)["c"] == by_exceptions(rules, factual, {**factual, **do})


def test_an_exception_to_a_rule_stays_one() -> None:
    """A woman with a beard gets old and keeps it; a bald man whose rule was never broken loses what it forbids."""
    assert CELEBV.counterfactual(values("young", "woman", "yes"), {"age": "old"}) == values("old", "woman", "yes")
    assert CELEBV.counterfactual(values("young", "man", "yes", "yes"), {"gender": "woman"}) == values("young", "woman")


def test_what_is_assumed_is_said() -> None:
    assert CELEBV.assumptions["beard"] == (
        "by rules on age, gender; a clip that breaks a rule stays an exception, what no rule forbids stays"
    )
    assert FACE.assumptions["beard"].endswith("that stays, monotone (two values: in either order)")
    three = of_three(("high", "low", "middle"), [0.2, 0.3, 0.5], [0.1, 0.1, 0.8])
    assert three.assumptions["b"] == (
        "by probabilities given a, with an independent choice of its own that stays, monotone in low < middle < high"
    )


def test_a_tie_keeps_what_is_seen() -> None:
    woman = values("young", "woman")
    assert FACE.counterfactual(woman, {"gender": "man"})["beard"] == "no"  # one half each: as it is
    bearded = values("young", "woman", "yes")  # the graph has no account of her, so the beard stays
    assert FACE.counterfactual(bearded, {"gender": "man"})["beard"] == "yes"


@pytest.mark.parametrize("path", GRAPHS, ids=lambda path: path.stem)
def test_doing_what_is_there_changes_nothing_and_non_descendants_are_pinned(path) -> None:
    graph = read_graph(path)
    domains = [list(variable.values) for variable in graph.variables.values()]
    for combination in product(*domains):
        factual = dict(zip(graph.variables, combination, strict=True))
        assert graph.counterfactual(factual, factual) == factual
        for name, domain in zip(graph.variables, domains, strict=True):
            assert graph.counterfactual(factual, {name: factual[name]}) == factual
            free = graph.descendants([name]) | {name}
            for value in domain:
                after = graph.counterfactual(factual, {name: value})
                assert after[name] == value
                assert all(after[other] == factual[other] for other in set(graph.variables) - free)


DOS = [("age", "old"), ("age", "young"), ("beard", "yes"), ("gender", "man"), ("gender", "woman")]


def test_the_face_graph_says_what_the_phantoms_equations_give_most_often() -> None:
    """Of all clips that show the same; but for do(gender = man) at 50 to 72 years, the ages that do(age) sets."""
    truths: dict[tuple, Counter] = {}
    for factors in draw_factors(3000, seed=9):
        factual = tuple(values_of(factors).values())
        for name, value in DOS:
            if (name, value) != ("gender", "man") or not 50.0 < factors.age < 72.0:
                truth = values_of(set_values(factors, {name: value}))
                for child in ("beard", "baldness"):
                    truths.setdefault((factual, name, value, child), Counter())[truth[child]] += 1
    checked = moved = 0
    for (factual, name, value, child), found in truths.items():
        shown = values(*factual)
        (likely, most), *rest = found.most_common()
        if (least := sum(count for _, count in rest)) and abs(most - least) < 3 * np.sqrt(most + least):
            continue  # too near one half to tell
        assert FACE.counterfactual(shown, {name: value})[child] == likely, (shown, name, value, child)
        checked, moved = checked + 1, moved + (likely != shown[child])
    assert checked > 40
    assert moved >= 5  # descendants that follow


def test_the_face_graphs_probabilities_are_the_phantoms() -> None:
    """By drawing: of who is young as drawn, of who is old at 72 years; men and women, left to the phantom's noise."""
    drawn = draw_factors(4000, seed=10)
    for age, gender in product(("young", "old"), ("woman", "man")):
        people = [f for f in drawn if f.age < 50.0] if age == "young" else [f.do(age=72.0) for f in drawn]
        made = [values_of(factors.do(gender=gender)) for factors in people]
        for child in ("beard", "baldness"):
            share = FACE.mechanisms[child].row({"age": age, "gender": gender}).get("yes", 0.0)
            found = np.mean([one[child] == "yes" for one in made])
            assert abs(found - share) <= 4 * np.sqrt(share * (1 - share) / len(made))


def test_prompts() -> None:
    man = Case("x", "a video of", CELEBV, values("old", "man", "yes", "yes"), {"gender": "woman"})
    assert man.source_prompt == "a video of an old bald man with a beard"
    assert man.initial_prompt == "a video of an old bald woman with a beard"
    assert man.target_prompt == "a video of an old woman"  # what is gone is dropped, not negated
    woman = Case("x", "a video of", CELEBV, values("young", "woman"), {"beard": "yes"})
    assert woman.initial_prompt == "a video of a young woman with a beard"
    assert woman.target_prompt == "a video of a young person with a beard"  # the cause of beards is neutral
    assert woman.say(woman.target, {"beard": 7, "age": 1}) == "a video of a very young woman with a long full beard"


def test_questions() -> None:
    case = Case("x", "", CELEBV, values("old", "man", "yes", "yes"), {"gender": "woman"})
    asked = {q.attribute: (q.role, q.expected, q.options) for q in case.questions}
    assert asked == {
        "age": ("preserved", "old", ("young", "old")),
        "gender": ("intervened", "woman", ("woman", "man")),
        "beard": ("descendant", "no", ("no", "yes")),
        "baldness": ("descendant", "no", ("no", "yes")),
    }


def test_other_is_another_value() -> None:
    assert resolve(FACE, {"age": "other"}, values("young", "man")) == {"age": "old"}
    assert resolve(FACE, {"age": "other"}, values("old", "man")) == {"age": "young"}
    assert resolve(FACE, {"beard": "other", "gender": "woman"}, values("old", "man", "yes")) == {
        "beard": "no",
        "gender": "woman",
    }
    with pytest.raises(UserError, match=r"unknown variable 'bread'; did you mean beard\?"):
        resolve(FACE, {"bread": "other"}, values("old", "man"))


def raw(name: str = "face") -> dict:
    return yaml.safe_load((config_folder() / "steering" / "graphs" / f"{name}.yaml").read_text())


def changed(**changes: object) -> dict:
    return {**raw(), **changes}


def mechanism(child: str, **changes: object) -> dict:
    graph = raw()
    graph["mechanisms"][child] = {**graph["mechanisms"].get(child, {}), **changes}
    return graph


ROWS = [{"then": {"no": 1.0}}]
BAD = {
    "a cycle": (
        mechanism("gender", parents=["beard"], probabilities=[{"then": {"man": 1.0}}]),
        ["cycle", "gender", "beard", "->"],
    ),
    "its own parent": (mechanism("beard", parents=["beard"], probabilities=ROWS), ["cycle beard -> beard"]),
    "an unknown parent": (
        mechanism("beard", parents=["gendr"]),
        ["mechanisms.beard", "'gendr'", "did you mean gender?"],
    ),
    "an unknown child": (mechanism("bread", parents=["age"], probabilities=ROWS), ["'bread'", "did you mean beard?"]),
    "a condition on no parent": (
        mechanism("beard", probabilities=[{"when": {"age": "old"}, "then": {"no": 1.0}}, *ROWS]),
        ["mechanisms.beard, entry 1, when", "'age'", "gender"],
    ),
    "an impossible condition": (
        mechanism("beard", probabilities=[{"when": {"gender": "mann"}, "then": {"no": 1.0}}, *ROWS]),
        ["'mann' is no value of gender", "did you mean man?"],
    ),
    "an impossible value": (
        mechanism("beard", probabilities=[{"then": {"maybe": 1.0}}]),
        ["'maybe' is no value of beard", "no, yes"],
    ),
    "an impossible rule": (
        mechanism("beard", probabilities=[], rules=[{"then": "ja"}]),
        ["'ja' is no value of beard"],
    ),
    "a rule on no parent": (
        mechanism("beard", probabilities=[], rules=[{"moved": "age", "then": "no"}]),
        ["'age' is no parent"],
    ),
    "no sum of 1": (mechanism("beard", probabilities=[{"then": {"no": 0.4, "yes": 0.5}}]), ["no=0.4, yes=0.5", "0.9"]),
    "below 0": (mechanism("beard", probabilities=[{"then": {"no": 1.5, "yes": -0.5}}]), ["1.5", "0 to 1"]),
    "a hole": (
        mechanism("beard", probabilities=[{"when": {"gender": "man"}, "then": {"no": 1.0}}]),
        ["none for gender=woman", "add a row"],
    ),
    "no mechanism": (mechanism("beard", probabilities=[]), ["mechanisms.beard", "either rules or probabilities"]),
    "both mechanisms": (mechanism("beard", rules=[{"then": "no"}]), ["either rules or probabilities"]),
    "one value": (
        changed(variables={**raw()["variables"], "age": {"values": ["old"], "question": "?"}}),
        ["variables.age.values", "at least two"],
    ),
    "a slot too many": (changed(template="{clip} {age} {gender} {beard} {baldnes}"), ["'baldnes'", "baldness?"]),
    "a slot too few": (changed(template="{clip} {age} {gender} {beard}"), ["says nothing of 'baldness'"]),
    "an open brace": (changed(template="{clip {age}"), ["template", "brace"]),
    "a misspelt entry": (changed(mechanism={}), ["mechanism: unknown entry", "did you mean mechanisms?"]),
    "a missing entry": ({k: v for k, v in raw().items() if k != "template"}, ["template: missing"]),
    "a list": (["age"], ["the graph", "correct it"]),
    "rules in an order": (
        mechanism("beard", probabilities=[], rules=[{"then": "no"}], order=["no", "yes"]),
        ["mechanisms.beard.order", "rules have none"],
    ),
    "an order of other values": (mechanism("beard", order=["no", "maybe"]), ["no, maybe; list no, yes, from low"]),
    "three values without an order": (
        {
            **mechanism("beard", probabilities=[{"then": {"no": 1.0}}]),
            "variables": {**raw()["variables"], "beard": {"values": ["no", "stubble", "full"], "question": "?"}},
        },
        ["mechanisms.beard.order", "none given; list no, stubble, full, from low to high"],
    ),
    "a word for a number": (
        mechanism("beard", probabilities=[{"then": {"no": "much"}}]),
        ["mechanisms.beard", "number"],
    ),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_graphs_are_refused_by_name(name, tmp_path: Path) -> None:
    content, says = BAD[name]
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(json.loads(json.dumps(content))))
    with pytest.raises(UserError) as error:
        read_graph(tmp_path / "mine.yaml")
    line = str(error.value)
    assert "\n" not in line
    for text in ["mine.yaml", *says]:
        assert text in line, line


def test_no_yaml_and_no_file(tmp_path) -> None:
    (tmp_path / "mine.yaml").write_text("name: [")
    with pytest.raises(UserError, match=r"mine.yaml: not readable as YAML"):
        read_graph(tmp_path / "mine.yaml")
    with pytest.raises(UserError, match="no such configuration file"):
        read_graph("steering/graphs/fase.yaml")


@pytest.mark.parametrize(
    ("factual", "do", "says"),
    [
        (values("old", "man"), {"aeg": "old"}, "do: unknown variable 'aeg'; did you mean age?"),
        (values("old", "man"), {"age": "olde"}, "do: 'olde' is no value of age; did you mean old?"),
        (values("ancient", "man"), {"age": "old"}, "factual: 'ancient' is no value of age"),
        ({"age": "old"}, {"age": "young"}, "factual: 'gender' is missing"),
    ],
)
def test_impossible_interventions_are_refused_by_name(factual, do, says) -> None:
    with pytest.raises(UserError) as error:
        FACE.counterfactual(factual, do)
    assert says in str(error.value)


def test_yes_and_no_may_be_written_as_yaml_reads_them() -> None:
    graph = raw()
    for name in ("beard", "baldness"):
        words = graph["variables"][name]["values"]
        graph["variables"][name]["values"] = {value == "yes": phrases for value, phrases in words.items()}
    for mechanism in graph["mechanisms"].values():
        for row in mechanism["probabilities"]:
            row["then"] = {value == "yes": share for value, share in row["then"].items()}
    assert CausalGraph.model_validate(graph) == FACE
