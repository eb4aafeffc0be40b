"""Every shipped configuration is readable by its verb, and every section of one runs, tiny, from data to result."""

from __future__ import annotations

import contextlib
import csv
import json
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from lvcf.ablation.cells import row_names, sources
from lvcf.ablation.results import paper_results
from lvcf.cli import LIGHTNING_VERBS, VERBS, ablate, main
from lvcf.cli.lightning import with_sections
from lvcf.configuration import config_folder, find_config, read_section
from lvcf.data.clip import to_clip
from lvcf.data.ferv39k import EXPRESSIONS
from lvcf.data.video import read_video, write_lossless
from lvcf.datamodules.base import ClipDataModule
from lvcf.errors import UserError
from lvcf.models.backbones.detail_decoder import DetailDecoder, detail_decoder
from lvcf.models.backbones.ltx import LTXBackbone, ltx_vae
from lvcf.models.backbones.tiny_decoder import TinyDecoder
from lvcf.models.latent_reader import LatentReader, latent_reader
from lvcf.models.targets import s2d
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.clip_classifier import ClipResNet3D
from lvcf.models.targets.wrapping import Answer, ClipInput
from lvcf.phantoms.motion.set import LABELS
from tests.helpers import parse, results, rewrite, subset
from tests.toys import S2D_SIZES, save_s2d, save_videomae

FILES = sorted(path for path in config_folder().rglob("*.yaml") if path.parent.name not in ("graphs", "sweeps"))
SECTIONS = [
    (path, verb)
    for path in FILES
    for verb, section in yaml.safe_load(path.read_text()).items()
    if verb in LIGHTNING_VERBS and isinstance(section, dict)
]


def names(value: object) -> str:
    return str(value.relative_to(config_folder())) if isinstance(value, Path) else str(value)


def test_the_configurations_are_there() -> None:
    trainings = {f"phantom/{part}.yaml" for part in ("autoencoder", "target", "oracle", "denoiser", "tiny_decoder")}
    experiments = {f"{name}.yaml" for name in ("phantom", "echonet", "ferv39k", "ssv2", "real_echo")}
    assert trainings | experiments | {"ablations/phantom.yaml"} <= {names(p) for p in FILES}
    sections = {(f"{name}.yaml", verb) for name in ("echonet", "ferv39k", "ssv2") for verb in ("fit", "predict")}
    assert sections | {("real_echo.yaml", "predict")} <= {(names(path), verb) for path, verb in SECTIONS}


def test_every_section_of_every_file_is_a_verbs() -> None:
    """Beside `definitions:`, which hold YAML anchors."""
    for path in FILES:
        assert set(yaml.safe_load(path.read_text())) - {"definitions"} <= {*LIGHTNING_VERBS, *VERBS}


@pytest.mark.parametrize(("path", "verb"), SECTIONS, ids=names)
def test_every_section_parses_for_its_verb(path, verb) -> None:
    assert parse([verb, "--config", str(path)]).model.class_path.startswith("lvcf.tasks.")


ABLATIONS = sorted((config_folder() / "ablations").glob("*.yaml"))


def distinct_parts() -> list[Any]:
    """Every cell of every ablation, but what several have in common once: parsing a section takes a second.

    A callback is parsed by itself, so that each section holds those that are new since the one before.
    """
    found, seen = [], set()
    for path in ABLATIONS:
        for name, section in ablate.expand(ablate.read_plan(str(path)), Path("runs/x"), 4):
            section["model"]["init_args"]["output"] = "runs/x"
            *callbacks, _ = section["trainer"].pop("callbacks")  # the writer's method is any text
            callbacks.append({"class_path": ablate.WRITER})
            new = {json.dumps(callback): callback for callback in callbacks if json.dumps(callback) not in seen}
            if new or json.dumps(section) not in seen:
                seen |= {json.dumps(section), *new}
                section["trainer"]["callbacks"] = list(new.values())
                found.append(pytest.param(section, id=f"{path.stem}: {name}"))
    return found


