"""The Python API: the bits of ``lvcf predict``, models and clips in any form, folders that the verbs read."""

from __future__ import annotations

import base64
import logging
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jsonargparse import ArgumentParser
from torch import nn
from torch.nn import functional

import lvcf
from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.cli import main
from lvcf.configuration import read_section
from lvcf.data.clip import round_to_8_bits, to_frames
from lvcf.data.video import read_video, write_lossless
from lvcf.errors import UserError
from lvcf.guidance.weight import ConstantWeight
from lvcf.measure.model import load_target_model
from lvcf.models.backbones.ltx import ltx_backbone
from lvcf.runs.folder import read_configuration
from lvcf.sampling import SamplingCallback, SamplingState
from lvcf.settings import Settings
from tests.helpers import predict_arguments, results
from tests.toys import BrightDark, GaussianBackbone, LinearTarget

TAKES = lvcf.ClipInput(range=(0, 1), size=16, frames=8)
VALUE = lvcf.Answer("regression", unit="points", bounds=(0, 100), scale=20)


def explainer(model: object = None, **more: object) -> lvcf.Explainer:
    given = {"backbone": GaussianBackbone(), "method": [], "size": 16, "progress": False, "steps": 3, **more}
    return lvcf.Explainer(LinearTarget() if model is None else model, **given)


def clip(number: int = 0) -> torch.Tensor:
    """Smooth, on 8-bit levels, ``(3, 8, 16, 16)``."""
    coarse = torch.rand(1, 3, 2, 4, 4, generator=torch.Generator().manual_seed(number))
    return round_to_8_bits(functional.interpolate(coarse, (8, 16, 16), mode="trilinear")[0] * 1.2 - 0.6)


