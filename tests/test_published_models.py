"""docs/published_models.md: its very code and commands, on tiny random networks of the published interfaces."""

from __future__ import annotations

import importlib
import pickle
import shlex
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas
import pytest
import torch
import torchvision
from torch import Tensor, nn
from transformers.models.auto.modeling_auto import MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES

from lvcf.cli import main
from lvcf.errors import UserError
from lvcf.models.targets.exported import ExportedTarget, ModuleTarget
from lvcf.models.targets.wrapping import Answer, ClipInput
from tests.helpers import ROOT, results
from tests.test_own_model import CHEAP, folder  # noqa: F401  # a fixture
from tests.test_readme import PAGES, code, python_blocks

PAGE = PAGES[ROOT / "docs" / "published_models.md"]
COMMANDS = [line for line in code(PAGE) if line.startswith("lvcf predict")]
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
TAKES = ClipInput(range=(0.0, 1.0), size=224, **IMAGENET)
EF = {"unit": "%", "scale": 12.0, "bounds": (0.0, 100.0)}


class Small(nn.Module):
    """A video network of the published interface: clips ``(B, 3, T, 224, 224)`` to ``outputs`` numbers."""

    def __init__(self, outputs: int) -> None:
        super().__init__()
        self.body = nn.Conv3d(3, 8, (2, 32, 32), stride=(2, 32, 32))
        self.head = nn.Sequential(nn.Dropout(0.5), nn.Linear(8, outputs))

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1] == 3
        assert x.shape[3:] == (224, 224)
        return self.head(self.body(x).tanh().mean(dim=(2, 3, 4)))


def clips(n: int = 2, frames: int = 16) -> Tensor:
    return 2.0 * torch.rand(n, 3, frames, 32, 32, generator=torch.Generator().manual_seed(0)) - 1.0


# --- exported once -----------------------------------------------------------------------------------------------