@pytest.mark.parametrize("section", distinct_parts())
def test_every_cell_of_every_ablation_parses(section, tmp_path) -> None:
    (tmp_path / "cell.yaml").write_text(yaml.safe_dump({"predict": section}))
    config = parse(["predict", "--config", str(tmp_path / "cell.yaml")])
    assert config.model.init_args.prompt == section["model"]["init_args"]["prompt"]
    classes = [callback["class_path"] for callback in section["trainer"]["callbacks"]]
    assert [callback.class_path for callback in config.trainer.callbacks or []] == classes


def test_every_cell_writes_into_its_own_folder() -> None:
    for path in ABLATIONS:
        for name, section in ablate.expand(ablate.read_plan(str(path)), Path("runs/x"), None):
            assert section["model"]["init_args"]["output"] == f"runs/x/{ablate.slug(name)}"
            assert section["trainer"]["callbacks"][-1]["class_path"] == "lvcf.callbacks.writer.PredictionWriter"


def test_cells_of_an_ablation_have_folders_of_their_own() -> None:
    for path in ABLATIONS:
        cells = ablate.expand(ablate.read_plan(str(path)), Path("runs/x"), None)
        assert len({ablate.slug(name) for name, _ in cells}) == len(cells)


def test_the_papers_tables_and_the_sweeps_are_there_and_every_cell_of_one_has_the_same_seed() -> None:
    tables = {
        f"table{number}" for number in ("1_echonet", "2_ferv39k", "3_echonet", "1_phantom", "2_face", "3_phantom")
    }
    sweeps = {"lambda_alpha", "smoothgrad", "strength", "steps", "mspr", "quick"}
    assert tables | sweeps <= {path.stem for path in ABLATIONS}
    for path in ABLATIONS:
        cells = ablate.expand(ablate.read_plan(str(path)), Path("runs/x"), None)
        assert len({section["model"]["init_args"]["seed"] for _, section in cells}) == 1
        assert len({section["seed_everything"] for _, section in cells}) == 1


@pytest.mark.parametrize("name", ["table1_echonet", "table1_phantom", "quick"])
def test_table_1_has_all_six_rows_and_r23_asks_no_target_model(name) -> None:
    plan = ablate.read_plan(f"ablations/{name}.yaml")
    rows = row_names(plan)
    assert {"R23", "R23*"} <= set(rows)
    assert {row.partition(",")[0] for row in rows} >= {"RG", "SG", "SGA", "full"}
    assert sources(plan, "R23") == sources(plan, "R23*") == [f"prompt only, noise {noise}" for noise in (1, 2, 3)]
    cells = dict(ablate.expand(plan, Path("runs/x"), None))
    for source in sources(plan, "R23"):
        section = cells[source]
        assert section["trainer"]["callbacks"] == [{"class_path": ablate.WRITER}]
        assert section["model"]["init_args"]["prompt"] == "target"


def test_echodiffusions_published_figures_stand_beside_r23_star_and_cohere() -> None:
    """R2 = 1 - RMSE^2 / variance of the targets; the table's two other models imply 407 and 395 for it."""
    ((beside, result),) = paper_results(ablate.read_plan("ablations/table1_echonet.yaml"))
    assert (beside, result.kind) == ("R23*", "paper")
    variance = result.metrics["adherence/rmse"] ** 2 / (1 - result.metrics["adherence/r2"])
    assert variance == pytest.approx((407 + 395) / 2, rel=0.05)


def test_the_way_back_starts_from_a_cell_that_comes_before_it() -> None:
    """'full, back again' reads the folder that 'full, target' writes with the shipped output."""
    plan = ablate.read_plan("ablations/phantom.yaml")
    cells = ablate.expand(plan, Path(plan["output"]), None)
    folders = [section["model"]["init_args"]["output"] for _, section in cells]
    back = dict(cells)["full, back again"]
    root = back["data"]["init_args"]["root"]
    assert root in folders[: folders.index(back["model"]["init_args"]["output"])]


@pytest.mark.parametrize(("path", "verb"), SECTIONS, ids=names)
def test_a_misspelt_argument_of_a_shipped_section_is_refused(path, verb, tmp_path, capfd) -> None:
    section = read_section(str(path), verb)
    section["model"]["init_args"]["no_such_argument"] = 1
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({verb: section}))
    assert main([verb, "--config", str(tmp_path / "mine.yaml")]) == 2
    assert "no_such_argument" in capfd.readouterr().err


