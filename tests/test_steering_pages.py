"""The page of `make steer-llm` says all that a rewriter was asked and answered, and counts it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from benchmarks import steering_llm
from benchmarks.steering_llm import table, transcript
from lvcf.cli import main
from tests.steering import bands
from tests.steering.chat import ChatServer

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
