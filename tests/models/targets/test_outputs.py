"""Models of several outputs: one is chosen by its name, whatever the model comes as; the others are read beside it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import DeiTConfig, DeiTForImageClassificationWithTeacher, ViTImageProcessor
from transformers.modeling_outputs import ModelOutput

import lvcf
from lvcf.cli import main
from lvcf.errors import UserError
from lvcf.measure.model import load_target_model
from lvcf.models.targets.black_box import HttpTarget, OnnxTarget
from lvcf.models.targets.check import check_target
from lvcf.models.targets.exported import ExportedTarget, ModuleTarget
from lvcf.models.targets.outputs import heads, named
from lvcf.models.targets.video_classifier import video_classifier
from lvcf.models.targets.wrapping import Answer, ClipInput, WrappedTarget
from tests.helpers import fails, parse, predict_arguments, results, subset
from tests.models.targets.endpoint import Endpoint
from tests.toys import IMAGENET, GaussianBackbone

TAKES = ClipInput(range=(0.0, 1.0), size=16, frames=4)
VERBS = ("push", "lift", "drop")
VERB = Answer("classification", VERBS, output="verb")
EF = Answer("regression", unit="%", scale=10.0, bounds=(0.0, 100.0), output="EF")


class Heads(nn.Module):
    """Three heads of different tasks on one body, in a dictionary."""

    def __init__(self) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(4.0 * torch.randn(6, 6, generator=generator))

    def told(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        halves = torch.cat([x[..., :8].mean((2, 3, 4)), x[..., 8:].mean((2, 3, 4))], dim=1)
        said = halves @ self.weight
        return said[:, :3], said[:, 3:5], 50.0 + said[:, 5:]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        verb, noun, value = self.told(x)
        return {"verb": verb, "noun": noun, "EF": value}


class Told(NamedTuple):
    verb: Tensor
    noun: Tensor
    EF: Tensor


@dataclass
class Record:
    verb: Tensor
    noun: Tensor
    EF: Tensor
    note: str = "not a tensor"


class AsNamedTuple(Heads):
    def forward(self, x: Tensor) -> Told:
        return Told(*self.told(x))


class AsRecord(Heads):
    def forward(self, x: Tensor) -> Record:
        return Record(*self.told(x))


class AsModelOutput(Heads):
    def forward(self, x: Tensor) -> ModelOutput:
        verb, noun, value = self.told(x)
        return ModelOutput(verb=verb, noun=noun, EF=value)


class AsTuple(Heads):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return self.told(x)


def pt2(net: nn.Module, path: Path) -> Path:
    shapes = ({0: torch.export.Dim("batch", max=64)},)
    example = torch.zeros(2, 3, 4, 16, 16)
    torch.export.save(torch.export.export(net.eval(), (example,), dynamic_shapes=shapes), path)
    return path


def script(net: nn.Module, path: Path) -> Path:
    torch.jit.script(net.eval()).save(str(path))
    return path


KINDS: dict[str, tuple[Callable[[Path, Answer], WrappedTarget], bool]] = {
    "a dictionary": (lambda p, a: ModuleTarget(Heads(), TAKES, a), True),
    "a named tuple": (lambda p, a: ModuleTarget(AsNamedTuple(), TAKES, a), True),
    "a dataclass": (lambda p, a: ModuleTarget(AsRecord(), TAKES, a), True),
    "a ModelOutput": (lambda p, a: ModuleTarget(AsModelOutput(), TAKES, a), True),
    "a tuple": (lambda p, a: ModuleTarget(AsTuple(), TAKES, a), False),
    ".pt2 of a dictionary": (lambda p, a: ExportedTarget(pt2(Heads(), p / "m.pt2"), TAKES, a), True),
    ".pt2 of a tuple": (lambda p, a: ExportedTarget(pt2(AsTuple(), p / "m.pt2"), TAKES, a), False),
    "TorchScript of a dictionary": (lambda p, a: ExportedTarget(script(Heads(), p / "m.pt"), TAKES, a), True),
    "TorchScript of a named tuple": (lambda p, a: ExportedTarget(script(AsNamedTuple(), p / "m.pt"), TAKES, a), True),
}


def clips(n: int = 3) -> Tensor:
    return 2.0 * torch.rand(n, 3, 4, 16, 16, generator=torch.Generator().manual_seed(1)) - 1.0


def answer(by_name: bool, name: str, place: str) -> Answer:
    """Of the verbs, or of the value, as the model calls it."""
    if name == "verb":
        return Answer("classification", VERBS, output=name if by_name else place)
    return Answer("regression", scale=10.0, output=name if by_name else place)


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("kind", KINDS)
def test_the_chosen_output_and_its_gradient_are_the_networks(kind, tmp_path) -> None:
    make, by_name = KINDS[kind]
    video = clips().requires_grad_(True)
    verb, noun, value = Heads().told((video + 1.0) / 2.0)
    for name, place, wanted in (("verb", "0", verb), ("EF", "2", value[:, 0])):
        folder = tmp_path / name
        folder.mkdir()
        model = make(folder, answer(by_name, name, place))
        said = model(video)
        torch.testing.assert_close(said, wanted, atol=1e-5, rtol=1e-5)
        (got,) = torch.autograd.grad(said.sum(), video)
        (truth,) = torch.autograd.grad(wanted.sum(), video, retain_graph=True)
        torch.testing.assert_close(got, truth, atol=1e-6, rtol=1e-4)
        others = model.other_outputs(clips())
        assert [*others] == [n for n in (("verb", "noun", "EF") if by_name else ("0", "1", "2")) if n != model.output]
        torch.testing.assert_close(others["noun" if by_name else "1"], noun, atol=1e-5, rtol=1e-5)


def test_a_model_of_one_output_needs_no_name() -> None:
    class One(Heads):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"logits": self.told(x)[0]}

    model = ModuleTarget(One(), TAKES, Answer("classification", VERBS))
    torch.testing.assert_close(model(clips()), Heads().told((clips() + 1.0) / 2.0)[0])
    assert model.other_outputs(clips()) == {}


BAD_NAMES = {
    "none": ("", Heads(), ["several outputs (verb, noun, EF)", "answer.output"]),
    "misspelt": ("nuon", Heads(), ["output nuon", "did you mean noun?", "it has verb, noun, EF"]),
    "unknown": ("GLS", Heads(), ["output GLS", "there is none of that name", "it has verb, noun, EF"]),
    "the place in a dictionary": ("0", Heads(), ["output 0", "it has verb, noun, EF"]),
    "no place of a tuple": ("3", AsTuple(), ["output 3", "it has 0, 1, 2"]),
    "no tensor": ("note", AsRecord(), ["output note", "it has verb, noun, EF"]),
    "of another task": ("EF", Heads(), ["output EF has shape (2, 1)", "(2, 3)"]),
    "of other labels": ("noun", Heads(), ["output noun has shape (2, 2)", "(2, 3)"]),
    "of a single tensor": ("verb", nn.Flatten(), ["output verb", "one tensor, which has no name"]),
}


@pytest.mark.parametrize("case", BAD_NAMES)
def test_a_bad_name_is_told_with_the_names_there_are(case) -> None:
    name, net, says = BAD_NAMES[case]
    with pytest.raises(UserError) as caught:
        ModuleTarget(net, TAKES, Answer("classification", VERBS, output=name))
    assert "\n" not in str(caught.value)
    for text in [type(net).__name__, *says]:
        assert text in str(caught.value)


def returning(make: Callable[[Tensor], object]) -> nn.Module:
    class Odd(nn.Module):
        def forward(self, x: Tensor) -> object:
            return make(x.mean((1, 2, 3, 4)))

    return Odd()


ODD = {
    "nothing": (lambda v: {}, ["returns a dict without a tensor"]),
    "no tensors": (lambda v: {"EF": 55.0}, ["returns a dict without a tensor"]),
    "None": (lambda v: None, ["returns a NoneType without a tensor"]),
    "no batch": (lambda v: {"EF": v.mean(), "x": v}, ["output EF has shape ()", "(2,) or (2, 1)"]),
    "of another length": (lambda v: {"EF": torch.stack([v, v, v]), "x": v}, ["output EF has shape (3, 2)"]),
    "not a number": (lambda v: {"EF": v / (v - v), "x": v}, ["not a finite number"]),
    "whole numbers": (lambda v: {"EF": (100 * v).long(), "x": v}, ["no gradient"]),
    "without gradient": (lambda v: {"EF": v.detach(), "x": v}, ["no gradient"]),
    "of another clip": (lambda v: {"EF": v - v.mean(), "x": v}, ["beside other clips"]),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_outputs_are_told_before_anything_runs(case) -> None:
    make, says = ODD[case]
    with pytest.raises(UserError) as caught:
        ModuleTarget(returning(make), TAKES, EF)
    assert "\n" not in str(caught.value)
    for text in ["Odd", *says]:
        assert text in str(caught.value)


def test_other_outputs_may_be_anything() -> None:
    """What says nothing of each clip by a few floats is left out: features, counts, what has no batch."""
    said = {
        "EF": torch.ones(2, 1),
        "features": torch.ones(2, 3, 4, 4),
        "class": torch.ones(2, dtype=torch.long),
        "mean": torch.tensor(1.0),
        "other batch": torch.ones(3, 2),
        "half": torch.ones(2, 5, dtype=torch.bfloat16),
        "none": None,
        7: torch.ones(2),
    }
    assert {name: tuple(rows.shape) for name, rows in heads(said, 2).items()} == {
        "EF": (2, 1),
        "half": (2, 5),
        "7": (2, 1),
    }
    assert "none" not in named(said)


def test_a_half_precision_head_is_read_in_full_precision() -> None:
    model = ModuleTarget(returning(lambda v: {"EF": (50 * v).half(), "x": v.bfloat16()}), TAKES, EF)
    assert model(clips()).dtype == model.other_outputs(clips())["x"].dtype == torch.float32


def onnx_file(path: Path) -> Path:
    """``EF`` 100 times the mean of the clip, ``twice`` both of its columns."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    constants = {
        "over": np.arange(1, 5, dtype=np.int64),
        "hundred": np.float32(100.0),
        "both": np.array([[1.0, -1.0]], np.float32),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["clip", "over"], ["mean"], keepdims=0),
        helper.make_node("Mul", ["mean", "hundred"], ["EF"]),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("Mul", ["column", "both"], ["twice"]),
    ]
    kind = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "heads",
        [helper.make_tensor_value_info("clip", kind, ["batch", 3, 4, 16, 16])],
        [
            helper.make_tensor_value_info("twice", kind, ["batch", 2]),
            helper.make_tensor_value_info("EF", kind, ["batch"]),
        ],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@torch.no_grad()
