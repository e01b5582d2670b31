"""The crowd's answer to a choice, and what it says of people."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
from crowdkit.aggregation import DawidSkene
from hypothesis import given, settings
from hypothesis import strategies as st
from voting import majority, right, voting

from models.crowd import choices
from models.crowd.choices import ChoiceCrowd
from models.crowd.population import Population


@pytest.mark.filterwarnings("ignore:The (inplace|copy) keyword")
def test_with_flat_priors_it_is_dawid_and_skene(monkeypatch: pytest.MonkeyPatch) -> None:
    """crowd-kit's own expectation and maximisation as the oracle."""
    monkeypatch.setattr(choices, "fit_correlation", lambda *_: 0.0)
    monkeypatch.setattr(choices, "anchored", lambda counts, _: counts)
    monkeypatch.setattr(choices, "_FIRST_TASKS", 1e-9)
    monkeypatch.setattr(choices, "_STILL", 1e-9)
    flat = np.full((2, 3), 1e-9)
    monkeypatch.setattr(Population, "learned", lambda self, _: Population(self.typical, flat))
    votes = voting(0, tasks=400, people=12, each=5)
    ours = ChoiceCrowd.fit(*votes.votes)
    table = pd.DataFrame({"task": votes.tasks, "worker": votes.people, "label": votes.labels})
    oracle = DawidSkene(n_iter=500, tol=1e-12).fit(table)
    theirs = oracle.probas_.loc[range(400), range(3)].to_numpy()
    np.testing.assert_allclose(ours.posterior, theirs, atol=1e-4)
    errors = oracle.errors_  # rows (worker, answer), columns truth
    for person in range(12):
        told = errors.loc[person].reindex(range(3)).fillna(0.0)[[0, 1, 2]].to_numpy()
        np.testing.assert_allclose(ours.confusion[person], told.T, atol=1e-4)


@pytest.mark.parametrize("seed", range(4))
def test_unequal_people_are_told_apart_and_weighted(seed: int) -> None:
    skill = np.r_[np.full(10, 0.9), np.full(20, 0.4)]
    votes = voting(seed, labels=3, each=6, skill=skill)
    crowd = ChoiceCrowd.fit(*votes.votes)
    mean, low, high = crowd.reliability()
    assert mean[:10].min() > mean[10:].max()
    assert ((low <= mean) & (mean <= high)).all()
    assert right(crowd.posterior, votes.truth) > right(majority(votes), votes.truth) + 0.05


def test_people_who_always_say_the_opposite_are_read_the_right_way_round() -> None:
    skill = np.r_[np.full(14, 0.85), np.full(6, 0.1)]
    votes = voting(1, tasks=200, people=20, labels=2, each=7, skill=skill)
    crowd = ChoiceCrowd.fit(*votes.votes)
    assert crowd.reliability()[0][14:].max() < 0.35
    assert right(crowd.posterior, votes.truth) > right(majority(votes), votes.truth) + 0.05
    assert (crowd.usefulness()[14:] == 0).all()
    # What such a person says makes the opposite likelier.
    assert crowd.update([19], [1])[0] > crowd.update([], [])[0]


def test_intervals_hold_the_true_skill_about_nine_times_in_ten() -> None:
    inside = []
    for seed in range(6):
        votes = voting(seed, tasks=400, people=60, each=6)
        _, low, high = ChoiceCrowd.fit(*votes.votes).reliability()
        inside.append(((low <= votes.skill) & (votes.skill <= high)).mean())
    assert 0.8 <= np.mean(inside) <= 0.97


def test_a_newcomer_is_typical_and_votes_narrow_the_interval() -> None:
    votes = voting(2, people=31)
    keep = votes.people < 30
    crowd = ChoiceCrowd.fit(votes.tasks[keep], votes.people[keep], votes.labels[keep], votes.shape)
    mean, low, high = crowd.reliability()
    np.testing.assert_allclose(crowd.confusion[30], crowd.typical, atol=1e-9)
    assert mean[30] == pytest.approx(np.diagonal(crowd.typical) @ crowd.prevalence)
    assert (high - low)[30] > 1.5 * (high - low)[:30].max()
    for stranger in (30, 31, 10_000, -1):
        np.testing.assert_allclose(crowd.update([stranger], [2]), crowd.update([-1], [2]))


def test_known_answers_are_kept_and_teach_who_is_right() -> None:
    """Most people are wrong in the same way; only known answers can tell."""
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 200)
    tasks, people = np.divmod(np.arange(200 * 9), 9)
    chance = np.r_[np.full(4, 0.95), np.full(5, 0.25)][people]
    labels = np.where(rng.random(len(tasks)) < chance, truth[tasks], 1 - truth[tasks])
    gold = np.where(np.arange(200) < 60, truth, -1)
    blind = ChoiceCrowd.fit(tasks, people, labels, (200, 9, 2))
    told = ChoiceCrowd.fit(tasks, people, labels, (200, 9, 2), gold=gold)
    np.testing.assert_array_equal(told.posterior[:60], np.eye(2)[truth[:60]])
    assert right(told.posterior[60:], truth[60:]) > 0.95
    assert right(told.posterior[60:], truth[60:]) >= right(blind.posterior[60:], truth[60:])
    np.testing.assert_array_equal(
        told.with_witness(np.full((200, 2), 0.5))[:60], np.eye(2)[gold[:60]]
    )


