"""Shapes, their masks, and masks' outlines."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from models.answers import Box, Ellipse, Mask, Number, Point, Polygon, Stars
from models.outlines import outlines, signed_area, simplified
from models.rasters import ellipse_mask, mask_of, polygon_mask, rings_mask

MASKS = arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=24))


@settings(max_examples=150, deadline=None)
@given(MASKS)
def test_outlines_filled_give_the_mask_back(mask: np.ndarray) -> None:
    rings = outlines(mask)
    assert np.array_equal(rings_mask(list(rings), *mask.shape), mask)
    assert sum(map(signed_area, rings)) == mask.sum()


@pytest.mark.parametrize(
    ("rows", "parts", "holes"),
    [
        (["1"], 1, 0),
        (["10", "01"], 2, 0),
        (["01", "10"], 2, 0),
        (["111", "101", "111"], 1, 1),
        (["11100", "10111", "11101", "00111"], 1, 2),
        (["000"], 0, 0),
    ],
)
def test_parts_and_holes(rows: list[str], parts: int, holes: int) -> None:
    mask = np.array([[cell == "1" for cell in row] for row in rows])
    areas = [signed_area(ring) for ring in outlines(mask)]
    assert sum(area > 0 for area in areas) == parts
    assert sum(area < 0 for area in areas) == holes


def test_a_rectangle_has_four_corners() -> None:
    mask = np.zeros((9, 9), bool)
    mask[2:5, 3:9] = True
    [ring] = outlines(mask)
    assert sorted(map(tuple, ring.tolist())) == [(3, 2), (3, 5), (9, 2), (9, 5)]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(-5, 25), st.floats(-5, 25)), min_size=3, max_size=8))
def test_polygons_are_filled_as_the_rule_says(points: list[tuple[float, float]]) -> None:
    mask = polygon_mask(points, 20, 18)
    for row, column in [(0, 0), (10, 9), (19, 17), (5, 12), (13, 3)]:
        x, y = column + 0.5, row + 0.5
        crossings = 0
        for (x0, y0), (x1, y1) in zip(points, points[1:] + points[:1], strict=True):
            if (y0 <= y) != (y1 <= y):
                (x0, y0), (x1, y1) = sorted([(x0, y0), (x1, y1)], key=lambda point: point[1])
                crossings += x0 + (y - y0) / (y1 - y0) * (x1 - x0) <= x
        assert mask[row, column] == (crossings % 2 == 1)


def test_shapes_that_share_an_edge_share_no_pixel() -> None:
    left = polygon_mask([(0, 0), (7.5, 0), (2.5, 10), (0, 10)], 10, 10)
    right = polygon_mask([(7.5, 0), (10, 0), (10, 10), (2.5, 10)], 10, 10)
    assert not (left & right).any()
    assert (left | right).all()


def test_boxes_turn_about_their_upper_left_corner() -> None:
    box = Box(10, 10, 4, 2, 90)
    assert box.corners == pytest.approx(np.array([(10, 10), (10, 14), (8, 14), (8, 10)]))
    assert box.centre == pytest.approx((9, 12))
    assert box.bounds == pytest.approx((8, 10, 10, 14))
    mask = mask_of(box, 20, 20)
    assert mask.sum() == 8
    assert mask[10:14, 8:10].all()


@given(st.floats(0, 359), st.floats(1, 50), st.floats(1, 50))
def test_a_box_turned_is_the_same_box(rotation: float, width: float, height: float) -> None:
    box = Box(60, 60, width, height, rotation)
    turned = box.turned()
    assert np.roll(turned.corners, -1, axis=0) == pytest.approx(box.corners)
    assert 0 <= turned.rotation < 360


def test_ellipses_by_their_axes() -> None:
    ellipse = Ellipse(32, 32, 5, 20, 30)
    assert (ellipse.major, ellipse.minor, ellipse.axis_ratio) == (20, 5, 0.25)
    assert ellipse.angle == 120
    assert ellipse.turned().angle == 120
    mask = ellipse_mask(ellipse, 64, 64)
    assert mask.sum() == pytest.approx(math.pi * 100, rel=0.03)
    assert np.array_equal(mask, ellipse_mask(ellipse.turned(), 64, 64))
    turn = math.radians(120)
    assert mask[int(32 + 18 * math.sin(turn)), int(32 + 18 * math.cos(turn))]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Box(0, 0, 0, 1),
        lambda: Box(math.nan, 0, 1, 1),
        lambda: Ellipse(0, 0, -1, 1),
        lambda: Polygon(((0, 0), (1, 1))),
        lambda: Polygon.of([(0, 0), (1, 1), (math.inf, 0)]),
        lambda: Point(0, math.inf),
        lambda: Mask(np.zeros(3, bool)),
        lambda: Mask(np.zeros((0, 3), bool)),
        lambda: Number(math.nan),
        lambda: Stars(0),
        lambda: Number(1, score=1.5),
        lambda: Number(1, score=math.nan),
    ],
)
def test_what_is_no_answer_is_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        make()  # type: ignore[operator]


def test_masks_are_compared_by_their_pixels_and_do_not_change() -> None:
    pixels = np.eye(3, dtype=bool)
    mask = Mask(pixels, label="a")
    pixels[0, 1] = True
    assert mask == Mask(np.eye(3, dtype=bool), label="a")
    assert mask != Mask(pixels, label="a")
    assert len({mask, Mask(np.eye(3, dtype=bool), label="a")}) == 1
    with pytest.raises(ValueError, match="read-only"):
        mask.pixels[0, 0] = False
    with pytest.raises(ValueError, match="no pixels"):
        mask_of(Point(1, 1), 3, 3)


def test_outlines_lose_corners_but_hardly_any_pixel() -> None:
    rows, columns = np.mgrid[:80, :90] + 0.5
    disc = (columns - 40) ** 2 + (rows - 42) ** 2 < 30**2
    (ring,) = outlines(disc)
    fewer = simplified(ring, 0.75)
    assert 8 <= len(fewer) < len(ring) / 2
    again = polygon_mask(fewer, 80, 90)
    assert (again & disc).sum() / (again | disc).sum() > 0.98
    np.testing.assert_array_equal(polygon_mask(simplified(ring, 0.0), 80, 90), disc)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, 1e9])
def test_simplified_polygons_keep_three_corners(tolerance: float) -> None:
    square = np.array([[0, 0], [5, 0], [10, 0], [10, 10], [0, 10]], dtype=float)
    assert 3 <= len(simplified(square, tolerance)) <= 5
    assert len(simplified(square[:3], tolerance)) == 3
