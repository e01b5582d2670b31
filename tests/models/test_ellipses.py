"""Ellipses as numbers: means, overlaps, and there and back relative to an outline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.answers import Ellipse
from models.ellipses import drawn_from, ellipse_of, mean_ellipse, overlap, relative, row_of
from models.photometry import Outline


def test_overlap_of_known_ellipses() -> None:
    circle = np.array([50.0, 50, 10, 10, 0])
    assert overlap(circle, circle) == 1
    assert overlap(circle, np.array([150.0, 50, 10, 10, 0])) == 0
    assert overlap(circle, np.array([50.0, 50, 20, 20, 0])) == pytest.approx(0.25, abs=0.02)
    assert overlap(circle, np.array([50.0, 50, 10, 5, 33])) == pytest.approx(0.5, abs=0.02)


def test_mean_of_equal_ellipses_is_that_ellipse() -> None:
    one = Ellipse(12, 30, 4, 9, 20)
    np.testing.assert_allclose(mean_ellipse([one, one.turned()]), [12, 30, 9, 4, 110], atol=1e-9)


def test_mean_goes_through_the_wrap() -> None:
    both = [Ellipse(0, 0, 9, 3, 178), Ellipse(0, 0, 9, 3, 2)]
    angle = mean_ellipse(both)[4]
    assert min(angle, 180 - angle) < 1e-6


@given(
    ratio=st.floats(0.1, 1),
    angle=st.floats(0, 179),
    size=st.floats(1, 50),
    own=st.floats(0.1, 1),
)
def test_there_and_back(ratio: float, angle: float, size: float, own: float) -> None:
    outline = Outline(40, 30, 3, own, angle, 4, 10)
    row = np.array([40.0, 30, size, size * ratio, angle])
    again = drawn_from(outline, np.array(relative(row, outline)))
    np.testing.assert_allclose(again[:4], row[:4], rtol=1e-6)


def test_rows_and_answers() -> None:
    ellipse = ellipse_of([1, 2, 5, 3, 170], "disc", 0.5)
    assert (ellipse.label, ellipse.score) == ("disc", 0.5)
    np.testing.assert_allclose(row_of(ellipse), [1, 2, 5, 3, 170])


def test_nothing_drawn_is_too_small_or_large() -> None:
    outline = Outline(0, 0, 0.5, 0.01, 20, 0.2, 1)
    for change in ([-99.0, 9.0], [99.0, -9.0]):
        row = drawn_from(outline, np.array(change))
        assert np.isfinite(row).all()
        assert 0 < row[3] <= row[2]
