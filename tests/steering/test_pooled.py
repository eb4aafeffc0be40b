"""The judge that looks part by part: shares are what they are by hand, and a clip that changes cannot be told."""

from __future__ import annotations

import pytest
import torch

from lvcf.errors import UserError
from lvcf.steering.answers import UNSURE, Observation, Question, Reply, Seen, verdict_of
from lvcf.steering.case import observe
from lvcf.steering.judges.base import Edit, Judge, Shown
from lvcf.steering.judges.pooled import PooledJudge
from tests.steering.painted import FPS, GRAPH, OLD_BEARDED_MAN, YOUNG_MAN, BandJudge, case, paint

SKY = Question(attribute="sky", text="What sky?", options=("blue", "grey", "red"))


class Told(Judge):
    """Says what it is told to, one answer a look."""

    identity = "told"

    def __init__(self, *said: tuple[str, float]) -> None:
        self.said, self.frames = list(said), list[int]()

    def look(self, shown, questions):
        self.frames.append(shown.video.shape[1])
        observed, confidence = self.said.pop(0)
        seen = Seen(answers=(Observation(attribute="Sky", observed=observed, confidence=confidence),))
        return Reply(seen, f"look {len(self.said)}", ["hash"], 10)


def pooled(least: float, *said: tuple[str, float]) -> Observation:
    judge = PooledJudge(Told(*said), parts=len(said), least=least)
    (answer,) = judge.look(Shown("clip", torch.zeros(3, 6, 4, 4), FPS), [SKY]).answer.answers
    return answer


@pytest.mark.parametrize(
    ("said", "observed", "share"),
    [
        ([("blue", 0.8)], "blue", 0.8),
        ([("blue", 0.9), ("blue", 0.7)], "blue", 0.8),
        ([("Blue", 0.9), ("red", 0.6)], "blue", (0.9 + 0.2) / 2),  # the other gives blue half of its 0.4
        ([("red", 1.0), ("blue", 0.5), ("blue", 0.6)], "red", (1.0 + 0.25 + 0.2) / 3),
        ([(UNSURE, 1.0), ("grey", 0.9)], "grey", (1 / 3 + 0.9) / 2),
    ],
)
def test_shares_are_means_over_the_parts(said, observed, share) -> None:
    for least, expected in ((0.0, observed), (share - 1e-9, observed), (share + 1e-9, UNSURE)):
        answer = pooled(least, *said)
        assert (answer.attribute, answer.observed) == ("sky", expected)
        assert answer.confidence == pytest.approx(share)


def test_parts_cover_the_clip_once_and_what_they_cost_adds_up() -> None:
    told = Told(*[("blue", 1.0)] * 4)
    reply = PooledJudge(told, parts=4).look(Shown("clip", torch.zeros(3, 7, 4, 4), FPS), [SKY])
    assert told.frames == [2, 2, 2, 1]
    assert (reply.tokens, reply.requests, reply.images) == (40, 4, ["hash"] * 4)
    assert reply.asked == "look 3\n\nlook 2\n\nlook 1\n\nlook 0"
    few = Told(*[("blue", 1.0)] * 2)
    PooledJudge(few, parts=4).look(Shown("clip", torch.zeros(3, 2, 4, 4), FPS), [SKY])
    assert few.frames == [1, 1]  # no part is empty


def test_a_clip_that_changes_in_the_middle_cannot_be_told() -> None:
    half = torch.cat([paint(YOUNG_MAN)[:, :2], paint(OLD_BEARDED_MAN)[:, :2]], dim=1)
    judge = PooledJudge(BandJudge(), parts=2)
    seen = judge.look(Shown("clip", half, FPS), observe(GRAPH)).answer
    assert seen.values() == {"age": UNSURE, "gender": "man", "beard": UNSURE, "baldness": "no"}
    asked = case(YOUNG_MAN, age="old")
    verdict = verdict_of(seen, asked.questions)
    edit = Edit(Shown("clip", half, FPS), Shown("clip", half, FPS), "a prompt")
    said = judge.criticise(edit, verdict, asked.questions).answer
    assert [one.attribute for one in said.criticisms] == ["age", "beard", "baldness"]
    assert judge.identity == "bands, 2 parts, 0.7"


@pytest.mark.parametrize("options", [{"parts": 0}, {"least": 1.5}])
def test_numbers_out_of_range_are_refused(options) -> None:
    with pytest.raises(UserError, match=next(iter(options))):
        PooledJudge(BandJudge(), **options)
