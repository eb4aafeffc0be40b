"""Configuration files that are odd, large, or hostile: one line each, at once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from diffusers import AutoencoderKLLTXVideo
from jsonargparse import Namespace

from lvcf.configuration import read_section, with_sections
from lvcf.errors import UserError
from lvcf.parsing import refuse_empty
from lvcf.runs.folder import read_configuration
from lvcf.steering.run import SteeringRun
from tests.helpers import fails, predict_arguments

LAUGHS = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 10))
FILES = {
    "a thousand million laughs": (f"a0: &a0 [x]\n{LAUGHS}predict: {{model: *a9}}\n", "more than 100000 entries"),
    "a mapping that holds itself": ("predict: &a {model: *a}\n", "an anchor stands inside itself"),
    "brackets": ("predict: {model: " + "[" * 5000 + "]" * 5000 + "}\n", "not readable as YAML"),
    "more than a megabyte": ("predict: {model: [" + "1, " * 600_000 + "]}\n", "is larger than 1048576 bytes"),
    "a number for the trainer": ("predict: {trainer: 5}\n", "'trainer: 5' of 'predict:' is no mapping"),
    "a key that is a number": ("predict: {5: a}\n", "the key 5 of 'predict:' is no word"),
    "a key of nothing": ("predict: {null: a}\n", "the key None of 'predict:' is no word"),
    "an empty key": ("predict: {'': a}\n", "the key '' of 'predict:' is no word"),
    "a trainer's key that is a number": ("predict: {trainer: {1: 2}}\n", "the key 1 of 'trainer:' is no word"),
    "callbacks in a number": ("predict: {trainer: {callbacks: 5}}\n", "trainer.callbacks: '5' is no class"),
    "a callback that is a number": ("predict: {trainer: {callbacks: [5]}}\n", "trainer.callbacks: '5' is no class"),
    "a callback without a class": ("predict: {trainer: {callbacks: [{a: 1}]}}\n", "callbacks: '{'a': 1}' is no class"),
    "a class that is a number": ("predict: {trainer: {callbacks: [{class_path: 1}]}}\n", "is no class"),
    "keys of all sorts": ("5: {}\nnull: {}\n'': {}\nfit: {}\n", "has no section 'predict:' (sections there: fit)"),
    "an impossible date": ("predict: {model: 2024-99-99}\n", "not readable as YAML"),
    "a tag of Python's": ("predict: !!python/object/apply:os.system [true]\n", "not readable as YAML"),
}  # fmt: skip


@pytest.mark.parametrize("case", FILES)
def test_an_odd_configuration_is_one_line_at_once(case, capfd, tmp_path) -> None:
    text, says = FILES[case]
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    started = time.perf_counter()
    line = fails(capfd, ["predict", "--config", str(path), "--trainer.callbacks.X.y=1"])
    assert time.perf_counter() - started < 20  # the verb's own loading
    assert says in line
    assert str(path) in line


@pytest.mark.parametrize("callbacks", ["null", "[]"])
def test_no_callbacks_are_none(callbacks, capfd, tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"predict: {{trainer: {{callbacks: {callbacks}}}}}\n")
    line = fails(capfd, ["predict", "--config", str(path), "--trainer.callbacks.X.y=1"])
    assert "has no callback X; there are none" in line


def test_anchors_are_read_as_before(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("shared: &a {x: 1}\npredict: {model: *a, data: *a}\n")
    assert read_section(str(path), "predict") == {"model": {"x": 1}, "data": {"x": 1}}


def test_text_that_is_not_ascii_is_read_in_any_locale(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("predict: {model: M\u00fcller}\n", encoding="utf-8")
    assert read_section(str(path), "predict") == {"model": "M\u00fcller"}
    path.write_bytes("predict: {model: M\u00fcller}\n".encode("latin-1"))
    with pytest.raises(UserError, match="not readable as YAML"):
        read_section(str(path), "predict")


@pytest.mark.parametrize("text", ["[1]", "5", "{", "a: &a [*a]: b"])
def test_a_damaged_configuration_of_a_run_is_named(text, tmp_path) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match=r"config\.yaml: damaged"):
        read_configuration(tmp_path)


@pytest.mark.parametrize("verb", ["predict", "steer"])
@pytest.mark.parametrize("options", [["--model.output", ""], ["--model.output= "], ["--output", ""], ["--output="]])
def test_an_empty_folder_is_none_however_it_is_given(verb, options) -> None:
    with pytest.raises(UserError, match="names no folder"):
        with_sections(verb, options)


@pytest.mark.parametrize(("verb", "text"), [
    ("predict", "{model: {class_path: a.B, init_args: {output: ''}}}"),
    ("predict", "{data: {init_args: {root: ' '}}}"),
    ("steer", "{output: ''}"),
])  # fmt: skip
def test_an_empty_folder_in_a_configuration_is_none(verb, text, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"{verb}: {text}\n")
    with pytest.raises(UserError, match="names no folder"):
        read_section(str(path), verb)


EMPTY = {
    "data.batch_size": "data: {init_args: {batch_size: }}",
    "data.frames": "data: {init_args: {frames: }}",
    "model.prompt": "model: {init_args: {prompt: }}",
    "model.seed": "model: {init_args: {seed: }}",
    "trainer.callbacks[0].stride": (
        "trainer: {callbacks: [{class_path: lvcf.callbacks.schedule.AdaptiveDenoisingSchedule, init_args: {stride: }}]}"
    ),
}


@pytest.mark.parametrize("key", EMPTY)
def test_an_empty_entry_is_named_by_its_whole_key(key, capfd, tmp_path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(f"predict:\n  {EMPTY[key]}\n")
    line = fails(capfd, ["predict", "--config", "phantom.yaml", "--config", str(path)])
    assert f"{key}: is empty; give a value, or leave it out" in line


@pytest.mark.parametrize("key", ["seed", "factual", "same_judge", "editor.steps"])
def test_an_empty_entry_of_steering_is_named_too(key, capfd, tmp_path) -> None:
    name, _, inner = key.partition(".")
    path = tmp_path / "mine.yaml"
    path.write_text(f"steer: {{{name}: {f'{{init_args: {{{inner}: }}}}' if inner else ''}}}\n")
    line = fails(capfd, ["steer", "--config", "steering/face.yaml", "--config", str(path)])
    assert f"{key}: is empty; give a value, or leave it out" in line


def test_a_run_that_would_keep_nothing_is_refused(capfd, echo_root, backbone_folder, target_folder, tmp_path) -> None:
    arguments = predict_arguments(echo_root, backbone_folder, target_folder, tmp_path / "run")
    line = fails(capfd, [*arguments, "--trainer.callbacks=null"])
    assert "trainer.callbacks: no PredictionWriter" in line


def test_an_entry_that_may_be_none_stays(tmp_path: Path) -> None:
    refuse_empty(Namespace(threads=None, trainer=Namespace(logger=None)))
    refuse_empty(Namespace(clips=None, budget=None, seed=0), SteeringRun)
    refuse_empty(Namespace(spatial_compression_ratio=None), AutoencoderKLLTXVideo)  # an int by its annotation
