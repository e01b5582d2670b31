"""Overlap of shapes, rivals, matching."""

from __future__ import annotations

import math

import numpy as np
import pytest

from models.answers import Box, Ellipse, Point
from models.boxes import average_precision, bounds, matched, overlap, overlaps, strongest


def test_boxes_overlap_exactly() -> None:
    assert overlap(Box(0, 0, 10, 10), Box(5, 0, 10, 10)) == pytest.approx(1 / 3)
    assert overlap(Box(0, 0, 10, 10), Box(10, 0, 10, 10)) == 0
    assert overlaps([], [Box(0, 0, 1, 1)]).shape == (0, 1)


def test_turned_boxes_and_ellipses() -> None:
    # A square turned by 45 degrees about its centre: intersection is a regular octagon.
    half = 10 / math.sqrt(2)
    turned = Box(5, 5 - half, 10, 10, rotation=45)
    octagon = 8 * 25 * (math.sqrt(2) - 1)
    assert overlap(Box(0, 0, 10, 10), turned) == pytest.approx(octagon / (200 - octagon), abs=0.02)
    circle = Ellipse(5, 5, 5, 5)
    assert overlap(circle, Box(0, 0, 10, 10)) == pytest.approx(math.pi / 4, abs=0.01)
    flat = Ellipse(5, 5, 20, 5, 30)
    assert overlap(flat, flat.turned()) == pytest.approx(1)
    assert overlap(circle, flat) == pytest.approx(1 / 4, abs=0.02)
    assert overlap(Ellipse(5, 5, 20, 2, 0), Ellipse(5, 5, 20, 2, 90)) < 0.1
    assert bounds(Ellipse(0, 0, 20, 5, 90)) == pytest.approx((-5, -20, 5, 20))


def test_points_overlap_by_distance() -> None:
    assert overlap(Point(0, 0), Point(0, 8)) == pytest.approx(0.5)
    assert overlap(Point(3, 3), Point(3, 3)) == 1
    assert overlap(Point(5, 5), Box(0, 0, 10, 10)) == 1


def test_rivals_and_matches() -> None:
    boxes = [Box(0, 0, 10, 10), Box(1, 0, 10, 10), Box(30, 0, 10, 10)]
    scores = np.array([0.5, 0.9, 0.2])
    assert strongest(overlaps(boxes, boxes), scores, 0.5).tolist() == [1, 2]
    truth = [Box(0, 0, 10, 10), Box(50, 0, 4, 4)]
    # The surer one takes it, though the other lies better.
    assert matched(overlaps(boxes, truth), scores).tolist() == [-1, 0, -1]
    assert matched(np.zeros((2, 0)), np.ones(2)).tolist() == [-1, -1]


def test_average_precision_by_hand() -> None:
    correct, scores = np.array([True, False, True]), np.array([0.9, 0.8, 0.7])
    assert average_precision(correct, scores, 2) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert average_precision(np.zeros(0, bool), np.zeros(0), 3) == 0
    assert math.isnan(average_precision(correct, scores, 0))