def test_an_onnx_output_by_name(tmp_path) -> None:
    model = OnnxTarget(onnx_file(tmp_path / "m.onnx"), TAKES, EF)
    mean = (clips().mean((1, 2, 3, 4)) + 1.0) / 2.0
    torch.testing.assert_close(model(clips()), 100.0 * mean, atol=1e-3, rtol=1e-4)
    assert model.queries == 3
    assert model.other_outputs(clips()) == {}  # every answer is a query
    assert model.queries == 3


@pytest.mark.parametrize(
    ("name", "says"), [("", "several outputs (twice, EF)"), ("ef", "did you mean EF? it has twice, EF")]
)
def test_bad_onnx_names(name, says, tmp_path) -> None:
    path = onnx_file(tmp_path / "m.onnx")
    with pytest.raises(UserError) as caught:
        OnnxTarget(path, TAKES, Answer("regression", output=name))
    assert str(caught.value).startswith(f"{path}: ")
    assert says in str(caught.value)


class Rows(Endpoint):
    """Answers with several outputs: clip by clip, as TensorFlow Serving does, or each in one list."""

    by_clip = True

    def answer(self, content: bytes) -> bytes:
        mean = np.array(json.loads(content)["instances"]).mean(axis=(1, 2, 3, 4))
        rows = [{"EF": 100.0 * v, "verb": [v, -v, 0.0], "says": "push"} for v in mean]
        columns = {name: [row[name] for row in rows] for name in rows[0]}
        return json.dumps({"predictions": rows if self.by_clip else columns}).encode()


