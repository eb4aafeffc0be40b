"""Every number and word that a data module takes is checked where it is given, by name and value."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lvcf.data.celebv_text import CelebVTextDataset
from lvcf.data.clip import check_sampling
from lvcf.data.echonet import EchoNetDataset
from lvcf.data.ferv39k import FERV39KDataset
from lvcf.data.ssv2 import SSv2Dataset
from lvcf.data.video_folder import VideoFolderDataset
from lvcf.datamodules.base import ClipDataModule
from lvcf.datamodules.celebv_text import CelebVTextDataModule
from lvcf.datamodules.echonet import EchoNetDataModule
from lvcf.datamodules.ferv39k import FERV39KDataModule
from lvcf.datamodules.latents import LatentDataModule
from lvcf.datamodules.mixture import MixtureDataModule
from lvcf.datamodules.predictions import PredictionsDataModule
from lvcf.datamodules.ssv2 import SSv2DataModule
from lvcf.datamodules.video_folder import VideoFolderDataModule
from lvcf.errors import UserError
from lvcf.parsing import arguments_of
from lvcf.phantoms.face.attribute_set import FaceAttributesDataModule

ROOT = Path("/nowhere")
MODULES: dict[str, tuple[Any, dict[str, Any]]] = {
    "echonet": (EchoNetDataModule, {"root": ROOT}),
    "ferv39k": (FERV39KDataModule, {"root": ROOT}),
    "ssv2": (SSv2DataModule, {"root": ROOT}),
    "celebv_text": (CelebVTextDataModule, {"root": ROOT, "prompts": ROOT, "questions": ROOT}),
    "video_folder": (VideoFolderDataModule, {"root": ROOT}),
    "predictions": (PredictionsDataModule, {"root": ROOT}),
    "mixture": (MixtureDataModule, {"parts": [EchoNetDataModule(ROOT)]}),
    "latents": (LatentDataModule, {"clips": EchoNetDataModule(ROOT), "vae": "v", "cache": ROOT}),
}
SAMPLED = ("echonet", "ferv39k", "ssv2", "celebv_text", "video_folder")
CLIPS = (*SAMPLED, "predictions", "mixture")
NAN, INF = float("nan"), float("inf")
BAD = [
    *((module, "batch_size", value) for module in MODULES for value in (0, -1)),
    *((module, "num_workers", value) for module in CLIPS for value in (-1, 100_000)),
    *((module, "frames", value) for module in SAMPLED for value in (1, 0, -16, 10**12)),
    *((module, "size", value) for module in SAMPLED for value in (15, 0, -1, 10**9)),
    *((module, "fps", value) for module in SAMPLED for value in (0.0, -8.0, NAN, INF, 1e-300, 1e300)),
    *(("ferv39k", "source_fps", value) for value in (0.0, -1.0, NAN, INF)),
    *(("video_folder", "frame_folder_fps", value) for value in (0.0, -1.0, NAN, INF)),
    *(("video_folder", "crop", value) for value in ((9, 0, 9, 9), (0, 9, 9, 3), (-1, 0, 9, 9))),
    *((module, "predict_split", "tset") for module in ("echonet", "ferv39k", "ssv2", "video_folder")),
    ("mixture", "parts", []),
    *(("latents", "windows", value) for value in (0, -1)),
]


@pytest.mark.parametrize(("module", "name", "value"), BAD)
def test_a_wrong_value_is_refused_where_it_is_given(module, name, value) -> None:
    make, given = MODULES[module]
    with pytest.raises(UserError) as caught:
        make(**{**given, name: value})
    message = str(caught.value)
    shown = list(value) if isinstance(value, tuple) else value
    assert message.startswith(f"data.{name} ")
    assert str(shown) in message
    assert "\n" not in message


def test_labels_need_a_table_and_differ(tmp_path) -> None:
    with pytest.raises(UserError, match=r"data\.table: missing"):
        VideoFolderDataModule(ROOT, labels=["a"])
    with pytest.raises(UserError, match=r"data\.labels x, x: a name is there twice"):
        VideoFolderDataModule(ROOT, table=tmp_path / "t.csv", labels=["x", "x"])


@pytest.mark.parametrize(
    ("module", "dataset"),
    [
        (EchoNetDataModule, EchoNetDataset),
        (FERV39KDataModule, FERV39KDataset),
        (FaceAttributesDataModule, FERV39KDataset),
        (SSv2DataModule, SSv2Dataset),
        (CelebVTextDataModule, CelebVTextDataset),
        (VideoFolderDataModule, VideoFolderDataset),
    ],
)
def test_the_parser_takes_a_data_sets_options_from_its_data_module(module, dataset) -> None:
    """With their types, defaults and words for the help, but for what a stage decides."""
    taken, options = arguments_of(module), arguments_of(dataset)
    assert {"frames", "fps", "size"} <= set(options)
    assert not {"split", "random_start", "record_errors", "options"} & set(taken)
    for name in set(options) - {"root", "split", "random_start", "record_errors", "metadata", "table"}:
        assert (taken[name].annotation, taken[name].default) == (options[name].annotation, options[name].default)
        assert taken[name].doc


@pytest.mark.parametrize("module", MODULES)
def test_the_defaults_are_right(module) -> None:
    make, given = MODULES[module]
    made = make(**given)
    assert isinstance(made, ClipDataModule | LatentDataModule)


@pytest.mark.parametrize(
    ("name", "value"),
    [("frames", 1), ("size", 3), ("fps", INF), ("frame_folder_fps", NAN), ("root", Path("x" * 5000))],
)
def test_a_data_set_refuses_them_too(name, value, tmp_path) -> None:
    (tmp_path / "a.mkv").write_bytes(b"")
    with pytest.raises(UserError):
        VideoFolderDataset(**{"root": tmp_path, "metadata": "m", name: value})


def test_a_split_that_is_none_is_no_training_set(tmp_path) -> None:
    with pytest.raises(UserError, match=r"split 'tset': did you mean test"):
        FERV39KDataset(tmp_path, "tset")  # type: ignore[arg-type]


def test_the_least_and_the_most_are_allowed() -> None:
    check_sampling(2, 0.001, 16)
    check_sampling(10_000, 1000.0, 8_192)
