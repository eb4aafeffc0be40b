"""What the command line refuses before anything is computed."""

from __future__ import annotations

import pytest
import torch
from jsonargparse import ArgumentParser

from lvcf.cli.lightning import check_precision, int_before_float
from lvcf.errors import UserError
from tests.helpers import fails, parse

GPU, CPU = torch.device("cuda", 0), torch.device("cpu")


@pytest.fixture
def old_gpu(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Old GPU")


@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true"])
def test_bfloat16_on_a_gpu_without_it_is_refused(precision, old_gpu) -> None:
    with pytest.raises(UserError, match=f"precision {precision}: Old GPU has no bfloat16; choose 16-mixed or 32-true"):
        check_precision(precision, GPU)


@pytest.mark.parametrize(("precision", "device"), [("16-mixed", GPU), ("32-true", GPU), ("bf16-mixed", CPU)])
def test_what_the_device_can_do_is_not(precision, device, old_gpu) -> None:
    check_precision(precision, device)


def test_bfloat16_on_a_gpu_that_has_it_is_not(monkeypatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    check_precision("bf16-mixed", GPU)


# --- one argument of one callback --------------------------------------------------------------------------------


def guidance(*options: str):
    """GradientGuidance's arguments in the phantom's configuration with ``options``."""
    config = parse(["predict", "--config", "phantom.yaml", *options])
    assert [c.class_path for c in config.trainer.callbacks] == [
        c.class_path for c in parse(["predict", "--config", "phantom.yaml"]).trainer.callbacks
    ]
    return config.trainer.callbacks[0].init_args


def test_a_callbacks_argument_is_changed_by_its_class_and_the_others_stay() -> None:
    before = guidance()
    after = guidance(
        "--trainer.callbacks.GradientGuidance.weight.lambda_max=0.3", "--trainer.callbacks.GradientGuidance.samples=2"
    )
    assert (after.weight.init_args.lambda_max, after.samples) == (0.3, 2)
    assert (after.weight.init_args.alpha, after.noise) == (before.weight.init_args.alpha, before.noise)


def test_a_callback_without_arguments_gets_them() -> None:
    config = parse(["predict", "--config", "phantom.yaml", "--trainer.callbacks.LastCorrection.steps=2"])
    assert config.trainer.callbacks[3].init_args.steps == 2


def test_a_callback_that_is_not_there_is_named_with_those_that_are(capfd) -> None:
    line = fails(capfd, ["predict", "--config", "phantom.yaml", "--trainer.callbacks.Guidance.samples=2"])
    assert "phantom.yaml has no callback Guidance; there are GradientGuidance, " in line


def test_an_argument_that_a_callback_lacks_is_refused(capfd) -> None:
    line = fails(capfd, ["predict", "--config", "phantom.yaml", "--trainer.callbacks.GradientGuidance.strenght=2"])
    assert "strenght" in line


def test_a_whole_number_stays_one_whatever_order_another_library_gave_the_types() -> None:
    """``limit_predict_batches 1`` is one batch, 1.0 all of them."""
    parser = ArgumentParser()
    parser.add_argument("--limit", type=float | int | None)
    parser.add_argument("--every", type=float | int)
    assert isinstance(parser.parse_args(["--limit=1"]).limit, float)  # so the parser has it
    int_before_float(parser)
    read = parser.parse_args(["--limit=1", "--every=2"])
    assert [type(value) for value in (read.limit, read.every)] == [int, int]
    assert parser.parse_args(["--limit=0.5"]).limit == 0.5
