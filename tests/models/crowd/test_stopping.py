"""Asking until a posterior is high must not make people look independent of each other."""

import numpy as np
import pytest

from models.crowd.choices import ChoiceCrowd
from models.crowd.witness import trust_in


def crowd_that_stops(seed, lead, most, galaxies=500, people=60):
    """Votes on galaxies that divide people; each is asked for until one label leads by `lead`."""
    rng = np.random.default_rng(seed)
    share = rng.beta(1.2, 1.2, galaxies)
    tasks, persons, labels = [], [], []
    for galaxy in range(galaxies):
        said = (rng.random(most) > share[galaxy]).astype(int)
        gap = np.abs(np.cumsum(2 * said - 1))
        end = int(np.append(np.flatnonzero(gap >= lead), most - 1)[0]) + 1
        tasks += [galaxy] * end
        persons += rng.permutation(people)[:end].tolist()
        labels += said[:end].tolist()
    truth = (share < 0.5).astype(int)
    return np.array(tasks), np.array(persons), np.array(labels), truth


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_votes_that_repeat_each_other_are_found_out_though_one_stops_at_will(seed):
    tasks, people, labels, truth = crowd_that_stops(seed, lead=3, most=15)
    crowd = ChoiceCrowd.fit(tasks, people, labels, (len(truth), 60, 2))
    assert crowd.correlation >= 0.05
    right = (crowd.posterior.argmax(axis=1) == truth).mean()
    assert crowd.posterior.max(axis=1).mean() == pytest.approx(right, abs=0.06)


def test_the_order_of_tasks_and_of_all_others_votes_is_nothing():
    tasks, people, labels, truth = crowd_that_stops(3, lead=3, most=15)
    shape = (len(truth), 60, 2)
    crowd = ChoiceCrowd.fit(tasks, people, labels, shape)
    rng = np.random.default_rng(0)
    # Another order of tasks, the same within each.
    new = np.argsort(rng.permutation(len(truth))[tasks], kind="stable")
    again = ChoiceCrowd.fit(tasks[new], people[new], labels[new], shape)
    assert again.correlation == crowd.correlation
    assert np.allclose(again.posterior, crowd.posterior, atol=1e-6)


def test_a_model_that_foretells_divided_votes_is_believed_beyond_its_words():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, 400)
    # Always right, but words it as 7 in 10; votes are right 9 times in 10.
    told = np.where(np.eye(2)[truth] > 0, 0.7, 0.3)
    said = np.where(rng.random(400) < 0.9, truth, 1 - truth)
    evidence = np.log(np.where(np.eye(2)[said] > 0, 0.9, 0.1))
    prevalence = np.array([0.5, 0.5])
    assert trust_in(told, evidence, prevalence, bound=2.0) > 1.5
    guess = rng.permutation(told)
    assert trust_in(guess, evidence, prevalence, bound=2.0) < 0.3
