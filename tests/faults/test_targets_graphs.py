"""Graph files that would touch files or run code are refused before anything of them runs; checkpoints with more."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from lvcf.errors import UserError
from lvcf.metrics.features import I3DFeatures
from lvcf.models.targets.exported import ExportedTarget, ModuleTarget
from lvcf.models.targets.graphs import load_graph, touching_files
from lvcf.models.targets.wrapping import Answer, ClipInput
from tests.faults.targets import CLASSES, clips, pt2

TAKES = ClipInput(range=(0.0, 1.0), size=8, frames=4)
VALUE = Answer("regression")

pytestmark = pytest.mark.filterwarnings("ignore:`torch.jit")


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3, 4))


class Writes(nn.Module):
    """Makes or overwrites a file of 64 bytes when it is asked."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        written = torch.from_file(self.path, True, 16).fill_(1.0)
        return x.mean((1, 2, 3, 4)) + written.mean()


class Inner(nn.Module):
    """The same, one module down and in a branch."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.inner = Writes(path)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x) if bool(x.mean() > -9.0) else x.mean((1, 2, 3, 4))


class Saves(nn.Module):
    """Writes while it is loaded."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self.path = path

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3, 4))

    @torch.jit.export
    def __getstate__(self) -> tuple[str, bool]:
        return self.path, self.training

    @torch.jit.export
    def __setstate__(self, state: tuple[str, bool]) -> None:
        torch.save(torch.zeros(3), state[0])
        self.path, self.training = state


def scripted(network: nn.Module, path: Path) -> Path:
    torch.jit.script(network.eval()).save(str(path))
    return path


