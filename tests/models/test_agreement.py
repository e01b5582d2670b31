"""Several people's shapes become one truth."""

from __future__ import annotations

import numpy as np
import pytest

from models.agreement import agreed, ellipse_numbers, ellipse_of
from models.answers import Box, Ellipse, Mask, Point
from models.opinions import Opinions


def test_boxes_of_three_people() -> None:
    opinions = Opinions.of(
        [Box(10, 10, 20, 20, label="a"), Box(60, 60, 10, 10, label="b")],
        [Box(12, 9, 20, 20, label="c")],
        [Box(11, 11, 21, 19, label="a")],
        [],
    )
    first, second = agreed(opinions)
    assert first.share == 0.75
    assert first.labels == {"a": pytest.approx(2 / 3), "c": pytest.approx(1 / 3)}
    assert first.shape == Box(11, 10, 21, 20, label="a", score=0.75)
    assert (second.share, second.shape.label) == (0.25, "b")


def test_one_person_can_mark_two_that_touch() -> None:
    twins = [Point(10, 10), Point(13, 10)]
    found = agreed(Opinions.of(twins, twins[::-1]), Point)
    assert sorted(one.shape.x for one in found if isinstance(one.shape, Point)) == [10, 13]
    assert all(one.share == 1 for one in found)


def test_ellipses_whose_axes_are_swapped_agree() -> None:
    one = Ellipse(50, 50, 20, 8, 170)
    found = agreed(Opinions.of([one], [one.turned()], [Ellipse(50, 50, 20, 8, 10)]), Ellipse)
    assert len(found) == 1
    shape = found[0].shape
    assert isinstance(shape, Ellipse)
    assert shape.major == pytest.approx(20, rel=0.05)
    assert shape.minor == pytest.approx(8, rel=0.1)


def test_turned_boxes_are_fused_turned() -> None:
    box = Box(20, 20, 30, 10, rotation=30)
    (found,) = agreed(Opinions.of([box], [box]))
    assert isinstance(found.shape, Box)
    assert found.shape.corners == pytest.approx(box.corners)


def test_nobody_or_nothing() -> None:
    assert agreed(Opinions.of()) == []
    assert agreed(Opinions.of([], [])) == []
    assert agreed(Opinions.of([Mask(np.ones((2, 2), bool)), Point(1, 1)])) == []


def test_numbers_of_an_ellipse_give_it_back() -> None:
    for one in (Ellipse(3, 4, 9, 2, 30), Ellipse(3, 4, 2, 9, 100), Ellipse(1, 2, 5, 5, 0)):
        again = ellipse_of(*ellipse_numbers(one))
        assert (again.x, again.y) == (one.x, one.y)
        assert (again.major, again.minor) == pytest.approx((one.major, one.minor))
        if one.axis_ratio < 1:
            assert again.angle == pytest.approx(one.angle)