@torch.no_grad()
@pytest.mark.parametrize("by_clip", [True, False])
def test_an_endpoints_output_by_name(by_clip) -> None:
    served = Rows("json", lambda x: x)
    served.by_clip = by_clip
    takes = ClipInput(range=(0.0, 1.0), size=4, frames=2)
    mean = (clips()[:, :, :2, :4, :4].mean((1, 2, 3, 4)) + 1.0) / 2.0
    video = clips()[:, :, :2, :4, :4]
    value = HttpTarget(served.url, takes, EF, "json")
    torch.testing.assert_close(value(video), 100.0 * mean, atol=1e-3, rtol=1e-4)
    verb = HttpTarget(served.url, takes, VERB, "json")
    torch.testing.assert_close(verb(video), torch.stack([mean, -mean, 0.0 * mean], 1), atol=1e-5, rtol=1e-4)
    served.close()


BAD_ENDPOINTS = {
    "none": ("json", "", ["several outputs (EF, verb, says)", "answer.output"]),
    "unknown": ("json", "GLS", ["output GLS", "it has EF, verb, says"]),
    "no numbers": ("json", "says", ['not JSON with "predictions" of numbers']),
    "npy": ("npy", "EF", ["answer.output EF", "one array", "body json"]),
}


@pytest.mark.parametrize("case", BAD_ENDPOINTS)
def test_bad_endpoint_names(case) -> None:
    body, name, says = BAD_ENDPOINTS[case]
    served = Rows(body, lambda x: x)
    with pytest.raises(UserError) as caught:
        HttpTarget(served.url, ClipInput((0.0, 1.0), size=4, frames=2), Answer("regression", output=name), body)
    assert "\n" not in str(caught.value)
    for text in [served.url, *says]:
        assert text in str(caught.value)
    served.close()


