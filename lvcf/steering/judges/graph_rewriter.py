"""The offline rewriter: it knows the graph, so a failed attribute says which words to change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from lvcf.steering.answers import UNSURE, Reply, Rewrite
from lvcf.steering.case import Case
from lvcf.steering.judges.base import Attempt, Rewriter


class GraphRewriter(Rewriter):
    """Turns failed attributes into words, always the same ones.

    An attribute that failed loses its neutral word, then takes its value's stronger words one by one.  The values that
    were seen instead in the last attempt go into the negative prompt, which is the source prompt otherwise: a prompt
    never negates.
    """

    @property
    def identity(self) -> str:
        """There is one graph-grounded rewriter."""
        return "graph"

    def rewrite(self, case: Case, attempts: Sequence[Attempt]) -> Reply[Rewrite]:
        """See the base class."""
        verdicts = [attempt.verdict for attempt in attempts if attempt.verdict]
        failures = Counter(answer.attribute for verdict in verdicts for answer in verdict.failed)
        seen = {answer.attribute: answer.observed for answer in verdicts[-1].failed} if verdicts else {}
        neutral = case.neutral - set(failures)
        levels = {name: count - (name in case.neutral) for name, count in failures.items()}
        prompt = case.say(case.target, levels, neutral)
        wrong = {name: value for name, value in seen.items() if value not in (case.target[name], UNSURE)}
        negative = case.say({**case.factual, **wrong})
        return Reply(Rewrite(prompt=prompt, negative="" if negative == case.source_prompt else negative))

    def paraphrase(self, case: Case) -> Reply[Rewrite]:
        """The initial prompt's values in the graph's first other template, or in its own if there is none."""
        values = {**case.factual, **case.interventions}
        template = case.graph.paraphrases[0] if case.graph.paraphrases else None
        return Reply(Rewrite(prompt=case.say(values, template=template), negative=""))
