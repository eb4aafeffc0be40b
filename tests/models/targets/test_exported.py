"""Exported graphs and modules by class_path: what they compute, what they declare, what is refused before it runs."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lvcf.errors import UserError
from lvcf.models.targets.exported import ExportedTarget, ModuleTarget
from lvcf.models.targets.wrapping import Answer, ClipInput, WrappedTarget
from tests.models.targets.malice import Malice

TAKES = ClipInput(range=(0.0, 1.0), size=16, frames=4, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
LABELS = ("up", "down", "still")
CLASSES = Answer(task="classification", labels=LABELS)
VALUE = Answer(task="regression", unit="points", scale=5.0, bounds=(0.0, None))


class Net(nn.Module):
    """A small 3D network of ``outputs`` values; refuses anything but five axes with three channels second."""

    def __init__(self, outputs: int = 3) -> None:
        super().__init__()
        self.body = nn.Conv3d(3, 4, 3, stride=2)
        self.head = nn.Linear(4, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).tanh().mean(dim=(2, 3, 4)))


class Pair(Net):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return super().forward(x), x


def by_hand(net: nn.Module, video: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1, 1) for v in (TAKES.mean, TAKES.std))
    return net(((video + 1.0) / 2.0 - mean) / std)


def example(clips: int = 2) -> Tensor:
    return torch.zeros(clips, 3, TAKES.frames, TAKES.size, TAKES.size)


def pt2(net: nn.Module, path: Path, dynamic: bool = True) -> Path:
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},) if dynamic else None
    torch.export.save(torch.export.export(net.eval(), (example(2 if dynamic else 1),), dynamic_shapes=shapes), path)
    return path


def script(net: nn.Module, path: Path) -> Path:
    torch.jit.script(net.eval()).save(str(path))
    return path


MAKERS = {
    "pt2": lambda net, path: ExportedTarget(pt2(net, path / "m.pt2"), TAKES, CLASSES),
    "pt2 of one clip": lambda net, path: ExportedTarget(pt2(net, path / "m.pt2", dynamic=False), TAKES, CLASSES),
    "TorchScript": lambda net, path: ExportedTarget(script(net, path / "m.pt"), TAKES, CLASSES),
    "module": lambda net, path: ModuleTarget(net, TAKES, CLASSES),
}


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("kind", MAKERS)
def test_output_and_gradient_are_the_networks(kind, tmp_path) -> None:
    net = Net()
    model: WrappedTarget = MAKERS[kind](net, tmp_path)
    model.freeze()
    video = (2 * torch.rand(5, 3, 4, 16, 16) - 1).requires_grad_(True)
    logits = model(video)
    torch.testing.assert_close(logits, by_hand(net, video), atol=1e-5, rtol=1e-4)
    (got,) = torch.autograd.grad(logits[:, 1].sum(), video)
    (wanted,) = torch.autograd.grad(by_hand(net, video)[:, 1].sum(), video)
    torch.testing.assert_close(got, wanted, atol=1e-6, rtol=1e-3)
    assert model.labels == LABELS
    assert model.differentiable
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_what_is_declared_is_what_guidance_reads() -> None:
    model = ModuleTarget(Net(1), TAKES, VALUE).freeze()
    assert (model.task, model.unit, model.scale, model.bounds) == ("regression", "points", 5.0, (0.0, float("inf")))
    assert model(torch.zeros(3, 3, 4, 16, 16)).shape == (3,)


@torch.no_grad()
@pytest.mark.parametrize("scale", [(0.0, 1.0), (0.0, 255.0), (-1.0, 1.0)])
def test_the_declared_range_is_what_the_network_sees(scale) -> None:
    class Extremes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.stack([x.amin(dim=(1, 2, 3, 4)), x.amax(dim=(1, 2, 3, 4))], 1)

    model = ModuleTarget(Extremes(), ClipInput(scale, size=8, frames=2), Answer("classification", ("black", "white")))
    video = torch.ones(1, 3, 2, 8, 8)
    video[0, 0, 0, 0, 0] = -1.0
    assert model(video).tolist() == [list(scale)]


@torch.no_grad()
def test_another_layout_and_size() -> None:
    class Axes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[1:] == (4, 3, 16, 16)
            return x[:, 1, 2].mean(dim=(1, 2))  # second frame, third channel

    model = ModuleTarget(Axes(), ClipInput((0.0, 1.0), size=16, frames=4, layout="BTCHW"), Answer("regression"))
    video = -torch.ones(1, 3, 4, 48, 40)  # resized to 16
    video[:, 2, 1] = 0.5
    assert float(model(video)) == pytest.approx(0.75)


def test_an_input_that_is_no_square(tmp_path) -> None:
    """Height and width are the network's own, in the check too; the gradient comes back to the square clip."""

    class Wide(Net):
        def forward(self, x: Tensor) -> Tensor:
            assert x.shape[-2:] == (12, 20)
            return super().forward(x)

    target = ModuleTarget(Wide(), ClipInput(range=(0.0, 1.0), size=(12, 20), frames=4), CLASSES)
    video = torch.rand(2, 3, 4, 16, 16).requires_grad_(True)
    target(video).sum().backward()
    assert video.grad is not None
    assert bool(video.grad.abs().sum() > 0)
    with pytest.raises(UserError, match=r"size \(0, 20\)"):
        ClipInput(range=(0.0, 1.0), size=(0, 20))


