"""What is kept comes back bit by bit whatever takes part, M reads the clip that is saved, bad regions are told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.path import Path as Outline
from PIL import Image
from torch import Tensor

import lvcf
from lvcf.callbacks.guidance import GradientGuidance
from lvcf.callbacks.last_correction import LastCorrection
from lvcf.callbacks.pixel_attack import PixelAttack
from lvcf.callbacks.refinement import MultiScalePerceptualRefinement
from lvcf.callbacks.schedule import AdaptiveDenoisingSchedule
from lvcf.cli import main
from lvcf.data.clip import to_frames
from lvcf.data.video import read_video
from lvcf.diffusion.inversion import noised
from lvcf.errors import UserError
from lvcf.explanation import explained
from lvcf.guidance.weight import ConstantWeight
from lvcf.models.backbones.load import load_backbone
from lvcf.models.backbones.ltx import LTXBackbone
from lvcf.region import Kept, may_change, read_region
from lvcf.sampling import SamplingCallback, SamplingState
from lvcf.tasks.counterfactual import CounterfactualTask
from tests.families import OWN_VAE, SIZES, save_family
from tests.helpers import fails, parse, predict_arguments, results, subset
from tests.toys import BrightDark, Capture, GaussianBackbone, LinearTarget, Listener, as_clip, make_clips, predict

BOX, FROZEN = (1, 2, 6, 7), [0, 3]


class OwnPath(SamplingCallback):
    """What every step leaves, beside the clip's own noised path."""

    def __init__(self) -> None:
        self.seen: list[tuple[Tensor, Tensor]] = []

    def on_step_end(self, state: SamplingState) -> None:
        rows = state.rows
        own = noised(state.z_ref[rows], state.noise[rows], state.backbone.alpha_sigma(state.grid[state.index[rows]]))
        self.seen.append((state.z[rows].clone(), own))


def everything(blocks: int, reference: str = "residual") -> list[SamplingCallback]:
    return [
        GradientGuidance(samples=2, noise=0.1, weight=ConstantWeight(0.2)),
        AdaptiveDenoisingSchedule(2),
        MultiScalePerceptualRefinement(reference, [0.3, 0.6], [1.0] * blocks),
        LastCorrection(steps=3, largest=1.0),
    ]


def inside(frames: int, size: int, box=BOX, frozen=FROZEN) -> Tensor:
    """Where a clip may change, written down anew."""
    left, top, right, bottom = box
    return torch.tensor(
        [
            [[f not in frozen and left <= x < right and top <= y < bottom for x in range(size)] for y in range(size)]
            for f in range(frames)
        ]
    )


def run(clips, output: Path, callbacks, backbone=None, model=None, target="95", **options):
    task = CounterfactualTask(
        backbone or GaussianBackbone(), model or LinearTarget(), target, output, **{"steps": 4, **options}
    )
    return predict(task, clips, callbacks)


@torch.no_grad()
def said(video: Tensor) -> float:
    return float(LinearTarget()(video[None]))


@pytest.mark.parametrize("solver", ["ddim", "dpmpp_2m"])
@pytest.mark.parametrize("inversion", ["fresh", "recorded", "sdedit"])
def test_kept_latents_stay_on_the_clips_own_noised_path(inversion, solver, tmp_path) -> None:
    """The toy's latents are the clip: z_t = alpha x + sigma noise at every step, in closed form."""
    path, guidance = OwnPath(), GradientGuidance(samples=1, noise=0.1, weight=ConstantWeight(0.3))
    run(make_clips(2), tmp_path, [guidance, path], inversion=inversion, solver=solver, region=BOX, freeze_frames=FROZEN)
    may = inside(4, 8)
    assert len(path.seen) == 4
    for z, own in path.seen:
        torch.testing.assert_close(z[:, :, ~may], own[:, :, ~may], atol=1e-5, rtol=0)
    assert (z - own)[:, :, may].abs().max() > 0.01


