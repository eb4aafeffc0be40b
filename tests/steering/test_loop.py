"""The loop on a toy world: a real editor that paints what it reads, a real judge that measures it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch

from lvcf.data.clip import round_to_8_bits, to_frames
from lvcf.data.video import write_lossless
from lvcf.errors import UserError
from lvcf.steering.answers import (
    Answer,
    NoAnswerError,
    Observation,
    Question,
    Reply,
    Rewrite,
    Seen,
    Verdict,
    in_order,
    verdict_of,
)
from lvcf.steering.case import observe
from lvcf.steering.editors.base import Remembering, content_key
from lvcf.steering.judges.base import Attempt, Rewriter, Shown
from lvcf.steering.judges.graph_rewriter import GraphRewriter
from lvcf.steering.loop import Budget, Outcome, Steering, look
from lvcf.steering.methods import DEFAULT
from lvcf.steering.replay import Absent
from lvcf.steering.result import Shared, history
from lvcf.steering.transcript import Transcript
from tests.steering.painted import (
    FPS,
    OLD_BEARDED_MAN,
    YOUNG_MAN,
    YOUNG_WOMAN,
    BandEditor,
    BandJudge,
    case,
    paint,
)


class Failing(BandJudge):
    """Gives no answer on some calls, counted from 1."""

    def __init__(self, silent: Sequence[int]) -> None:
        super().__init__()
        self.silent = silent

    def look(self, shown, questions):
        reply = super().look(shown, questions)
        if self.calls in self.silent:
            raise NoAnswerError("refused: no faces, please")
        return reply


class Mute(Rewriter):
    identity = "mute"

    def rewrite(self, case, attempts):
        raise NoAnswerError("HTTP 500")

    def paraphrase(self, case):
        raise NoAnswerError("HTTP 500")


class Echo(Rewriter):
    """Answers with its instruction, as weak models do; at last as the graph would."""

    identity = "echo"

    def __init__(self, echoes: int) -> None:
        self.left = echoes

    def rewrite(self, case, attempts):
        self.left -= 1
        if self.left < 0:
            return GraphRewriter().rewrite(case, attempts)
        return Reply(Rewrite(prompt="Write the next prompt.", negative=""), "the instruction", tokens=7)

    def paraphrase(self, case):
        return self.rewrite(case, [])


def steering(folder, asked, editor=None, judge=None, rewriter=None, live=True, seed=0, made=None, **budget) -> Steering:
    return Steering(
        asked,
        round_to_8_bits(paint(dict(asked.factual))),
        editor or BandEditor(),
        judge or BandJudge(),
        rewriter or GraphRewriter(),
        Transcript(folder, FPS, live, made),
        Budget(**budget),
        seed,
    )


def test_the_graphs_prompt_is_right_where_the_initial_one_is_not(tmp_path) -> None:
    asked = case(OLD_BEARDED_MAN, gender="woman")
    initial = steering(tmp_path / "a", asked).run("initial")
    assert [a.attribute for a in initial.attempts[0].verdict.failed] == ["beard"]
    graph = steering(tmp_path / "b", asked).run("graph")
    assert graph.attempts[0].verdict.realised
    assert graph.stopped == "done"


def test_feedback_finds_the_words_that_the_editor_hears(tmp_path) -> None:
    """It paints old only when told 'very old': neither seeds nor a paraphrase help, the criticism does."""
    asked, deaf = case(YOUNG_MAN, age="old"), {"needs": ["old very old"]}
    for method in ("initial", "paraphrase", "graph", "best_of_n"):
        outcome = steering(tmp_path / method, asked, BandEditor(**deaf), edits=3).run(method)
        assert not outcome.attempts[outcome.best].verdict.realised
        assert len(outcome.attempts) == (3 if method == "best_of_n" else 1)
    outcome = steering(tmp_path / "steered", asked, BandEditor(**deaf), edits=3).run("steered")
    assert outcome.stopped == "realised"
    assert [a.prompt for a in outcome.attempts] == [
        "a video of an old bald man with a beard",
        "a video of a very old, elderly, wrinkled bald man with a beard",
    ]


def test_a_preserved_cause_gets_its_word_back_and_what_was_seen_goes_into_the_negative(tmp_path) -> None:
    outcome = steering(tmp_path, case(YOUNG_WOMAN, beard="yes")).run("steered")
    assert [(a.prompt, a.negative) for a in outcome.attempts] == [
        ("a video of a young person with a beard", ""),
        ("a video of a young woman with a beard", "a video of a young man"),
    ]
    assert outcome.stopped == "realised"


def test_only_what_was_seen_last_is_in_the_negative() -> None:
    """A wrong word that was cured does not pull any longer; the neutral word stays away."""
    asked = case(YOUNG_WOMAN, beard="yes")
    seen = [{"gender": "man"}, {"beard": "no"}, {"gender": "man", "beard": "no"}]
    attempts, negatives = [], []
    for wrong in seen:
        shown = {**asked.target, **wrong}
        answers = [Observation(attribute=name, observed=value, confidence=1.0) for name, value in shown.items()]
        verdict = verdict_of(Seen(answers=tuple(answers)), asked.questions)
        attempts.append(Attempt("", "", 0, torch.zeros(1), verdict))
        rewrite = GraphRewriter().rewrite(asked, attempts).answer
        negatives.append(rewrite.negative)
        assert "person" not in rewrite.prompt
    assert negatives == ["a video of a young man", "", "a video of a young man"]


def test_a_rewritten_prompt_that_asks_for_something_else_costs_no_edit(tmp_path) -> None:
    """It is refused before the editor hears it, the former prompt is tried again; after two there is no more."""
    asked, why = case(YOUNG_MAN, age="old"), "the prompt does not say that age is old; write 'old'"
    editor, budget = BandEditor(needs=["old very old"]), {"edits": 6, "calls": 20, "patience": 6}
    outcome = steering(tmp_path / "mended", asked, editor, rewriter=Echo(1), **budget).run("steered")
    assert [prompt for prompt, _, _ in editor.edits] == [
        *[asked.target_prompt] * 2,
        "a video of a very old, elderly, wrinkled bald man with a beard",
    ]
    assert (outcome.stopped, outcome.problems) == ("realised", [f"echo: {why}"])
    again = steering(tmp_path / "mended", asked, BandEditor(needs=["old very old"]), live=False, **budget)
    again.rewriter = Echo(0)  # from the record nobody is asked
    assert again.run("steered").problems == outcome.problems
    lost = steering(tmp_path / "lost", asked, BandEditor(deaf=["age"]), rewriter=Echo(9), **budget)
    assert (lost.run("steered").stopped, lost.transcript.count("edit")) == ("no answer", 2)
    refused = [line for line in lost.transcript.lines if line["kind"] == "rewrite"]
    said = {"said": '{"prompt":"Write the next prompt.","negative":""}', "why": why}
    assert [(line["refused"], line["problem"], line["asked"]) for line in refused] == [
        ([said], why, "the instruction")
    ] * 2
    assert lost.transcript.cost()["tokens"] == 14
    paraphrased = steering(tmp_path / "paraphrased", asked, rewriter=Echo(1)).run("paraphrase")
    assert (paraphrased.attempts, paraphrased.problems, paraphrased.stopped) == ([], [f"echo: {why}"], "no answer")


def test_the_best_is_returned_and_not_the_last(tmp_path) -> None:
    editor = BandEditor(deaf=["baldness"], spoilt=[12, 13])
    outcome = steering(tmp_path, case(YOUNG_MAN, age="old"), editor, seed=10, edits=4, patience=9).run("steered")
    assert outcome.stopped == "edits"
    ranks = [attempt.rank for attempt in outcome.attempts]
    assert outcome.best == ranks.index(max(ranks)) < 2
    assert ranks[-1] < ranks[outcome.best]


def test_more_right_attributes_beat_more_confidence() -> None:
    def verdict(*answers: tuple[bool, float]) -> Verdict:
        made = [
            Answer(attribute=str(i), observed="", realised=yes, confidence=c, criticism="")
            for i, (yes, c) in enumerate(answers)
        ]
        return Verdict(answers=tuple(made))

    three, two = verdict((True, 0.0), (True, 0.1), (True, 0.0)), verdict((True, 1.0), (True, 1.0), (False, 0.0))
    assert three.score == (3, pytest.approx(0.5 + 0.1 / 6))
    assert two.score == (2, pytest.approx((1 + 1 + 0.5) / 3))
    tensor = torch.zeros(1)
    outcome = Outcome([Attempt("", "", 0, tensor, v) for v in (two, None, three, three)])
    assert outcome.best == 2


@pytest.mark.parametrize(
    ("budget", "stopped", "edits"),
    [
        ({"edits": 2}, "edits", 2),
        ({"edits": 9, "calls": 3}, "calls", 2),  # judge, rewriter, judge
        ({"edits": 9, "patience": 2}, "stagnation", 3),
        ({"edits": 1, "calls": 1}, "edits", 1),
    ],
)
def test_it_stops(tmp_path, budget, stopped, edits) -> None:
    editor, judge = BandEditor(deaf=["age", "baldness", "beard"]), BandJudge()
    one = steering(tmp_path, case(YOUNG_MAN, age="old"), editor, judge, **budget)
    outcome = one.run("steered")
    assert outcome.stopped == stopped
    assert len(editor.edits) == len(outcome.attempts) == edits
    assert judge.calls == edits
    cost = one.transcript.cost()
    assert cost["edits"] == edits
    assert cost["calls"] <= budget.get("calls", 20)


def test_steering_and_best_of_n_have_the_same_seeds(tmp_path) -> None:
    seeds = []
    for method in ("steered", "best_of_n"):
        editor = BandEditor(deaf=["age"])
        steering(tmp_path / method, case(YOUNG_MAN, age="old"), editor, seed=5, edits=3).run(method)
        seeds.append([seed for _, _, seed in editor.edits])
    assert seeds == [[5, 6, 7], [5, 6, 7]]


def test_best_of_n_goes_on_until_it_is_right(tmp_path) -> None:
    editor = BandEditor(spoilt=[0, 1])
    outcome = steering(tmp_path, case(YOUNG_MAN, age="old"), editor, edits=5, patience=1).run("best_of_n")
    assert (outcome.stopped, outcome.best, len(outcome.attempts)) == ("realised", 2, 3)
    assert len({attempt.prompt for attempt in outcome.attempts}) == 1


def test_a_judge_that_fails_once_is_asked_about_the_next_seed(tmp_path) -> None:
    outcome = steering(tmp_path, case(YOUNG_MAN, age="old"), judge=Failing([1])).run("steered")
    assert outcome.stopped == "realised"
    assert [attempt.verdict is None for attempt in outcome.attempts] == [True, False]
    assert outcome.best == 1
    assert outcome.problems == ["bands: refused: no faces, please"]


def test_a_judge_that_keeps_failing_ends_the_loop_with_what_there_is(tmp_path) -> None:
    editor = BandEditor(needs=["old very old"])
    outcome = steering(tmp_path, case(YOUNG_MAN, age="old"), editor, Failing(range(2, 99))).run("steered")
    assert outcome.stopped == "no answer"
    assert [attempt.verdict is None for attempt in outcome.attempts] == [False, True, True]
    assert outcome.best == 0
    assert len(outcome.problems) == 2


def test_without_a_rewriter_the_same_words_are_tried_twice_more(tmp_path) -> None:
    editor = BandEditor(deaf=["age"])
    outcome = steering(tmp_path, case(YOUNG_MAN, age="old"), editor, rewriter=Mute(), edits=6).run("steered")
    assert outcome.stopped == "no answer"
    assert len(outcome.attempts) == 2
    assert outcome.problems == ["mute: HTTP 500"] * 2
    nothing = steering(tmp_path / "p", case(YOUNG_MAN, age="old"), rewriter=Mute()).run("paraphrase")
    assert (nothing.attempts, nothing.stopped) == ([], "no answer")


@pytest.mark.parametrize("method", [*DEFAULT, "given"])
def test_a_record_runs_again_without_anybody(tmp_path, method) -> None:
    asked, editor = replace(case(YOUNG_MAN, age="old"), given="This man is old."), BandEditor(needs=["old very old"])
    first = steering(tmp_path, asked, editor, Failing([2]), edits=4)
    outcome = first.run(method)
    absent = [Absent(who) for who in (editor.identity, "bands", "graph")]
    again = steering(tmp_path, asked, *absent, live=False, edits=4)
    replayed = again.run(method)
    assert history(replayed) == history(outcome)
    assert again.transcript.cost() == first.transcript.cost()
    for one, other in zip(outcome.attempts, replayed.attempts, strict=True):
        assert torch.equal(one.edited, other.edited)


def test_a_record_of_something_else_is_refused(tmp_path) -> None:
    asked = case(YOUNG_MAN, age="old")
    steering(tmp_path, asked).run("steered")
    with pytest.raises(UserError, match=r"calls.jsonl, line 1: records another edit"):
        steering(tmp_path, case(YOUNG_MAN, gender="woman"), live=False).run("graph")
    path = tmp_path / "calls.jsonl"
    path.write_text(path.read_text().splitlines()[0] + "\n")
    with pytest.raises(UserError, match=r"the record ends before call 2 \(judge\)"):
        steering(tmp_path, asked, live=False).run("steered")
    write_lossless(tmp_path / "attempts" / "00.mkv", to_frames(paint(YOUNG_WOMAN)), FPS)
    with pytest.raises(UserError, match=r"00.mkv: not the clip that was recorded"):
        steering(tmp_path, asked, live=False).run("steered")
    path.write_text("no json\n" + path.read_text())
    with pytest.raises(UserError, match=r"calls.jsonl, line 1: no JSON"):
        steering(tmp_path, asked)


@pytest.mark.parametrize("kept", range(6))
def test_a_killed_loop_goes_on_where_it_was(tmp_path, kept) -> None:
    asked = case(YOUNG_WOMAN, beard="yes")
    whole = steering(tmp_path / "whole", asked).run("steered")
    steering(tmp_path / "cut", asked).run("steered")
    path = tmp_path / "cut" / "calls.jsonl"
    lines = path.read_text().splitlines()
    assert [json.loads(line)["kind"] for line in lines] == ["edit", "judge", "rewrite", "edit", "judge"]
    path.write_text("".join(f"{line}\n" for line in lines[:kept]) + ('{"kind": "jud' if kept < 5 else ""))
    editor, judge = BandEditor(), BandJudge()
    outcome = steering(tmp_path / "cut", asked, editor, judge).run("steered")
    assert history(outcome) == history(whole)
    assert len(editor.edits) == 2 - [0, 1, 1, 1, 2, 2][kept]
    assert judge.calls == 2 - [0, 0, 1, 1, 1, 2][kept]
    assert len(path.read_text().splitlines()) == 5


def test_what_got_no_answer_is_asked_again_in_a_second_run(tmp_path) -> None:
    asked = case(YOUNG_MAN, age="old")
    assert steering(tmp_path, asked, judge=Failing([1, 2])).run("steered").stopped == "no answer"
    editor = BandEditor()
    outcome = steering(tmp_path, asked, editor).run("steered")
    assert (outcome.stopped, outcome.problems, editor.edits) == ("realised", [], [])


def test_an_edit_of_another_record_is_copied_with_its_cost(tmp_path) -> None:
    """The graph's prompt is the first one of steering too."""
    asked, editor, shared = case(YOUNG_WOMAN, beard="yes"), BandEditor(), Shared()
    steering(tmp_path / "graph", asked, editor).run("graph")
    shared.add(tmp_path / "graph")
    outcome = steering(tmp_path / "steered", asked, editor, made=shared.edits).run("steered")
    alone = steering(tmp_path / "alone", asked).run("steered")
    assert history(outcome) == history(alone)
    assert len(editor.edits) == len(outcome.attempts) == 2  # of three
    first, copied = (
        json.loads((tmp_path / n / "calls.jsonl").read_text().splitlines()[0]) for n in ("graph", "steered")
    )
    assert first == copied
    assert torch.equal(outcome.attempts[0].edited, alone.attempts[0].edited)
    shutil.rmtree(tmp_path / "graph")  # every record stands alone
    assert history(steering(tmp_path / "steered", asked, live=False).run("steered")) == history(outcome)


