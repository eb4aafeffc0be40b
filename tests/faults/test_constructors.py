"""What a class or function named by class_path raises is one line: who, what, and where to correct it."""

from __future__ import annotations

import sys

import pytest

from lvcf.errors import UserError
from lvcf.measure.model import load_target_model
from tests.helpers import fails, predict_arguments, subset

CODE = """\
import torch
from torch import nn
from lvcf.models.backbones.ltx import LTXBackbone
from lvcf.models.targets.base import TargetModel
from lvcf.steering.judges.face import FaceRulerJudge
class Base(TargetModel):
    def forward(self, video): return video.mean((1, 2, 3, 4))
class Wrong(Base):
    def __init__(self): raise TypeError("no head")
class Gone(Base):
    def __init__(self, weights: str = "gone.bin"):
        super().__init__()
        open(weights)
class Below(Gone):
    pass
class InTorch(Base):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(3, "a")
class Net(nn.Module):
    def __init__(self, width: int = 2):
        super().__init__()
        assert width > 3
def model() -> TargetModel: raise FileNotFoundError("no file of weights")
def backbone() -> LTXBackbone: raise ValueError("two\\nlines")
class Refuses(Base):
    def forward(self, video): raise KeyError("mean")
def judge() -> FaceRulerJudge: raise RuntimeError("no judge")
"""
MODULE = ["takes.range=[0,1]", "answer.task=regression", "answer.scale=10", "network=mine.Net"]
RAISED = {
    "its own error": (["model.target_model=mine.Wrong"], "mine.Wrong: fails with TypeError: no head ({}, line 9)"),
    "no file": (["model.target_model=mine.Gone", "model.target_model.weights=gone.bin"], "gone.bin' ({}, line 13)"),
    "a parent's": (["model.target_model=mine.Below", "model.target_model.weights=gone.bin"], "mine.Gone: fails with"),
    "torch's": (["model.target_model=mine.InTorch"], "mine.InTorch: fails with TypeError: empty()"),
    "a function's": (["model.target_model=mine.model"], "mine.model: fails with FileNotFoundError: no file of weights"),
    "a network's": (
        ["model.target_model=lvcf.models.targets.exported.ModuleTarget"]
        + [f"model.target_model.{option}" for option in MODULE],
        "mine.Net: fails with AssertionError ({}, line 23)",
    ),
    "a backbone's": (["model.backbone=mine.backbone"], "mine.backbone: fails with ValueError: two lines ({}"),
    "a module's": (["model.target_model=broken.Net"], "broken: fails with ZeroDivisionError: division by zero ("),
    "its forward's": (["model.target_model=mine.Refuses", "model.target=40"], "('mean'); correct its forward"),
}


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(CODE)
    (tmp_path / "broken.py").write_text("1 / 0\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("mine", None)
    return tmp_path / "mine.py"


@pytest.mark.parametrize("case", RAISED)
def test_what_a_class_of_the_configuration_raises_is_told_with_its_name_and_line(
    case, capfd, mine, echo_root, backbone_folder, target_folder, tmp_path
) -> None:
    options, says = RAISED[case]
    data = subset(echo_root, tmp_path / "data", 1)
    arguments = predict_arguments(data, backbone_folder, target_folder, tmp_path / "run")
    replaced = tuple(f"--{option.partition('=')[0]}." for option in options[:1])
    arguments = [word for word in arguments if not word.startswith(replaced)]
    line = fails(capfd, [*arguments, *(f"--{option}" for option in options)])
    assert says.format(mine) in line


def test_steer_tells_it_too(capfd, mine) -> None:
    line = fails(capfd, ["steer", "--config", "steering/face.yaml", "--judge=mine.judge"])
    assert f"mine.judge: fails with RuntimeError: no judge ({mine}, line " in line


def test_evaluate_tells_it_of_the_model_that_a_run_explained(mine, tmp_path) -> None:
    (tmp_path / "config.yaml").write_text("model: {init_args: {target_model: {class_path: mine.Wrong}}}")
    with pytest.raises(UserError, match=r"mine\.Wrong: fails with TypeError: no head"):
        load_target_model(tmp_path)