def test_weights_of_a_module_are_loaded(tmp_path) -> None:
    net, other = Net(), Net()
    torch.save({"state_dict": {f"model.{k}": v for k, v in net.state_dict().items()}}, tmp_path / "w.ckpt")
    model = ModuleTarget(other, TAKES, CLASSES, tmp_path / "w.ckpt")
    torch.testing.assert_close(model(example() + 0.3), by_hand(net, example() + 0.3))


MISMATCHES = {
    "too few labels": (lambda: ModuleTarget(Net(3), TAKES, Answer("classification", ("a", "b"))), ["(2, 3)", "(2, 2)"]),
    "logits for a value": (lambda: ModuleTarget(Net(3), TAKES, VALUE), ["(2, 3)", "regression", "labels"]),
    "another layout": (
        lambda: ModuleTarget(Net(), ClipInput((0.0, 1.0), size=16, frames=4, layout="BTCHW"), CLASSES),
        ["Net", "BTCHW", "(2, 4, 3, 16, 16)", "layout, size and frames"],
    ),
    "clips too small": (lambda: ModuleTarget(Net(), ClipInput((0.0, 1.0), size=2, frames=4), CLASSES), ["size"]),
    "two outputs": (lambda: ModuleTarget(Pair(), TAKES, CLASSES), ["Pair"]),
    "a reversed range": (lambda: ClipInput(range=(1.0, 0.0)), ["[1, 0]", "black first"]),
    "no deviation": (lambda: ClipInput(range=(0.0, 1.0), std=(1.0, 0.0, 1.0)), ["std", "above 0"]),
    "no frames": (lambda: ClipInput(range=(0.0, 1.0), frames=0), ["frames 0"]),
    "one label": (lambda: Answer("classification", ("a",)), ["['a']", "two or more"]),
    "a label twice": (lambda: Answer("classification", ("a", "a")), ["different names"]),
    "labels of a value": (lambda: Answer("regression", ("a", "b")), ["a regressor has none"]),
    "no scale": (lambda: Answer("regression", scale=0.0), ["scale 0", "standard deviation"]),
}


@pytest.mark.parametrize("case", MISMATCHES)
def test_a_mismatch_is_told_before_anything_runs(case) -> None:
    make, says = MISMATCHES[case]
    with pytest.raises(UserError) as caught:
        make()
    assert "\n" not in str(caught.value)
    for text in says:
        assert text in str(caught.value)


def test_clips_of_another_length_are_told() -> None:
    model = ModuleTarget(Net(), TAKES, CLASSES)
    with pytest.raises(UserError, match=r"takes 4 frames, the clips have 16; set data\.frames"):
        model(torch.zeros(1, 3, 16, 16, 16))