def test_every_call_is_recorded(tmp_path) -> None:
    steering(tmp_path, case(YOUNG_WOMAN, beard="yes")).run("steered")
    lines = [json.loads(line) for line in (tmp_path / "calls.jsonl").read_text().splitlines()]
    for line in lines:
        assert {"key", "kind", "who", "request", "answer", "problem", "seconds"} <= set(line)
    judged = [line for line in lines if line["kind"] == "judge"]
    assert judged[0]["request"]["prompt"] == "a video of a young person with a beard"
    assert judged[0]["request"]["images"]["edited"] == lines[0]["answer"]["sha256"]
    assert judged[0]["request"]["images"]["source"] == judged[1]["request"]["images"]["source"]


def test_answers_have_to_fit_the_questions() -> None:
    questions = case(YOUNG_MAN, age="old").questions

    def answer(name: str, observed: str = "no") -> Observation:
        return Observation(attribute=name, observed=observed, confidence=1.0)

    right = [answer("baldness"), answer("beard"), answer("gender", "man"), answer("age", "old")]
    assert [a.attribute for a in in_order(right, questions)] == ["age", "gender", "beard", "baldness"]
    for wrong in (right[:3], [*right, right[0]], [*right[:3], answer("hair")], [*right[:3], answer("age", "ancient")]):
        with pytest.raises(NoAnswerError):
            in_order(wrong, questions)


