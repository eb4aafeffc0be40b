"""What the command line counts and refuses: the place of --config, wrong values, wrong files, in one line each."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from lvcf.callbacks.average import TrainedWeightAverage
from lvcf.callbacks.truth import TrueCounterfactual
from lvcf.checks import check_devices
from lvcf.cli import main
from lvcf.datamodules.latents import LatentDataModule
from lvcf.errors import UserError, os_error_line
from lvcf.tasks.denoiser import DenoiserTask
from lvcf.tasks.tiny_decoder import TinyDecoderTask
from tests.helpers import fails, parse, predict_arguments, subset

# --- the command line counts, wherever --config stands ----------------------------------------------------------


OVERRIDES = [
    ["--trainer.precision", "32-true"],
    ["--seed_everything", "5"],
    ["--model.steps=2"],
    ["--threads=1"],
    ["--data.batch_size", "3"],
    ["--trainer.callbacks.GradientGuidance.samples", "2"],
    ["--trainer.callbacks.GradientGuidance.weight.lambda_max=0.3"],
]


@pytest.mark.parametrize("config", [["--config", "phantom.yaml"], ["--config=phantom.yaml"], ["-c", "phantom.yaml"]])
def test_an_option_in_front_of_the_configuration_counts_as_one_behind_it(config) -> None:
    options = [word for override in OVERRIDES for word in override]
    before, behind, plain = (parse(["predict", *o]) for o in ([*options, *config], [*config, *options], config))
    for parsed in (before, behind, plain):
        parsed.pop("config", None)
    assert before.as_dict() == behind.as_dict()
    guidance, model = before.trainer.callbacks[0].init_args, before.model.init_args
    assert (before.trainer.precision, before.seed_everything, before.threads) == ("32-true", 5, 1)
    assert (model.steps, before.data.init_args.batch_size, guidance.samples) == (2, 3, 2)
    assert guidance.weight.init_args.lambda_max == 0.3
    assert (plain.trainer.precision, plain.model.init_args.steps) == ("bf16-mixed", 12)


def test_of_two_configurations_the_later_one_counts(tmp_path) -> None:
    for name, steps in (("a.yaml", 3), ("b.yaml", 4)):
        (tmp_path / name).write_text(f"predict: {{model: {{init_args: {{steps: {steps}}}}}}}")
    both = ["--config", str(tmp_path / "a.yaml"), "--seed_everything=3", "--config", str(tmp_path / "b.yaml")]
    assert parse(["predict", "--config", "phantom.yaml", *both]).model.init_args.steps == 4


# --- the parser's errors ------------------------------------------------------------------------------------------


TARGETS = "--model.target_model=lvcf.models.targets."
EXPORTED = f"{TARGETS}exported."
PARSER = {
    "a list for a number": ([f"{EXPORTED}ModuleTarget", "--model.target_model.takes.frames=[8,8]"],
        "model.target_model.takes.frames: an int, not [8, 8]"),
    "a word for a number": (["--model.steps=many"], "model.steps: an int, not many"),
    "a misspelt option": (["--model.stepz=3"],
        "model: CounterfactualTask has no option 'stepz'; did you mean 'steps'?"),
    "a data set's option": (["--data.framess=3"],
        "data: EchoNetDataModule has no option 'framess'; did you mean 'frames'?"),
    "a word for a data set's number": (["--data.frames=many"], "data.frames: an int, not many"),
    "an option that is gone": (["--data=FERV39KDataModule", "--data.attributes=true"],
        "data: FERV39KDataModule has no option 'attributes'; leave it out; lvcf.phantoms.face.attribute_set."),
    "another class's option": ([f"{EXPORTED}ExportedTarget", "--model.target_model.network=m.Net"],
        "model.target_model: ExportedTarget has no option 'network'; it has file, takes, answer"),
    "a graph's former name": ([f"{EXPORTED}ExportedTarget", "--model.target_model.path=m.pt"],
        "model.target_model: ExportedTarget has no option 'path'; did you mean 'file'?"),
    "an ONNX file's": ([f"{TARGETS}black_box.OnnxTarget", "--model.target_model.path=m"],
        "model.target_model: OnnxTarget has no option 'path'; did you mean 'file'?"),
    "a module's": ([f"{EXPORTED}ModuleTarget", "--model.target_model.checkpoint=w.pt"],
        "model.target_model: ModuleTarget has no option 'checkpoint'; did you mean 'file'?"),
    "a checkpoint's": ([f"{TARGETS}echonet_dynamic.echonet_dynamic", "--model.target_model.weights=w.pt"],
        "did you mean 'file'?"),
    "S2D's": ([f"{TARGETS}s2d.s2d", "--model.target_model.landmark_weights=w.pt"], "did you mean 'landmark_file'?"),
    "no such choice": (["--model.solver=euler"], "model.solver: one of ddim, dpmpp_2m, not euler"),
    "a callback's option": (["--trainer.callbacks.GradientGuidance.strenght=2"],
        "trainer.callbacks: GradientGuidance has no option 'strenght'; it has weight, samples"),
    "no class": (["--data=NoSuch"], "data: the path of a class, such as MODULE.CLASS, not NoSuch"),
    "another kind of class": (["--model.target_model=os.system"], "model.target_model: Import path os.system does not"),
    "no thread": (["--threads=0"], "threads: Not of type PositiveInt: does not conform to restriction v>0, not 0"),
    "null for a section": (["--trainer=null"], 'trainer: Unable to load config "null"'),
    "a number for callbacks": (["--trainer.callbacks=5"], "trainer.callbacks: a list or the path of a class"),
    "an open bracket": (["--trainer.callbacks.GradientGuidance.samples=[1"], "'[1' is not readable as YAML"),
    "through a number": (["--trainer.callbacks.GradientGuidance.samples.x=1"],
        "leads through 1, which has no arguments"),
    "an empty folder": (["--model.output="], "--model.output: names no folder"),
}  # fmt: skip


@pytest.mark.parametrize("case", PARSER)
def test_a_parsers_error_is_its_deepest_cause(case, capfd) -> None:
    options, says = PARSER[case]
    line = fails(capfd, ["predict", "--config", "phantom.yaml", *options])
    assert says in line
    assert len(line) < 400


def test_a_verb_alone_names_a_configuration_to_begin_with(capfd) -> None:
    assert "--config phantom.yaml" in fails(capfd, ["predict"])


# --- values that Lightning refuses ---------------------------------------------------------------------------------


VALUES = [
    "--trainer.devices=0",
    "--trainer.devices=-1",
    "--trainer.devices=1000",
    "--trainer.devices=abc",
    "--trainer.devices=[]",
    "--trainer.num_nodes=0",
    "--trainer.accelerator=foo",
    *([] if torch.cuda.is_available() else ["--trainer.accelerator=gpu"]),
    "--trainer.strategy=foo",
    "--trainer.profiler=foo",
    "--trainer.max_time=foo",
    "--trainer.max_epochs=-3",
    "--trainer.limit_predict_batches=-1",
    "--trainer.fast_dev_run=-1",
    "--trainer.inference_mode=true",
    "--trainer.precision=16-true",
    "--trainer.precision=bf16-true",
    "--trainer.precision=64-true",
    "--seed_everything=-5",
    "--threads=100000",
    "--weights_only=false",
]


@pytest.mark.parametrize("option", VALUES)
def test_a_value_that_cannot_be_is_named_with_its_option(
    option, capfd, echo_root, backbone_folder, target_folder, tmp_path
) -> None:
    arguments = predict_arguments(echo_root, backbone_folder, target_folder, tmp_path / "run")
    name, _, value = option.partition("=")
    line = fails(capfd, [*arguments, option])
    assert name in line
    assert value in line


def test_more_devices_than_there_are_are_refused_with_how_many_there_are() -> None:
    cores = os.cpu_count() or 1
    for devices in (cores, str(cores), "auto", -1, [0, 1], "0,1"):
        check_devices(devices, "cpu")
    for devices in (cores + 1, str(cores + 1)):
        with pytest.raises(UserError, match=f"--trainer.devices {cores + 1}: this machine has {cores} cores"):
            check_devices(devices, "cpu")


def test_a_defect_in_a_step_stays_a_traceback(capfd, monkeypatch, echo_root, backbone_folder, target_folder, tmp_path):
    (tmp_path / "broken_model.py").write_text(
        "from lvcf.tasks.counterfactual import CounterfactualTask\n"
        "class Broken(CounterfactualTask):\n"
        "    def predict_step(self, batch, batch_idx):\n"
        "        raise ValueError('a defect')\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    data = subset(echo_root, tmp_path / "data", 1)
    arguments = predict_arguments(data, backbone_folder, target_folder, tmp_path / "run")
    place = arguments.index("phantom.yaml") + 1
    arguments[place:place] = ["--model=broken_model.Broken"]
    assert main(arguments) == 70
    err = capfd.readouterr().err
    assert "Traceback" in err
    assert "a defect" in err


# --- numbers of the trainings ---------------------------------------------------------------------------------------


NUMBERS = {
    "target": ["lr=0", "lr=-1", "lr=.nan", "lr=.inf", "blur=-1", "blur=.nan", "noise=-1", "gain=.inf"],
    "autoencoder": ["lr=0", "frames=0", "latent_noise=-1", "kl_weight=.nan", "edge_weight=-1"],
}


@pytest.mark.parametrize(
    ("part", "option"), [(part, option) for part, options in NUMBERS.items() for option in options]
)
def test_a_trainings_number_is_refused_before_any_clip_is_read(part, option, capfd, tmp_path) -> None:
    quick = ["--trainer.logger=false", "--trainer.accelerator=cpu", f"--model.output={tmp_path}", "--data.root=/no"]
    line = fails(capfd, ["fit", "--config", f"phantom/{part}.yaml", *quick, f"--model.{option}"])
    assert f"model.{option.partition('=')[0]}" in line


CONSTRUCTORS: dict[str, tuple[type, dict[str, Any], list[dict[str, float]]]] = {
    "model": (
        DenoiserTask,
        {"backbone": None, "output": Path("x"), "train_text_encoder": False},
        [{"lr": 0.0}, {"lr": math.inf}, {"neutral_share": -0.1}, {"neutral_share": 1.5}, {"noise_shift": math.nan}],
    ),
    "model of a decoder": (
        TinyDecoderTask,
        {"decoder": None, "backbone": None, "output": Path("x")},
        [{"lr": -1.0}, {"latent_noise": -1.0}, {"latent_noise": math.nan}],
    ),
    "data": (LatentDataModule, {"clips": None, "vae": "x", "cache": Path("x")}, [{"windows": 0}, {"batch_size": 0}]),
    "TrainedWeightAverage": (TrainedWeightAverage, {}, [{"decay": -0.1}, {"decay": 1.0}, {"decay": math.nan}]),
}


@pytest.mark.parametrize(
    ("name", "wrong"), [(name, wrong) for name, (_, _, cases) in CONSTRUCTORS.items() for wrong in cases], ids=str
)
def test_a_constructor_refuses_a_number_that_cannot_be(name, wrong) -> None:
    made, others, _ = CONSTRUCTORS[name]
    ((argument, _),) = wrong.items()
    with pytest.raises(UserError, match=f"{name.split()[0]}.{argument} "):
        made(**others, **wrong)


def test_the_true_counterfactual_needs_a_simulated_set(tmp_path, echo_root) -> None:
    with pytest.raises(UserError, match="is no simulated set"):
        TrueCounterfactual(tmp_path)
    with pytest.raises(UserError, match=r"TrueCounterfactual\.fps 0"):
        TrueCounterfactual(echo_root, fps=0.0)


# --- the system's errors ------------------------------------------------------------------------------------------


FILES = {
    "a name too long": ("x" * 5000, "File name too long"),
    "a folder": (str(Path(__file__).parent), "no such configuration file"),
    "below a file": (f"{__file__}/b.yaml", "no such configuration file"),
}


@pytest.mark.parametrize("case", FILES)
def test_a_configuration_that_the_system_does_not_give_is_one_line(case, capfd) -> None:
    name, says = FILES[case]
    assert says in fails(capfd, ["predict", "--config", name])


ERRORS = {
    "a folder for a file": (IsADirectoryError(21, "Is a directory", "r/a"), "r/a: Is a directory"),
    "no permission": (PermissionError(13, "Permission denied", "r/a"), "r/a: Permission denied; allow it"),
    "a limit on files' size": (OSError(27, "File too large"), "the output folder: File too large"),
    "too many open files": (OSError(24, "Too many open files"), "ulimit -n"),
    "a full disk": (OSError(28, "No space left on device", "r/a"), "r/a: the disk is full"),
    "a loader process's": (FileNotFoundError(
        "Caught FileNotFoundError in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
        "FileNotFoundError: [Errno 2] No such file or directory: 'clips/a.mp4'"), "clips/a.mp4: No such file"),
    "a defect": (OSError("something else"), None),
    "a broken connection": (ConnectionResetError(104, "Connection reset by peer"), None),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_an_error_of_the_system_with_a_files_name_is_one_line(case) -> None:
    error, says = ERRORS[case]
    line = os_error_line(error)
    assert says in line if says else line == ""
    assert "\n" not in line


def test_a_table_that_is_a_folder_is_one_line(capfd, tmp_path) -> None:
    (tmp_path / "FileList.csv").mkdir()
    line = fails(capfd, ["data", "check", str(tmp_path), "--as", "echonet"])
    assert "FileList.csv" in line


def test_a_working_folder_that_is_gone_is_one_line(capfd, monkeypatch, tmp_path) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    line = fails(capfd, ["predict", "--config", "phantom.yaml"])
    monkeypatch.chdir(tmp_path)
    assert "the working folder has been deleted" in line


# --- simulate, ablate -----------------------------------------------------------------------------------------------


def test_simulate_refuses_a_seed_below_0(capfd, tmp_path) -> None:
    line = fails(capfd, ["simulate", "echo", "--out", str(tmp_path / "a"), "--n", "1", "--seed", "-1"])
    assert "--seed -1: choose 0 or more" in line
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    "arguments", [["simulate", "echo", "--n", "1", "--out", ""], ["ablate", "--config", "x", "--output", ""]]
)
def test_an_empty_folder_is_not_the_working_folder(arguments, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "names no folder" in capsys.readouterr().err


PLAN = {"base": "phantom.yaml", "output": "runs/x", "prompts": ["neutral"], "cases": {"a": {}}}
PLANS = {
    "cases in a list": ({"cases": ["a"]}, "cases: '['a']' is no mapping"),
    "a case of nothing": ({"cases": {"a": None}}, "case 'a': its name is a text and its entry a mapping"),
    "a case called 1": ({"cases": {1: {}}}, "case '1'"),
    "a case that is a number": ({"cases": {"a": 5}}, "case 'a'"),
    "an output that is a number": ({"output": 5}, "output: '5' is no text"),
    "an empty output": ({"output": ""}, "output: names no folder"),
    "a base that is a list": ({"base": []}, "base: '[]' is no text"),
    "prompts in a word": ({"prompts": "neutral"}, "prompts: 'neutral' is no list"),
    "no prompt": ({"prompts": []}, "prompts: is empty"),
    "a prompt that is a number": ({"prompts": [5]}, "prompts: '5' is no text"),
    "a model in a list": ({"model": [1]}, "model: '[1]' is no mapping"),
    "a callback in a word": ({"cases": {"a": {"callbacks": ["X"]}}}, "case 'a': callbacks: 'X' is no class"),
    "noises in a number": ({"cases": {"a": {"noises": 3}}}, "case 'a': noises: '3' is no list"),
    "a grid of a number": ({"grid": {"model.steps": 3}}, "grid model.steps: is no list"),
    "a grid of a million": (
        {"grid": {f"model.{n}": list(range(100)) for n in ("steps", "seed", "strength")}},
        "grid: makes 1000000 cells",
    ),
    "a derived row in a word": ({"derived": {"m": "a"}}, "derived 'm': write"),
    "the paper in a word": ({"paper": "Table 1"}, "paper: 'Table 1' is no mapping"),
    "the paper's rows in a list": ({"paper": {"table": "1", "rows": [1]}}, "rows: '[1]' is no mapping"),
    "options in a word": ({"evaluate": "--with-model"}, "evaluate: '--with-model' is no list"),
}


@pytest.mark.parametrize("case", PLANS)
def test_an_ablation_of_the_wrong_shape_is_one_line(case, capfd, tmp_path) -> None:
    change, says = PLANS[case]
    path = tmp_path / "plan.yaml"
    path.write_text(yaml.safe_dump({"ablate": {**PLAN, **change}}))
    line = fails(capfd, ["ablate", "--config", str(path), "--dry-run"])
    assert says in line
    assert str(path) in line


def test_an_ablation_of_no_clip_is_refused(capfd) -> None:
    line = fails(capfd, ["ablate", "--config", "ablations/quick.yaml", "--n", "0", "--dry-run"])
    assert "--n 0: at least one clip is needed" in line


def test_an_output_that_is_a_file_ends_an_ablation_in_one_line(capfd, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    line = fails(capfd, ["ablate", "--config", "ablations/quick.yaml", "--output", str(tmp_path / "file"), "--n", "1"])
    assert str(tmp_path / "file") in line


def test_a_number_out_of_its_range_says_the_range() -> None:
    from lvcf.checks import check_number

    with pytest.raises(UserError, match=r"model\.x 3: choose a finite number, above 0, at most 1"):
        check_number("model.x", 3.0, 0.0, 1.0, above=True)
