"""What a language model is told: how to look, how to criticise, and the instruction of a textual gradient step."""

from __future__ import annotations

from collections.abc import Sequence

from lvcf.steering.answers import UNSURE, Question, Role, Verdict, Wanted, in_words
from lvcf.steering.case import Case
from lvcf.steering.judges.base import Attempt

LOOK = """These {number} images are frames of a video, in order. Answer every question by what is seen in them.

{questions}

Give one answer per attribute: "observed" is the option that the video shows, or "{unsure}" if the frames do not show
it, "confidence" is a number from 0 to 1."""

CRITICISE = """The first {number} images are frames of a video, the last {number} are the same moments after an edit, in
order. The edit was asked for with this prompt: "{prompt}". The edited video is wrong in this:

{wrong}

Give one criticism per attribute: say in one sentence what in the frames is wrong and how the prompt is to blame."""

REWRITE = """You improve the prompt of a text-driven video editor, which you cannot see into. The video shows:
{factual}. It was changed by {intervention}; under the assumed causal graph the edited video should show: {target}.

Prompts so far, and what a judge said of the resulting videos:
{history}

Write the next prompt. Change only what the criticisms ask for, keep everything else word for word. Describe what should
be seen; leave out what should not be seen and never negate it. "negative" holds a prompt of what the video should move
away from, or an empty string."""

WISHES: dict[Role, str] = {
    "intervened": "have been changed",
    "descendant": "follow from the change",
    "preserved": "be as in the source",
}
PARAPHRASE = """Say this prompt of a video editor in other words, with the same meaning and about the same length:
"{prompt}".
"negative" is an empty string."""


def look(questions: Sequence[Question], number: int) -> str:
    """What a judge is asked about ``number`` frames of a clip, and nothing of what was wanted."""
    asked = (f"- {q.attribute}: {q.text} Options: {', '.join(q.options)}" for q in questions)
    return LOOK.format(number=number, questions="\n".join(asked), unsure=UNSURE)


def criticise(prompt: str, verdict: Verdict, wanted: Sequence[Wanted], number: int) -> str:
    """What the steering judge is asked about the answers that failed, and ``number`` frames of both clips."""
    asked = {question.attribute: question for question in wanted}
    wrong = (
        f"- {in_words(a.attribute, a.observed)}, {asked[a.attribute].expected} was wanted; this should "
        f"{WISHES[asked[a.attribute].role]}"
        for a in verdict.failed
    )
    return CRITICISE.format(number=number, prompt=prompt, wrong="\n".join(wrong))


def step(case: Case, attempts: Sequence[Attempt]) -> str:
    """The instruction of one step after these attempts."""
    factual, target = (
        ", ".join(f"{name} {value}" for name, value in values.items()) for values in (case.factual, case.target)
    )
    history = "\n".join(_tried(i, attempt) for i, attempt in enumerate(attempts, start=1))
    return REWRITE.format(factual=factual, intervention=case.name, target=target, history=history)


def _tried(number: int, attempt: Attempt) -> str:
    prompt = f'{number}. "{attempt.prompt}"' + (f' (away from "{attempt.negative}")' if attempt.negative else "")
    if attempt.verdict is None:
        return f"{prompt}: not judged"
    wrong = [f"{a.attribute}: {a.criticism or in_words(a.attribute, a.observed)}" for a in attempt.verdict.failed]
    return f"{prompt}: {'; '.join(wrong) or 'everything right'}"


def paraphrase(case: Case) -> str:
    """The instruction to say the initial prompt in other words."""
    return PARAPHRASE.format(prompt=case.initial_prompt)
