"""The panel shows four tiles, and its difference has the right sign."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from lvcf.runs.panel import FOOTER, GAP, HEADER, difference_colours, difference_scale, panel_frames, upscale

SIZE, FACTOR = 112, 3
WIDE = SIZE * FACTOR


def _panel(change: int) -> NDArray[np.uint8]:
    """A mid-grey clip whose middle square changes by ``change`` levels; the mask covers the square."""
    factual = np.full((2, SIZE, SIZE, 3), 120, dtype=np.uint8)
    counterfactual, mask = factual.copy(), np.zeros((2, SIZE, SIZE))
    counterfactual[:, 40:72, 40:72] += np.uint8(change % 256)
    mask[:, 40:72, 40:72] = 1
    return panel_frames(factual, counterfactual, mask)


def _centre(panel: NDArray[np.uint8], tile: int) -> list[int]:
    middle = WIDE // 2
    return [int(v) for v in panel[0, HEADER + middle, tile * (WIDE + GAP) + middle]]


def test_four_tiles_side_by_side_scaled_by_an_integer() -> None:
    panel = _panel(40)
    assert panel.dtype == np.uint8
    assert panel.shape == (2, HEADER + WIDE + FOOTER, 4 * WIDE + 3 * GAP, 3)
    assert _centre(panel, 0) == [120, 120, 120]
    assert _centre(panel, 1) == [160, 160, 160]


def test_a_large_or_wide_clip_keeps_its_shape() -> None:
    clip = np.zeros((1, 360, 480, 3), dtype=np.uint8)
    assert panel_frames(clip, clip, np.zeros((1, 360, 480))).shape == (1, HEADER + 360 + FOOTER, 4 * 480 + 3 * GAP, 3)


def test_red_where_the_counterfactual_is_brighter_and_blue_where_darker() -> None:
    red, _, blue = _centre(_panel(40), 2)
    assert red > blue + 80
    red, _, blue = _centre(_panel(-40), 2)
    assert blue > red + 80


def test_no_change_is_neutral_and_colours_saturate_evenly() -> None:
    red, green, blue = (int(v) for v in difference_colours(np.zeros(1), 10)[0])
    assert max(red, green, blue) - min(red, green, blue) < 4
    assert (difference_colours(np.array([99.0]), 10) == difference_colours(np.array([10.0]), 10)).all()


def test_the_mask_tints_only_what_it_covers() -> None:
    panel = _panel(40)
    red, _, blue = _centre(panel, 3)
    assert red > blue + 40
    assert panel[0, HEADER + 20, 3 * (WIDE + GAP) + 20].tolist() == [120, 120, 120]


@pytest.mark.parametrize(("change", "scale"), [(0, 10), (33, 40), (120, 120)])
def test_the_scale_is_a_plain_number_no_smaller_than_the_change(change: int, scale: int) -> None:
    factual = np.zeros((1, 8, 8, 3), dtype=np.uint8)
    assert difference_scale(factual, factual + np.uint8(change)) == scale


def test_upscaling_keeps_a_ramp_and_puts_pixels_in_place() -> None:
    ramp = np.tile(np.arange(12.0, dtype=np.float32), (1, 5, 1))
    larger = upscale(ramp, 3)
    assert larger.shape == (1, 15, 36)
    np.testing.assert_allclose(larger[0, 7, 6:-6], (np.arange(36)[6:-6] - 1) / 3, atol=1e-5)
