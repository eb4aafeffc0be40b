"""``lvcf simulate``: every domain of the table writes a set that its own reader takes."""

from __future__ import annotations

import pytest

from lvcf.cli import main
from lvcf.cli.simulate import DOMAINS
from lvcf.data.ssv2 import SSv2Dataset
from tests.helpers import fails


def test_motion_writes_a_set_that_the_reader_takes(tmp_path, capsys) -> None:
    assert (
        main(["simulate", "motion", "--out", str(tmp_path / "set"), "--n", "3", "--seed", "5", "--marker", "label"])
        == 0
    )
    assert "3 simulated clips" in capsys.readouterr().out
    clip = SSv2Dataset(tmp_path / "set", "train")[0]
    assert clip["id"] == "motion0005_00001"
    corner = clip["video"][:, :, 4:12, 4:12]
    assert (corner == corner[:, :1, :1, :1]).all()  # the planted square


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_refuses_no_clips_and_tells_where_it_cannot_write(domain, tmp_path, capfd) -> None:
    (tmp_path / "file").write_text("")
    assert "at least one clip" in fails(capfd, ["simulate", domain, "--out", str(tmp_path / "a"), "--n", "0"])
    line = fails(capfd, ["simulate", domain, "--out", str(tmp_path / "file" / "set"), "--n", "1"])
    assert "cannot be written" in line
