"""Several people's shapes: which are one object, and what is told of it."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.catalogue.fusing import fuse
from models.answers import Box, Ellipse, Mask, Point, Polygon

DIAGONAL = 500.0


def mask(left: int, label: str = "a") -> Mask:
    pixels = np.zeros((60, 80), bool)
    pixels[20:40, left : left + 20] = True
    return Mask(pixels, label=label)


def test_boxes_are_fused_across_labels_and_the_most_given_one_stands() -> None:
    box = Box(10, 10, 20, 20, label="a")
    people = [[box], [Box(12, 10, 20, 20, label="b")], [Box(11, 11, 20, 20, label="b")]]
    [one] = fuse(people, DIAGONAL)
    assert (one.persons, one.shape.label) == (3, "b")
    assert isinstance(one.shape, Box)
    assert (one.shape.x, one.shape.y) == (11, 10)
    assert one.shape.score is None


def test_one_person_marks_an_object_once() -> None:
    box = Box(10, 10, 20, 20)
    assert [one.persons for one in fuse([[box, box]], DIAGONAL)] == [1, 1]
    assert [one.persons for one in fuse([[box, box], [box]], DIAGONAL)] == [2, 1]


def test_the_turn_of_a_box_that_was_described_otherwise_is_kept() -> None:
    box = Box(50, 50, 40, 10, 30)
    [one] = fuse([[box], [box.turned()]], DIAGONAL)
    assert isinstance(one.shape, Box)
    assert one.shape.centre == pytest.approx(box.centre)
    assert max(one.shape.width, one.shape.height) == pytest.approx(40, rel=0.01)


def test_points_near_one_another_are_one() -> None:
    near, far = Point(100, 100), Point(140, 100)
    found = fuse([[near, far], [Point(110, 100)]], DIAGONAL)
    assert [one.persons for one in found] == [2, 1]
    assert found[0].shape == Point(105, 100)
    assert len(fuse([[near], [Point(100 + 0.035 * DIAGONAL, 100)]], DIAGONAL)) == 2


def test_masks_are_fused_by_agreement_and_only_with_their_like() -> None:
    [one, other] = fuse([[mask(10), mask(12, "b")], [mask(14)]], DIAGONAL)
    assert (one.persons, one.shape.label, other.shape.label) == (2, "a", "b")
    assert isinstance(one.shape, Mask)
    columns = np.flatnonzero(one.shape.pixels.any(axis=0))
    assert (columns.min(), columns.max()) == (14, 29), "what both painted"
    three = fuse([[mask(10)], [mask(12)], [mask(16)]], DIAGONAL)[0].shape
    assert isinstance(three, Mask)
    assert np.flatnonzero(three.pixels.any(axis=0)).tolist() == list(range(12, 32))


def test_of_outlines_the_most_typical_is_told() -> None:
    outlines = [Polygon(((x, 0), (x + 40, 0), (x + 20, 40))) for x in (0, 4, 12)]
    [one] = fuse([[outline] for outline in outlines], DIAGONAL)
    assert one.shape == outlines[1]
    flat = Polygon(((0, 5), (10, 5), (20, 5)))
    assert fuse([[flat], [flat]], DIAGONAL)[0].persons == 2


def test_kinds_are_apart_and_nothing_is_nothing() -> None:
    people = [[Box(0, 0, 20, 20), Ellipse(10, 10, 10, 10)], []]
    assert sorted(one.shape.kind for one in fuse(people, DIAGONAL)) == ["box", "ellipse"]
    assert fuse([], DIAGONAL) == []
    assert fuse([[], []], DIAGONAL) == []