def test_lone_votes_say_nothing_of_their_person_but_get_an_answer() -> None:
    votes = voting(3)
    lone = np.arange(50) + 300
    tasks = np.r_[votes.tasks, lone]
    people, labels = np.r_[votes.people, np.zeros(50, int)], np.r_[votes.labels, np.ones(50, int)]
    with_lone = ChoiceCrowd.fit(tasks, people, labels, (350, 30, 3))
    without = ChoiceCrowd.fit(*votes.votes)
    assert with_lone.votes_of_person[0] == without.votes_of_person[0]
    assert (with_lone.posterior[300:].argmax(axis=1) == 1).all()
    np.testing.assert_allclose(with_lone.confusion, without.confusion, atol=0.06)


def test_votes_that_repeat_each_other_do_not_make_it_sure() -> None:
    """A third of the tasks are ones on which everybody tosses the same loaded coin."""
    rng = np.random.default_rng(0)
    votes = voting(4, tasks=300, people=20, labels=2, each=15)
    hard = votes.tasks < 100
    fooled = rng.random(100) < 0.5
    said = np.where(
        fooled[votes.tasks.clip(0, 99)], 1 - votes.truth[votes.tasks], votes.truth[votes.tasks]
    )
    flips = np.where(rng.random(len(hard)) < 0.65, said, 1 - said)
    labels = np.where(hard, flips, votes.labels)
    crowd = ChoiceCrowd.fit(votes.tasks, votes.people, labels, votes.shape)
    independent = ChoiceCrowd.fit(*votes.votes)
    assert crowd.correlation > independent.correlation
    assert crowd.difficulty[:100].mean() > crowd.difficulty[100:].mean() + 0.05


def test_half_votes_of_two_labels_lie_between() -> None:
    votes = voting(6)
    one = ChoiceCrowd.fit(*votes.votes).update([0], [1])
    tasks, people = np.r_[votes.tasks, 300, 300], np.r_[votes.people, 0, 0]
    labels = np.r_[votes.labels, 1, 2]
    weights = np.r_[np.ones(len(votes.tasks)), 0.5, 0.5]
    both = ChoiceCrowd.fit(tasks, people, labels, (301, 30, 3), weights=weights).posterior[300]
    assert both[0] < both[1] < one[1]


def test_a_vote_more_takes_less_than_ten_milliseconds_and_agrees_with_a_fit() -> None:
    votes = voting(7, tasks=2000, people=500)
    crowd = ChoiceCrowd.fit(*votes.votes)
    crowd.update([0], [0], [0.4, 0.3, 0.3])
    start = time.perf_counter()
    for task in range(100):
        mine = votes.tasks == task
        told = crowd.update(votes.people[mine], votes.labels[mine])
        np.testing.assert_allclose(told, crowd.posterior[task], atol=1e-9)
    assert (time.perf_counter() - start) / 100 < 0.01


def test_the_same_votes_in_any_order_say_the_same_of_people() -> None:
    votes = voting(8)
    order = np.random.default_rng(0).permutation(len(votes.tasks))
    again = ChoiceCrowd.fit(
        votes.tasks[order], votes.people[order], votes.labels[order], votes.shape
    )
    one = ChoiceCrowd.fit(*votes.votes)
    np.testing.assert_allclose(again.confusion, one.confusion, atol=1e-9)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_any_votes_give_probabilities(data: st.DataObject) -> None:
    """Empty tasks, people without votes, labels nobody chose, islands, one label, all golds."""
    n, p, k = (data.draw(st.integers(low, 6)) for low in (0, 0, 1))
    vote = st.tuples(st.integers(0, n - 1), st.integers(0, p - 1), st.integers(0, k - 1))
    votes = data.draw(st.lists(vote, max_size=30)) if n and p else []
    gold = data.draw(st.lists(st.integers(-1, k - 1), min_size=n, max_size=n))
    tasks, people, labels = np.array(votes, np.int64).reshape(-1, 3).T
    crowd = ChoiceCrowd.fit(tasks, people, labels, (n, p, k), gold=np.array(gold, np.int64))
    told = data.draw(st.lists(st.floats(0, 1) | st.just(np.nan), min_size=n * k, max_size=n * k))
    for posterior in (crowd.posterior, crowd.with_witness(np.array(told).reshape(n, k))):
        assert posterior.shape == (n, k)
        assert ((posterior >= 0) & (posterior <= 1)).all()
        np.testing.assert_allclose(posterior.sum(axis=1), 1)
    assert crowd.confusion.shape == (p, k, k)
    np.testing.assert_allclose(crowd.confusion.sum(axis=2), 1)
    mean, low, high = crowd.reliability()
    assert ((low >= 0) & (low <= mean + 1e-9) & (mean <= high + 1e-9) & (high <= 1)).all()
    assert ((crowd.usefulness() >= 0) & (crowd.usefulness() <= 1)).all()
    assert ((crowd.difficulty >= 0) & (crowd.difficulty <= 1)).all()
    assert crowd.prevalence.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("votes", "gold", "said"),
    [
        (([0], [0], [2]), None, "labels of votes lie outside"),
        (([-1], [0], [0]), None, "tasks of votes lie outside"),
        (([0], [5], [0]), None, "people of votes lie outside"),
        (([0.0], [0], [0]), None, "whole number"),
        (([0, 0], [0], [0]), None, "as many tasks"),
        (([0], [0], [0]), [3, -1], "Known answers lie between"),
        (([0], [0], [0]), [0], "one whole number a task"),
    ],
)
def test_bad_input_is_named(votes: tuple, gold: list | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        ChoiceCrowd.fit(*votes, (2, 1, 2), gold=gold)
