"""Numbers of a crowd: better than means and medians, honest errors, and hostile input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.crowd.numbers import NumberCrowd


def crowd(seed: int, n: int = 300, p: int = 20, each: int = 5, slips: float = 0.03) -> Any:
    """Return tasks, people, answers, truth, bias and scatter of an invented crowd."""
    rng = np.random.default_rng(seed)
    truth = rng.normal(17, 2, n)
    bias, scatter = rng.normal(0, 0.3, p), rng.choice([0.05, 0.2, 0.8], p)
    tasks = np.repeat(np.arange(n), each)
    people = np.concatenate([rng.choice(p, each, replace=False) for _ in range(n)])
    answers = truth[tasks] + bias[people] + scatter[people] * rng.normal(size=n * each)
    slipped = rng.random(len(answers)) < slips
    answers[slipped] += rng.normal(0, 10, slipped.sum())
    return tasks, people, answers, truth, bias, scatter


def off(estimate: Any, truth: Any) -> float:
    return float(np.sqrt(np.mean((estimate - truth) ** 2)))


@pytest.mark.parametrize("seed", range(4))
def test_it_is_clearly_better_than_means_and_medians(seed: int) -> None:
    tasks, people, answers, truth, _, _ = crowd(seed)
    fitted = NumberCrowd.fit(tasks, people, answers, (300, 20))
    table = answers.reshape(300, 5)
    assert off(fitted.values, truth) < 0.75 * off(np.median(table, axis=1), truth)
    assert off(fitted.values, truth) < 0.4 * off(table.mean(axis=1), truth)


def test_bias_and_scatter_of_people_are_found() -> None:
    tasks, people, answers, _, bias, scatter = crowd(1)
    fitted = NumberCrowd.fit(tasks, people, answers, (300, 20))
    # What all have in common cannot be told.
    assert np.abs((fitted.bias - fitted.bias.mean()) - (bias - bias.mean())).max() < 0.25
    assert np.corrcoef(np.log(fitted.scatter), np.log(scatter))[0, 1] > 0.95


def test_a_common_bias_is_found_by_known_values() -> None:
    tasks, people, answers, truth, bias, _ = crowd(2)
    answers = answers + 1.5
    gold = np.full(300, np.nan)
    gold[:40] = truth[:40]
    fitted = NumberCrowd.fit(tasks, people, answers, (300, 20), gold=gold)
    assert abs(float((fitted.bias - bias).mean()) - 1.5) < 0.1
    assert abs(float((fitted.values - truth)[40:].mean())) < 0.1
    assert (fitted.errors[:40] == 0).all()
    assert (fitted.values[:40] == truth[:40]).all()


def test_errors_are_as_large_as_people_are_wrong() -> None:
    once, twice = [], []
    for seed in range(8):
        tasks, people, answers, truth, _, _ = crowd(seed, slips=0.01)
        fitted = NumberCrowd.fit(tasks, people, answers, (300, 20))
        away = np.abs(fitted.values - truth) / fitted.errors
        once.append(np.mean(away < 1))
        twice.append(np.mean(away < 2))
    assert 0.55 < np.mean(once) < 0.80
    assert 0.85 < np.mean(twice) < 0.99


def test_a_slip_of_one_person_counts_for_little() -> None:
    tasks, people = np.repeat(np.arange(30), 4), np.tile(np.arange(4), 30)
    answers = 10 + np.random.default_rng(0).normal(0, 0.1, 120)
    answers[0] = 99.0
    fitted = NumberCrowd.fit(tasks, people, answers, (30, 4))
    assert abs(fitted.values[0] - 10) < 0.3


def test_angles_near_the_seam_have_their_mean_there() -> None:
    tasks, people = np.repeat(np.arange(40), 3), np.tile(np.arange(3), 40)
    rng = np.random.default_rng(0)
    answers = (179.5 + rng.normal(0, 2, 120) + np.tile([0.0, 3.0, -3.0], 40)) % 180
    fitted = NumberCrowd.fit(tasks, people, answers, (40, 3), period=180.0)
    away = (fitted.values - 179.5 + 90) % 180 - 90
    assert np.abs(away).max() < 5
    assert (fitted.values >= 0).all()
    assert (fitted.values < 180).all()
    assert fitted.bias[1] > 1.5 > -1.5 > fitted.bias[2]


def test_one_answer_is_its_own_value_and_nobody_s_is_missing() -> None:
    fitted = NumberCrowd.fit([1], [0], [3.5], (3, 2))  # type: ignore[arg-type]
    assert fitted.values[1] == pytest.approx(3.5, abs=1e-6)
    assert np.isnan(fitted.values[[0, 2]]).all()
    assert np.isnan(fitted.errors[[0, 2]]).all()
    assert fitted.counts.tolist() == [0, 1, 0]
    empty = NumberCrowd.fit(np.zeros(0, int), np.zeros(0, int), np.zeros(0), (0, 0))
    assert len(empty.values) == len(empty.bias) == 0


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.integers(0, 3),
            st.floats(-1e9, 1e9, allow_nan=False, allow_infinity=False),
        ),
        max_size=30,
    )
)
def test_any_answers_give_finite_values_within_reach(votes: Any) -> None:
    tasks = np.array([vote[0] for vote in votes], np.int64)
    people = np.array([vote[1] for vote in votes], np.int64)
    answers = np.array([vote[2] for vote in votes], np.float64)
    fitted = NumberCrowd.fit(tasks, people, answers, (5, 4))
    there = fitted.counts > 0
    assert np.isfinite(fitted.values[there]).all()
    assert np.isfinite(fitted.errors[there]).all()
    assert np.isfinite(fitted.bias).all()
    assert (fitted.scatter > 0).all()
    width = float(np.ptp(answers)) + 1e-3 * float(np.abs(answers).max()) + 1 if len(answers) else 0
    for row in np.flatnonzero(there):
        mine = answers[tasks == row]
        assert mine.min() - width <= fitted.values[row] <= mine.max() + width


@pytest.mark.parametrize(
    ("tasks", "people", "answers", "named"),
    [
        ([0, 1], [0], [1.0, 2.0], "one person"),
        ([5], [0], [1.0], "task"),
        ([0], [-1], [1.0], "person"),
        ([0], [0], [np.nan], "finite"),
        ([0], [0], [np.inf], "finite"),
    ],
)
def test_wrong_input_is_named(tasks: Any, people: Any, answers: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        NumberCrowd.fit(np.array(tasks), np.array(people), np.array(answers), (2, 2))


def test_a_hundred_thousand_answers_take_a_moment() -> None:
    tasks, people, answers, truth, _, _ = crowd(0, n=20_000, p=300)
    fitted = NumberCrowd.fit(tasks, people, answers, (20_000, 300))
    assert off(fitted.values, truth) < 0.35