def rewritten(source: Path, to: Path, change: Callable[[str, bytes], bytes]) -> Path:
    """An archive with its entries changed."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as out:
        for name in archive.namelist():
            out.writestr(name, change(name, archive.read(name)))
    return to


def called(how: str, before: str = "") -> Callable[[Path, str], Path]:
    """TorchScript whose forward is written by hand, as its archive keeps it; ``how`` makes a tensor of a file."""

    def make(folder: Path, marker: str) -> Path:
        made = f"{before}    _0 = torch.fill_({how.format(marker)}, 1.)\n"
        body = f"{made}    return torch.add(torch.mean(x, [1, 2, 3, 4]), torch.mean(_0))\n"

        def change(name: str, content: bytes) -> bytes:
            if not name.endswith(".py"):
                return content
            text = content.decode()
            return (text[: text.rindex("    return torch.mean")] + body).encode()

        return rewritten(scripted(Mean(), folder / "mean.pt"), folder / "m.pt", change)

    return make


def renamed(folder: Path, marker: str) -> Path:
    """A .pt2 whose zeros are read from a file."""

    class Adds(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.mean((1, 2, 3, 4)) + torch.zeros(1)

    torch.export.save(torch.export.export(Adds(), (torch.rand(1, 3, 4, 8, 8),)), folder / "plain.pt2")

    def change(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        program = json.loads(content)
        (node,) = [
            n for n in program["graph_module"]["graph"]["nodes"] if n["target"] == "torch.ops.aten.zeros.default"
        ]
        node["target"] = "torch.ops.aten.from_file.default"
        kinds = ({"as_string": marker}, {"as_bool": True}, {"as_int": 16})
        names = ("filename", "shared", "size")
        node["inputs"] = [{"name": n, "arg": a, "kind": 1} for n, a in zip(names, kinds, strict=True)]
        return json.dumps(program).encode()

    return rewritten(folder / "plain.pt2", folder / "m.pt2", change)


def retargeted(target: str) -> Callable[[Path, str], Path]:
    """A .pt2 with another function at one of its nodes."""

    def make(folder: Path, marker: str) -> Path:
        source = renamed(folder, marker)
        return rewritten(
            source, folder / "n.pt2", lambda _, c: c.replace(b"torch.ops.aten.from_file.default", target.encode())
        )

    return make


def twice(folder: Path, marker: str) -> Path:
    """Two entries of one name: Python reads the last, torch might read the first."""
    path = called('torch.from_file("{}", True, 16)')(folder, marker)
    with (
        zipfile.ZipFile(folder / "mean.pt") as plain,
        zipfile.ZipFile(path) as bad,
        zipfile.ZipFile(folder / "t.pt", "w") as out,
    ):
        for name in bad.namelist():
            out.writestr(name, bad.read(name))
        for name in bad.namelist():
            if name.endswith(".py"):
                (same,) = [n for n in plain.namelist() if n.endswith(".py")]
                out.writestr(name, plain.read(same))
    return folder / "t.pt"


FILES = {
    "from_file": lambda f, m: scripted(Writes(m), f / "m.pt"),
    "from_file in a submodule's branch": lambda f, m: scripted(Inner(m), f / "m.pt"),
    "save while loading": lambda f, m: scripted(Saves(m), f / "m.pt"),
    "by ops": called('ops.aten.from_file("{}", True, 16)'),
    "by getattr": called('getattr(torch, "from_file")("{}", True, 16)'),
    "by another name": called('t.from_file("{}", True, 16)', "    t = torch\n"),
    "another namespace": called('ops.image.read_file("{}")'),
    "a custom class": called('__torch__.torch.classes.dist_rpc.WorkerInfo("{}", 1)'),
    "a renamed node": renamed,
    "another library's operator": retargeted("torch.ops.image.read_file.default"),
    "a function of torch": retargeted("torch.hub.load"),
    "a function of the system": retargeted("os.system"),
    "a caller of methods": retargeted("_operator.methodcaller"),
    "two entries of one name": twice,
}


@pytest.mark.parametrize("case", FILES)
def test_what_touches_files_is_refused_before_it_runs(case, tmp_path) -> None:
    marker = tmp_path / "written"
    path = FILES[case](tmp_path, str(marker))
    marker.unlink(missing_ok=True)  # saving may have run it
    with pytest.raises(UserError, match="refused: it holds") as caught:
        ExportedTarget(path, TAKES, VALUE)
    assert str(path) in str(caught.value)
    assert not marker.exists()


@pytest.mark.parametrize("case", ["from_file", "from_file in a submodule's branch", "a renamed node"])
def test_that_file_would_have_been_written(case, tmp_path) -> None:
    marker = tmp_path / "written"
    path = FILES[case](tmp_path, str(marker))
    marker.unlink(missing_ok=True)
    graph = torch.export.load(path).module() if path.suffix == ".pt2" else torch.jit.load(str(path))
    graph(torch.rand(1, 3, 4, 8, 8))
    assert marker.exists()


def test_loading_alone_would_have_written_it(tmp_path) -> None:
    marker = tmp_path / "written"
    path = scripted(Saves(str(marker)), tmp_path / "m.pt")
    marker.unlink(missing_ok=True)
    torch.jit.load(str(path))
    assert marker.exists()


def test_features_are_read_by_the_same_loader(tmp_path) -> None:
    with pytest.raises(UserError, match=r"refused: it holds 'from_file'"):
        I3DFeatures(scripted(Writes(str(tmp_path / "written")), tmp_path / "i3d.pt"))


def test_operators_that_are_told_a_file_are_those_that_torch_lists() -> None:
    assert {"from_file", "save"} <= touching_files()
    assert touching_files().isdisjoint({"conv3d", "format", "einsum", "mean"})


def test_published_kinds_of_graphs_still_load(tmp_path) -> None:
    """Detection (torchvision's operators), quantised layers (classes that hold weights), attention."""
    from torchvision.models import detection, swin_t

    networks = {
        "detector": detection.ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None),
        "attention": swin_t(),
        "quantised": torch.ao.quantization.quantize_dynamic(nn.Sequential(nn.Linear(4, 4)), {nn.Linear}),
    }
    for name, network in networks.items():
        assert isinstance(load_graph(scripted(network, tmp_path / f"{name}.pt")), nn.Module)


