"""The benchmark's file shapes, read as they are published, into a steering run; a user's mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from lvcf.cli import main
from lvcf.data.celebv_text import CelebVTextDataset, read_benchmark
from lvcf.data.clip import to_frames
from lvcf.data.video import write_lossless
from lvcf.errors import UserError
from lvcf.runs.folder import read_predictions
from lvcf.steering.graph import read_graph
from tests.helpers import fails
from tests.steering.painted import FPS, FRAMES, OLD_BEARDED_MAN, SIZE, YOUNG_WOMAN, paint

CLIPS = {"-a_b-1_0_0": YOUNG_WOMAN, "c2_14_1": OLD_BEARDED_MAN}
TEXTS = {
    "age": "What is the age of this person?",
    "gender": "What is the gender of this person?",
    "beard": "Does this person have a beard?",
    "baldness": "Is this person bald?",
}
OPTIONS = {"age": ("old", "young"), "gender": ("man", "woman"), "beard": ("Yes", "No"), "baldness": ("Yes", "No")}
GRAPH = read_graph("steering/graphs/celebv_text.yaml")


def other(name: str, value: str) -> str:
    return next(option.lower() for option in OPTIONS[name] if option.lower() != value)


def question(name: str, right: str) -> dict[str, Any]:
    """As the benchmark writes one; of gender the right answer comes first."""
    options = sorted(OPTIONS[name], key=lambda option: name == "gender" and option != right)
    spelt = next(option for option in options if option.lower() == right)
    return {"question": TEXTS[name], "options": dict(zip("AB", options, strict=True)), "correctAnswer": spelt}


def edit_name(name: str) -> str:
    return "bald" if name == "baldness" else name


def files() -> tuple[dict[str, Any], dict[str, Any]]:
    prompts, questions = {}, {}
    for clip, shown in CLIPS.items():
        edits = {n: GRAPH.counterfactual(shown, {n: other(n, value)}) for n, value in shown.items()}
        said = {edit_name(n): f"This {v['gender']} is {v['age']}. " for n, v in edits.items()}
        prompts[clip] = {"factual": f"This {shown['gender']} is {shown['age']}", "counterfactual": said}
        questions[clip] = {
            edit_name(n): {"prompt": said[edit_name(n)], "questions": [question(k, v) for k, v in values.items()]}
            for n, values in edits.items()
        }
    return prompts, questions


@pytest.fixture
def folder(tmp_path) -> Path:
    """Both files; the first clip a folder of frames, the second a video."""
    first, second = (to_frames(paint(shown)) for shown in CLIPS.values())
    frames = tmp_path / "clips" / next(iter(CLIPS))
    frames.mkdir(parents=True)
    for number, frame in enumerate(first):
        Image.fromarray(frame).save(frames / f"{number:05d}.png")
    write_lossless(tmp_path / "clips" / "c2_14_1.mkv", second, FPS)
    write(tmp_path, *files())
    return tmp_path


def write(folder: Path, prompts: Any, questions: Any) -> None:
    (folder / "counterfactual_explicit.json").write_text(json.dumps(prompts))
    (folder / "questions_explicit.json").write_text(json.dumps(questions))


def dataset(folder: Path, frames: int = FRAMES) -> CelebVTextDataset:
    paths = (folder / "counterfactual_explicit.json", folder / "questions_explicit.json")
    return CelebVTextDataset(folder / "clips", *paths, frames=frames, fps=FPS, size=SIZE, record_errors=True)


def test_clips_values_and_questions(folder) -> None:
    clips = dataset(folder)
    assert clips.ids == list(CLIPS)
    for i, (name, shown) in enumerate(CLIPS.items()):
        assert (to_frames(clips[i]["video"]) == to_frames(paint(shown))).all()
        assert clips[i]["error"] == ""
        assert clips[i]["prompt"] == f"This {shown['gender']} is {shown['age']}"
        assert clips.known(name) == shown
        for edited, value in shown.items():
            asked = clips.asked(name, {edited: other(edited, value)})
            right = GRAPH.counterfactual(shown, {edited: other(edited, value)})
            assert asked == {variable: (TEXTS[variable], right[variable]) for variable in TEXTS}
            assert clips.given(name, {edited: other(edited, value)}) == f"This {right['gender']} is {right['age']}."
            assert clips.asked(name, {edited: value}) == {}  # no edit of the benchmark
            assert clips.given(name, {edited: value}) == ""
        assert clips.asked(name, {"age": "old", "gender": "man"}) == {}


def test_a_missing_or_short_clip_says_so(folder) -> None:
    assert "copy all its frames" in dataset(folder, frames=9)[0]["error"]
    (folder / "clips" / "c2_14_1.mkv").unlink()
    assert "no such folder of frames" in dataset(folder)[1]["error"]


def test_the_benchmarks_own_answers_evaluate_a_steering_run(folder, capfd) -> None:
    prompts, questions = files()
    beard = questions["c2_14_1"]["gender"]["questions"][2]
    assert beard["correctAnswer"] == "No"
    beard |= {"correctAnswer": "Yes", "question": "Is there a beard?"}  # not what the graph derives
    write(folder, prompts, questions)
    toys = "tests.steering.painted"
    content = {
        "graph": "steering/graphs/celebv_text.yaml",
        "interventions": [{"gender": "other"}],
        "methods": ["graph", "given"],
        "factual": "data",
        "output": str(folder / "run"),
        "threads": 1,
        "editor": {"class_path": f"{toys}.BandEditor"},
        "judge": {"class_path": f"{toys}.BandJudge"},
        "rewriter": {"class_path": "lvcf.steering.judges.graph_rewriter.GraphRewriter"},
        "evaluator": {"class_path": f"{toys}.BandJudge", "init_args": {"name": "other eyes"}},
        "data": {
            "class_path": "lvcf.datamodules.celebv_text.CelebVTextDataModule",
            "init_args": {
                "root": str(folder / "clips"),
                "prompts": str(folder / "counterfactual_explicit.json"),
                "questions": str(folder / "questions_explicit.json"),
                "frames": FRAMES,
                "fps": FPS,
                "size": SIZE,
            },
        },
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump({"steer": content}))
    assert main(["steer", "--config", str(folder / "mine.yaml")]) == 0
    woman, given_woman, man, given_man = (p.result for p in read_predictions(folder / "run"))
    assert (given_woman["prompt"], given_man["prompt"]) == ("This man is young.", "This woman is old.")
    assert main(["steer", "--replay", str(folder / "run")]) == 0
    assert (woman["factual"], woman["intervention"]) == (YOUNG_WOMAN, {"gender": "man"})
    assert woman["prompt"] == "a young man with a beard"
    assert woman["measured"]["joint"] == 1.0
    assert man["target"]["beard"] == "no"  # the graph's, which steers
    expected = {answer["attribute"]: answer["expected"] for answer in man["evaluation"]}
    assert expected == {"age": "old", "gender": "woman", "beard": "yes", "baldness": "no"}
    assert man["measured"]["violations"] == 1.0
    calls = (folder / "run" / "predictions" / man["id"] / "calls.jsonl").read_text().splitlines()
    asked = {json.loads(line)["kind"]: json.loads(line)["request"]["questions"][2]["text"] for line in calls[1:]}
    assert asked == {"judge": "Does this person have a beard?", "evaluate": "Is there a beard?"}
    assert main(["evaluate", str(folder / "run")]) == 0
    assert any("right[beard]" in key for key in json.loads((folder / "run" / "metrics.json").read_text()))
    beard["options"], beard["correctAnswer"] = {"A": "bushy", "B": "No"}, "bushy"
    write(folder, prompts, questions)
    content["output"] = str(folder / "another")
    (folder / "mine.yaml").write_text(yaml.safe_dump({"steer": content}))
    assert "the benchmark: 'bushy' is no value of beard" in fails(
        capfd, ["steer", "--config", str(folder / "mine.yaml")]
    )


Files = tuple[dict[str, Any], dict[str, Any]]
FIRST = next(iter(CLIPS))


def first_question(files: Files) -> dict[str, Any]:
    return files[1][FIRST]["age"]["questions"][0]


BAD: dict[str, tuple[Callable[[Files], object], list[str]]] = {
    "no clip": (lambda f: (f[0].clear(), f[1].clear()), ["holds no clip"]),
    "a clip without questions": (lambda f: f[1].pop("c2_14_1"), ["questions_explicit.json", "no clip c2_14_1"]),
    "no factual": (lambda f: f[0][FIRST].pop("factual"), [FIRST, "no entry 'factual'"]),
    "no prompts": (lambda f: f[0][FIRST].pop("counterfactual"), [FIRST, "no entry 'counterfactual'"]),
    "an unknown edit": (lambda f: f[0][FIRST]["counterfactual"].update(hat="A hat."), [FIRST, "no entry 'hat'"]),
    "three edits": (lambda f: f[1][FIRST].pop("bald"), [FIRST, "age, gender, beard;"]),
    "no answer": (lambda f: first_question(f).pop("correctAnswer"), [FIRST, "no entry 'correctAnswer'"]),
    "an answer beside the options": (
        lambda f: first_question(f).update(correctAnswer="middle-aged"),
        [FIRST, "'middle-aged'", "young"],
    ),
    "one option": (lambda f: first_question(f)["options"].pop("B"), [FIRST, "two options"]),
    "a question of nothing": (lambda f: first_question(f).update(question="Who is it?"), [FIRST, "'Who is it?'"]),
    "no question on the edit": (lambda f: f[1][FIRST]["age"]["questions"].pop(0), [FIRST, "no entry 'age'"]),
    "a list of clips": (lambda f: f[0].update({FIRST: []}), [FIRST]),
}


@pytest.mark.parametrize("case", BAD)
def test_files_of_another_shape(case, tmp_path) -> None:
    spoil, says = BAD[case]
    spoilt = files()
    spoil(spoilt)
    write(tmp_path, *spoilt)
    with pytest.raises(UserError) as told:
        read_benchmark(tmp_path / "counterfactual_explicit.json", tmp_path / "questions_explicit.json")
    for text in says:
        assert text in str(told.value)
    assert "\n" not in str(told.value)


def test_files_that_are_none(folder) -> None:
    (folder / "questions_explicit.json").write_text("[1, 2]")
    with pytest.raises(UserError, match="holds no JSON object"):
        dataset(folder)
    (folder / "questions_explicit.json").write_text("{")
    with pytest.raises(UserError, match="not a JSON file"):
        dataset(folder)
    (folder / "questions_explicit.json").unlink()
    with pytest.raises(UserError, match=r"questions_explicit\.json: not found"):
        dataset(folder)
    write(folder, *files())
    (folder / "clips").rename(folder / "elsewhere")
    with pytest.raises(UserError, match=r"no such folder; set data\.root"):
        dataset(folder)