@pytest.mark.parametrize("predictions", [{}, [{}, {}]])
def test_an_endpoint_that_names_nothing_is_told(predictions) -> None:
    served = Endpoint("json", lambda x: x)
    served.fault = lambda: json.dumps({"predictions": predictions}).encode()
    for name, says in (("", "no output"), ("EF", "output EF: there is none of that name; it has none")):
        with pytest.raises(UserError, match=says):
            HttpTarget(served.url, ClipInput((0.0, 1.0), size=4, frames=2), Answer("regression", output=name), "json")
    served.close()


@pytest.fixture(scope="module")
def deit(tmp_path_factory) -> Path:
    """A DeiT with a teacher: ``logits`` are the mean of ``cls_logits`` and ``distillation_logits``."""
    folder = tmp_path_factory.mktemp("deit")
    torch.manual_seed(0)
    tiny = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    config = DeiTConfig(image_size=32, patch_size=16, id2label=dict(enumerate(VERBS)), initializer_range=0.5, **tiny)
    DeiTForImageClassificationWithTeacher(config).save_pretrained(folder)
    ViTImageProcessor(size={"height": 32, "width": 32}, **IMAGENET).save_pretrained(folder)
    return folder


@torch.no_grad()
def test_a_hugging_face_output_by_name(deit) -> None:
    video = 2.0 * torch.rand(2, 3, 3, 32, 32) - 1.0
    models = {
        name: video_classifier(str(deit), output=name).freeze() for name in ("", "cls_logits", "distillation_logits")
    }
    said = {name: model(video) for name, model in models.items()}
    torch.testing.assert_close(said[""], (said["cls_logits"] + said["distillation_logits"]) / 2.0)
    assert float((said["cls_logits"] - said["distillation_logits"]).abs().max()) > 0.1
    with pytest.raises(
        UserError, match="output logit: there is none of that name; did you mean logits\\? it has logits, cls"
    ):
        check_target(video_classifier(str(deit), output="logit"), (2, 32, 32))


