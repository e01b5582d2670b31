"""A rare label keeps its meaning, however often people differ about the common ones."""

import numpy as np
import pytest

from models.crowd import choices
from models.crowd.anchoring import MOST_OF_RIGHT, MOST_OF_TWO, anchored
from models.crowd.choices import ChoiceCrowd


def graded_votes(seed=0, galaxies=300, people=40):
    """Everybody votes on all; most see the first label, two galaxies are stars."""
    rng = np.random.default_rng(seed)
    share = rng.beta(3, 1.2, galaxies)
    chances = np.column_stack([share, 1 - share, np.full(galaxies, 0.01)])
    chances[:2] = [0.05, 0.05, 0.9]
    chances /= chances.sum(axis=1, keepdims=True)
    drawn = rng.random((galaxies, people, 1)) > chances.cumsum(axis=1)[:, None]
    tasks, persons = np.divmod(np.arange(galaxies * people), people)
    return tasks, persons, drawn.sum(axis=2).clip(0, 2).ravel(), chances.argmax(axis=1)


def test_a_rare_label_does_not_become_that_of_disputes(monkeypatch):
    tasks, people, labels, truth = graded_votes()
    shape = (len(truth), 40, 3)
    crowd = ChoiceCrowd.fit(tasks, people, labels, shape)
    right = (crowd.posterior.argmax(axis=1) == truth).mean()
    assert right > 0.9
    assert (crowd.posterior.argmax(axis=1) == 2).sum() <= 4
    # Without it the label is lost, or this test says nothing.
    monkeypatch.setattr(choices, "anchored", lambda counts, of_known: counts)
    free = ChoiceCrowd.fit(tasks, people, labels, shape)
    assert (free.posterior.argmax(axis=1) == truth).mean() < right - 0.1


def test_rows_keep_their_sums_and_the_right_label_leads():
    rng = np.random.default_rng(1)
    counts = rng.gamma(0.5, 4, (7, 4, 4))
    counts[3] = 0
    found = anchored(counts, np.zeros_like(counts))
    assert np.allclose(found.sum(axis=2), counts.sum(axis=2))
    assert (found >= 0).all()
    changed = ~np.isclose(found, counts)
    assert changed.any()
    pooled = counts.sum(axis=0)
    fine = (pooled <= MOST_OF_RIGHT * np.diagonal(pooled)[:, None] + 1e-12) | np.eye(4, dtype=bool)
    rows = fine.all(axis=1)
    assert np.allclose(found[:, rows], counts[:, rows])


def test_people_who_differ_go_on_to_differ():
    counts = np.zeros((2, 3, 3))
    counts[:, 0] = [[8, 2, 0], [2, 18, 0]]
    counts[:, 1, 1] = counts[:, 2, 2] = 10
    found = anchored(counts, np.zeros_like(counts))
    assert found[0, 0, 1] / found[0, 0, 0] < found[1, 0, 1] / found[1, 0, 0]
    assert found[:, 0, 1].sum() < found[:, 0, 0].sum()


def test_a_row_that_nobody_ever_got_right_is_left_alone():
    counts = np.zeros((2, 3, 3))
    counts[:, 0, 1] = 5
    assert np.isfinite(anchored(counts, np.zeros_like(counts))).all()
    assert np.allclose(anchored(counts, np.zeros_like(counts)), counts)


def test_with_two_labels_people_may_miss_one_up_to_three_times_in_five():
    none = np.zeros((1, 2, 2))
    missed_by_half = np.array([[[9.0, 1.0], [6.0, 5.0]]])
    assert np.allclose(anchored(missed_by_half, none), missed_by_half)
    never_seen = np.array([[[9.0, 1.0], [20.0, 1.0]]])
    found = anchored(never_seen, none)[0]
    assert found[1].sum() == 21
    assert found[1, 0] == pytest.approx(MOST_OF_TWO * found[1, 1])
    assert np.allclose(found[0], [9, 1])


def test_known_answers_may_say_that_people_are_worse():
    counts = np.array([[[300.0, 20.0], [270.0, 30.0]]])
    free = anchored(counts, counts)[0]
    tied = anchored(counts, np.zeros_like(counts))[0]
    assert free[1, 1] < 0.5 * tied[1, 1]


def test_one_label_is_left_alone():
    counts = np.array([[[1.0]], [[9.0]]])
    assert anchored(counts, counts) is counts
