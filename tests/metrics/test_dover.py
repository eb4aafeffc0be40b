"""The adapter of DOVER's ONNX file, on networks that average what they are shown."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lvcf.errors import UserError
from lvcf.metrics.dover import MEAN, STD, Dover, View, aesthetic_view, fused, technical_view

Shape = list[Any]
OPEN: Shape = ["n", 3, "t", "h", "w"]


def dover_file(path: Path, **inputs: Shape) -> Path:
    """For every input its mean over all axes but the first."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    nodes, outputs, constants = [], [], []
    for name, shape in inputs.items():
        constants.append(numpy_helper.from_array(np.arange(1, len(shape), dtype=np.int64), f"{name}_over"))
        nodes.append(helper.make_node("ReduceMean", [name, f"{name}_over"], [f"{name}_mean"], keepdims=0))
        outputs.append(helper.make_tensor_value_info(f"{name}_mean", TensorProto.FLOAT, [shape[0]]))
    entries = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()]
    graph = helper.make_graph(nodes, "means", entries, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)
    return path


def gray(level: float, frames: int = 5, size: int = 20) -> torch.Tensor:
    return torch.full((3, frames, size, size), level / 127.5 - 1.0)


def standardised(level: float) -> float:
    return float(np.mean([(level - m) / s for m, s in zip(MEAN, STD, strict=True)]))


@pytest.mark.parametrize(
    ("aesthetic", "technical"), [(OPEN, OPEN), ([1, 3, 4, 14, 14], [2, 3, 8, 28, 28]), (OPEN, [4, 3, 32, 224, 224])]
)
def test_whatever_its_sizes_it_sees_standardised_levels(aesthetic, technical, tmp_path) -> None:
    dover = Dover(dover_file(tmp_path / "d.onnx", aes_view=aesthetic, tech_view=technical))
    scores = dover(gray(120.0))
    assert scores["aesthetic"] == pytest.approx(standardised(120.0), abs=1e-2)  # a float32 sum of 5 M voxels
    assert scores["technical"] == pytest.approx(standardised(120.0), abs=1e-2)
    assert scores["overall"] == fused(scores["aesthetic"], scores["technical"])


def test_a_file_with_one_input_gives_one_score(tmp_path) -> None:
    dover = Dover(dover_file(tmp_path / "d.onnx", clip=[1, 3, 4, 16, 16]))
    assert dover(gray(30.0)) == {"score": pytest.approx(standardised(30.0), abs=1e-4)}


def test_the_fused_score() -> None:
    """One half at both means; one deviation up in both is logistic(0.6104 + 0.3896) = logistic(1)."""
    assert fused(-0.08285, 0.1107) == pytest.approx(0.5)
    assert fused(-0.08285 + 0.03774, 0.1107 + 0.07355) == pytest.approx(1.0 / (1.0 + np.exp(-1.0)))


def levels(view: np.ndarray) -> np.ndarray:
    return view * np.array(STD).reshape(3, 1, 1, 1) + np.array(MEAN).reshape(3, 1, 1, 1)


def test_fragments_come_from_the_middle_of_every_cell() -> None:
    rows = torch.arange(28.0).view(1, 1, -1, 1).expand(3, 2, 28, 28) / 127.5 - 1.0
    view = levels(technical_view(rows, View("tech_view", 1, 2, 14, 14)))[0, 0, 0, :, 0]
    expected = [row for cell in range(7) for row in (4 * cell + 1, 4 * cell + 2)]
    np.testing.assert_allclose(view, expected, atol=1e-3)


def test_frames_are_spread_and_a_short_clip_begins_again() -> None:
    times = torch.arange(9.0).view(1, -1, 1, 1).expand(3, 9, 14, 14) / 127.5 - 1.0
    spread = levels(aesthetic_view(times, View("aes_view", 1, 3, 14, 14)))[0, 0, :, 0, 0]
    np.testing.assert_allclose(spread, [0, 4, 8], atol=1e-3)
    clips = levels(technical_view(times, View("tech_view", 2, 4, 14, 14)))[:, 0, :, 0, 0]
    np.testing.assert_allclose(clips, [[0, 2, 4, 6], [1, 3, 5, 7]], atol=1e-3)
    longer = levels(technical_view(times, View("tech_view", 1, 6, 14, 14)))[0, 0, :, 0, 0]
    np.testing.assert_allclose(longer, [0, 2, 4, 6, 8, 1], atol=1e-3)


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: None, "not found"),
    "text": (lambda p: p.write_text("model"), "no ONNX model"),
    "images": (lambda p: dover_file(p, image=[1, 3, 16, 16]), "(clips, 3, frames, height, width)"),
    "channels last": (lambda p: dover_file(p, clip=[1, 4, 16, 16, 3]), "(clips, 3, frames, height, width)"),
    "three inputs": (lambda p: dover_file(p, aes_view=OPEN, tech_view=OPEN, third=OPEN), "3 inputs"),
    "other names": (lambda p: dover_file(p, one=OPEN, two=OPEN), "one, two; name the first aes_view"),
    "the wrong order": (lambda p: dover_file(p, tech_view=OPEN, aes_view=OPEN), "tech_view, aes_view; name"),
    "no fragments": (lambda p: dover_file(p, aes_view=OPEN, tech_view=[1, 3, 4, 16, 16]), "7x7 fragments"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_files(case, tmp_path) -> None:
    pytest.importorskip("onnxruntime")
    make, says = BAD[case]
    make(tmp_path / "d.onnx")
    with pytest.raises(UserError) as told:
        Dover(tmp_path / "d.onnx")
    assert says in str(told.value)