def pickled_weights(path: Path, marker: Path) -> None:
    """A .pt2 whose weights ask to be unpickled, as torch.export writes subclasses of tensors."""
    payload = io.BytesIO()
    torch.save(Malice(marker), payload)
    rewrite(
        path,
        {
            "data/weights/model_weights_config.json": lambda c: c.replace(
                b'"use_pickle": false', b'"use_pickle": true'
            ),
            "data/weights/weight_0": lambda c: payload.getvalue(),
        },
    )


def pickled_inputs(path: Path, marker: Path) -> None:
    payload = io.BytesIO()
    torch.save(Malice(marker), payload)
    rewrite(path, {"data/sample_inputs/model.pt": lambda c: payload.getvalue()})


def opaque_constant(path: Path, marker: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/data/constants/opaque_obj_0", b"x")


def compiled_code(path: Path, marker: Path) -> None:
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/data/aotinductor/model/model.so", b"x")


def evaluated_size(path: Path, marker: Path) -> None:
    """torch.export hands the text of a size to sympify, which evaluates it."""

    def spoil(content: bytes) -> bytes:
        graph, found = json.loads(content), []

        def walk(node) -> None:
            for value in node.values() if isinstance(node, dict) else node:
                if isinstance(value, dict) and "expr_str" in value:
                    value["expr_str"] = f"__import__('os').system('touch {marker}')"
                    found.append(value)
                if isinstance(value, dict | list):
                    walk(value)

        walk(graph)
        assert found
        return json.dumps(graph).encode()

    rewrite(path, {"models/model.json": spoil})


def rewrite(path: Path, changes: dict) -> None:
    """Change entries of an archive, named without its top folder."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries.items():
            change = changes.get(name.partition("/")[2])
            archive.writestr(name, change(content) if change else content)


MALICE = {
    "pickled weights": (pickled_weights, "loads as tensors alone"),
    "pickled inputs": (pickled_inputs, "loads as tensors alone"),
    "an object": (opaque_constant, "refused"),
    "compiled code": (compiled_code, "refused"),
    "a size that is code": (evaluated_size, "refused"),
}


@pytest.mark.parametrize("case", MALICE)
def test_code_in_an_exported_program_is_refused_and_not_run(case, tmp_path) -> None:
    spoil, says = MALICE[case]
    path, marker = pt2(Net(), tmp_path / "m.pt2"), tmp_path / "ran"
    spoil(path, marker)
    with pytest.raises(UserError, match=says) as caught:
        ExportedTarget(path, TAKES, CLASSES)
    assert str(path) in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("case", ["pickled weights", "pickled inputs", "a size that is code"])
def test_that_code_would_have_run(case, tmp_path) -> None:
    path, marker = pt2(Net(), tmp_path / "m.pt2"), tmp_path / "ran"
    MALICE[case][0](path, marker)
    with contextlib.suppress(Exception):  # after the harm
        torch.export.load(path)
    assert marker.exists()


DAMAGE = {
    "missing.pt2": (None, ["not found", "torch.export.save"]),
    "missing.pt": (None, ["not found"]),
    "text.pt2": (b"weights", ["no archive of torch.export.save"]),
    "text.pt": (b"weights", ["not TorchScript"]),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_files(name, tmp_path) -> None:
    content, says = DAMAGE[name]
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError) as caught:
        ExportedTarget(tmp_path / name, TAKES, CLASSES)
    for text in [str(tmp_path / name), *says]:
        assert text in str(caught.value)


@pytest.mark.parametrize("kind", ["pickle", "checkpoint"])
def test_a_pickle_is_no_torchscript(kind, tmp_path) -> None:
    import pickle

    path, marker = tmp_path / "m.pt", tmp_path / "ran"
    torch.save(Malice(marker), path) if kind == "checkpoint" else path.write_bytes(pickle.dumps(Malice(marker)))
    with pytest.raises(UserError, match="not TorchScript"):
        ExportedTarget(path, TAKES, CLASSES)
    assert not marker.exists()
