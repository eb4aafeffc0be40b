"""What the page offers to begin with: the shipped backbones, each with its model and clips that it can simulate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lvcf.data.echonet import VIEW
from lvcf.data.face_attributes import person
from lvcf.data.ferv39k import neutral_prompt
from lvcf.data.ssv2 import class_name, window
from lvcf.data.video import Frames, write_lossless
from lvcf.models.targets.base import TargetModel
from lvcf.models.targets.clip_classifier import clip_resnet_3d
from lvcf.models.targets.ejection_fraction import echo_resnet_3d
from lvcf.phantoms.echo import set as echo
from lvcf.phantoms.echo import simulate as echoes
from lvcf.phantoms.face import set as face
from lvcf.phantoms.face import simulate as faces
from lvcf.phantoms.face.attributes import values_of
from lvcf.phantoms.motion import set as motion
from lvcf.phantoms.motion import simulate as motions

FRAMES, FPS = 16, 8.0
"""Of the clips that the shipped models take."""


@dataclass(frozen=True)
class Drawn:
    """A simulated clip.

    Attributes:
        frames: uint8 ``(T, H, W, 3)``.
        fps: its frames per second.
        metadata: what it shows, without what M reads.
        truth: what it was made with, in words.
    """

    frames: Frames
    fps: float
    metadata: str
    truth: str


@dataclass(frozen=True)
class Domain:
    """A kind of clip.

    Attributes:
        name: of its configurations, as :class:`~lvcf.explain.Explainer` takes it.
        title: what the page calls it.
        reads: what its model says of a clip.
        method: what explains its model by that model alone; it may know a reader that was taught that model's answers.
        metadata: what a clip of somebody's own shows, as far as is known.
        model: loads its model.
        draw: simulates a clip from a seed.
    """

    name: str
    title: str
    reads: str
    method: str
    metadata: str
    model: Callable[[], TargetModel]
    draw: Callable[[int], Drawn]


@dataclass(frozen=True)
class Given:
    """A clip to explain: its file, what it shows, and what it was made with if it is simulated."""

    path: Path
    metadata: str
    truth: str = ""


def example(domain: Domain, seed: int, folder: Path) -> Given:
    """A simulated clip, written below ``folder``."""
    drawn = domain.draw(seed)
    path = folder / f"{domain.name}_example_{seed}.mkv"
    write_lossless(path, drawn.frames, drawn.fps)
    return Given(path, drawn.metadata, drawn.truth)


def _echo(seed: int) -> Drawn:
    factors = echoes.EchoFactors.sample(np.random.default_rng(seed))
    frames = echo.through_codec(echoes.render(factors, echo.frame_times()))
    return Drawn(frames, echoes.FPS, VIEW, f"an ejection fraction of {factors.ef:.0f} %")


def _face(seed: int) -> Drawn:
    (factors,) = face.draw_factors(1, seed)
    frames = face.through_codec(faces.render(factors, face.frame_times()))
    words = neutral_prompt(factors.scene, person(values_of(factors)))
    return Drawn(frames, faces.FPS, words, f"the expression {factors.expression}")


def _motion(seed: int) -> Drawn:
    factors = motion.draw_factors(len(motions.ACTIONS), seed)[seed % len(motions.ACTIONS)]
    times = motions.frame_times()
    frames = motions.render(factors, times[window(times, FRAMES, FPS)])
    return Drawn(frames, FPS, f"video of {factors.placeholders[0]}", f"the action {class_name(factors.template)}")


DOMAINS = (
    Domain(
        "phantom",
        "Heart ultrasound",
        "the ejection fraction of the left ventricle, in percent",
        "posterior",
        VIEW,
        lambda: echo_resnet_3d("phantom/target"),
        _echo,
    ),
    Domain(
        "face",
        "Faces",
        "one of seven expressions",
        "given + posterior",
        "face",
        lambda: clip_resnet_3d("face_motion/face_target"),
        _face,
    ),
    Domain(
        "motion",
        "Moved objects",
        "what is done with the object",
        "given + posterior",
        "video of something",
        lambda: clip_resnet_3d("face_motion/motion_target"),
        _motion,
    ),
)
