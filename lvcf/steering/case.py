"""One counterfactual to make: the clip's factual values, the intervention, and what the graph derives from both."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from lvcf.errors import UserError
from lvcf.steering.answers import Question, Role, Wanted
from lvcf.steering.graph import CLIP, CausalGraph, Values, said

OTHER = "other"
"""Stands for another value than the clip's: the last of the domain, or the first if the clip shows the last."""


@dataclass(frozen=True)
class Case:
    """What is asked of an editor.

    Attributes:
        id: the clip's.
        words: what is said of the clip beside the graph's variables.
        graph: the assumed graph.
        factual: what the clip shows.
        interventions: what is set.
        given: the data set's own prompt of the intervention, where it has one.
        known: the counterfactual values, where something else than the graph tells them: a simulator or a record.

    Raises:
        UserError: from :attr:`target`, on what the graph does not know.
    """

    id: str
    words: str
    graph: CausalGraph
    factual: Values
    interventions: Values
    given: str = ""
    known: Values | None = None

    @property
    def name(self) -> str:
        """The intervention in words: ``do(age=old)``."""
        return f"do({said(dict(self.interventions))})"

    @cached_property
    def target(self) -> dict[str, str]:
        """The counterfactual values."""
        return dict(self.known or self.graph.counterfactual(self.factual, self.interventions))

    def role(self, name: str) -> Role:
        """What a question about a variable tests."""
        if name in self.interventions:
            return "intervened"
        return "descendant" if name in self.graph.descendants(self.interventions) else "preserved"

    @property
    def questions(self) -> list[Wanted]:
        """One per variable: effectiveness on interventions and descendants, minimality on all others."""
        return [
            Wanted(
                attribute=name,
                text=variable.question,
                options=tuple(variable.values),
                expected=self.target[name],
                role=self.role(name),
            )
            for name, variable in self.graph.variables.items()
        ]

    @property
    def neutral(self) -> set[str]:
        """Causes of what is set: a neutral word stands for them, so that the words do not pull against it."""
        causes = self.graph.ancestors(self.interventions) - set(self.interventions)
        return {name for name in causes if self.graph.variables[name].neutral}

    @property
    def source_prompt(self) -> str:
        """What the clip shows, in words."""
        return self.say(self.factual)

    @property
    def initial_prompt(self) -> str:
        """The source prompt with the intervened word alone replaced: the baseline."""
        return self.say({**self.factual, **self.interventions})

    @property
    def target_prompt(self) -> str:
        """The counterfactual in words: what is absent is dropped, causes of what is set are neutral."""
        return self.say(self.target, neutral=self.neutral)

    def say(
        self,
        values: Values,
        levels: Mapping[str, int] | None = None,
        neutral: Iterable[str] = (),
        template: str | None = None,
    ) -> str:
        """Values as a prompt.

        Args:
            values: of every variable.
            levels: how strong the words have to be, 0 for plain ones; the strongest there are at most.
            neutral: variables that a neutral word stands for.
            template: instead of the graph's own.
        """
        words = {CLIP: self.words}
        for name, variable in self.graph.variables.items():
            choice = variable.values[values[name]]
            level = min((levels or {}).get(name, 0), len(choice) - 1)
            words[name] = variable.neutral if name in neutral else choice[level] if choice else ""
        return with_articles(" ".join((template or self.graph.template).format_map(words).split()))


def with_articles(text: str) -> str:
    """Text with *an* for *a* before a vowel."""
    return re.sub(r"\b([Aa]) (?=[aeiou])", r"\1n ", text)


def in_their_words(case: Case, asked: Mapping[str, tuple[str, str]]) -> list[Wanted]:
    """The case's questions, in a benchmark's words and with its right answers where it has its own.

    Args:
        case: what was asked of an editor.
        asked: question and right answer by variable.

    Raises:
        UserError: the benchmark's answer is none of the graph's values.
    """
    case.graph.check({name: right for name, (_, right) in asked.items()}, f"{case.id}, {case.name}, the benchmark")
    own = {name: {"text": question, "expected": right} for name, (question, right) in asked.items()}
    return [question.model_copy(update=own.get(question.attribute)) for question in case.questions]


def observe(graph: CausalGraph) -> list[Question]:
    """Questions for the factual values of a clip."""
    return [Question(attribute=name, text=v.question, options=tuple(v.values)) for name, v in graph.variables.items()]


def resolve(graph: CausalGraph, interventions: Values, factual: Values) -> dict[str, str]:
    """Interventions with every ``other`` replaced by a value that the clip does not show.

    Raises:
        UserError: a variable or value that the graph does not know.
    """
    graph.check({name: value for name, value in interventions.items() if value != OTHER}, "do")
    unknown = [name for name in interventions if name not in graph.variables]
    if unknown:
        graph.check({unknown[0]: OTHER}, "do")
    if not interventions:
        raise UserError("do: empty; name at least one variable and its value")
    domains = {name: list(graph.variables[name].values) for name in interventions}
    others = {name: values[0] if factual[name] == values[-1] else values[-1] for name, values in domains.items()}
    return {name: others[name] if value == OTHER else value for name, value in interventions.items()}