def test_importing_loads_nothing_heavy() -> None:
    script = (
        "import sys, lvcf; print(lvcf.__all__); print([n for n in ('torch', 'lightning', 'numpy') if n in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert "'Explainer'" in said
    assert said.splitlines()[1] == "[]"


@pytest.mark.parametrize("name", lvcf.__all__)
def test_every_public_name_is_there(name) -> None:
    assert getattr(lvcf, name)


def test_a_name_that_is_none_is_told() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Explain'"):
        lvcf.Explain  # noqa: B018


def test_a_clip_is_read_before_anything_is_asked(tmp_path: Path) -> None:
    found = explainer().read(clip())
    assert found.says == {"points": pytest.approx(float(LinearTarget()(clip()[None])), abs=1e-4)}
    assert np.array_equal(found.clip, to_frames(clip()))
    shares = explainer(BrightDark()).read(clip()).says
    assert sum(shares.values()) == pytest.approx(1.0)
    assert explainer(BrightDark()).explain(clip(), max(shares, key=lambda name: shares[name])).before == pytest.approx(
        max(shares.values()), abs=1e-4
    )
    write_lossless(tmp_path / "short.mkv", np.zeros((3, 16, 16, 3), dtype=np.uint8), 8.0)
    with pytest.raises(UserError, match="lasts"):
        explainer().read(tmp_path / "short.mkv")


def test_it_gives_the_bits_of_predict(echo_root, backbone_folder, target_folder, tmp_path) -> None:
    """Same models, settings, names, batch and precision: the same counterfactual, readings and trajectory."""
    run = tmp_path / "run"
    arguments = predict_arguments(echo_root, backbone_folder, target_folder, run, "--data.batch_size=2")
    assert main([*arguments, "--model.prompt=target"]) == 0
    written = results(run)
    names = sorted(written)[:2]
    configuration = read_configuration(run)
    settings = {k: v for k, v in configuration["model"]["init_args"].items() if k in Settings.__dataclass_fields__}
    parser = ArgumentParser()
    parser.add_argument("--callbacks", type=list[SamplingCallback])
    nodes = [c for c in configuration["trainer"]["callbacks"] if "Writer" not in c["class_path"]]
    callbacks = parser.instantiate(parser.parse_object({"callbacks": nodes})).callbacks
    factual = [read_video(run / "predictions" / name / "factual.mkv").frames for name in names]
    made = lvcf.Explainer(
        load_target_model(run),
        ltx_backbone(str(backbone_folder)),
        callbacks,
        size=factual[0].shape[1],
        metadata="apical four chamber echocardiogram",
        precision="32-true",
        **settings,
    ).explain(factual, configuration["model"]["init_args"]["target"], names)
    for name, explanation in zip(names, made, strict=True):
        there = written[name]
        counterfactual = read_video(run / "predictions" / name / "counterfactual.mkv").frames
        assert (explanation.video == counterfactual).all()
        assert (explanation.after, explanation.trajectory) == (there["prediction_after"], there["trajectory"])
        volatile = ("seconds", "peak_memory_bytes", "label")
        assert {k: v for k, v in explanation.facts.items() if k not in volatile} == {
            k: v for k, v in there.items() if k not in volatile
        }


class Brightness(nn.Module):
    """A stranger's regressor: the mean of a clip in 0-1, times 100."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(100.0))

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        return self.gain * clips.mean((1, 2, 3, 4))


def exported(folder: Path) -> Path:
    batch = torch.export.Dim("batch")
    program = torch.export.export(
        Brightness().eval(), (torch.rand(2, 3, 8, 16, 16),), dynamic_shapes={"clips": {0: batch}}
    )
    torch.export.save(program, folder / "m.pt2")
    return folder / "m.pt2"


def scripted(folder: Path) -> Path:
    torch.jit.trace(Brightness().eval(), torch.rand(2, 3, 8, 16, 16)).save(str(folder / "m.pt"))
    return folder / "m.pt"


MODELS = {
    "a module": lambda folder: Brightness(),
    "a function": lambda folder: lambda clips: 100.0 * clips.mean((1, 2, 3, 4)),
    "torch.export": exported,
    "TorchScript": scripted,
}


@pytest.mark.parametrize("kind", MODELS)
def test_any_model_is_explained(kind, tmp_path) -> None:
    steered = explainer(
        MODELS[kind](tmp_path), takes=TAKES, answer=VALUE, method=[GradientGuidance(ConstantWeight(0.1), 1, 0.0)]
    )
    e = steered.explain(clip(), 70)
    assert e.before == pytest.approx(float(Brightness()(clip()[None] * 0.5 + 0.5).detach()), abs=0.01)
    assert abs(e.after - 70) < abs(e.before - 70)
    assert e.after == pytest.approx(100 * e.video.mean() / 255, abs=0.01)
    assert e.video.shape == (8, 16, 16, 3)
    assert e.mask.shape == (8, 16, 16)


def test_clips_are_given_in_three_forms(tmp_path) -> None:
    """The bits of a clip are its levels': a float clip on 8-bit levels, its frames and its file say the same."""
    levels = to_frames(clip())
    write_lossless(tmp_path / "clip.mkv", levels, 8.0)
    made = explainer(frames=8)
    by_frames = made.explain(levels, 60)
    by_file = made.explain(tmp_path / "clip.mkv", 60)
    by_floats = made.explain(torch.from_numpy(levels).permute(3, 0, 1, 2) / 127.5 - 1.0, 60)
    assert by_file.id == by_frames.id == "clip"
    for other in (by_file, by_floats):
        assert (other.video == by_frames.video).all()
        assert other.after == by_frames.after


def test_files_and_arrays_share_a_batch(tmp_path) -> None:
    write_lossless(tmp_path / "file.mkv", to_frames(clip(1)), 8.0)
    made = explainer(frames=8).explain([tmp_path / "file.mkv", clip(0), to_frames(clip(2))], 60)
    assert [e.id for e in made] == ["file", "clip_1", "clip_2"]
    assert [(e.factual == to_frames(clip(number))).all() for number, e in zip((1, 0, 2), made, strict=True)] == [
        True
    ] * 3


def test_a_list_is_a_batch_and_a_clip_that_fails_says_why(tmp_path) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video")
    write_lossless(tmp_path / "good.mkv", to_frames(clip()), 8.0)
    good, broken = explainer(frames=8).explain([tmp_path / "good.mkv", tmp_path / "broken.mp4"], "delta:5")
    assert good.id == "good"
    assert good.status in ("reached", "not_reached")
    assert broken.status == "failed"
    assert "broken.mp4: not a readable video" in broken.hint
    assert broken.before is None
    assert "broken" in broken._repr_html_()


def test_what_is_saved_is_a_run_that_verbs_read(tmp_path, capsys) -> None:
    made = explainer(BrightDark(), method=[LastCorrection()])
    for number, e in enumerate(made.explain([clip(0), clip(1)], "other", names=["a", "b"])):
        e.save(tmp_path / "run")
        assert (read_video(tmp_path / "run" / "predictions" / e.id / "counterfactual.mkv").frames == e.video).all()
        assert len(lvcf.load_run(tmp_path / "run")) == number + 1
    with pytest.raises(UserError, match="holds the clip a already"):
        made.explain(clip(0), "dark", names="a").save(tmp_path / "run")
    with pytest.raises(UserError, match="holds a run with another method"):
        explainer(BrightDark()).explain(clip(0), "dark", names="c").save(tmp_path / "run")
    tidy = lvcf.evaluate(tmp_path / "run")
    assert list(tidy.columns) == ["clip", "target", "method", "key", "value"]
    assert {"a", "b"} == set(tidy["clip"])
    assert set(tidy["method"]) == {"last correction"}
    assert {"cost/steps", "adherence/confidence", "adherence/within_tolerance"} <= set(tidy["key"])
    ssim = tidy[(tidy["key"] == "fidelity/ssim") & (tidy["clip"] == "a")]["value"]
    assert 0 < ssim.item() <= 1
    assert main(["report", str(tmp_path / "run")]) == 0


def test_a_clip_that_the_backbone_cannot_draw_is_told_so(caplog) -> None:
    class Blind(GaussianBackbone):
        """Draws gray, whatever the clip."""

        def decode(self, latent: torch.Tensor, frames: int) -> torch.Tensor:
            return 0.0 * super().decode(latent, frames)

    class Look(SamplingCallback):
        """Was it told before anything is guided?"""

        def on_clean_estimate(self, state: SamplingState) -> None:
            assert "cannot draw all of these clips" in caplog.text

    with caplog.at_level(logging.INFO):
        e = explainer(backbone=Blind(), method=[Look()]).explain(clip(), 60)
    assert e.status == "not_drawable"
    assert "cannot draw the clip (SSIM of its reconstruction" in e.hint
    assert "lvcf fit --config own/autoencoder.yaml" in e.hint


def test_a_panel_plays_in_a_notebook(tmp_path) -> None:
    e = explainer().explain(clip(), 60, names="<b>")
    page = e._repr_html_()
    assert "&lt;b&gt;" in page
    assert "<b><b>" not in page
    film = base64.b64decode(page.partition("base64,")[2].partition('"')[0])
    (tmp_path / "panel.mp4").write_bytes(film)
    assert len(read_video(tmp_path / "panel.mp4").frames) == 8


METHODS = ["RG", "SG", "SGA", "AGG", "full", "full, n = 1"]


@pytest.mark.parametrize("domain", ["phantom", "face", "motion"])
def test_methods_are_the_ablations_own(domain) -> None:
    known = lvcf.methods(domain)
    assert set(METHODS) <= set(known)
    ours = {"face": "face_agg"}.get(domain, domain)  # face.yaml draws in another way
    callbacks = read_section(f"{ours}.yaml", "predict")["trainer"]["callbacks"]
    filled = [{**c, "init_args": c.get("init_args", {})} for c in callbacks if "Writer" not in c["class_path"]]
    assert [{**c, "init_args": c.get("init_args", {})} for c in known["full, n = 1"].callbacks] == filled


WRONG = {
    "no such method": ({"method": "ful"}, "method 'ful': did you mean full"),
    "no such setting": ({"stepz": 3}, "stepz: no setting of Explainer"),
    "a setting out of range": ({"steps": 0}, "model.steps 0"),
    "no such precision": ({"precision": "16-true"}, "precision '16-true'"),
    "a module alone": ({"model": Brightness()}, "takes, answer: missing"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_is_one_line(case) -> None:
    given, says = WRONG[case]
    with pytest.raises(UserError, match=says) as caught:
        explainer(**given)
    assert "\n" not in str(caught.value)


CLIPS = {
    "floats of 0 to 255": (torch.full((3, 8, 16, 16), 200.0), "floats outside"),
    "not a number": (torch.full((3, 8, 16, 16), math.nan), "floats outside"),
    "another size": (torch.zeros(3, 8, 20, 16), "frames of 16x20, not 16x16"),
    "one frame": (np.zeros((16, 16, 3), dtype=np.uint8), "clip: torch.uint8 of shape"),
    "gray": (np.zeros((8, 16, 16), dtype=np.uint8), "clip: torch.uint8 of shape"),
    "whole numbers": (np.zeros((8, 16, 16, 3), dtype=np.int64), "clip: torch.int64 of shape"),
    "nothing": ([], "give at least one"),
    "a name twice": ([clip(), clip()], "each a name of its own"),
}


@pytest.mark.parametrize("case", CLIPS)
def test_a_clip_that_is_none_is_one_line(case) -> None:
    given, says = CLIPS[case]
    names = ["a", "a"] if "twice" in case else None
    with pytest.raises(UserError, match=says) as caught:
        explainer().explain(given, 60, names)
    assert "\n" not in str(caught.value)