def test_a_file_in_the_working_directory_comes_before_the_shipped_one(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_config("phantom.yaml") == config_folder() / "phantom.yaml"
    (tmp_path / "phantom.yaml").write_text("predict: {seed_everything: 1}\n")
    assert find_config("phantom.yaml").resolve() == tmp_path / "phantom.yaml"
    assert read_section("phantom.yaml", "predict") == {"seed_everything": 1}
    with pytest.raises(UserError, match="has no section 'fit:'"):
        read_section("phantom.yaml", "fit")


def test_only_config_arguments_are_replaced_and_come_first() -> None:
    arguments = ["--model.steps", "3", "--config", "phantom.yaml", "--config=phantom.yaml", "--x=phantom.yaml"]
    replaced = with_sections("predict", arguments)
    assert [replaced[i] for i in (0, 2, 4, 5, 6)] == ["--config", "--config", "--model.steps", "3", "--x=phantom.yaml"]
    assert yaml.safe_load(replaced[1]) == yaml.safe_load(replaced[3]) == read_section("phantom.yaml", "predict")


# --- every section, in a working directory with generated data and tiny models where the files look for them ----------

DATA = {"EchoNetDataModule": "echo_splits", "FERV39KDataModule": "face_root", "SSv2DataModule": "motion_root"}
"""Fixtures of generated sets in the layouts that the data modules read."""
RUN = [(path, verb) for path, verb in SECTIONS if path.parent.name != "backbones"]
"""All but the published checkpoints', which tests/test_backbone_configs.py runs on a tiny folder of every family."""
RUN.sort(key=lambda section: section[0].parent.name == "carphone")  # last: it goes on from face_motion's final result
FITS, PREDICTS = ([path for path, verb in RUN if verb == wanted] for wanted in ("fit", "predict"))
QUICK = [
    "--threads=1",
    "--trainer.accelerator=cpu",
    "--trainer.precision=32-true",
    "--trainer.enable_progress_bar=false",
    "--trainer.fast_dev_run=true",
]
TINY_NETWORKS = {
    "EchoResNet3D": ["--model.network.channels=[8,8,16]", "--data.size=32"],
    "EchoFrameTransformer": ["--model.network.channels=[8,8,16]", "--model.network.layers=1"],
    "ClipResNet3D": ["--model.network.channels=[8,8,16]"],
    "AttributeResNet3D": ["--model.network.channels=[8,8,16]"],
    "ClipFrameTransformer": ["--model.network.channels=[8,8,16]", "--model.network.layers=1"],
}
TINY_VAE = ["--model.vae.block_out_channels=[8,8]", "--model.vae.decoder_block_out_channels=[8,16]"]
FIRST_VAE = config_folder() / "phantom" / "autoencoder.yaml"
FIRST_TARGET = config_folder() / "phantom" / "target.yaml"
FACE_MOTION = config_folder() / "face_motion" / "denoiser.yaml"
TINY_DENOISER = [
    "--model.backbone.text_width=16",
    "--model.backbone.text_layers=1",
    "--model.backbone.transformer.num_attention_heads=2",
    "--model.backbone.transformer.attention_head_dim=16",
    "--model.backbone.transformer.cross_attention_dim=32",
    "--model.backbone.transformer.caption_channels=16",
    "--model.backbone.transformer.num_layers=1",
]


def name_of(class_path: str) -> str:
    return class_path.rpartition(".")[2]


def settings(path: Path, verb: str) -> dict[str, Any]:
    """The arguments of a section's task."""
    return dict(read_section(str(path), verb)["model"]["init_args"])


def callbacks_of(path: Path) -> list[dict[str, Any]]:
    """Of a predict section's trainer."""
    return list(read_section(str(path), "predict")["trainer"]["callbacks"])


def network_of(model: dict[str, Any]) -> str:
    """The class path of a target model in training, written with or without its arguments."""
    network: str | dict[str, str] = model["network"]
    return network if isinstance(network, str) else network["class_path"]


def clips_of(path: Path, verb: str) -> dict[str, Any]:
    """A section's data module of clips; one of latents holds it."""
    data: dict[str, Any] = read_section(str(path), verb)["data"]
    return dict(data["init_args"].get("clips", data))


def sets_of(path: Path, verb: str) -> list[dict[str, Any]]:
    """The data modules of a section, one by one."""
    clips = clips_of(path, verb)
    return list(clips["init_args"].get("parts", [clips]))


def class_of(class_path: str) -> Any:
    """What a class path names."""
    module, _, name = class_path.rpartition(".")
    return getattr(import_module(module), name)


def as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def made(node: dict[str, Any], **more: Any) -> Any:
    """What a class_path with its init_args stands for."""
    given = dict(node["init_args"])
    paths: dict[str, Any] = {k: Path(v) for k, v in given.items() if k.endswith(("root", "weights", "file"))}
    parts = {"takes": ClipInput, "answer": Answer}
    paths |= {k: kind(**{n: as_tuple(v) for n, v in given[k].items()}) for k, kind in parts.items() if k in given}
    return class_of(node["class_path"])(**{**node["init_args"], **paths, **more})


def is_reader(path: Path) -> bool:
    """Whether it trains a latent reader, which names backbone and target model with its data."""
    return name_of(read_section(str(path), "fit")["model"]["class_path"]) == "LatentReaderTask"


SAVED_BY = {settings(path, "fit")["output"]: path for path in reversed(FITS)}
"""The first configuration that saves to a path."""


@pytest.fixture(scope="module")
def echo_splits(echo_root, tmp_path_factory) -> Path:
    """Two training clips, two validation clips and a test clip: validation's R2 needs two."""
    root = subset(echo_root, tmp_path_factory.mktemp("echo_splits") / "set", 5)
    with (root / "FileList.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    for row, split in zip(rows, ("TEST", "TRAIN", "TRAIN", "VAL", "VAL"), strict=True):
        row["Split"] = split
    rewrite(root / "FileList.csv", rows)
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory, request, backbone_folder, target_folder) -> Path:
    root: Path = tmp_path_factory.mktemp("place")
    for path, verb in RUN:
        weights = settings(path, verb).get("backbone", {"init_args": {}})["init_args"].get("weights")
        if weights and weights not in SAVED_BY:
            link(root / weights, backbone_folder)
        if denoiser := settings(path, verb).get("backbone", {"init_args": {}})["init_args"].get("denoiser"):
            with_given_frames(backbone_folder, root / denoiser)
        elif settings(path, verb).get("decode") == "detail":
            (root / weights).unlink()
            with_given_frames(backbone_folder, root / weights)
        for clips in sets_of(path, verb):
            if clips["class_path"].endswith("VideoFolderDataModule") and "table" not in clips["init_args"]:
                write_clips(root / clips["init_args"]["root"])
            elif clips["init_args"].get("table"):
                write_windows(root / clips["init_args"]["root"], root / clips["init_args"]["table"])
            elif name_of(clips["class_path"]) in DATA:
                link(root / clips["init_args"]["root"], request.getfixturevalue(DATA[name_of(clips["class_path"])]))
    for path in PREDICTS:
        target = settings(path, "predict")["target_model"]
        torch.manual_seed(4)  # whatever ran before; M does not say the target yet
        PUT_TARGET[name_of(target["class_path"])](root, target["init_args"], target_folder)
        for callback in callbacks_of(path):
            if reader := callback.get("init_args", {}).get("reader"):
                labels = EXPRESSIONS if "face" in reader["init_args"]["weights"] else ()
                LatentReader(4, labels=labels).save_pretrained(root / reader["init_args"]["weights"])
    return root


def with_given_frames(folder: Path, at: Path) -> None:
    """What a training with given frames leaves, with a detail decoder."""
    backbone = LTXBackbone.from_pretrained(folder)
    backbone.takes_given, backbone.detail = True, DetailDecoder((8, 16))
    backbone.save_pretrained(at)


def link(at: Path, to: Path) -> None:
    at.parent.mkdir(parents=True, exist_ok=True)
    if not at.exists():
        at.symlink_to(to)


def write_windows(root: Path, table: Path) -> None:
    """What benchmarks/carphone.py cuts: lossless windows of a second, and a table of their labels."""
    root.mkdir(parents=True, exist_ok=True)
    rows = []
    for i, split in enumerate(("train", "train", "val")):
        frames = np.random.RandomState(i).randint(0, 256, (1, 8, 8, 3)).repeat(16, 0).repeat(14, 1).repeat(14, 2)
        write_lossless(root / f"{i}.mkv", frames.astype(np.uint8), 15.0)
        rows.append({"path": f"{i}.mkv", "label": ("neutral", "surprised")[i % 2], "split": split})
    rewrite(table, rows)


def write_clips(root: Path) -> None:
    """A user's own: three seconds, not square, of colours."""
    root.mkdir(parents=True, exist_ok=True)
    for i in range(4):
        frames = np.random.RandomState(i).randint(0, 256, (1, 6, 8, 3)).repeat(30, 0).repeat(8, 1).repeat(8, 2)
        write_lossless(root / f"{i}.mkv", frames.astype(np.uint8), 10.0)


def put_exported(root: Path, where: dict[str, Any], _: Path) -> None:
    network = nn.Sequential(nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(3, len(where["answer"]["labels"])))
    clips = torch.rand(2, 3, where["takes"]["frames"], where["takes"]["size"], where["takes"]["size"])
    shapes = ({0: torch.export.Dim("b")},)
    torch.export.save(torch.export.export(network.eval(), (clips,), dynamic_shapes=shapes), root / where["file"])


def put_s2d(root: Path, where: dict[str, str], _: Path) -> None:
    network = s2d.S2DNetwork(7, **S2D_SIZES)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2)
    (root / where["file"]).parent.mkdir(parents=True)
    for saved, key in zip(save_s2d(network, root), ("file", "landmark_file"), strict=True):
        saved.rename(root / where[key])


