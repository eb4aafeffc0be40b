"""What a prompt says of a graph's variables: the graph's own prompts ask for the counterfactual, echoes do not."""

from __future__ import annotations

from itertools import product

import pytest

from lvcf.steering.answers import NoAnswerError, Rewrite
from lvcf.steering.case import Case
from lvcf.steering.graph import Variable, read_graph
from lvcf.steering.judges.graph_rewriter import GraphRewriter
from lvcf.steering.prompts import fitting, said
from tests.steering.painted import GRAPH, WORDS, YOUNG_MAN, YOUNG_WOMAN, case

ASKED = case(YOUNG_MAN, age="old")  # an old bald man with a beard


@pytest.mark.parametrize("graph", [GRAPH, read_graph("steering/graphs/face.yaml")], ids=lambda graph: graph.name)
def test_whatever_the_graph_writes_fits(graph) -> None:
    """Of every clip and intervention, in plain and in stronger words, with and without neutral ones."""
    domains = {name: list(variable.values) for name, variable in graph.variables.items()}
    for values in product(*domains.values()):
        factual = dict(zip(domains, values, strict=True))
        for name, domain in domains.items():
            for value in domain:
                asked = Case("clip", WORDS, graph, factual, {name: value})
                for level, neutral in product((0, 1), (asked.neutral, ())):
                    prompt = asked.say(asked.target, dict.fromkeys(domains, level), neutral)
                    rewrite = Rewrite(prompt=prompt, negative=asked.source_prompt)
                    assert fitting(asked, rewrite) is rewrite
                paraphrase = GraphRewriter().paraphrase(asked).answer
                assert fitting(asked, paraphrase, paraphrase=True) is paraphrase


@pytest.mark.parametrize(
    ("prompt", "negative", "why"),
    [
        (
            "A prompt, and what the clip should move away from: a whole negative prompt, or nothing.",
            "",
            "the prompt does not say that age is old; write 'old'",
        ),
        (
            "a video of a young man becoming an old bald man with a beard",
            "",
            "the prompt says 'young', but age should be old; leave 'young' out",
        ),
        ("a video of an old bald man without a beard", "", "does not say that beard is yes; write 'with a beard'"),
        ("a video of an old bald womanly figure with a beard", "", "does not say that gender is man"),
        ("a video of an older bald man with a beard", "", "does not say that age is old"),
        ("a video of an old bald man with a beard", "an old man", "the negative prompt says 'old', which is what age"),
        ("a video of an old bald man with a beard", "a bald man", "the negative prompt says 'bald'"),
    ],
)
def test_what_does_not_ask_for_the_counterfactual_is_no_answer(prompt, negative, why) -> None:
    with pytest.raises(NoAnswerError, match=why):
        fitting(ASKED, Rewrite(prompt=prompt, negative=negative))


def test_what_is_absent_is_never_negated() -> None:
    with pytest.raises(NoAnswerError, match="the prompt says 'bald', but baldness should be no; leave 'bald' out"):
        fitting(case(YOUNG_MAN, gender="woman"), Rewrite(prompt="a young woman, not bald", negative=""))


@pytest.mark.parametrize(
    ("asked", "prompt"),
    [
        (ASKED, "Portrait of an ELDERLY completely bald man,\nwith a  long full beard, smiling"),
        (case(YOUNG_WOMAN, beard="yes"), "a young person with a beard"),  # the cause's neutral word
        (case(YOUNG_WOMAN, beard="yes"), "a young woman with a beard"),
    ],
)
def test_other_sentences_with_the_graphs_words_fit(asked, prompt) -> None:
    assert fitting(asked, Rewrite(prompt=prompt, negative="a man" if asked is not ASKED else "young")).prompt == prompt


def test_the_neutral_word_alone_is_not_enough_where_the_cause_is_set() -> None:
    with pytest.raises(NoAnswerError, match="does not say that gender is woman"):
        fitting(case(YOUNG_MAN, gender="woman"), Rewrite(prompt="a young person", negative=""))


def test_words_that_the_clip_is_described_by_are_nobodys_fault() -> None:
    asked = Case("clip", "a bald eagle beside", GRAPH, YOUNG_MAN, {"gender": "woman"})
    assert asked.target["baldness"] == "no"
    fitting(asked, Rewrite(prompt="a bald eagle beside a young woman", negative=""))


def test_of_words_within_others_the_longer_count() -> None:
    cold = Variable(values={"cold": ["cold"], "very": ["very cold, icy"], "warm": []}, question="How cold?")
    assert said(cold, "a very cold, icy street") == {"very": "very cold, icy"}
    assert said(cold, "an Icy street") == {"very": "icy"}
    assert said(cold, "a very cold street, cold light") == {"very": "very cold", "cold": "cold"}
    assert said(cold, "a coldish street") == {}
