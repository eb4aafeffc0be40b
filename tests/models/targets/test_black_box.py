"""ONNX files and HTTP endpoints: answers, the cache and its count, retries; what is down, slow or wrong is told."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from lvcf.callbacks.last_correction import LastCorrection
from lvcf.errors import UserError
from lvcf.models.targets import black_box
from lvcf.models.targets.base import QueryPlan
from lvcf.models.targets.black_box import BlackBox, HttpTarget, OnnxTarget
from lvcf.models.targets.wrapping import Answer, ClipInput
from lvcf.sampler import ask
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.models.targets.endpoint import Endpoint
from tests.models.targets.malice import Malice
from tests.toys import GaussianBackbone, LinearTarget, make_clips, predict

TAKES = ClipInput(range=(-1.0, 1.0), size=8, frames=4)
VALUE = Answer("regression", unit="points", scale=20.0, bounds=(0.0, 100.0))
CLASSES = Answer("classification", ("bright", "dark"))


def clips(n: int = 3) -> Tensor:
    return torch.stack([clip["video"] for clip in make_clips(n)])


def linear(x: np.ndarray) -> np.ndarray:
    """``LinearTarget`` in numpy."""
    return 50.0 + 50.0 * x[..., :4, :4].mean(axis=(1, 2, 3, 4))


# --- ONNX --------------------------------------------------------------------------------------------------------


def onnx_file(path: Path, batch: int | str = "batch", outputs: int = 1, rank: int = 5) -> Path:
    """The mean of the upper left quarter times 50 plus 50, repeated ``outputs`` times with falling slope."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    shape = [batch, 3, 4, 8, 8][:rank]
    weight = 50.0 * np.linspace(1.0, -0.5, outputs) if outputs > 1 else np.array([50.0])
    constants = {
        "starts": np.array([0, 0], np.int64),
        "ends": np.array([4, 4], np.int64),
        "axes": np.array([rank - 2, rank - 1], np.int64),
        "over": np.arange(1, rank, dtype=np.int64),
        "weight": weight.astype(np.float32)[None],
        "bias": np.float32(50.0),
        "one": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Slice", ["clip", "starts", "ends", "axes"], ["quarter"]),
        helper.make_node("ReduceMean", ["quarter", "over"], ["mean"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "one"], ["column"]),
        helper.make_node("Mul", ["column", "weight"], ["scaled"]),
        helper.make_node("Add", ["scaled", "bias"], ["said"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("clip", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("said", TensorProto.FLOAT, [batch, outputs])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


@torch.no_grad()
@pytest.mark.parametrize("batch", ["batch", 1, 4])
def test_an_onnx_model_says_what_it_computes(batch, tmp_path) -> None:
    """Whatever batch the file fixes: 5 clips are more than one, and no multiple of four."""
    model = OnnxTarget(onnx_file(tmp_path / "m.onnx", batch), TAKES, VALUE).freeze()
    x = clips(5)
    torch.testing.assert_close(model(x), LinearTarget()(x), atol=1e-4, rtol=1e-5)
    assert not model.differentiable
    assert model.queries == 5


@torch.no_grad()
def test_an_onnx_classifier(tmp_path) -> None:
    model = OnnxTarget(onnx_file(tmp_path / "m.onnx", outputs=2), TAKES, CLASSES).freeze()
    said = model(clips(2))
    torch.testing.assert_close(said[:, 0], LinearTarget()(clips(2)), atol=1e-4, rtol=1e-5)
    torch.testing.assert_close(said[:, 1], 75.0 - 0.5 * said[:, 0])


def test_an_onnx_black_box_is_edited_to_its_target(tmp_path) -> None:
    plan = QueryPlan(directions=16, radius=0.05, budget=300)
    model = OnnxTarget(onnx_file(tmp_path / "m.onnx"), TAKES, VALUE, plan)
    task = CounterfactualTask(GaussianBackbone(), model, "delta:5", tmp_path, steps=4, strength=0.9, tolerance=0.5)
    edits = predict(task, make_clips(2), [LastCorrection(largest=0.5)])
    for edit in edits:
        assert float(ask(task.target_model, edit.video[None])) == pytest.approx(float(edit.goal.low), abs=0.5)
        assert 2 * 16 < edit.facts["queries"] <= 300 + 20


BAD_ONNX: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "missing": (lambda p: None, ["not found"]),
    "text": (lambda p: p.write_text("model"), ["no ONNX model"]),
    "input of rank 4": (lambda p: onnx_file(p, rank=4), ["rank 5 is needed", "clip", "BCTHW"]),
    "another answer": (lambda p: onnx_file(p, outputs=3), ["(2, 3)", "regression"]),
}


@pytest.mark.parametrize("case", BAD_ONNX)
def test_bad_onnx_files(case, tmp_path) -> None:
    pytest.importorskip("onnxruntime")
    spoil, says = BAD_ONNX[case]
    path = tmp_path / "m.onnx"
    spoil(path)
    with pytest.raises(UserError) as caught:
        OnnxTarget(path, TAKES, VALUE)
    assert "\n" not in str(caught.value)
    for text in [str(path), *says]:
        assert text in str(caught.value)


def test_another_clip_than_the_files_is_told(tmp_path) -> None:
    with pytest.raises(UserError, match=r"does not run on a BCTHW input of shape \(2, 3, 4, 16, 16\)"):
        OnnxTarget(onnx_file(tmp_path / "m.onnx"), ClipInput((-1.0, 1.0), size=16, frames=4), VALUE)


# --- the cache ---------------------------------------------------------------------------------------------------


class Counting(BlackBox):
    def __init__(self) -> None:
        super().__init__("counting", TAKES, VALUE, QueryPlan())
        self.sizes: list[int] = []

    def ask(self, clips: np.ndarray) -> np.ndarray:
        self.sizes.append(len(clips))
        return linear(clips)


@torch.no_grad()
def test_the_same_clip_is_asked_about_once() -> None:
    model, x = Counting(), clips(3)
    first = model(x[[0, 1, 0]])
    assert (model.sizes, model.queries) == ([2], 2)
    second = model(x[[2, 1, 0]])
    assert (model.sizes, model.queries) == ([2, 1], 3)
    torch.testing.assert_close(first, LinearTarget()(x[[0, 1, 0]]))
    torch.testing.assert_close(second, LinearTarget()(x[[2, 1, 0]]))
    model(x)
    assert model.sizes == [2, 1]  # nothing new: nobody is asked


@torch.no_grad()
def test_memory_is_bounded_and_the_oldest_goes_first(monkeypatch) -> None:
    monkeypatch.setattr("lvcf.models.targets.black_box.REMEMBERED", 2)
    model, x = Counting(), clips(3)
    for one in (x[:1], x[1:2], x[:1], x[2:], x[:1], x[1:2]):
        model(one)
    assert model.queries == 4  # the second was forgotten, the first was used meanwhile


# --- HTTP --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["json", "npy"])
def endpoint(request) -> Iterator[Endpoint]:
    made = Endpoint(request.param, linear)
    yield made
    made.close()


def target(endpoint: Endpoint, **options) -> HttpTarget:
    made = HttpTarget(endpoint.url, TAKES, VALUE, endpoint.body, **{"timeout": 5.0, "back_off": 0.01, **options})
    endpoint.requests = 0  # the check's are not counted
    return made


@torch.no_grad()
def test_an_endpoint_says_what_it_computes(endpoint) -> None:
    model = target(endpoint).freeze()
    torch.testing.assert_close(model(clips(3)), LinearTarget()(clips(3)), atol=1e-4, rtol=1e-5)
    assert model.queries == 3
    assert endpoint.requests == 1  # all clips together


PASSING = {"busy": 503, "too many": 429, "hangs up": "hang up", "slow": 3.0}


@torch.no_grad()
@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_is_waited_out(fault, endpoint) -> None:
    model = target(endpoint, timeout=1.5).freeze()
    endpoint.faults = [PASSING[fault]] * 2
    torch.testing.assert_close(model(clips(1)), LinearTarget()(clips(1)), atol=1e-4, rtol=1e-5)
    assert endpoint.requests == 3


LASTING = {
    "busy": ([503] * 3, ["no answer after 3 attempts", "HTTP 503", "finished clips are kept"], 3),
    "slow": ([3.0] * 3, ["no answer after 3 attempts of 1 s", "timed out"], 3),
    "not there": ([404], ["HTTP 404", "correct the address"], 1),
    "refused": ([400], ["HTTP 400"], 1),
    "nonsense": ([b"<html>"], ["<html>", "correct the endpoint or body"], 1),
    "nothing": ([b""], ["its answer", "(b'')"], 1),
    "another object": ([b'{"outputs": [1]}'], ["its answer"], 1),
}


@torch.no_grad()
@pytest.mark.parametrize("case", LASTING)
def test_a_lasting_fault_is_told(case, endpoint) -> None:
    faults, says, requests = LASTING[case]
    model = target(endpoint, timeout=1.0, retries=2).freeze()
    endpoint.faults = list(faults)
    with pytest.raises(UserError) as caught:
        model(clips(1))
    assert "\n" not in str(caught.value)
    for text in [endpoint.url, *says]:
        assert text in str(caught.value)
    assert endpoint.requests == requests


@torch.no_grad()
def test_an_answer_of_another_shape_is_told(endpoint) -> None:
    with pytest.raises(UserError, match=r"\(2,\), a classification answer \(2, 2\)"):
        HttpTarget(endpoint.url, TAKES, CLASSES, endpoint.body)


def test_the_wait_doubles(endpoint, monkeypatch) -> None:
    model, waited = target(endpoint, retries=3, back_off=0.5), []
    monkeypatch.setattr(black_box, "time", SimpleNamespace(sleep=waited.append))  # its own, no server's
    endpoint.faults = [503] * 4
    with pytest.raises(UserError, match="no answer"):
        model.ask(np.zeros((1, 3, 4, 8, 8), np.float32))
    assert waited == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"url": "http://127.0.0.1:9/"}, "no answer after 2 attempts"),  # nobody listens: told at once, not at clip 1
        ({"url": "file:///etc/passwd"}, "no address of an endpoint"),
        ({"url": "127.0.0.1:80"}, "no address of an endpoint"),
        ({"url": "http://127.0.0.1:9/", "timeout": 0.0}, "timeout 0"),
        ({"url": "http://127.0.0.1:9/", "retries": -1}, "retries -1"),
    ],
)
def test_an_endpoint_that_cannot_be(options, says) -> None:
    with pytest.raises(UserError, match=says):
        HttpTarget(**{"takes": TAKES, "answer": VALUE, "retries": 1, "back_off": 0.01, "timeout": 1.0, **options})


def test_a_pickled_array_is_refused(tmp_path) -> None:
    served, marker = Endpoint("npy", linear), tmp_path / "ran"
    stream = io.BytesIO()
    np.save(stream, np.array([Malice(marker)], dtype=object), allow_pickle=True)
    model = target(served)
    served.faults = [stream.getvalue()]
    with pytest.raises(UserError, match=r"not an \.npy array"):
        model.ask(np.zeros((1, 3, 4, 8, 8), np.float32))
    assert not marker.exists()
    served.close()