@pytest.mark.parametrize("decode", ["plain", "residual"])
@pytest.mark.parametrize("inversion", ["fresh", "recorded", "ddim", "sdedit"])
def test_outside_nothing_changes_and_m_is_asked_about_the_clip_that_is_saved(inversion, decode, tmp_path) -> None:
    clips, model, states = make_clips(2), Listener(), Capture()
    callbacks = [*everything(2), states]
    options = {"inversion": inversion, "decode": decode, "region": BOX, "freeze_frames": FROZEN}
    edits = run(clips, tmp_path, callbacks, model=model, prompt="target", **options)
    may, video = inside(4, 8), torch.stack([clip["video"] for clip in clips])
    for edit, clip in zip(edits, clips, strict=True):
        saved, factual = to_frames(edit.video), to_frames(clip["video"])
        assert (saved == factual)[~may].all()
        assert (saved != factual)[may].any()
        assert edit.mask[0][~may].abs().max() == 0.0
        assert edit.facts["editable_share"] == pytest.approx(float(may.float().mean()))
        told = explained(edit, factual, model, "", seed=0, fps=8.0, label=float("nan"))
        assert told.after == pytest.approx(said(edit.video), abs=1e-4)
    differences = [(asked[:, None] - video)[..., ~may].abs().amax((2, 3)).amin(1).max() for asked in model.asked]
    others = sum(float(difference) > 1 / 255 for difference in differences)
    assert len(model.asked) > 8
    assert others <= 1  # the reconstruction, whose reading stands in result.json


@pytest.mark.parametrize("name", ["ltx", *OWN_VAE])
@pytest.mark.parametrize("inversion", ["fresh", "sdedit"])
def test_every_backbone_keeps_what_is_outside(name, inversion, backbone_folder, tmp_path) -> None:
    folder = backbone_folder if name == "ltx" else save_family(name, tmp_path / name)
    backbone, size = load_backbone(str(folder)), 32 if name == "ltx" else SIZES[name]
    video = torch.randint(256, (3, 16, size, size), generator=torch.Generator().manual_seed(3)) / 127.5 - 1.0
    box, frozen = (3, 5, size - 7, size - 2), [1, 4, 5, 6, 7, 8]
    callbacks = [GradientGuidance(samples=1, noise=0.1, weight=ConstantWeight(0.2)), LastCorrection(steps=1)]
    callbacks.insert(1, MultiScalePerceptualRefinement("source", [0.5], [1.0] * len(backbone.decoder_blocks())))
    options = {"inversion": inversion, "region": box, "freeze_frames": frozen, "steps": 2}
    edit, *_ = run([as_clip(video, "a")], tmp_path, callbacks, backbone, BrightDark(), "bright", **options)
    changed = (to_frames(edit.video) != to_frames(video)).any(-1)
    may = inside(16, size, box, frozen).numpy()
    assert not changed[~may].any()
    assert changed[may].any()


def test_the_target_is_reached_inside_alone(tmp_path) -> None:
    """M reads the upper left quarter of every frame; half of it may change."""
    clips = make_clips(2)
    callbacks = [GradientGuidance(samples=1, noise=0.0, weight=ConstantWeight(0.05)), LastCorrection(steps=10)]
    edits = run(clips, tmp_path, callbacks, target="60", region=(0, 0, 4, 2))
    for edit, clip in zip(edits, clips, strict=True):
        assert said(edit.video) == pytest.approx(60.0, abs=1.0)
        assert said(clip["video"]) != pytest.approx(60.0, abs=1.0)


def test_a_target_that_cannot_be_reached_inside_says_what_to_do(tmp_path) -> None:
    (edit,) = run(make_clips(1), tmp_path, [LastCorrection()], target="60", region=(4, 4, 8, 8))
    told = explained(edit, to_frames(make_clips(1)[0]["video"]), LinearTarget(), "", seed=0, fps=8.0, label=0.0)
    assert told.status == "not_reached"
    assert "more that may change (--model.region, --model.freeze_frames)" in told.hint


def test_an_attack_on_pixels_stays_inside(tmp_path) -> None:
    clip = make_clips(1)[0]
    (edit,) = run([clip], tmp_path, [PixelAttack(steps=3)], region=(0, 0, 3, 3))
    changed = (to_frames(edit.video) != to_frames(clip["video"])).any(-1)
    may = inside(4, 8, (0, 0, 3, 3), [])
    assert not changed[~may].any()
    assert changed[may].all()