def put_classifier(root: Path, where: dict[str, str], _: Path) -> None:
    labels = EXPRESSIONS if "face_target" in where["weights"] else LABELS
    ClipResNet3D(labels, channels=(8, 8, 16)).save_pretrained(root / where["weights"])


PUT_TARGET: dict[str, Callable[[Path, dict[str, str], Path], None]] = {
    "echo_resnet_3d": lambda root, where, folder: link(root / where["weights"], folder),
    "clip_resnet_3d": put_classifier,
    "ExportedTarget": put_exported,
    "s2d": put_s2d,
    "face_expression": lambda *_: None,  # its own weights are small
    "video_classifier": lambda root, where, _: save_videomae(root / where["weights"], LABELS, frames=16),
}
"""By the function that loads a target model: puts a tiny one in its published layout where a configuration looks."""


@pytest.fixture(scope="module")
def fitted(place) -> Callable[[Path], Path]:
    """Fits a configuration once, after what it starts from; returns the folder that it saved."""
    done: dict[Path, Path] = {}

    def fit(path: Path) -> Path:
        if path not in done:
            options = tiny(path)
            with contextlib.chdir(place):
                assert main(["fit", "--config", names(path), *QUICK, *options]) == 0
            done[path] = place / settings(path, "fit")["output"]
        return done[path]

    def tiny(path: Path) -> list[str]:
        model, few = settings(path, "fit"), ("batch_size=2", "num_workers=0")
        if "network" in model:
            network, options = network_of(model), []
            if name_of(network) in PUT_TARGET:  # trained on
                PUT_TARGET[name_of(network)](place, model["network"]["init_args"], fit(FIRST_TARGET))
            else:
                options = [f"--model.network={network}", *TINY_NETWORKS[name_of(network)]]
            return [*options, *(f"--data.{option}" for option in few)]
        if is_reader(path):
            parts = read_section(str(path), "fit")["data"]["init_args"]
            if (weights := parts["backbone"]["init_args"]["weights"]) in SAVED_BY:
                fit(SAVED_BY[weights])
            target = parts["target_model"]
            PUT_TARGET[name_of(target["class_path"])](place, target["init_args"], fit(FIRST_TARGET))
            return ["--data.batch_size=2"]
        small = () if "parts" in clips_of(path, "fit")["init_args"] else ("size=32",)
        if "vae" in model:
            start = model["vae"]["init_args"].get("weights")
            vae = [f"--model.vae.weights={fit(FIRST_VAE)}"] if start else TINY_VAE
            return [*vae, *(f"--data.{option}" for option in (*few, *small))]
        latents = ["--data.windows=1", "--data.batch_size=2", *(f"--data.clips.{o}" for o in (*few, *small))]
        backbone = model["backbone"]["init_args"]
        if "decoder" in model:
            detail = name_of(model["decoder"]["class_path"]) == "DetailDecoder"
            latents = ["--data.batch_size=2", "--data.num_workers=0"] if detail else latents
            latents += ["--model.decoder.channels=[8,8]"] + ([] if detail else ["--model.decoder.latent_channels=4"])
        if "weights" in backbone:
            if backbone["weights"] in SAVED_BY:
                fit(SAVED_BY[backbone["weights"]])
            if "vae" in backbone:
                fit(SAVED_BY[backbone["vae"]])
                latents.append(f"--model.backbone.weights={fit(FACE_MOTION)}")
            return latents
        vae = fit(SAVED_BY.get(backbone["vae"], FIRST_VAE))
        for further in (p for p in FITS if settings(p, "fit")["output"] == backbone["vae"]):
            fit(further)  # it would change the VAE under a denoiser that is there already
        link(place / backbone["vae"], vae)
        return [*latents, *TINY_DENOISER]

    return fit


