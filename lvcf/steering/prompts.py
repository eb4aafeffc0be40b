"""What a prompt says of a graph's variables: a rewritten one has to ask for the counterfactual, or costs no edit."""

from __future__ import annotations

import re

from lvcf.steering.answers import NoAnswerError, Rewrite
from lvcf.steering.case import Case, with_articles
from lvcf.steering.graph import Variable


def fitting(case: Case, rewrite: Rewrite, paraphrase: bool = False) -> Rewrite:
    """The rewrite, if it asks for what it should.

    Of every variable the prompt says the target's value in the graph's words, plain or stronger ones, or in its neutral
    word where that stands for it; it says no other value, and its negative prompt none that is to be brought about.
    What the clip's own words say anyway is nobody's fault.

    Args:
        case: what is asked.
        rewrite: the prompts.
        paraphrase: they say the initial prompt in other words, not the target.

    Raises:
        NoAnswerError: it does not; the message says which words are missing or wrong.
    """
    target = {**case.factual, **case.interventions} if paraphrase else case.target
    for name, variable in case.graph.variables.items():
        wanted, told = target[name], said(variable, rewrite.prompt)
        own = said(variable, case.say(target))
        for value, words in told.items():
            if value != wanted and value not in own:
                raise NoAnswerError(f"the prompt says '{words}', but {name} should be {wanted}; leave '{words}' out")
        neutral = name in case.neutral and not paraphrase and _found([variable.neutral], rewrite.prompt)
        if wanted in own and wanted not in told and not neutral:
            raise NoAnswerError(
                f"the prompt does not say that {name} is {wanted}; write '{variable.values[wanted][0]}'"
            )
        away = said(variable, rewrite.negative)
        if wanted != case.factual[name] and wanted in away and wanted not in said(variable, case.source_prompt):
            raise NoAnswerError(f"the negative prompt says '{away[wanted]}', which is what {name} should be")
    return rewrite


def said(variable: Variable, prompt: str) -> dict[str, str]:
    """The values that a prompt says, each with the words for it; of words within others the longer ones count.

    Words are a value's in the graph, or a part of them between commas.
    """
    values: dict[str, list[str]] = {}
    for value, choice in variable.values.items():
        for words in choice:
            for phrase in (words, *words.split(",")):
                values.setdefault(_plain(phrase), []).append(value)
    return {value: words for words in _found(list(values), prompt) for value in values[words]}


def _found(phrases: list[str], prompt: str) -> list[str]:
    """The phrases that stand in a prompt as whole words, the longest at every place."""
    ordered = sorted(filter(None, phrases), key=len, reverse=True)
    pattern = "|".join(re.escape(_plain(phrase)) for phrase in ordered)
    return re.findall(rf"(?<!\w)(?:{pattern})(?!\w)", _plain(prompt)) if ordered else []


def _plain(text: str) -> str:
    """Text as it is compared: upper or lower case, spaces and the article's form do not matter."""
    return with_articles(" ".join(text.casefold().split()))