def test_all_may_change_without_the_options(tmp_path) -> None:
    states = Capture()
    (edit,) = run(make_clips(1), tmp_path, [states])
    assert states.states[0].kept.pixels is None
    assert states.states[0].kept.latents is None
    assert "editable_share" not in edit.facts
    assert edit.mask.min() == 1.0


def test_a_whole_region_is_none(tmp_path) -> None:
    """A box around everything gives the bits of no box."""
    callbacks = everything(2)
    one, two = (run(make_clips(2), tmp_path, callbacks, **options) for options in ({}, {"region": (0, 0, 8, 8)}))
    for mine, other in zip(one, two, strict=True):
        assert torch.equal(mine.video, other.video)


def test_a_latent_is_free_where_a_pixel_of_it_is(backbone_folder) -> None:
    """16 to 1 in space, two frames to a latent one behind the first."""
    backbone = LTXBackbone.from_pretrained(backbone_folder)
    z_ref = backbone.encode(torch.zeros(1, 3, 9, 32, 32))
    factor = 32 // z_ref.shape[-1]
    pixels = torch.zeros(1, 1, 9, 32, 32, dtype=torch.bool)
    pixels[0, 0, 4, factor, 2 * factor - 1] = True
    kept = Kept.of(torch.zeros(1, 3, 9, 32, 32), z_ref, backbone, pixels, "none")
    assert kept.latents is not None
    assert kept.latents.nonzero().tolist() == [[0, 0, 2, 1, 1]]


def test_given_frames_are_kept_beside_a_region(backbone_folder) -> None:
    backbone = LTXBackbone.from_pretrained(backbone_folder)
    video, z_ref = torch.zeros(1, 3, 9, 32, 32), torch.zeros(1, 4, 5, 8, 8)
    pixels = torch.ones(1, 1, 9, 32, 32, dtype=torch.bool)
    kept = Kept.of(video, z_ref, backbone, pixels, "first")
    assert not kept.put_back(torch.ones(1, 3, 9, 32, 32))[:, :, 0].any()
    assert kept.put_back(torch.ones(1, 3, 9, 32, 32))[:, :, 1:].all()
    assert pixels.all()


VIDEO = torch.zeros(3, 4, 10, 12)


def found(region, name: str = "a") -> Tensor:
    return may_change(read_region(region), [], name, VIDEO)[0]


def test_a_polygon_holds_the_pixels_whose_centres_it_holds(tmp_path) -> None:
    points = [(1.2, 0.7), (10.9, 3.1), (6.4, 9.2), (4.1, 5.3)]
    table = tmp_path / "regions.csv"
    table.write_text('clip,polygon,note\na,"' + ", ".join(f"{x} {y}" for x, y in points) + '",mine\n')
    centres = [(x + 0.5, y + 0.5) for y in range(10) for x in range(12)]
    expected = Outline(points).contains_points(centres).reshape(10, 12)
    assert 20 < expected.sum() < 60
    assert (found(str(table)).numpy() == expected).all()


def test_a_box_leaves_out_its_right_and_bottom() -> None:
    assert torch.equal(found([2, 3, 5, 4])[1].nonzero(), torch.tensor([[3, 2], [3, 3], [3, 4]]))


@pytest.mark.parametrize("ending", ["png", "npy", "bool npy", "npz", "whole npz"])
def test_masks_are_read_from_files(ending, tmp_path) -> None:
    mask = np.zeros((10, 12), dtype=np.uint8)
    mask[2:4, 7], mask[5] = 255, 120  # below half is outside
    path = tmp_path / f"mask.{ending.split()[-1]}"
    if ending == "png":
        Image.fromarray(mask).save(path)
    elif ending == "npy":
        np.save(path, mask)
    elif ending == "bool npy":
        np.save(path, mask > 127)
    else:
        np.savez(path, mask=mask if ending == "npz" else np.stack([mask, 0 * mask, mask, mask]))
    may = found(str(path))
    assert may[0].nonzero().tolist() == [[2, 7], [3, 7]]
    assert bool(may[1].any()) is (ending != "whole npz")


def bright_half(name: str, video: Tensor) -> Tensor:
    return video[0] > 0.0


