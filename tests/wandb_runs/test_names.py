"""Clips' hashed names, what a folder remembers, and configurations that may be logged."""

from __future__ import annotations

import json
import re
from hashlib import sha256
from typing import Any

import pytest

from lvcf.errors import UserError
from lvcf.wandb_runs.names import HIDDEN, Place, recall, remember

HASHED = Place("p", "g", "n", True, "salt")
SHOWN = Place("p", "g", "n", False, "salt")


def test_a_hash_hangs_on_clip_and_salt_and_is_no_plain_hash_of_the_name() -> None:
    names = [HASHED.call("0X1A"), HASHED.call("0X1B"), Place("p", "g", "n", True, "other").call("0X1A")]
    assert len(set(names)) == 3
    assert all(re.fullmatch("[0-9a-f]{12}", name) for name in names)
    assert HASHED.call("0X1A") == names[0]
    assert not sha256(b"0X1A").hexdigest().startswith(names[0])  # else a list of names could be looked up
    assert SHOWN.call("0X1A") == "0X1A"


def test_a_folder_keeps_its_salt_over_verbs_and_an_ablations_goes_before_it(tmp_path) -> None:
    fresh = remember(tmp_path / "a", Place("p", "g", "n", True, ""))
    assert len(fresh.salt) == 32
    again = remember(tmp_path / "a", Place("p2", "g", "n", True, ""))
    assert (again.salt, again.project) == (fresh.salt, "p2")
    assert recall(tmp_path / "a") == again
    assert remember(tmp_path / "b", Place("p", "g", "n", True, "")).salt != fresh.salt
    assert remember(tmp_path / "a", HASHED).salt == "salt"
    assert recall(tmp_path / "never") is None


def test_a_damaged_memory_is_a_users_mistake(tmp_path) -> None:
    (tmp_path / "wandb.json").write_text(json.dumps({"project": "p", "colour": "red"}))
    with pytest.raises(UserError, match=r"wandb\.json: damaged .*colour.*remove it"):
        recall(tmp_path)


CLIPS = ["0X1A", "Jane_Doe", "Interview_Happy_0118"]
CONFIGURATIONS: dict[str, tuple[Any, Any]] = {
    "a clip's file": ("clips/0X1A.avi", f"clips/{HIDDEN}.avi"),
    "a name that safe_name has changed": ("x/Jane Doe.mp4", f"x/{HIDDEN}.mp4"),
    "a name that was a path": ("faces/Interview/Happy/0118", f"faces/{HIDDEN}"),
    "part of another word": ("0X1AB", "0X1AB"),
    "settings": (settings := {"steps": 3, "on": True, "none": None, "w": [0.1]}, settings),
    "nested": ({"a": [{"b": "see Jane_Doe"}]}, {"a": [{"b": f"see {HIDDEN}"}]}),
    "a path of the data": (
        {"data": {"class_path": "lvcf.D", "init_args": {"extra": "/hospital/mrs-x", "size": 32, "split": "all"}}},
        {"data": {"class_path": "lvcf.D", "init_args": {"extra": HIDDEN, "size": 32, "split": "all"}}},
    ),
    "a root outside the data": ({"init_args": {"root": "mrs-x"}}, {"init_args": {"root": HIDDEN}}),
    "data within data": (
        {"data": {"parts": [{"root": "x"}, {"table": "y.csv"}]}},
        {"data": {"parts": [{"root": HIDDEN}, {"table": HIDDEN}]}},
    ),
    "weights and output stay": ({"model": {"weights": "phantom/target"}}, {"model": {"weights": "phantom/target"}}),
}


@pytest.mark.parametrize("case", CONFIGURATIONS)
def test_a_configuration_is_logged_without_names_and_without_the_datas_paths(case) -> None:
    content, wanted = CONFIGURATIONS[case]
    assert HASHED.configuration(content, CLIPS) == wanted
    assert SHOWN.configuration(content, CLIPS) == content


def test_without_clips_only_paths_are_hidden() -> None:
    assert HASHED.configuration({"data": {"root": "/x"}, "a": "0X1A"}) == {"data": {"root": HIDDEN}, "a": "0X1A"}
