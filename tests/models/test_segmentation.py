"""The object under a point, found without learning."""

from __future__ import annotations

import numpy as np
import pytest

from models.answers import Ellipse
from models.rasters import ellipse_mask
from models.segmentation import mask_to_box, mask_to_ellipse, segment_at, sky_of


def scene(*galaxies: tuple[float, float, float, float], noise: float = 3.0) -> np.ndarray:
    """A 160 x 200 sky with exponential discs of (x, y, scale length, peak)."""
    rows, columns = np.mgrid[:160, :200] + 0.5
    light = np.random.default_rng(0).normal(12, noise, (160, 200))
    for x, y, size, peak in galaxies:
        light += peak * np.exp(-np.hypot(columns - x, rows - y) / size)
    return np.repeat(light[..., None], 3, axis=2).clip(0, 255).astype(np.uint8)


def test_an_object_is_cut_out_near_its_edge() -> None:
    mask = segment_at(scene((60, 70, 8, 200)), 63, 66)
    shape = mask_to_ellipse(mask)
    assert (shape.x, shape.y) == pytest.approx((60, 70), abs=1)
    # 200 exp(-r / 8) meets the threshold of about 20 of 255 at some 18 pixels.
    assert shape.major == pytest.approx(18, abs=4)
    assert shape.axis_ratio > 0.9


def test_touching_objects_are_parted_and_knots_are_not() -> None:
    pair = scene((70, 80, 7, 180), (106, 80, 7, 150))
    left, right = segment_at(pair, 70, 80), segment_at(pair, 106, 80)
    assert not (left & right).any()
    assert left[80, 70]
    assert right[80, 106]
    knots = segment_at(scene((90, 80, 14, 150), (103, 80, 3, 18)), 90, 80)
    assert knots[80, 103]


def test_sky_gives_nothing_and_near_misses_do() -> None:
    picture = scene((60, 70, 3, 200))
    assert not segment_at(picture, 180, 20).any()
    assert segment_at(picture, 60 + 3 * np.log(10) + 3, 70)[70, 60]
    assert not segment_at(np.zeros((9, 9, 3), np.uint8), 4, 4).any()
    assert segment_at(np.full((1, 1, 3), 200, np.uint8), 1, 1).shape == (1, 1)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="outside"):
        segment_at(scene(), 201, 4)
    with pytest.raises(ValueError, match=r"\[H, W, 3\]"):
        segment_at(np.zeros((4, 4), np.uint8), 1, 1)
    with pytest.raises(ValueError, match="no pixel"):
        mask_to_box(np.zeros((4, 4), bool))
    with pytest.raises(ValueError, match="finite"):
        sky_of(np.full((2, 2), np.nan))


@pytest.mark.parametrize("angle", [0, 30, 90, 140])
def test_moments_give_a_filled_ellipse_back(angle: float) -> None:
    mask = ellipse_mask(Ellipse(50.5, 44.25, 30, 12, angle), 100, 120)
    shape = mask_to_ellipse(mask, label="spiral", score=0.5)
    assert (shape.x, shape.y) == pytest.approx((50.5, 44.25), abs=0.2)
    assert (shape.radius_x, shape.radius_y) == pytest.approx((30, 12), abs=0.3)
    assert min(abs(shape.rotation - angle), 180 - abs(shape.rotation - angle)) < 1
    assert (shape.label, shape.score) == ("spiral", 0.5)


def test_a_box_holds_all_pixels() -> None:
    mask = np.zeros((10, 12), bool)
    mask[2:5, 3:9] = True
    box = mask_to_box(mask, label="a")
    assert (box.x, box.y, box.width, box.height, box.label) == (3, 2, 6, 3, "a")


def test_the_sky_under_many_objects() -> None:
    rng = np.random.default_rng(1)
    light = rng.normal(50, 2, (100, 100))
    light[:40] += rng.exponential(60, (40, 100))
    level, noise = sky_of(light)
    assert level == pytest.approx(50, abs=1)
    assert noise == pytest.approx(2, abs=0.6)