def test_a_function_is_asked_clip_by_clip_from_python() -> None:
    """Also in one batch: each clip has its own region."""
    clips = [clip["video"].mul(127.5).round() / 127.5 for clip in make_clips(2, 16, 8)]
    made = lvcf.Explainer(
        LinearTarget(), GaussianBackbone(), [GradientGuidance(ConstantWeight(0.3), samples=1)],
        size=16, progress=False, steps=3, region=bright_half, freeze_frames=[7],
    ).explain(clips, 95)  # fmt: skip
    for explanation, clip in zip(made, clips, strict=True):
        changed = (explanation.video != explanation.factual).any(-1)
        may = (clip[0] > 0.0).numpy().copy()
        may[7] = False
        assert not changed[~may].any()
        assert changed[may].any()
        assert explanation.run["settings"]["region"] == f"{__name__}.bright_half"


class Border:
    """A region that a configuration names."""

    def __init__(self, width: int) -> None:
        self.width = width

    def __call__(self, name: str, video: Tensor) -> Tensor:
        mask = torch.ones(video.shape[2:])
        mask[self.width : -self.width, self.width : -self.width] = 0
        return mask


@pytest.fixture
def arguments(echo_root, backbone_folder, target_folder, tmp_path) -> list[str]:
    data = subset(echo_root, tmp_path / "data", 2)
    return predict_arguments(data, backbone_folder, target_folder, tmp_path / "run")


def test_the_command_line_keeps_what_is_outside(arguments, tmp_path) -> None:
    assert main([*arguments, "--model.region=[4, 6, 20, 30]", "--model.freeze_frames=[0, 5]"]) == 0
    written = results(tmp_path / "run")
    assert len(written) == 2
    for name, result in written.items():
        folder = tmp_path / "run" / "predictions" / name
        factual, saved = (read_video(folder / f"{kind}.mkv").frames for kind in ("factual", "counterfactual"))
        changed, may = (factual != saved).any(-1), inside(16, 32, (4, 6, 20, 30), [0, 5]).numpy()
        assert not changed[~may].any()
        assert changed[may].any()
        assert result["editable_share"] == pytest.approx(may.mean(), abs=1e-6)
    assert main([*arguments, "--model.region=[4, 6, 20, 31]", "--model.freeze_frames=[0, 5]"]) == 2


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("[1, 2, 3, 4]", tuple),
        ("runs/mask.png", str),
        (f'{{"class_path": "{__name__}.Border", "init_args": {{"width": 2}}}}', object),
    ],
)
def test_the_command_line_understands_every_form(arguments, written, kind) -> None:
    region = parse([*arguments, f"--model.region={written}"]).model.init_args.region
    assert isinstance(list(region) if kind is tuple else region, list if kind is tuple else kind)
    if kind is object:
        assert region.class_path == f"{__name__}.Border"


def table(folder: Path, text: str) -> str:
    (folder / "regions.csv").write_text(text)
    return str(folder / "regions.csv")


def polygon(folder: Path, points: str, name: str = "clip") -> str:
    return table(folder, f'clip,polygon\n{name},"{points}"\n')


def only_first(name: str, video: Tensor) -> Tensor:
    mask = torch.zeros(video.shape[1:])
    mask[0] = 1
    return mask


def picture(folder: Path, size: tuple[int, int], level: int) -> str:
    Image.new("L", size, level).save(folder / "mask.png")
    return str(folder / "mask.png")


def no_array(folder: Path) -> str:
    (folder / "mask.npy").write_text("none")
    return str(folder / "mask.npy")


def saved(folder: Path, *shape: int) -> str:
    np.save(folder / "mask.npy", np.ones(shape))
    return str(folder / "mask.npy")


