"""Judge and rewriter in this process: transformers' image-text-to-text models (the Qwen-VL and SmolVLM families).

Small models write poor JSON, so the judge asks one question at a time with lettered options and reads the probability
of every letter: an answer always fits, and its confidence is the model's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from transformers import AutoModelForImageTextToText, AutoProcessor

from lvcf.data.video import Frames
from lvcf.errors import UserError, said
from lvcf.steering.answers import UNSURE, NoAnswerError, Question, Reply, Rewrite, Seen, most_probable
from lvcf.steering.case import Case
from lvcf.steering.judges import instructions
from lvcf.steering.judges.base import Attempt, Judge, Rewriter, Shown, check_shown
from lvcf.steering.judges.completion import spoken

ASK = """These {number} images are frames of a video, in order.
{question}
{options}
Answer with the letter alone."""
WRITE = "\n\nAnswer with the prompt alone, on one line, without quotation marks; leave the negative out."


class LocalModel:
    """An image-text-to-text model with its processor and chat template.

    Args:
        weights: a folder or hub id.
        max_new_tokens: of a rewritten prompt.

    Raises:
        UserError: it does not load, has no chat template, or may write nothing.
    """

    def __init__(self, weights: str, max_new_tokens: int = 96) -> None:
        self.weights, self.max_new_tokens = weights, max_new_tokens
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        precision = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        try:
            self.processor = AutoProcessor.from_pretrained(weights, trust_remote_code=False)
            model = AutoModelForImageTextToText.from_pretrained(weights, dtype=precision, trust_remote_code=False)
        except Exception as error:  # transformers, safetensors and tokenizers raise their own
            told = said(error)
            raise UserError(
                f"{weights}: no image-text-to-text model loads ({told}); give its folder or hub id"
            ) from error
        if max_new_tokens < 1:
            raise UserError(f"max_new_tokens {max_new_tokens}: at least 1 is needed")
        if not getattr(self.processor, "chat_template", None):
            raise UserError(f"{weights}: its processor has no chat template; choose an instruction-tuned model")
        self.model = model.to(self.device).eval().requires_grad_(False)

    @torch.no_grad()
    def options(self, instruction: str, frames: list[Frames], number: int) -> tuple[list[float], int]:
        """The probabilities of the first ``number`` letters as the answer's beginning, and the tokens read."""
        inputs = self._inputs(instruction, frames)
        logits: Tensor = self.model(**inputs).logits[0, -1].float()
        scores = torch.stack([logits[self._letter(letter)].logsumexp(0) for letter in ascii_uppercase[:number]])
        return scores.softmax(0).tolist(), inputs["input_ids"].shape[1]

    @torch.no_grad()
    def write(self, instruction: str, frames: Sequence[Frames] = ()) -> tuple[str, int]:
        """The most probable text about some frames, without what the model thinks aloud, and the tokens of all."""
        inputs = self._inputs(instruction, frames)
        tokens = self.model.generate(**inputs, do_sample=False, max_new_tokens=self.max_new_tokens)
        said: str = self.processor.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return spoken(said), tokens.shape[1]

    def _inputs(self, instruction: str, frames: Sequence[Frames]) -> Any:
        content: list[dict[str, Any]] = [{"type": "image", "image": Image.fromarray(frame)} for frame in frames]
        content.append({"type": "text", "text": instruction})
        return self.processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        ).to(self.device)

    def _letter(self, letter: str) -> list[int]:
        """The tokens an answer with this letter may begin with, with and without a space before it."""
        tokenizer = self.processor.tokenizer
        found = {tokenizer(text, add_special_tokens=False).input_ids[0] for text in (letter, f" {letter}")}
        return sorted(found)


class LocalJudge(Judge):
    """A vision-language model in this process.

    Args:
        model: the model.
        frames: frames shown of a clip.

    Raises:
        UserError: no frame is shown.
    """

    def __init__(self, model: LocalModel, frames: int = 4) -> None:
        self.model, self.frames = model, check_shown(frames)

    @property
    def identity(self) -> str:
        """The weights."""
        return self.model.weights

    def look(self, shown: Shown, questions: Sequence[Question]) -> Reply[Seen]:
        """See the base class."""
        frames = list(shown.frames(self.frames))
        answers, asked, total = [], [], 0
        for question in (_offered(question) for question in questions):
            lettered = [
                f"{letter}: {option}" for letter, option in zip(ascii_uppercase, question.options, strict=False)
            ]
            asked.append(ASK.format(number=self.frames, question=question.text, options="\n".join(lettered)))
            shares, tokens = self.model.options(asked[-1], frames, len(question.options))
            answers.append(most_probable(question, dict(zip(question.options, shares, strict=True))))
            total += tokens
        hashes = [hashlib.sha256(frame.tobytes()).hexdigest() for frame in frames]
        return Reply(Seen(answers=tuple(answers)), "\n\n".join(asked), hashes, total, len(asked))


def _offered(question: Question) -> Question:
    """A question whose last option is that the frames do not tell."""
    return question.model_copy(update={"options": (*question.options, UNSURE)})


class LocalRewriter(Rewriter):
    """A language model in this process.

    Args:
        model: the model.
    """

    def __init__(self, model: LocalModel) -> None:
        self.model = model

    @property
    def identity(self) -> str:
        """The weights."""
        return self.model.weights

    def rewrite(self, case: Case, attempts: Sequence[Attempt]) -> Reply[Rewrite]:
        """See the base class."""
        return self._written(instructions.step(case, attempts))

    def paraphrase(self, case: Case) -> Reply[Rewrite]:
        """See the base class."""
        return self._written(instructions.paraphrase(case))

    def _written(self, instruction: str) -> Reply[Rewrite]:
        said, tokens = self.model.write(instruction + WRITE)
        lines = [line.strip().strip('"') for line in said.splitlines() if line.strip()]
        if not lines:
            raise NoAnswerError("the model wrote nothing")
        return Reply(Rewrite(prompt=lines[0], negative=""), instruction + WRITE, [], tokens)
