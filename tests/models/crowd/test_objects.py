"""Marked objects: real or not, by who marked them and who did not."""

from __future__ import annotations

import numpy as np

from models.crowd.objects import LEAST_OBJECTS, Seen, real_objects


def world(seed: int, images: int = 150) -> tuple[list[Seen], list[bool]]:
    """Return what six careful people and four who mark anything made of true and false objects."""
    rng = np.random.default_rng(seed)
    finds = np.array([0.9] * 6 + [0.6] * 4)
    invents = np.array([0.05] * 6 + [0.5] * 4)
    objects, truth = [], []
    for _ in range(images):
        looked = rng.choice(10, 4, replace=False)
        for real in (True, False, False):
            chance = finds[looked] if real else invents[looked]
            marked = frozenset(looked[rng.random(4) < chance].tolist())
            if marked:
                objects.append(Seen(looked.tolist(), marked))
                truth.append(real)
    return objects, truth


def test_who_is_careful_counts_for_more_than_how_many_marked_it() -> None:
    right, counted = [], []
    for seed in range(4):
        objects, truth = world(seed)
        share = np.array([len(one.marked) / len(one.looked) for one in objects])
        right.append(np.mean((real_objects(objects) > 0.5) == truth))
        counted.append(np.mean((share > 0.5) == truth))
    assert np.mean(right) > np.mean(counted) + 0.03
    assert np.mean(right) > 0.88


def test_few_objects_are_judged_by_the_share_who_marked_them() -> None:
    few = [Seen(["a", "b", "c"], frozenset("ab"))] * (LEAST_OBJECTS - 1)
    np.testing.assert_allclose(real_objects(few), 2 / 3)
    alone = [Seen(["a"], frozenset("a"))] * 50
    np.testing.assert_array_equal(real_objects(alone), 1.0)
    assert real_objects([]).shape == (0,)


def test_what_everybody_marks_is_real_and_the_order_of_people_is_nothing() -> None:
    objects, _ = world(0)
    everybody = Seen(list(range(10)), frozenset(range(10)))
    first = real_objects([*objects, everybody])
    assert first[-1] > 0.95
    turned = [Seen(one.looked[::-1], one.marked) for one in [*objects, everybody]]
    np.testing.assert_allclose(real_objects(turned), first, atol=1e-6)
