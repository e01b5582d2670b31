"""Several people's masks: what they agree on, thing by thing and pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest

from models.answers import Mask, Polygon
from models.mask_agreement import fused_pixels, instances, iou, ious, marks_regions, staple
from models.opinions import Opinions

LABELS = ("spiral", "star")
SIZE = (60, 50)


def disc(x: float, y: float, r: float) -> np.ndarray:
    rows, columns = np.mgrid[:50, :60] + 0.5
    return (columns - x) ** 2 + (rows - y) ** 2 < r**2


def mask(x: float, y: float, r: float, label: str = "spiral") -> Mask:
    return Mask(disc(x, y, r), label=label)


def test_iou_of_pairs() -> None:
    a, b = disc(20, 20, 8), disc(24, 20, 8)
    table = ious([a, disc(45, 40, 5)], [b, a])
    assert table[0, 0] == pytest.approx(iou(a, b))
    assert table[0, 1] == 1
    assert table[1].max() == 0
    assert ious([], [a]).shape == (0, 1)
    assert iou(np.zeros((3, 3), bool), np.zeros((3, 3), bool)) == 0


def test_three_peoples_masks_become_the_majority() -> None:
    masks = [disc(20, 20, 8), disc(21, 20, 8), disc(20, 21, 9)]
    fused = fused_pixels(masks)
    assert iou(fused, np.sum(masks, axis=0) >= 2) > 0.97


def test_a_careless_person_weighs_less() -> None:
    """Four draw with a steady hand, three mark at random: the truth is the steady ones'."""
    rng = np.random.default_rng(0)
    truth = rng.random(4000) < 0.5
    steady = [truth ^ (rng.random(4000) < 0.05) for _ in range(3)]
    careless = [rng.random(4000) < 0.5 for _ in range(4)]
    votes = np.stack(steady + careless)
    wrong_majority = np.mean((votes.mean(axis=0) > 0.5) != truth)
    wrong = np.mean((staple(votes) > 0.5) != truth)
    assert wrong < 0.03
    assert wrong_majority > 4 * wrong


def test_probabilities_are_finite_whatever_is_marked() -> None:
    for votes in (np.zeros((3, 40), bool), np.ones((2, 40), bool), np.eye(4, dtype=bool)):
        p = staple(votes)
        assert np.isfinite(p).all()
        assert p.min() >= 0
        assert p.max() <= 1


def test_things_are_matched_across_people() -> None:
    opinions = Opinions.of(
        [mask(15, 15, 8), mask(42, 30, 6, "star")],
        [mask(43, 30, 6, "star"), mask(15, 16, 8, "star")],
        [mask(16, 15, 8)],
        size=SIZE,
    )
    found = instances(opinions, LABELS, SIZE)
    assert [round(thing.support, 2) for thing in found] == [1.0, 0.67]
    np.testing.assert_allclose(found[0].shares, [2 / 3, 1 / 3])
    np.testing.assert_allclose(found[1].shares, [0, 1])


def test_what_only_a_minority_saw_is_left_out() -> None:
    people = [[mask(15, 15, 8)], [], []]
    assert instances(Opinions.of(*people, size=SIZE), LABELS, SIZE) == []
    assert instances(Opinions.of([], size=SIZE), LABELS, SIZE) == []
    assert instances(Opinions.of(size=SIZE), LABELS, SIZE) == []


def test_one_person_is_taken_at_their_word() -> None:
    a, b = mask(15, 15, 8), mask(22, 15, 8)
    found = instances(Opinions.of([a, b], size=SIZE), LABELS, SIZE)
    assert len(found) == 2
    np.testing.assert_array_equal(found[0].pixels, a.pixels)


def test_regions_of_a_label_are_one() -> None:
    parts = [mask(10, 10, 5), mask(40, 30, 5), mask(40, 10, 4, "star")]
    found = instances(Opinions.of(parts, size=SIZE), LABELS, SIZE, joined=True)
    assert len(found) == 2
    np.testing.assert_array_equal(found[0].pixels, parts[0].pixels | parts[1].pixels)


def test_polygons_count_as_masks_and_strange_labels_do_not() -> None:
    square = Polygon.of([[10, 10], [30, 10], [30, 30], [10, 30]], label="spiral")
    other = Polygon.of([[10, 10], [30, 10], [30, 30]], label="comet")
    (found,) = instances(Opinions.of([square, other], size=SIZE), LABELS, SIZE)
    assert found.pixels.sum() == 400


def test_a_mask_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="image"):
        instances(Opinions.of([mask(15, 15, 8)], size=(99, 50)), LABELS, (99, 50))


def test_objects_and_regions_are_told_apart() -> None:
    objects = [Opinions.of([mask(15, 15, 8), mask(40, 30, 6)], size=SIZE)]
    single = [Opinions.of([mask(15, 15, 8)], size=SIZE)]
    wide = [Opinions.of([mask(30, 25, 40)], size=SIZE)]
    scattered = [Opinions.of([Mask(disc(10, 10, 4) | disc(40, 30, 5), label="spiral")], size=SIZE)]
    told = [marks_regions(targets) for targets in (objects, single, wide, scattered, [])]
    assert told == [False, False, True, True, False]