class Spied(BandJudge):
    """Keeps what it is given to look at and asked to criticise."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[list[Question]] = []
        self.criticised: list[tuple[str, list[str]]] = []

    def look(self, shown, questions):
        assert list(vars(shown)) == ["id", "video", "fps"]
        self.asked.append(list(questions))
        return super().look(shown, questions)

    def criticise(self, edit, verdict, wanted):
        self.criticised.append((edit.prompt, [answer.attribute for answer in verdict.failed]))
        return super().criticise(edit, verdict, wanted)


def test_nobody_who_looks_is_told_what_was_wanted(tmp_path) -> None:
    """Not the judge that steers either: it criticises afterwards, what was wrong and nothing else."""
    judge, asked = Spied(), case(YOUNG_MAN, age="old")
    outcome = steering(tmp_path, asked, BandEditor(needs=["old very old"]), judge).run("steered")
    assert outcome.stopped == "realised"
    assert judge.asked == [observe(asked.graph)] * 2
    assert {type(question) for question in judge.asked[0]} == {Question}
    assert judge.criticised == [(outcome.attempts[0].prompt, ["age"])]
    assert outcome.attempts[0].verdict.failed[0].criticism == "the clip shows age = young, not old"


@pytest.mark.parametrize("method", ["initial", "paraphrase", "graph", "best_of_n"])
def test_nobody_criticises_where_nobody_listens(tmp_path, method) -> None:
    judge = Spied()
    steering(tmp_path, case(YOUNG_MAN, age="old"), BandEditor(deaf=["age"]), judge, edits=2).run(method)
    assert judge.asked
    assert judge.criticised == []


def test_what_the_evaluator_is_asked_holds_nothing_that_was_wanted(tmp_path) -> None:
    asked, edited = case(YOUNG_MAN, age="old"), Shown("clip", paint(YOUNG_WOMAN), FPS)
    transcript, judge = Transcript(tmp_path, FPS), Spied()
    seen = look(transcript, "evaluate", judge, edited, asked.questions)
    assert seen.values() == YOUNG_WOMAN
    (line,) = (json.loads(row) for row in (tmp_path / "calls.jsonl").read_text().splitlines())
    assert line["request"] == {
        "images": {"shown": edited.hash},
        "questions": [question.model_dump(mode="json") for question in observe(asked.graph)],
    }
    assert set(line["answer"]["answers"][0]) == {"attribute", "observed", "confidence"}
    right = [a.attribute for a in verdict_of(seen, asked.questions).answers if a.realised]
    assert right == []  # age, gender, beard, baldness of an old man


def test_bad_budgets_and_methods(tmp_path) -> None:
    for name in ("edits", "calls", "patience"):
        with pytest.raises(UserError, match=f"budget.{name} 0: at least 1"):
            Budget(**{name: 0})
    with pytest.raises(UserError, match="no 'stered'; did you mean steered"):
        steering(tmp_path, case(YOUNG_MAN, age="old")).run("stered")


def test_one_clip_is_prepared_once() -> None:
    editor = BandEditor()
    shared = Remembering(editor)
    one, other = paint(YOUNG_MAN), paint(YOUNG_WOMAN)
    for clip in (one, one.clone(), other, other):
        assert shared.edit(shared.prepare(clip, "a"), "a video of an old man", "", 0).shape == clip.shape
    assert editor.prepared == 2
    assert content_key(one, "a", "x") == content_key(one.clone(), "a", "x")
    assert len({content_key(c, p, i) for c in (one, other) for p in "ab" for i in "xy"}) == 8


def test_the_rewriter_without_failures_says_the_target(tmp_path) -> None:
    asked = case(YOUNG_MAN, age="old")
    assert GraphRewriter().rewrite(asked, []) == Reply(Rewrite(prompt=asked.target_prompt, negative=""))
    assert GraphRewriter().paraphrase(asked).answer.prompt == "a video of some man who looks old"