EXPORTED = {
    "VideoMAE v2": ("modeling_finetune", "vit_base_patch16_224", "vit_b_k710_dl_from_giant.pth", "videomae_v2.pt2", 16),
    "InternVideo2": (
        "internvideo2",
        "internvideo2_1B_patch14_224",
        "1B_ft_k710_ft_k400_f8.pth",
        "internvideo2.pt2",
        8,
    ),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_an_exporting_block_writes_a_file_that_is_explained(name, tmp_path, monkeypatch) -> None:
    """The authors' function is a stand-in: it takes what theirs takes and gives logits."""
    module, function, weights, file, frames = EXPORTED[name]
    made: list[Small] = []

    def network(pretrained: bool = False, num_classes: int = 1000, num_frames: int = 8, **plain: bool) -> Small:
        assert not any(plain.values())
        made.append(Small(num_classes))
        return made[-1]

    package, home = ModuleType("models"), ModuleType(f"models.{module}")
    setattr(home, function, network)
    monkeypatch.setitem(sys.modules, "models", package)
    monkeypatch.setitem(sys.modules, f"models.{module}", home)
    (block,) = python_blocks(PAGE, f"import {function}")
    classes = 710 if name == "VideoMAE v2" else 400
    torch.manual_seed(0)
    published = Small(classes)
    monkeypatch.chdir(tmp_path)
    torch.save({"module": published.state_dict()}, weights)
    exec(block, {})
    takes = ClipInput(range=(0.0, 1.0), size=224, frames=frames, **IMAGENET)
    model = ExportedTarget(Path(file), takes, Answer("classification", tuple(map(str, range(classes)))))
    video = clips(3, frames).requires_grad_(True)
    said = model(video)
    torch.testing.assert_close(said, published.eval()(takes.prepare(video)), atol=1e-5, rtol=1e-4)
    (gradient,) = torch.autograd.grad(said[:, 0].sum(), video)
    assert bool(gradient.any())
    assert len(made) == 1


# --- PanEcho -----------------------------------------------------------------------------------------------------

HUBCONF = """
dependencies = ["torch"]
import torch

KINDS = {"EF": 1, "GLS": 1, "LVEDV": 1, "LVESV": 1, "LVSystolicFunction": 3, "AVStructure": 1}


class MultiTaskModel(torch.nn.Module):
    def __init__(self, tasks, activations):
        super().__init__()
        self.tasks, self.activations = tasks, activations
        self.encoder = torch.nn.Conv3d(3, 8, (2, 32, 32), stride=(2, 32, 32))
        for task in tasks:
            head = torch.nn.Sequential(torch.nn.Dropout(0.25), torch.nn.Linear(8, KINDS[task]))
            self.add_module(task + "_head", head)
        self.EF_head[-1].bias.data[0] = 55.0

    def forward(self, x):
        x = self.encoder(x).tanh().mean(dim=(2, 3, 4))
        said = {}
        for task in self.tasks:
            out = self.get_submodule(task + "_head")(x)
            said[task] = torch.softmax(out, dim=1) if self.activations and KINDS[task] > 1 else out
        return said


def PanEcho(pretrained=True, image_encoder_only=False, backbone_only=False, tasks="all", activations=True, clip_len=16):
    torch.manual_seed(0)
    model = MultiTaskModel([task for task in KINDS if tasks == "all" or task in tasks], activations)
    model.encoder.weight.data *= 5.0
    model.EF_head[-1].weight.data *= 20.0
    return model
"""


@pytest.fixture
def panecho(tmp_path, monkeypatch) -> Path:
    """A hub's folder that holds a stand-in: the published function, tasks and shapes, no published weights."""
    home = tmp_path / "hub" / "CarDS-Yale_PanEcho_main"
    home.mkdir(parents=True)
    (home / "hubconf.py").write_text(HUBCONF)
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return home


def block(name: str) -> type[nn.Module]:
    """The class that the page shows, from a file ``mymodel.py`` in the working folder."""
    (shown,) = python_blocks(PAGE, f"class {name}(")
    Path("mymodel.py").write_text(shown)
    return getattr(importlib.import_module("mymodel"), name)


def run(name: str) -> dict[str, object]:
    """The page's own command, with fewer steps; the result of its one clip."""
    (command,) = (line for line in COMMANDS if f"mymodel.{name}" in line)
    assert main([*shlex.split(command)[1:], *CHEAP]) == 0
    (made,) = Path("runs").iterdir()
    (result,) = results(made).values()
    return result


def test_panecho_says_what_its_head_says(folder, panecho) -> None:  # noqa: F811
    network = block("PanEcho")()
    model = ModuleTarget(network, TAKES, Answer("regression", output="EF", **EF))
    torch.testing.assert_close(model(clips()), network.network(TAKES.prepare(clips()))["EF"][:, 0])
    assert [*model.other_outputs(clips())] == ["GLS", "LVEDV", "LVESV", "LVSystolicFunction"]
    classes = ("Mildly Decreased", "Moderately|Severely Decreased", "Normal|Hyperdynamic")
    several = Answer("classification", classes, gives="probabilities", output="LVSystolicFunction")
    said = ModuleTarget(network, TAKES, several)(clips()).softmax(1)
    torch.testing.assert_close(said, network.network(TAKES.prepare(clips()))["LVSystolicFunction"])
    with pytest.raises(UserError, match="several outputs \\(EF, GLS, LVEDV, LVESV, LVSystolicFunction\\)"):
        ModuleTarget(network, TAKES, Answer("regression", **EF))


@pytest.mark.slow
def test_the_panecho_command_explains_a_clip(folder, panecho) -> None:  # noqa: F811
    block("PanEcho")
    result = run("PanEcho")
    assert (result["output"], result["unit"]) == ("EF", "%")
    assert set(result["other_outputs"]) == {"GLS", "LVEDV", "LVESV", "LVSystolicFunction"}
    assert result["prediction_after"] != result["prediction_before"]


# --- EchoPrime ---------------------------------------------------------------------------------------------------

STUDIES = 200


class Encoder(Small):
    """In place of ``mvit_v2_s``: its head's last layer is exchanged, too."""

    def __init__(self) -> None:
        super().__init__(400)


@pytest.fixture
def echoprime(folder, monkeypatch) -> Path:  # noqa: F811
    """The authors' ``model_data``, tiny and random: weights, embeddings of studies, and what is known of each."""
    monkeypatch.setattr(torchvision.models.video, "mvit_v2_s", Encoder)
    data = folder / "model_data"
    (data / "weights").mkdir(parents=True)
    (data / "candidates_data").mkdir()
    torch.manual_seed(0)
    encoder = Encoder()
    encoder.body.weight.data *= 5.0
    encoder.head[-1] = nn.Linear(8, 512)
    torch.save(encoder.state_dict(), data / "weights" / "echo_prime_encoder.pt")
    embeddings = nn.functional.normalize(torch.randn(STUDIES, 512))
    for part, rows in enumerate(embeddings.chunk(2), start=1):
        torch.save(rows, data / "candidates_data" / f"candidate_embeddings_p{part}.pt")
    studies = [f"study_{number}" for number in range(STUDIES)]
    pandas.DataFrame({"Study": studies}).to_csv(data / "candidates_data" / "candidate_studies.csv")
    draw = np.random.default_rng(0)
    names = ("ejection_fraction", "left_atrium_dilation", "aortic_stenosis")
    labels = {name: {study: 100.0 * draw.random() for study in studies if draw.random() < 0.7} for name in names}
    (data / "candidates_data" / "candidate_labels.pkl").write_bytes(pickle.dumps(labels))
    return data


def predict_metrics(network: nn.Module, data: Path, clip: Tensor, name: str) -> float:
    """``EchoPrime.predict_metrics`` of a study of one video, as the authors wrote it; a view's weight drops out."""
    study = nn.functional.normalize(0.3 * network.encoder(clip[None]))
    parts = [torch.load(data / "candidates_data" / f"candidate_embeddings_p{part}.pt") for part in (1, 2)]
    places = torch.topk(study @ torch.cat(parts).T, k=50, dim=1).indices[0]
    studies = list(pandas.read_csv(data / "candidates_data" / "candidate_studies.csv")["Study"])
    labels = pandas.read_pickle(data / "candidates_data" / "candidate_labels.pkl")[name]
    return float(np.nanmean([labels[studies[place]] for place in places if studies[place] in labels]))


def test_echoprime_says_what_the_original_says_and_has_a_slope(echoprime) -> None:
    network = block("EchoPrime")().eval()
    takes = ClipInput(
        range=(0.0, 255.0), size=224, mean=(29.110628, 28.076836, 29.096405), std=(47.989223, 46.456997, 47.20083)
    )
    model = ModuleTarget(network, takes, Answer("regression", output="ejection_fraction", **EF)).freeze()
    video = clips(3).requires_grad_(True)
    said = model(video)
    for clip, value in zip(takes.prepare(video.detach()), said.tolist(), strict=True):
        assert value == pytest.approx(predict_metrics(network, echoprime, clip, "ejection_fraction"), abs=1e-3)
    (gradient,) = torch.autograd.grad(said.sum(), video)
    assert bool(gradient.any())
    assert [*model.other_outputs(clips())] == ["left_atrium_dilation", "aortic_stenosis"]


@pytest.mark.slow
def test_the_echoprime_command_explains_a_clip(echoprime) -> None:
    block("EchoPrime")
    result = run("EchoPrime")
    assert (result["output"], result["unit"]) == ("ejection_fraction", "%")
    assert set(result["other_outputs"]) == {"left_atrium_dilation", "aortic_stenosis"}
    assert result["gradient_evaluations"] > 0


# --- what the page says ------------------------------------------------------------------------------------------


def test_what_transformers_has_is_what_the_table_says() -> None:
    there = set(MODEL_FOR_VIDEO_CLASSIFICATION_MAPPING_NAMES)
    assert {"videomae", "vivit", "timesformer", "vjepa2"} <= there
    assert not [name for name in there if "internvideo" in name or name in ("videomaev2", "videomae_v2")]


def test_the_heads_of_own_model_are_explained(folder) -> None:  # noqa: F811
    own = PAGES[ROOT / "docs" / "own_model.md"]
    (shown,) = python_blocks(own, "class MyHeads(")
    Path("mymodel.py").write_text(shown)
    (command,) = (line for line in code(own) if "mymodel.MyHeads" in line)
    assert main([*shlex.split(command)[1:], *CHEAP]) == 0
    (result,) = results(Path("runs/own_heads")).values()
    assert result["class_after"] == "lift"
    assert result["output"] == "verb"
    assert result["other_outputs"]["noun"]["numbers"] == 2