# --- checkpoints -----------------------------------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self, hidden: int = 4) -> None:
        super().__init__()
        self.body, self.head = nn.Conv3d(3, hidden, 3), nn.Linear(hidden, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).tanh().mean((2, 3, 4)))


def under(prefix: str, network: nn.Module) -> dict[str, Tensor]:
    return {f"{prefix}{name}": value for name, value in network.state_dict().items()}


def loaded(content: object, folder: Path, key: str | None = None) -> Net:
    torch.save(content, folder / "w.pt")
    network = Net()
    ModuleTarget(network, TAKES, VALUE, folder / "w.pt", key)
    return network


BESIDE = {
    "class weights": lambda n: {"state_dict": {**under("model.", n), "criterion.weight": torch.ones(2)}},
    "a metric's state": lambda n: {
        "state_dict": {**under("net.", n), "val_acc.tp": torch.zeros(2), "step": torch.tensor(3)}
    },
    "an average's count": lambda n: {**under("module.", n), "n_averaged": torch.tensor(7)},
}


@pytest.mark.parametrize("case", BESIDE)
def test_what_stands_beside_a_whole_network_is_left_out_with_a_word(case, tmp_path) -> None:
    net = Net()
    with pytest.warns(UserWarning, match=r"\d tensors? beside the network were left out"):
        found = loaded(BESIDE[case](net), tmp_path)
    assert torch.equal(found.head.weight, net.head.weight)


def test_another_networks_weights_are_still_refused(tmp_path) -> None:
    deeper = {"model.more.weight": torch.zeros(1), **under("model.", Net())}
    for content in (
        deeper,
        under("model.", Net(hidden=5)),
        {k: v for k, v in under("m.", Net()).items() if "head" not in k},
    ):
        with pytest.raises(UserError, match="no weights of Net"):
            loaded(content, tmp_path)


TWO = {
    "two mappings": (
        lambda raw, ema: {"state_dict": under("", raw), "state_dict_ema": under("", ema)},
        "state_dict_ema",
    ),
    "two prefixes": (
        lambda raw, ema: {"state_dict": under("model.", raw) | under("ema_model.module.", ema)},
        "ema_model.module",
    ),
}


@pytest.mark.parametrize("case", TWO)
def test_raw_and_averaged_weights_are_chosen_by_the_user(case, tmp_path) -> None:
    make, key = TWO[case]
    raw, ema = Net(), Net()
    with pytest.raises(UserError, match="choose by checkpoint_key"):
        loaded(make(raw, ema), tmp_path)
    assert torch.equal(loaded(make(raw, ema), tmp_path, key).head.weight, ema.head.weight)


def test_a_checkpoint_key_that_is_not_there_is_told(tmp_path) -> None:
    with pytest.raises(UserError, match=r"holds no weights under ema \(it has state_dict\)"):
        loaded({"state_dict": under("", Net())}, tmp_path, "ema")


@pytest.mark.filterwarnings("ignore:`torch.jit")
@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("ending", ["pt2", "pt"])
def test_a_graph_is_given_the_floats_it_was_exported_for(kind, ending, tmp_path) -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 8 * 8, 3)).to(kind).eval()
    path, example = tmp_path / f"m.{ending}", clips(2).to(kind)
    if ending == "pt2":
        pt2(network, path, ({0: torch.export.Dim("b")},), example)
    else:
        torch.jit.trace(network, example).save(str(path))
    wanted = network(((clips(3) + 1.0) / 2.0).to(kind)).float()
    torch.testing.assert_close(ExportedTarget(path, TAKES, CLASSES)(clips(3)), wanted, atol=0.02, rtol=0.02)


def test_code_that_is_no_python_is_told_in_one_line(tmp_path) -> None:
    with zipfile.ZipFile(tmp_path / "m.pt", "w") as archive:
        archive.writestr("m/code/__torch__/net.py", "class Net(Module):\n  in : Tensor\n")
    with pytest.raises(UserError, match=r"m\.pt: not TorchScript .*invalid syntax"):
        load_graph(tmp_path / "m.pt")