def declared(name: str, *more: str) -> list[str]:
    told = {"range": [0, 1], "size": 16, "frames": 16}
    return [
        "--model.target_model=lvcf.models.targets.exported.ModuleTarget",
        "--model.target_model.network=tests.models.targets.test_outputs.Heads",
        *(f"--model.target_model.takes.{key}={value}" for key, value in told.items()),
        f"--model.target_model.answer.output={name}",
        *more,
    ]


CLASSES = ["--model.target_model.answer.task=classification", "--model.target_model.answer.labels=[push, lift, drop]"]


@pytest.fixture
def arguments(tmp_path, echo_root, backbone_folder, target_folder) -> list[str]:
    data = subset(echo_root, tmp_path / "data", 2)
    given = predict_arguments(data, backbone_folder, target_folder, tmp_path / "run", "--model.target=other")
    return [option for option in given if "target_model" not in option]


def test_a_place_in_a_tuple_is_a_name_on_the_command_line(arguments) -> None:
    config = parse([*arguments, *declared("0", *CLASSES)])
    assert config.model.init_args.target_model.init_args.answer.output == "0"


def test_predict_explains_one_output_and_reports_the_others(arguments, tmp_path) -> None:
    run = tmp_path / "run"
    assert main([*arguments, *declared("verb", *CLASSES)]) == 0
    assert len(results(run)) == 2
    for result in results(run).values():
        assert result["output"] == "verb"
        assert result["class_before"] in VERBS
        noun, value = result["other_outputs"]["noun"], result["other_outputs"]["EF"]
        assert [*result["other_outputs"]] == ["noun", "EF"]
        assert (noun["numbers"], value["numbers"]) == (2, 1)
        assert {noun["before"], noun["after"]} <= {0, 1}
        assert value["moved"] == pytest.approx(abs(value["after"] - value["before"]), abs=1e-4)
    model = load_target_model(run)  # as `lvcf evaluate --with-model` does
    assert model.output == "verb"
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text()
    assert "The model's other outputs (explained: <bdi>verb</bdi>)" in page
    assert "<td><bdi>noun</bdi></td><td>largest of 2, its place</td>" in page


def test_a_name_that_is_none_is_told_before_anything_runs(capfd, arguments, tmp_path) -> None:
    line = fails(capfd, [*arguments, *declared("verbs", *CLASSES)])
    assert "Heads: output verbs: there is none of that name; did you mean verb? it has verb, noun, EF" in line
    assert not (tmp_path / "run").exists()


def test_the_explainer_reports_the_others() -> None:
    """What they say of the factual and of the counterfactual is what the network says of these very clips."""
    takes = ClipInput(range=(0.0, 1.0), size=16, frames=4)
    given = {"backbone": GaussianBackbone(), "size": 16, "progress": False, "steps": 4, "precision": "32-true"}
    explainer = lvcf.Explainer(Heads(), method="RG", takes=takes, answer=EF, **given)
    explanation = explainer.explain(clips(1)[0].mul(127.5).round().div(127.5), "delta:5")
    assert explanation.facts["output"] == "EF"
    frames = torch.stack([torch.from_numpy(f) for f in (explanation.factual, explanation.video)])
    with torch.no_grad():
        verb, _, value = Heads().told(frames.permute(0, 4, 1, 2, 3).float() / 255.0)
    told = explanation.facts["other_outputs"]["verb"]
    assert (told["before"], told["after"]) == tuple(verb.argmax(1).tolist())
    assert told["moved"] == pytest.approx(float((verb[1] - verb[0]).abs().max()), abs=1e-4)
    assert explanation.after == pytest.approx(float(value[1]), abs=1e-3)


def test_a_head_that_says_no_number_is_reported_as_none() -> None:
    odd = returning(lambda v: {"EF": 100.0 * v, "bad": v / 0.0 - v / 0.0})
    given = {"backbone": GaussianBackbone(), "size": 16, "progress": False, "steps": 2, "precision": "32-true"}
    explanation = lvcf.Explainer(odd, method=[], takes=TAKES, answer=EF, **given).explain(clips(1)[0], "delta:5")
    assert explanation.facts["other_outputs"]["bad"] == {"numbers": 1, "moved": None, "before": None, "after": None}
