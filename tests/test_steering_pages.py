"""What the pages of `make steer-llm` and `make bench-axioms` say of a run is what is in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from benchmarks import steering_llm
from benchmarks.axioms import by_attribute, composition, reversibility
from benchmarks.judge import agreement, chosen_share, crossed, edited, needing, told
from benchmarks.steering_llm import table, transcript
from lvcf.cli import main
from lvcf.runs.folder import read_predictions
from lvcf.steering.answers import UNSURE
from tests.steering import bands
from tests.steering.chat import ChatServer
from tests.steering.painted import GRAPH, BandEditor, BandJudge

ECHO = json.dumps({"prompt": "Write the next prompt.", "negative": ""})
WHY = "Refused: the prompt does not say that age is young; write 'young'."


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Path:
    """A woman who shall have a beard: the prompt has to be written anew; the model writes one that fits, then none."""
    folder = tmp_path_factory.mktemp("llm")
    server = ChatServer([None, None, ECHO, ECHO])
    endpoint = {"class_path": "lvcf.steering.judges.endpoint.Endpoint"}
    endpoint["init_args"] = {"base_url": server.url, "model": "toy", "retries": 0}
    section = bands.section(folder) | {"methods": ["paraphrase", "steered"], "clips": 1}
    section["interventions"] = [{"beard": "other"}]
    section["rewriter"] = {
        "class_path": "lvcf.steering.judges.endpoint.EndpointRewriter",
        "init_args": {"endpoint": endpoint},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump({"steer": section}))
    assert main(["steer", "--config", str(folder / "mine.yaml")]) == 0
    server.close()
    return folder / "run"


def test_every_word_is_there(run) -> None:
    lines = transcript(run)
    text = "\n".join(lines)
    assert "### one, do(beard=yes), paraphrase, paraphrase 1 of 1" in lines
    assert "### one, do(beard=yes), steered, rewrite 1 of 2" in lines
    assert "prompt: in other words a video of a young woman with a beard\nnegative: " in text
    assert "You improve the prompt of a text-driven video editor" in text
    assert "No answer that fits: it cost no edit." in lines
    assert (lines.count(ECHO), lines.count(WHY)) == (2, 2)
    assert "Ended: " in lines[-1]


def test_answers_and_edits_are_counted(run, monkeypatch) -> None:
    monkeypatch.setattr(steering_llm, "REWRITTEN", {run: "toy"})
    cells = {line.split(" | ")[0]: line.split(" | ")[1:] for line in table()}
    assert cells["| steered"][:1] + cells["| steered"][3:7] == ["toy", "3", "2", "2", "300"]
    assert cells["| paraphrase"][3:6] == ["1", "1", "0"]
    assert len({line.count("|") for line in table()}) == 1


def test_an_editor_that_hears_everything_is_composed_and_reversed_without_loss(run) -> None:
    """Within what 8 bits round; two methods, one clip."""
    predictions = read_predictions(run)
    again = composition(BandEditor(), predictions)
    assert {cycle: len(distances) for cycle, distances in again.items()} == {1: 1, 10: 1}
    ways = [*again[1], *again[10], *reversibility(BandEditor(), predictions)]
    assert len(ways) == 4
    assert all(levels < 0.5 and likeness > 0.999 for levels, likeness in ways)
    deaf = list(reversibility(BandEditor(deaf=["beard", "gender"]), predictions))
    assert all(levels > 10.0 for levels, _ in deaf)  # the beard stays


def test_effectiveness_has_a_row_by_method_and_intervention(run) -> None:
    domains = {name: list(variable.values) for name, variable in GRAPH.variables.items()}
    lines = by_attribute(read_predictions(run), domains)
    assert lines[0] == "| prompt | intervention | n | age | gender | beard | baldness |"
    assert [line.split(" | ")[:3] for line in lines[2::4]] == [
        ["| paraphrase", "do(age)", "0"],
        ["| steered", "do(age)", "0"],
    ]
    assert "| paraphrase | do(beard) | 1 | – | – | 1.00 | – |" in lines
    assert "| steered | do(beard) | 1 | – | 0.00 | 1.00 | – |" in lines  # she became a man


def test_what_a_judge_sees_is_counted_beside_what_is_shown(run) -> None:
    edits = edited(run)
    assert len(edits) == 1  # the other one a judge chose
    lines = told(BandJudge(), edits)
    assert agreement(lines) == (1.0, 0.0, 1.0)
    lines = [("age", "old", "old", 0.9), ("age", "old", "young", 0.6), ("age", "young", UNSURE, 0.5)]
    lines += [("beard", "no", "no", 0.8)]
    assert agreement(lines) == (0.5, 0.25, pytest.approx(2 / 3))
    assert agreement(lines, "age") == (pytest.approx(1 / 3), pytest.approx(1 / 3), 0.5)
    assert agreement(needing(lines, 0.7)) == (0.5, 0.5, 1.0)
    assert crossed(lines) == [
        "| age | young | cannot tell 1 |",
        "| age | old | young 1, old 1 |",
        "| beard | no | no 1 |",
    ]
    assert chosen_share(lines) == 0.7
