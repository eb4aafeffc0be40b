"""A causal graph over what a clip shows: variables with domains and words, and a mechanism for every child.

An intervention is answered as Pearl (2009, section 7.1) does: abduction keeps every exogenous choice that the factual
values show, action cuts the edges into what is set, prediction computes its descendants anew.  docs/method.md, 14.

What is assumed, and no clip can tell: the graph; that every child has an exogenous choice of its own, independent of
all others; and of each :class:`Mechanism` what it says there.  :attr:`CausalGraph.assumptions` has it in words.
"""

from __future__ import annotations

import math
import string
from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter
from itertools import product, takewhile
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, field_validator, model_validator

from lvcf.configuration import find_config
from lvcf.errors import UserError, hint
from lvcf.files import Record, damaged

Values = Mapping[str, str]
"""Variables and their values."""
CLIP = "clip"
"""The template's slot for what is said of a clip beside the graph's variables."""
BINARY = 2
"""Values of a variable whose order changes no answer."""


def text(value: object) -> str:
    """A value as the graph spells it: YAML reads yes and no as booleans."""
    return ("no", "yes")[value] if isinstance(value, bool) else str(value)


def texts(given: object) -> object:
    """A value, or a mapping's keys and values, as the graph spells them; numbers stay."""
    if not isinstance(given, dict):
        return text(given)
    return {text(key): value if type(value) in (int, float) else text(value) for key, value in given.items()}


class Variable(BaseModel):
    """One thing a clip shows.

    Attributes:
        values: the domain, each value with its words, plain ones first and stronger ones after; a value without words
            is left out of prompts, never negated.
        neutral: said instead where a child is intervened on, so that the words do not ask for the child's usual cause.
        question: asks a judge for the value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    values: dict[str, tuple[str, ...]]
    neutral: str = ""
    question: str

    @field_validator("values", mode="before")
    @classmethod
    def _read_values(cls, given: object) -> object:
        """A list of values is its own words; YAML's yes and no are words here."""
        if isinstance(given, list):
            given = {value: value for value in given}
        if not isinstance(given, dict):
            return given
        return {
            text(value): (words,) if isinstance(words, str) and words else words or () for value, words in given.items()
        }


class Rule(BaseModel):
    """A child's value under some of its parents' values.

    Attributes:
        when: the parents' values it needs.
        moved: a parent that has to have changed its value, if any.
        then: the child's value.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: dict[str, str] = {}
    moved: str = ""
    then: str

    _read = field_validator("when", "then", mode="before")(texts)

    def holds(self, values: Values, factual: Values) -> bool:
        """Whether it counts where these values came from the factual ones."""
        return fits(self.when, values) and (not self.moved or values[self.moved] != factual[self.moved])


class Entry(BaseModel):
    """A child's distribution under some of its parents' values."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    when: dict[str, str] = {}
    then: dict[str, float]

    _read = field_validator("when", "then", mode="before")(texts)


