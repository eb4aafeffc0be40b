"""The true counterfactual of the face phantom's attributes, at what is known of it by construction."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lvcf.data.clip import to_frames
from lvcf.data.ferv39k import FERV39KDataset
from lvcf.phantoms.face.attribute_truth import AttributeTruth, is_known, read_factors
from lvcf.phantoms.face.attributes import values_of


@pytest.fixture
def clip(face_root):
    return FERV39KDataset(face_root, "all", frames=3)[0]


def truth(face_root, clip, size: int = 112, **do: str) -> AttributeTruth:
    result = {"intervention": do, "frames": 3, "fps": 8.0}
    return AttributeTruth(read_factors(face_root)[clip["id"]], result, size)


def other(face_root, clip, name: str) -> str:
    shown = values_of(read_factors(face_root)[clip["id"]])[name]
    return {"young": "old", "old": "young", "woman": "man", "man": "woman", "yes": "no", "no": "yes"}[shown]


def test_setting_what_is_shown_changes_nothing(face_root, clip) -> None:
    shown = values_of(read_factors(face_root)[clip["id"]])
    same, factual = truth(face_root, clip, age=shown["age"]), to_frames(clip["video"])
    assert (same.video == factual).all()
    assert not same.region(factual).any()
    measured = same.compare(factual, factual, np.zeros(factual.shape[:3], dtype=bool))
    assert measured["truth/l1_levels"] == 0.0
    assert math.isnan(measured["truth/share_recovered_smooth"])  # nothing to recover


def test_the_truth_recovers_all_and_doing_nothing_none(face_root, clip) -> None:
    true, factual = truth(face_root, clip, age=other(face_root, clip, "age")), to_frames(clip["video"])
    region = true.region(factual)
    assert 0.0 < region.mean() < 0.9
    full, none = (true.compare(factual, final, region) for final in (true.video, factual))
    for name in ("truth/share_recovered_smooth", "truth/share_recovered_raw"):
        assert (full[name], none[name]) == (pytest.approx(1.0), pytest.approx(0.0))
    assert full["truth/l1_levels"] == 0.0
    assert none["truth/l1_levels"] == none["truth/l1_levels_of_factual"] > 0.0
    assert full["truth/mask_iou"] == 1.0


def test_descendants_follow_and_another_size_is_that_of_the_clip(face_root, clip) -> None:
    true = truth(face_root, clip, size=32, gender="woman")
    assert (true.values["gender"], true.values["beard"]) == ("woman", "no")
    assert true.video.shape == (3, 32, 32, 3)
    assert is_known({"age": 0, "beard": 0})
    assert not is_known({"age": 0, "hat": 0})
    assert read_factors(face_root.parent) == {}
