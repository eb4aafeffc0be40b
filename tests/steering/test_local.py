"""A tiny random Qwen2-VL, saved in its published layout, judges and rewrites in this process."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    PreTrainedTokenizerFast,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessor,
    Qwen2VLProcessor,
    Qwen2VLVideoProcessor,
)

from lvcf.errors import UserError
from lvcf.steering.answers import UNSURE, NoAnswerError, verdict_of
from lvcf.steering.judges.base import Attempt, Shown
from lvcf.steering.judges.local import LocalJudge, LocalModel, LocalRewriter
from tests.steering.painted import FPS, YOUNG_MAN, case, paint

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }} "
    "{% for part in message['content'] %}{% if part['type'] == 'image' %}"
    "<|vision_start|><|image_pad|><|vision_end|>{% else %} {{ part['text'] }} {% endif %}{% endfor %}<|im_end|>"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant {% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>"]
SPECIAL += ["<|image_pad|>", "<|video_pad|>"]
WORDS = [
    "<unk>",
    "user",
    "assistant",
    "A",
    "B",
    "C",
    ":",
    ".",
    "what",
    "is",
    "the",
    "age",
    "old",
    "young",
    "man",
    "beard",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    entries = [*SPECIAL, *WORDS]
    core = Tokenizer(models.WordLevel({token: i for i, token in enumerate(entries)}, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        unk_token="<unk>",
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=SPECIAL[1:],
    )
    index = {token: i for i, token in enumerate(entries)}
    config = Qwen2VLConfig(
        text_config={
            "vocab_size": len(entries),
            "hidden_size": 32,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "num_key_value_heads": 2,
            "rope_parameters": {"rope_type": "default", "mrope_section": [2, 3, 3], "rope_theta": 10000.0},
            "bos_token_id": index["<|im_start|>"],
            "eos_token_id": index["<|im_end|>"],
            "pad_token_id": index["<|endoftext|>"],
            "initializer_range": 0.5,
        },
        vision_config={"depth": 1, "embed_dim": 32, "hidden_size": 32, "num_heads": 2, "patch_size": 14},
        image_token_id=index["<|image_pad|>"],
        video_token_id=index["<|video_pad|>"],
        vision_start_token_id=index["<|vision_start|>"],
        vision_end_token_id=index["<|vision_end|>"],
    )
    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp("qwen2vl")
    Qwen2VLForConditionalGeneration(config).save_pretrained(path)
    pixels = {"min_pixels": 28 * 28, "max_pixels": 56 * 56}
    processor = Qwen2VLProcessor(
        Qwen2VLImageProcessor(**pixels), tokenizer, Qwen2VLVideoProcessor(**pixels), chat_template=TEMPLATE
    )
    processor.save_pretrained(path)
    return path


ASKED = case(YOUNG_MAN, age="old")
SHOWN = Shown("clip", paint(ASKED.target), FPS)


def test_the_judge_answers_with_the_letters_probabilities(folder) -> None:
    model = LocalModel(str(folder))
    reply = LocalJudge(model, frames=2).look(SHOWN, ASKED.questions)
    assert [answer.attribute for answer in reply.answer.answers] == ["age", "gender", "beard", "baldness"]
    for answer, question in zip(reply.answer.answers, ASKED.questions, strict=True):
        assert answer.observed in (*question.options, UNSURE)
        assert 1.0 / (len(question.options) + 1) <= answer.confidence <= 1.0
    assert (len(reply.images), reply.requests) == (2, 4)
    assert "What is the age of this person?" in reply.asked
    assert re.search(r"A: young\nB: old\nC: cannot tell", reply.asked)
    assert not [told for told in ("wanted", "expected", "edit", "before") if told in reply.asked]
    age = reply.answer.answers[0]
    inputs = model._inputs(reply.asked.split("\n\n")[0], list(SHOWN.frames(2)))
    letters = [model.processor.tokenizer.convert_tokens_to_ids(letter) for letter in "ABC"]
    with torch.no_grad():
        shares = model.model(**inputs).logits[0, -1, letters].softmax(0)
    assert age.observed == ("young", "old", UNSURE)[int(shares.argmax())]
    assert age.confidence == pytest.approx(float(shares.max()), abs=1e-5)


def test_the_judge_sees_the_frames(folder) -> None:
    judge = LocalJudge(LocalModel(str(folder)), frames=1)
    one, other = (
        judge.look(Shown("clip", video, FPS), ASKED.questions).answer for video in (SHOWN.video, -SHOWN.video)
    )
    assert [a.confidence for a in one.answers] != [a.confidence for a in other.answers]
    assert judge.identity == str(folder)


def test_the_rewriter_writes_one_line_or_says_that_it_wrote_nothing(folder) -> None:
    model = LocalModel(str(folder), max_new_tokens=6)
    verdict = verdict_of(LocalJudge(model, frames=1).look(SHOWN, ASKED.questions).answer, ASKED.questions)
    attempts = [Attempt("an old man", "", 0, SHOWN.video, verdict)]
    rewriter = LocalRewriter(model)
    for ask in (lambda: rewriter.rewrite(ASKED, attempts), lambda: rewriter.paraphrase(ASKED)):
        try:
            prompt = ask().answer.prompt
        except NoAnswerError as problem:
            assert str(problem) == "the model wrote nothing"  # noqa: PT017  # random weights may
        else:
            assert set(prompt.split()) <= set(WORDS)


def test_what_a_model_thinks_aloud_is_no_prompt(folder, monkeypatch) -> None:
    model = LocalModel(str(folder))
    thought = "<think>\nold, with a beard\n</think>\n\nan old man"
    monkeypatch.setattr(model.processor, "decode", lambda *arguments, **options: thought)
    assert LocalRewriter(model).paraphrase(ASKED).answer.prompt == "an old man"


def test_what_is_no_such_model(tmp_path, folder) -> None:
    with pytest.raises(UserError, match="no image-text-to-text model loads"):
        LocalModel(str(tmp_path))
    bare = tmp_path / "bare"
    bare.mkdir()
    for path in folder.iterdir():
        if path.name != "chat_template.jinja":
            (bare / path.name).symlink_to(path)
    with pytest.raises(UserError, match="has no chat template"):
        LocalModel(str(bare))