class Mechanism(BaseModel):
    """How a child follows from its parents: rules or probabilities, of which the first that fits counts.

    A rule forbids all values but its own.  What is assumed: a clip that breaks a rule is an exception to it and stays
    one, so that the rule does not count for that clip; and a value that no rule forbids stays.

    Probabilities are read as x = F^-1(u | parents) with u uniform on 0-1: abduction leaves u the interval of the
    factual value.  What is assumed: x is monotone in u, whatever the parents are, by ``order``.  Of two values the
    order changes nothing.  Other models of the same probabilities would answer otherwise.

    Attributes:
        parents: the edges' tails.
        rules: see :class:`Rule`.
        probabilities: see :class:`Entry`; they have to cover every combination of the parents' values.
        order: the child's values from low to high, for probabilities of more than two.  The order in which the graph
            lists a variable's values means nothing.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    parents: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    probabilities: tuple[Entry, ...] = ()
    order: tuple[str, ...] = ()

    @field_validator("order", mode="before")
    @classmethod
    def _read_order(cls, given: object) -> object:
        return tuple(map(text, given)) if isinstance(given, list) else given

    def row(self, values: Values) -> dict[str, float] | None:
        """The child's distribution under its parents' values."""
        return next((row.then for row in self.probabilities if fits(row.when, values)), None)

    def ruled(self, value: str, factual: Values, values: Values) -> str:
        """The child's value by the rules.

        Args:
            value: the child's factual one.
            factual: all that the clip shows.
            values: the parents' new ones.
        """
        broken = list(
            takewhile(lambda rule: rule.then != value, filter(lambda r: r.holds(factual, factual), self.rules))
        )
        counted = (rule.then for rule in self.rules if rule not in broken and rule.holds(values, factual))
        return next(counted, value)


class CausalGraph(BaseModel):
    """A directed acyclic graph of variables.

    Attributes:
        name: of the graph.
        variables: by name.
        mechanisms: by child; a variable without one is a root.
        template: a prompt with a slot ``{variable}`` for every variable, and ``{clip}`` for all else that is said.
        paraphrases: the same in other words.

    Raises:
        UserError: an unknown variable, an impossible value, a cycle, or a prompt that leaves a variable out.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    variables: dict[str, Variable]
    mechanisms: dict[str, Mechanism] = {}
    template: str
    paraphrases: tuple[str, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> CausalGraph:
        for name, variable in self.variables.items():
            if len(variable.values) < 2:
                raise UserError(f"variables.{name}.values: {len(variable.values)} given; at least two are needed")
        for child, mechanism in self.mechanisms.items():
            self._check_mechanism(f"mechanisms.{child}", child, mechanism)
        try:
            _ = self.order
        except CycleError as error:
            raise UserError(f"mechanisms: the cycle {' -> '.join(error.args[1])}; remove one of its edges") from error
        for where, template in (("template", self.template), *(("paraphrases", p) for p in self.paraphrases)):
            self._check_template(where, template)
        return self

    def _check_mechanism(self, where: str, child: str, mechanism: Mechanism) -> None:
        for name in (child, *mechanism.parents):
            self._known(where, name)
        if bool(mechanism.rules) == bool(mechanism.probabilities):
            raise UserError(f"{where}: give it either rules or probabilities")
        conditions = [rule.when for rule in mechanism.rules] + [row.when for row in mechanism.probabilities]
        for i, when in enumerate(conditions):
            self.check(when, f"{where}, entry {i + 1}, when", mechanism.parents)
        for rule in mechanism.rules:
            self.check({child: rule.then}, f"{where}.rules.then")
            if rule.moved and rule.moved not in mechanism.parents:
                raise UserError(
                    f"{where}.rules.moved: '{rule.moved}' is no parent; {hint(rule.moved, mechanism.parents)}"
                )
        for row in mechanism.probabilities:
            self._check_row(f"{where}.probabilities", child, row)
        self._check_order(where, child, mechanism)
        domains = [self.variables[name].values for name in mechanism.parents]
        for values in product(*domains) if mechanism.probabilities else ():
            case = dict(zip(mechanism.parents, values, strict=True))
            if mechanism.row(case) is None:
                raise UserError(f"{where}.probabilities: none for {said(case)}; add a row")

    def _check_order(self, where: str, child: str, mechanism: Mechanism) -> None:
        domain = list(self.variables[child].values)
        wanted = bool(mechanism.probabilities) and len(domain) > BINARY
        if mechanism.order and not mechanism.probabilities:
            raise UserError(f"{where}.order: rules have none; leave it out")
        if (wanted or mechanism.order) and sorted(mechanism.order) != sorted(domain):
            given = ", ".join(mechanism.order) or "none given"
            raise UserError(f"{where}.order: {given}; list {', '.join(domain)}, from low to high")

    def _check_row(self, where: str, child: str, row: Entry) -> None:
        for value, share in row.then.items():
            self.check({child: value}, where)
            if not 0.0 <= share <= 1.0:
                raise UserError(f"{where}: {share:g} for '{value}' is no probability; choose a number from 0 to 1")
        if not math.isclose(sum(row.then.values()), 1.0, abs_tol=1e-6):
            raise UserError(f"{where}: {said(row.then)} sum to {sum(row.then.values()):g}; they have to sum to 1")

    def _check_template(self, where: str, template: str) -> None:
        try:
            parts = [(slot, form) for _, slot, *form in string.Formatter().parse(template) if slot is not None]
        except ValueError as error:
            raise UserError(f"{where}: '{template}' has an open brace ({error}); write {{variable}}") from error
        slots = {slot for slot, _ in parts}
        for slot in sorted(slots - {CLIP}):
            self._known(where, slot)
        if formed := [slot for slot, form in parts if any(form)]:
            raise UserError(f"{where}: says how to write '{formed[0]}'; write {{{formed[0]}}} alone")
        if lacking := [name for name in self.variables if name not in slots]:
            raise UserError(f"{where}: says nothing of '{lacking[0]}'; add {{{lacking[0]}}}")

    def _known(self, where: str, name: str) -> None:
        if name not in self.variables:
            raise UserError(f"{where}: unknown variable '{name}'; {hint(name, list(self.variables))}")

    def check(self, values: Values, where: str, among: Iterable[str] | None = None) -> None:
        """Refuse what the graph cannot mean.

        Args:
            values: of some variables.
            where: what a message calls them.
            among: the variables that may be named, if not all.

        Raises:
            UserError: a variable is unknown, or a value is none of its variable's.
        """
        names = list(self.variables if among is None else among)
        for name, value in values.items():
            if name not in names:
                raise UserError(f"{where}: unknown variable '{name}'; {hint(name, names)}")
            if value not in self.variables[name].values:
                domain = list(self.variables[name].values)
                raise UserError(f"{where}: '{value}' is no value of {name}; {hint(value, domain)}")

    @property
    def order(self) -> tuple[str, ...]:
        """The variables, every parent before its children."""
        edges = {name: self.parents(name) for name in self.variables}
        return tuple(TopologicalSorter(edges).static_order())

    @property
    def assumptions(self) -> dict[str, str]:
        """By child, what is assumed of how it follows from its causes."""
        return {name: self._assumed(name, mechanism) for name, mechanism in self.mechanisms.items()}

    def _assumed(self, name: str, mechanism: Mechanism) -> str:
        causes = ", ".join(mechanism.parents)
        if mechanism.rules:
            return f"by rules on {causes}; a clip that breaks a rule stays an exception, what no rule forbids stays"
        domain = mechanism.order or tuple(self.variables[name].values)
        order = (
            f"monotone in {' < '.join(domain)}" if len(domain) > BINARY else "monotone (two values: in either order)"
        )
        return f"by probabilities given {causes}, with an independent choice of its own that stays, {order}"

    def parents(self, name: str) -> tuple[str, ...]:
        """Its direct causes."""
        return self.mechanisms[name].parents if name in self.mechanisms else ()

    def ancestors(self, names: Iterable[str]) -> set[str]:
        """All causes of some variables, direct or not; without these themselves, unless one causes another."""
        found: set[str] = set()
        waiting = [parent for name in names for parent in self.parents(name)]
        while waiting:
            name = waiting.pop()
            if name not in found:
                found.add(name)
                waiting += self.parents(name)
        return found

    def descendants(self, names: Iterable[str]) -> set[str]:
        """All effects of some variables, direct or not; without these themselves, unless one causes another."""
        found, sources = set[str](), set(names)
        for name in self.order:
            if (found | sources) & set(self.parents(name)):
                found.add(name)
        return found

    def do(self, interventions: Iterable[str]) -> CausalGraph:
        """The graph with the edges into some variables cut."""
        cut = set(interventions)
        kept = {child: mechanism for child, mechanism in self.mechanisms.items() if child not in cut}
        return self.model_copy(update={"mechanisms": kept})

    def counterfactual(self, factual: Values, interventions: Values) -> dict[str, str]:
        """What would be shown under an intervention, given what is shown and nothing else.

        Descendants follow from their parents, all else keeps its value.  Where the factual value leaves a child's
        exogenous choice open, its most probable value is taken, and of equally probable ones the factual, else the
        lowest by the mechanism's order.

        Args:
            factual: the value of every variable.
            interventions: what is set.

        Raises:
            UserError: a variable is missing or unknown, or a value impossible.
        """
        self.check(factual, "factual")
        self.check(interventions, "do")
        if lacking := [name for name in self.variables if name not in factual]:
            raise UserError(f"factual: '{lacking[0]}' is missing; give every variable a value")
        values = {**factual, **interventions}
        cut = self.do(interventions)
        for name in cut.order:
            parents = cut.parents(name)
            if any(values[parent] != factual[parent] for parent in parents):
                values[name] = cut._predicted(name, factual, values)
        return values

    def _predicted(self, name: str, factual: Values, values: Values) -> str:
        """A child's value under its parents' new values and its own old choice."""
        mechanism = self.mechanisms[name]
        before, after = mechanism.row(factual), mechanism.row(values)
        if before is None or after is None:
            return mechanism.ruled(factual[name], factual, values)
        domain = mechanism.order or tuple(self.variables[name].values)
        low, high = intervals(before, domain)[factual[name]]
        if low == high:  # the graph cannot explain what is shown, so it cannot explain it away
            return factual[name]
        shares = {value: min(high, stop) - max(low, start) for value, (start, stop) in intervals(after, domain).items()}
        best = max(shares.values())
        likely = [value for value in domain if math.isclose(shares[value], best, abs_tol=1e-9)]
        return factual[name] if factual[name] in likely else likely[0]


def intervals(row: Mapping[str, float], domain: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Where u has to lie for each value: shares of 0-1, from the first value to the last."""
    found, start = dict[str, tuple[float, float]](), 0.0
    for value in domain:
        stop = start + row.get(value, 0.0)
        found[value] = (start, stop)
        start = stop
    return found


def fits(when: Values, values: Values) -> bool:
    """Whether all conditions hold."""
    return all(values[name] == value for name, value in when.items())


def said(values: Mapping[str, Any]) -> str:
    """Values as messages show them: ``age=old, gender=man``."""
    return ", ".join(
        f"{name}={value:g}" if isinstance(value, float) else f"{name}={value}" for name, value in values.items()
    )


def read_graph(name: str | Path) -> CausalGraph:
    """A graph from a YAML file in the working directory or among the shipped configurations.

    Raises:
        UserError: the file is missing, is no YAML mapping, or describes no graph.
    """
    path = find_config(str(name))
    try:
        return CausalGraph.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except ValidationError as error:
        raise UserError(f"{path}: {_first(error)}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as YAML ({' '.join(str(error).split())})") from error
    except UserError as error:
        raise UserError(f"{path}: {error}") from error


def stored_graph(manifest: Record, entry: str) -> CausalGraph:
    """The graph under ``graph`` or ``evaluation_graph`` of a steering run's manifest.

    Raises:
        UserError: it is damaged.
    """
    try:
        return CausalGraph.model_validate(manifest[entry])
    except ValidationError as error:
        raise damaged(manifest.path, f"{entry}: {error.errors(include_url=False)[0]['msg']}") from error
    except UserError as error:
        raise damaged(manifest.path, f"{entry}: {error}") from error


def _first(error: ValidationError) -> str:
    """Where the first mistake is and what it is; a misspelt key with its nearest name."""
    problem = error.errors()[0]
    where = ".".join(map(str, problem["loc"])) or "the graph"
    if problem["type"] == "extra_forbidden":
        known = {name for model in (CausalGraph, Variable, Mechanism, Rule, Entry) for name in model.model_fields}
        return f"{where}: unknown entry; {hint(str(problem['loc'][-1]), sorted(known))}"
    if problem["type"] == "missing":
        return f"{where}: missing; add it"
    return f"{where}: {problem['msg'][0].lower()}{problem['msg'][1:]}; correct it"