@pytest.mark.parametrize("path", FITS, ids=names)
def test_what_fit_saves_loads_again(path, fitted, place) -> None:
    folder, model = fitted(path), settings(path, "fit")
    if "network" in model:
        kind = class_of(network_of(model))
        kind = kind if isinstance(kind, type) else get_type_hints(kind)["return"]
        assert isinstance(kind.from_pretrained(folder), kind)
    elif "vae" in model:
        vae = ltx_vae(str(folder))
        assert len(vae.latents_std) in (8, 24)
        assert not vae.latents_std.allclose(vae.latents_std.new_ones(()))  # measured
        assert (vae.latents_std > 0).all()
    elif is_reader(path):
        with contextlib.chdir(place):
            clips = clips_of(path, "fit")
            asked = [len(made(part).make_dataset("train")) for part in clips["init_args"].get("parts", [clips])]
        assert latent_reader(str(folder)).queries == sum(asked)  # each clip once
    elif "decoder" in model and name_of(model["decoder"]["class_path"]) == "DetailDecoder":
        clip = torch.randn(1, 3, 2, 16, 16)
        assert detail_decoder(str(folder))(clip, clip, clip).shape == clip.shape
    elif "decoder" in model:
        decoder, vae = TinyDecoder.from_pretrained(folder), LTXBackbone.from_pretrained(place / "phantom/backbone")
        z = torch.randn(1, 4, 3, 4, 4)
        assert decoder(z, 5).shape == vae.decode(z, 5).shape
    else:
        backbone = LTXBackbone.from_pretrained(folder)
        assert backbone.notice == model.get("notice", "")
        given = model["backbone"]["init_args"]  # a further cycle goes on from the first one
        shipped = str(given.get("weights")) in ("face_motion/backbone", "phantom/backbone")  # FACE_MOTION's stands in
        first = FACE_MOTION if shipped and "vae" in given else SAVED_BY.get(given.get("weights"), path)
        new = settings(first, "fit")["backbone"]["init_args"]
        length = new.get("prompt_length", 12)
        assert backbone.embed(["of what is there"]).tokens.shape == (1, length, 16)
        shared = place / read_section(str(path), "fit")["data"]["init_args"]["vae"]
        before, after = ltx_vae(str(shared)).state_dict(), backbone.vae.state_dict()
        assert all((before[name] == after[name]).all() for name in before)  # the VAE goes in unchanged


