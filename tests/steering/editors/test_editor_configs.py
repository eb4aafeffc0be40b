"""configs/steering: every command parses; each UNet editor runs from a folder of clips to a table, over HTTP, tiny."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from jsonargparse import ArgumentError
from torch.nn import functional

from lvcf.cli import main
from lvcf.cli.lightning import with_sections
from lvcf.cli.steer import make_parser
from lvcf.configuration import config_folder, read_section
from lvcf.data.clip import to_frames
from lvcf.data.video import write_lossless
from lvcf.runs.folder import read_predictions
from lvcf.steering.transcript import COUNTED
from tests.helpers import fails
from tests.steering.chat import ChatServer
from tests.steering.editors.tiny import save_stable_diffusion
from tests.steering.painted import FPS, YOUNG_WOMAN, paint

FOLDER = config_folder() / "steering"
EDITORS = {
    "tune_a_video": ["--editor.tuning_steps=1"],
    "tokenflow": ["--editor.inversion_steps=2", "--editor.keyframe_every=2"],
    "flatten": [],
}
"""By configuration: what makes it tiny, beside the steps."""
FRAMES, SIZE, PROMPT_TOKENS = 4, 64, 32
KEY = "sk-very-secret-0123456789"


def command(editor: str, *more: str) -> list[str]:
    return ["steer", "--config", "steering/clips.yaml", "--config", f"steering/{editor}.yaml", *more]


def test_every_configuration_of_an_editor_is_run_here() -> None:
    sections = {path.stem: read_section(str(path), "steer") for path in FOLDER.glob("*.yaml")}
    assert {name for name, section in sections.items() if "graph" not in section} == set(EDITORS)


@pytest.mark.parametrize("arguments", [["steer", "--config", "steering/face.yaml"], *map(command, EDITORS)])
def test_every_command_parses_and_a_misspelt_argument_does_not(arguments) -> None:
    parser = make_parser()
    configuration = parser.parse_args(with_sections("steer", arguments[1:]))
    assert configuration.editor.class_path.startswith("lvcf.steering.editors.")
    with pytest.raises(ArgumentError, match="no_such_argument"):
        parser.parse_args(with_sections("steer", [*arguments[1:], "--editor.no_such_argument=1"]))


@pytest.mark.parametrize("editor", EDITORS)
def test_judge_and_rewriter_share_an_endpoint_and_the_evaluator_has_another(editor) -> None:
    configuration = make_parser().parse_args(with_sections("steer", command(editor)[1:]))
    ours, same, other = (
        getattr(configuration, role).init_args.endpoint.init_args for role in ("judge", "rewriter", "evaluator")
    )
    assert ours == same
    assert (ours.base_url, ours.model) != (other.base_url, other.model)


def test_an_editors_configuration_alone_is_told_what_it_lacks(capfd) -> None:
    line = fails(capfd, ["steer", "--config", "steering/tokenflow.yaml"])
    assert "graph" in line


@pytest.fixture(scope="module")
def sd_weights(tmp_path_factory) -> Path:
    """A random Stable Diffusion that reads the graph's prompts."""
    return save_stable_diffusion(tmp_path_factory.mktemp("sd") / "tiny", prompt_tokens=PROMPT_TOKENS)


@pytest.fixture(scope="module")
def clips(tmp_path_factory) -> Path:
    """A folder with one clip, of a young woman in the toy world."""
    folder: Path = tmp_path_factory.mktemp("clips")
    still = functional.interpolate(paint(YOUNG_WOMAN).movedim(1, 0)[:1], size=(SIZE, SIZE)).movedim(0, 1)
    write_lossless(folder / "woman.mkv", to_frames(still.expand(-1, FRAMES, -1, -1)), FPS)
    return folder


@pytest.fixture
def servers(monkeypatch) -> Iterator[list[ChatServer]]:
    """The judge's and the evaluator's."""
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    made = [ChatServer(), ChatServer()]
    yield made
    for server in made:
        server.close()


@pytest.mark.parametrize("editor", EDITORS)
def test_from_a_folder_of_clips_to_a_table(editor, sd_weights, clips, servers, tmp_path, capfd, monkeypatch) -> None:
    if editor == "flatten":
        pytest.importorskip("cv2")
    monkeypatch.chdir(tmp_path)
    judge, evaluator = servers
    run, cache = tmp_path / "run", tmp_path / "cache"
    threads = torch.get_num_threads()
    arguments = command(
        editor,
        f"--editor.weights={sd_weights}",
        f"--editor.cache={cache}",
        "--editor.device=cpu",
        "--editor.steps=2",
        *EDITORS[editor],
        *(f"--{role}.endpoint.base_url={judge.url}" for role in ("judge", "rewriter")),
        f"--evaluator.endpoint.base_url={evaluator.url}",
        f"--data.root={clips}",
        f"--data.frames={FRAMES}",
        f"--data.size={SIZE}",
        "--interventions=[{age: old}]",
        "--methods=[initial, steered]",
        "--budget={edits: 2, calls: 6, patience: 2}",
        f"--output={run}",
        f"--threads={threads}",
    )
    assert main(arguments) == 0, capfd.readouterr().err
    predictions = {p.result["method"]: p for p in read_predictions(run)}
    assert set(predictions) == {"initial", "steered"}
    for prediction in predictions.values():
        result = prediction.result
        assert result["factual"] == YOUNG_WOMAN  # as the endpoint sees the clip
        assert result["source_prompt"] == "a video of a young woman"
        assert result["target"] == {**YOUNG_WOMAN, "age": "old"}
        assert {answer["attribute"] for answer in result["evaluation"]} == set(YOUNG_WOMAN)
        assert prediction.counterfactual().shape == prediction.factual().shape == (FRAMES, SIZE, SIZE, 3)
        assert result["cost"]["tokens"] == 100 * requests(prediction.folder)
    assert len(list(cache.iterdir())) == 1  # one clip, prepared once for both methods
    asked = [line["request"]["prompt"] for line in calls(predictions["steered"].folder) if line["kind"] == "edit"]
    assert asked[0] == "a video of an old woman"
    assert len(asked) == 1 or asked[1] == "a video of a very old, elderly, wrinkled woman"  # as the endpoint rewrites
    assert len(evaluator.bodies) == 2  # the best edit of either method, and nothing else
    assert len(judge.bodies) == 1 + sum(requests(p.folder) for p in predictions.values())  # and the clip itself
    manifest = json.loads((run / "manifest.json").read_text())
    assert (judge.url in manifest["judge"], evaluator.url in manifest["evaluator"]) == (True, True)
    assert not any(KEY.encode() in path.read_bytes() for path in run.rglob("*") if path.is_file())
    assert main(["steer", "--replay", str(run)]) == 0


def calls(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "calls.jsonl").read_text().splitlines()]


def requests(folder: Path) -> int:
    """Sent for a counterfactual, evaluation aside: a judge that criticises is asked twice."""
    return sum(int(str(line["requests"])) for line in calls(folder) if line["kind"] in COUNTED)
