"""A steering run: every clip under every intervention by every method, resumed where it stopped."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

import torch
from tqdm import tqdm

from lvcf.data.clip import Clip, ClipDataset, check_names, round_to_8_bits, safe_name
from lvcf.data.tables import read_json
from lvcf.datamodules.base import ClipDataModule
from lvcf.errors import UserError, hint
from lvcf.files import Json, write_json
from lvcf.noise import sample_generator
from lvcf.runs.folder import finished_result
from lvcf.runs.shards import Shard, part_of
from lvcf.runs.writer import clip_folder, opened
from lvcf.steering.answers import UNSURE, CaseError, NoAnswerError, in_words, reason, verdict_of
from lvcf.steering.case import Case, in_their_words, observe, resolve
from lvcf.steering.editors.base import Editor, Remembering
from lvcf.steering.graph import read_graph, said, text
from lvcf.steering.judges.base import Judge, Rewriter, Shown
from lvcf.steering.loop import Budget, Outcome, Steering, look
from lvcf.steering.methods import COLUMNS, DEFAULT, METHODS
from lvcf.steering.result import Shared, head, measured, write_result
from lvcf.steering.transcript import RecordError, Transcript

Known = dict[str, str]
"""A clip's factual values."""


class SteeringRun:
    """Everything that ``lvcf steer`` needs.

    Args:
        graph: the assumed graph's file.
        editor: the black-box editor.
        judge: steers.
        rewriter: rewrites.
        evaluator: evaluates the result; another judge than the steering one.
        data: the clips, of its ``predict`` stage.
        interventions: what is set, one mapping of variables to values per counterfactual; ``other`` is another value
            than the clip's.
        output: the run's folder.
        methods: of :data:`lvcf.steering.methods.METHODS`; all that every data set can have by default.
        evaluation_graph: the graph whose values are right, if not the assumed one: control graphs are judged by it.  Of
            a simulated set the simulator's own values are right, and this graph says what should have stayed.
        factual: where a clip's values come from: ``data`` (a simulated set, or CelebV-Text's benchmark), ``judge`` (the
            steering judge looks at the clip), or a JSON file ``{clip: {variable: value}}``.
        budget: what one loop may spend.
        clips: how many clips are taken, from the first; all of them by default.
        seed: of the first edit's noise, together with the clip's name.
        same_judge: let one judge steer and evaluate.

    Raises:
        UserError: the graphs do not fit, a method is unknown, nothing or the same is asked for twice, or the judges are
            the same.
    """

    def __init__(
        self,
        graph: str,
        editor: Editor,
        judge: Judge,
        rewriter: Rewriter,
        evaluator: Judge,
        data: ClipDataModule,
        interventions: list[dict[str, str | bool]],
        output: Path,
        methods: list[str] | None = None,
        evaluation_graph: str | None = None,
        factual: str = "judge",
        budget: Budget | None = None,
        clips: int | None = None,
        seed: int = 0,
        same_judge: bool = False,
    ) -> None:
        self.graph = read_graph(graph)
        self.truth = read_graph(evaluation_graph or graph)
        self.editor, self.judge, self.rewriter, self.evaluator = Remembering(editor), judge, rewriter, evaluator
        self.data, self.output, self.factual = data, Path(output), factual
        self.interventions = [{name: text(value) for name, value in do.items()} for do in interventions]
        possible = [method for method in DEFAULT if method != "best_of_n" or editor.draws]
        self.methods, self.budget = methods or possible, budget or Budget()
        self.clips, self.seed = clips, seed
        self.configuration = ""  # the command line's whole configuration, for the run's folder
        self.shard: Shard = (1, 1)  # the part of the clips that this process steers
        self._check(same_judge)

    def _check(self, same_judge: bool) -> None:
        if self.judge.identity == self.evaluator.identity and not same_judge:
            raise UserError(
                f"evaluator: {self.judge.identity} steers and evaluates; choose another, or set same_judge: true"
            )
        for method in self.methods:
            if method not in METHODS:
                raise UserError(f"methods: no '{method}'; {hint(method, list(METHODS))}")
        if self.clips is not None and self.clips < 1:
            raise UserError(f"clips {self.clips}: at least 1 is needed; leave it out for all")
        if not self.interventions:
            raise UserError("interventions: empty; name at least one, such as [{age: other}]")
        for name, asked in (("methods", self.methods), ("interventions", list(map(said, self.interventions)))):
            if twice := [one for i, one in enumerate(asked) if one in asked[:i]]:
                raise UserError(f"{name}: {twice[0]} twice; leave one out")
        if "best_of_n" in self.methods and not self.editor.draws:
            raise UserError(
                f"methods: best_of_n wants edits that differ by their seed, and this editor's are equal "
                f"({self.editor.identity.split()[0]} draws nothing); leave best_of_n out"
            )
        ours, theirs = ({n: list(v.values) for n, v in g.variables.items()} for g in (self.graph, self.truth))
        if ours != theirs:
            raise UserError(f"evaluation_graph: {self.truth.name} has other variables or values than {self.graph.name}")
        for do in self.interventions:
            resolve(self.graph, do, dict.fromkeys(self.graph.variables, ""))

    def run(self) -> int:
        """Steer what is not done yet of this process's shard; returns how many of its folders hold a failure."""
        clips = self.dataset = self.data.make_dataset("predict")
        number = len(clips.ids) if self.clips is None else min(self.clips, len(clips.ids))
        plans = [self._plan(clip) for clip in clips.ids[:number]]
        names = [name for plan in plans for name, _, _ in plan]
        check_names(self.output, names)
        ours = part_of(number, self.shard)
        with opened(self.output, self._manifest(clips, names), self.configuration, "output", ours):
            missing = {name for i in ours for name, _, _ in plans[i] if not self._done(name)}
            with tqdm(total=len(missing), desc="steer", unit="counterfactual", disable=None) as bar:
                return sum(self._of_clip(clips, i, missing, bar) for i in ours)

    def _of_clip(self, clips: ClipDataset, index: int, missing: set[str], bar: tqdm[NoReturn]) -> int:
        """Make a clip's missing counterfactuals; returns how many failed."""
        plan = self._plan(clips.ids[index])
        if not any(name in missing for name, _, _ in plan):
            return 0
        self.shared, failures = Shared(), 0
        clip = _read(clips, index)
        known = clip if isinstance(clip, str) else self._known(clips, clip)
        for name, do, method in plan:
            if name in missing:
                facts = {"id": name, "clip": safe_name(clips.ids[index]), "method": method, "intervention": dict(do)}
                failures += not self._one(clip, known, facts)
                bar.update()
            self.shared.add(self.output / "predictions" / name)
        return failures

    def _plan(self, clip: str) -> list[tuple[str, dict[str, str], str]]:
        """A clip's predictions: name, intervention, method."""
        return [
            (safe_name(f"{clip}.{'.'.join(f'{name}_{value}' for name, value in do.items())}.{method}"), do, method)
            for do in self.interventions
            for method in self.methods
        ]

    def _done(self, name: str) -> bool:
        return finished_result(self.output / "predictions" / name) is not None

    def _one(self, clip: Clip | str, known: Known | str, facts: Json) -> bool:
        """Make one counterfactual; whether it did not fail.

        Args:
            clip: the clip, or why there is none.
            known: what is known of it, or why that is not.
            facts: what ``result.json`` says in any case: id, clip, method, intervention.
        """
        final = self.output / "predictions" / facts["id"]
        problem = next((why for why in (clip, known) if isinstance(why, str)), "")
        with clip_folder(final, goes_on=True) as folder:  # what a failed try recorded counts
            if not isinstance(clip, str) and not isinstance(known, str):
                try:
                    problem = self._steer(folder, clip, known, dict(facts))
                except RecordError as error:
                    problem = str(error).replace(str(folder), str(final))
                except UserError:  # a mistake in the configuration or the data's files
                    raise
                except Exception as error:  # one odd case does not end a run
                    problem = reason(error)
            if problem:
                write_json(folder / "result.json", {**head(), **facts, "status": "failed", "hint": problem})
        return not problem

    def _steer(self, folder: Path, clip: Clip, known: Known, facts: Json) -> str:
        """Steer, evaluate and write; why that failed, if it did."""
        do = resolve(self.graph, facts["intervention"], known)
        given = self.dataset.given(clip["id"], do)
        if facts["method"] == "given" and not given:
            return f"the data set has no prompt of its own for do({said(do)}); leave given out of methods"
        case = Case(clip["id"], clip["neutral_prompt"], self.graph, known, do, given)
        transcript = Transcript(folder, float(clip["fps"]), made=self.shared.edits)
        video = round_to_8_bits(clip["video"])
        seed = first_seed(self.seed, clip["id"])
        steering = Steering(case, video, self.editor, self.judge, self.rewriter, transcript, self.budget, seed)
        outcome = steering.run(facts["method"])
        if not any(attempt.verdict for attempt in outcome.attempts):
            return "; ".join(outcome.problems) + "; the same command tries again"
        cost = transcript.cost()
        facts |= {"intervention": do, "factual": known, "words": case.words, "seed": seed}
        facts |= {"source_prompt": case.source_prompt, "given": given, "target": case.target, "cost": cost}
        final = Shown(clip["id"], outcome.attempts[outcome.best].edited, clip["fps"])
        facts |= self._evaluated(case, final, outcome, transcript)
        twin = self.shared.results.get(final.hash)
        write_result(folder, video, float(clip["fps"]), outcome, facts, twin)
        return ""

    def _right(self, case: Case) -> Case:
        """The case by what is right, which no method sees: a simulator's truth, else the graph that counts."""
        truth = self.dataset.truth(case.id, case.interventions)
        told = all(truth.get(name) in variable.values for name, variable in self.truth.variables.items())
        known = {name: truth[name] for name in self.truth.variables} if told else None
        return Case(case.id, case.words, self.truth, case.factual, case.interventions, known=known)

    def _evaluated(self, case: Case, shown: Shown, outcome: Outcome, transcript: Transcript) -> Json:
        """What the evaluating judge says of the best attempt, by what is right."""
        right = self._right(case)
        questions = in_their_words(right, self.dataset.asked(case.id, case.interventions))
        best = outcome.attempts[outcome.best]
        try:
            seen = look(transcript, "evaluate", self.evaluator, shown, questions)
        except NoAnswerError as problem:
            missing = f"unavailable: {self.evaluator.identity}: {problem}"
            reached = best.verdict is not None and best.verdict.realised
            return {
                "status": "reached" if reached else "not_reached",
                "hint": f"by the steering judge alone; {missing}",
                "right": right.target,
                "evaluation": missing,
                "measured": dict.fromkeys(COLUMNS, missing),
            }
        verdict = verdict_of(seen, questions)
        answers = [
            {**answer.model_dump(mode="json", exclude={"criticism"}), "role": asked.role, "expected": asked.expected}
            for answer, asked in zip(verdict.answers, questions, strict=True)
        ]
        wrong = ", ".join(in_words(a.attribute, a.observed) for a in verdict.failed)
        return {
            "status": "reached" if verdict.realised else "not_reached",
            "hint": f"{wrong}; try more budget.edits or another editor strength" if wrong else "",
            "right": right.target,
            "evaluation": answers,
            "measured": {k: None if v != v else v for k, v in measured(seen, questions).items()},
        }

    def _known(self, clips: ClipDataset, clip: Clip) -> Known | str:
        """A clip's factual values; why they are not known, if that is so of this clip alone.

        Raises:
            UserError: the data set or file tells of no clip.
        """
        if self.factual == "judge":
            return self._observed(clip)
        if self.factual == "data":
            try:
                return clips.known(clip["id"])
            except LookupError as error:  # its tables lack this clip
                return f"factual data: {reason(error)}"
        path = Path(self.factual)
        if not path.is_file():
            raise UserError(f"factual {self.factual}: no such file; write data, judge, or a JSON file of clips")
        values = read_json(path, dict, "", "correct it to {clip: {variable: value}}").get(clip["id"])
        if not isinstance(values, dict):
            return f"{path}: has no values of clip {clip['id']}; add {{variable: value}}"
        known = {name: text(value) for name, value in values.items()}
        try:
            self.graph.counterfactual(known, {})
        except UserError as error:
            return f"{path}, clip {clip['id']}: {error}"
        return known

    def _observed(self, clip: Clip) -> Known | str:
        """What the steering judge sees in the factual clip; recorded beside the clip's predictions."""
        video = round_to_8_bits(clip["video"])
        shown = Shown(clip["id"], video, float(clip["fps"]))
        try:
            transcript = Transcript(self.output / "observed" / safe_name(clip["id"]), float(clip["fps"]))
            seen = look(transcript, "observe", self.judge, shown, observe(self.graph))
        except NoAnswerError as problem:
            return f"{self.judge.identity}: {problem}; the same command tries again"
        except (CaseError, RecordError) as problem:
            return str(problem)
        values = seen.values()
        if unsure := [name for name, value in values.items() if value == UNSURE]:
            return f"{self.judge.identity}: cannot tell {', '.join(unsure)}; give the clip's values in a file (factual)"
        return values

    def _manifest(self, clips: ClipDataset, ids: list[str]) -> Json:
        notice = [getattr(clips, "notice", "")]
        return {
            **head(),
            "ids": ids,
            "graph": self.graph.model_dump(mode="json"),
            "evaluation_graph": self.truth.model_dump(mode="json"),
            "interventions": self.interventions,
            "methods": self.methods,
            "editor": self.editor.identity,
            "judge": self.judge.identity,
            "rewriter": self.rewriter.identity,
            "evaluator": self.evaluator.identity,
            "budget": asdict(self.budget),
            "seed": self.seed,
            "factual": self.factual,
            "data": str(getattr(clips, "root", "")),
            "method": "causal steering",
            "prompt": "target",
            "notice": [text for text in notice if text],
        }


def _read(clips: ClipDataset, index: int) -> Clip | str:
    """A clip, or why it cannot be read."""
    try:
        clip = clips[index]
    except Exception as error:  # a reader may meet anything in a file
        return reason(error)
    return clip["error"] or clip


def first_seed(seed: int, clip: str) -> int:
    """The seed of a clip's first edit: by the run's seed and the clip's name alone."""
    return int(torch.randint(2**31, (), generator=sample_generator(seed, clip)))
