"""The simulated loop asks and learns as rounds do."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from labelled_sets import split
from numpy.typing import NDArray
from simulated_loop import LoopOptions, People, label_galaxies

from ml_backend.loop.acquisition import audit_order
from models.metrics import macro_auc

LABELS = ("elliptical", "spiral")


def galaxies(count: int = 60) -> tuple[NDArray[np.float16], People]:
    rng = np.random.default_rng(3)
    truth = rng.integers(2, size=count)
    points = rng.normal(size=(count, 8)) + 1.5 * truth[:, None]
    return points.astype(np.float16), People(LABELS, truth)


@pytest.mark.parametrize("active", [True, False])
def test_each_number_is_given_with_a_head_that_learned_from_as_many(active: bool) -> None:
    points, people = galaxies()
    numbers = [5, 10, 17, 60]
    options = LoopOptions(active=active)
    found = list(label_galaxies(points, people, numbers, options, 0, None))
    assert [len(rows) for rows, _ in found] == numbers
    for (fewer, _), (more, _) in pairwise(found):
        assert np.array_equal(more[: len(fewer)], fewer)
    assert len(np.unique(found[-1][0])) == 60
    answers = found[2][1].predict(points)
    assert macro_auc(answers, np.eye(2)[people.said]) > 0.85


def test_a_number_between_two_rounds_changes_nothing_in_what_is_asked() -> None:
    points, people = galaxies()
    loop = LoopOptions()
    plain = [rows for rows, _ in label_galaxies(points, people, [20], loop, 0, None)]
    often = [rows for rows, _ in label_galaxies(points, people, [5, 17, 20], loop, 0, None)]
    assert np.array_equal(plain[-1], often[-1])


def test_random_labels_come_in_the_audit_order() -> None:
    points, people = galaxies()
    loop = LoopOptions(active=False)
    ((rows, _),) = label_galaxies(points, people, [30], loop, 4, None)
    assert np.array_equal(rows, audit_order(np.arange(60), 4)[:30])


def test_the_defaults_are_those_of_the_service() -> None:
    options = LoopOptions()
    assert (options.strategy, options.per_round, options.top_k) == ("margin", 10, 200)
    assert options.audit_fraction == pytest.approx(0.1)


def test_a_third_is_held_out_and_differs_by_seed() -> None:
    held, pool = split(230, 0)
    assert len(held) == 76
    assert sorted([*held, *pool]) == list(range(230))
    assert set(held) != set(split(230, 1)[0])