@pytest.fixture
def here(place, fitted, monkeypatch) -> Callable[[Path], Path]:
    """In the working directory, with the backbone that a configuration's predict needs; returns its run folder."""
    monkeypatch.setattr(s2d, "S2DNetwork", partial(s2d.S2DNetwork, **S2D_SIZES))
    monkeypatch.chdir(place)

    def prepare(path: Path) -> Path:
        model = settings(path, "predict")
        if model["backbone"]["init_args"]["weights"] in SAVED_BY:
            fitted(SAVED_BY[model["backbone"]["init_args"]["weights"]])
        return Path(model["output"])

    return prepare


@pytest.mark.parametrize("path", PREDICTS, ids=names)
def test_predict_evaluate_and_report(path, here) -> None:
    run, model = here(path), settings(path, "predict")
    assert main(["predict", "--config", names(path), *QUICK, "--model.steps=2", "--data.batch_size=1"]) == 0
    ((name, result),) = results(run).items()
    assert name in json.loads((run / "manifest.json").read_text())["ids"]
    assert result["status"] in ("reached", "not_reached", "not_drawable")  # random weights draw nothing
    target_model: TargetModel = made(model["target_model"]).freeze()
    saved = to_clip(read_video(run / "predictions" / name / "counterfactual.mkv").frames, 112)[None]
    with torch.no_grad():
        output = target_model(saved)
    assert result["task"] == target_model.task
    if target_model.task == "classification":
        name_asked = result["target"]["text"] if model["target"] == "other" else model["target"]
        index = target_model.labels.index(name_asked)
        assert result["target"] == {"low": index, "high": index, "text": name_asked}
        assert model["target"] != "other" or result["prediction_before"] < 0.5
        assert result["unit"] == "probability"
        assert result["prediction_after"] == pytest.approx(float(output.softmax(-1)[0, index]), abs=1e-4)
    else:
        assert result["prediction_after"] == pytest.approx(float(output[0]), abs=1e-3)
    asking = ("GradientGuidance", "LastCorrection")
    guided = any(callback["class_path"].endswith(asking) for callback in callbacks_of(path))
    assert (result["gradient_evaluations"] > 0) == guided
    says = f"'{result['target']['text']}' a probability of {result['prediction_after']:.2f}"
    if target_model.task == "classification" and result["status"] == "not_reached":
        assert says in result["hint"]
    assert main(["evaluate", str(run)]) == 0
    measured = json.loads((run / "metrics.json").read_text())
    if target_model.task == "classification":
        assert measured["adherence/within_tolerance"] == float(result["status"] == "reached")
        assert result["class_after"] == target_model.labels[int(output.argmax())]
        if result["class_before"] != name_asked:
            assert measured["adherence/flip_rate"] == float(result["class_after"] == name_asked)
    else:
        assert measured["adherence/within_tolerance"] == float(result["status"] == "reached")
    assert main(["report", str(run)]) == 0
    assert result["id"] in (run / "report.html").read_text()


@pytest.mark.parametrize("path", [p for p in FITS if p in PREDICTS], ids=names)
def test_a_target_is_said_in_the_words_that_training_heard(path, here, place, fitted) -> None:
    """The template filled with a clip's own label is the prompt of that clip, to the tokenizer."""
    here(path)
    model, tokenizer = settings(path, "predict"), LTXBackbone.from_pretrained(fitted(path)).tokenizer
    target_model: TargetModel = made(model["target_model"])
    module: ClipDataModule = made(clips_of(path, "fit"))
    heard = set()
    clips = module.make_dataset("train")
    for clip in (clips[i] for i in range(2)):
        label = clip["label"]
        word = target_model.labels[int(label)] if target_model.labels else str(round(label))
        said = model["prompt_template"].format(metadata=clip["neutral_prompt"], target=word)
        assert tokenizer(said).input_ids == tokenizer(clip["prompt"]).input_ids
    for word in target_model.labels:
        tokens = tokenizer(word).input_ids
        assert tokenizer.unk_token_id not in tokens
        heard.add(tuple(tokens))
    assert len(heard) == len(target_model.labels)