BAD = {
    "a mask of another size": (lambda d: picture(d, (20, 16), 255), ["mask.png", "20x16", "16x16", "resize"]),
    "a mask of other frames": (lambda d: saved(d, 5, 16, 16), ["mask.npy", "16x16, 5 frames", "16x16, 8 frames"]),
    "an array that is no mask": (lambda d: saved(d, 16), ["mask.npy", "shape (16,)", "(height, width)"]),
    "an empty mask": (lambda d: picture(d, (16, 16), 0), ["mask.png", "is empty", "white (255)"]),
    "an unknown file": (lambda d: str(d / "nothing.png"), ["nothing.png", "no such file", "give a box"]),
    "an unknown table": (lambda d: str(d / "nothing.csv"), ["nothing.csv", "cannot be read"]),
    "a broken file": (no_array, ["mask.npy", "is no mask", "save"]),
    "a box of three": (lambda d: [1, 2, 3], ["model.region [1, 2, 3]", "is no box", "left, top"]),
    "a reversed box": (lambda d: [9, 2, 3, 7], ["model.region [9, 2, 3, 7]", "is no box", "left below right"]),
    "a box from below 0": (lambda d: [-1, 2, 3, 7], ["model.region [-1, 2, 3, 7]", "is no box"]),
    "a box out of the frame": (lambda d: [1, 2, 17, 7], ["[1, 2, 17, 7]", "16x16", "right is at most 16"]),
    "two points": (lambda d: polygon(d, "1 1, 5 5"), ["regions.csv, line 2", "has 2 points", "at least 3"]),
    "points of three": (lambda d: polygon(d, "1 1 1, 5 5, 2 3"), ["line 2", "1 1 1, 5 5, 2 3", "x y, x y"]),
    "words for points": (lambda d: polygon(d, "a b, c d, e f"), ["line 2", "a b, c d, e f", "x y, x y"]),
    "no polygons": (lambda d: table(d, "clip,points\n"), ["regions.csv", "column polygon is missing"]),
}
BAD_FRAMES = {
    "all": (list(range(8)), ["model.freeze_frames [0, 1", "all 8 frames", "leave out"]),
    "too late": ([2, 8], ["model.freeze_frames 8", "frames 0 to 7"]),
    "below 0": ([-1], ["model.freeze_frames -1", "counted from 0"]),
}


def explain(**options) -> lvcf.Explanation:
    clip = np.full((8, 16, 16, 3), 90, dtype=np.uint8)
    clip[:, ::2] = 120
    options = {"size": 16, "progress": False, "steps": 2, **options}
    return lvcf.Explainer(LinearTarget(), GaussianBackbone(), [], **options).explain(clip, 90)


@pytest.mark.parametrize(("region", "words"), BAD.values(), ids=BAD)
def test_a_bad_region_is_refused_in_one_line(region, words, tmp_path) -> None:
    with pytest.raises(UserError) as caught:
        explain(region=region(tmp_path))
    line = str(caught.value)
    assert "\n" not in line
    assert all(word in line for word in words), line


@pytest.mark.parametrize(("frames", "words"), BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_bad_frames_are_refused_in_one_line(frames, words) -> None:
    with pytest.raises(UserError) as caught:
        explain(freeze_frames=frames)
    assert all(word in str(caught.value) for word in words), caught.value


BAD_FOR_A_CLIP = {
    "not named": (lambda d: polygon(d, "1 1, 5 5, 1 5", "b"), ["regions.csv", "names no clip 'clip'", "add a row"]),
    "out of the frame": (lambda d: polygon(d, "1 1, 17 5, 1 5"), ["regions.csv, line 2", "'clip'", "16x16", "inside"]),
    "between pixels": (lambda d: polygon(d, "1 1, 1.2 1, 1 1.2"), ["regions.csv, line 2", "'clip'", "no pixel"]),
    "in the frozen frame": (lambda d: only_first, ["clip 'clip'", "frozen frames alone", "model.freeze_frames"]),
    "empty": (lambda d: lambda n, v: torch.zeros(16, 16), ["clip 'clip'", "empty mask"]),
    "another shape": (lambda d: lambda n, v: torch.ones(3, 16), ["clip 'clip'", "shape (3, 16)", "16x16"]),
    "raises": (lambda d: lambda n, v: 1 / 0, ["clip 'clip'", "ZeroDivisionError", "correct it"]),
}


@pytest.mark.parametrize(("region", "words"), BAD_FOR_A_CLIP.values(), ids=BAD_FOR_A_CLIP)
def test_a_clip_without_a_region_fails_alone(region, words, tmp_path) -> None:
    told = explain(region=region(tmp_path), freeze_frames=[0])
    assert told.failed
    assert "\n" not in told.hint
    assert all(word in told.hint for word in words), told.hint


def test_the_command_line_says_it_in_one_line(arguments, tmp_path, capfd) -> None:
    line = fails(capfd, [*arguments, "--model.region=nothing.png"])
    assert "model.region nothing.png: no such file" in line
