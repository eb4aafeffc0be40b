"""The age and gender network: the original's own answers; the judge that asks it; files that are refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lvcf.configuration import find_weights
from lvcf.errors import UserError
from lvcf.models.targets.face_age_gender import MANIFEST, FaceAgeGender, face_age_gender
from lvcf.steering.answers import Question
from lvcf.steering.judges.base import Shown
from lvcf.steering.judges.face_age_gender import FaceAgeGenderJudge

DATA = Path(__file__).parent / "data"
IMAGES = DATA / "face_expression" / "inputs"
REFERENCE = json.loads((DATA / "face_age_gender" / "reference.json").read_text())["answers"]
AGE = Question(attribute="age", text="What age?", options=("young", "old"))
GENDER = Question(attribute="gender", text="What gender?", options=("woman", "man"))


@pytest.fixture(scope="module")
def network() -> FaceAgeGender:
    return face_age_gender()


def clip(*names: str) -> torch.Tensor:
    """Images of one size as the frames of a clip ``(1, 3, T, H, W)``."""
    frames = np.stack([np.array(Image.open(IMAGES / f"{name}.ppm")) for name in names])
    return torch.from_numpy(frames).permute(3, 0, 1, 2)[None].float() / 127.5 - 1.0


@pytest.mark.parametrize("name", REFERENCE)
def test_images_get_the_originals_answer(name, network) -> None:
    years, man = network(clip(name))
    answer = REFERENCE[name]
    assert float(years) == pytest.approx(answer["years"], abs=2e-3)
    probability = answer["genderProbability"] if answer["gender"] == "male" else 1 - answer["genderProbability"]
    assert float(man) == pytest.approx(probability, abs=1e-4)


def test_the_references_tell_networks_apart() -> None:
    assert {answer["gender"] for answer in REFERENCE.values()} == {"male", "female"}
    years = [answer["years"] for answer in REFERENCE.values()]
    assert max(years) - min(years) > 50.0


def test_frames_are_averaged_and_only_the_box_is_read(network) -> None:
    face = clip("face_surprise")
    other = face.flip(-1) / 2
    both = [float(a) for a in network(torch.cat([face, other], dim=2))]
    each = [[float(a) for a in network(one)] for one in (face, other)]
    assert both == pytest.approx(np.mean(each, axis=0).tolist(), abs=1e-3)
    framed = torch.nn.functional.pad(face, (10, 30, 20, 20))
    height, width = framed.shape[-2:]
    box = (10 / width, 20 / height, 1 - 30 / width, 1 - 20 / height)
    assert float(face_age_gender(box=box)(framed)[0]) == pytest.approx(float(network(face)[0]), abs=1e-3)


def test_the_judge_says_what_the_network_does() -> None:
    judge = FaceAgeGenderJudge(old_from=30.0, spread=10.0)
    for name in REFERENCE:
        answer = REFERENCE[name]
        age, gender = judge.look(Shown("a", clip(name)[0], 8.0), [AGE, GENDER]).answer.answers
        share = min(max(0.5 + (answer["years"] - 30.0) / 20.0, 0.0), 1.0)
        assert (age.observed, age.confidence) == (
            "old" if share > 0.5 else "young",
            pytest.approx(max(share, 1 - share), abs=1e-3),
        )
        assert gender.observed == {"male": "man", "female": "woman"}[answer["gender"]]
        assert gender.confidence == pytest.approx(answer["genderProbability"], abs=1e-4)
    assert judge.identity == "face-api face_age_gender [0.0, 0.0, 1.0, 1.0], old from 30"


@pytest.mark.parametrize(
    "question",
    [
        AGE.model_copy(update={"options": ("child", "old")}),
        Question(attribute="beard", text="?", options=("no", "yes")),
    ],
)
def test_what_it_cannot_tell_is_refused(question) -> None:
    with pytest.raises(UserError, match="it can tell age: young, old; gender: woman, man"):
        FaceAgeGenderJudge().look(Shown("a", clip("face_surprise")[0], 8.0), [question])


def test_what_is_wrong_is_refused(tmp_path) -> None:
    folder = shutil.copytree(find_weights("face_age_gender"), tmp_path / "weights")
    (folder / MANIFEST).write_text("{")
    with pytest.raises(UserError, match="no manifest of the age and gender network"):
        face_age_gender(str(folder))
    with pytest.raises(UserError, match=r"judge.spread"):
        FaceAgeGenderJudge(spread=0.0)
    with pytest.raises(UserError, match=r"box .*left, top, right, bottom"):
        FaceAgeGenderJudge(box=(0.5, 0.0, 0.4, 1.0))
