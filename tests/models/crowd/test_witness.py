"""The model as one more witness: heard as far as it has agreed, never above a good person."""

from __future__ import annotations

import numpy as np
from voting import right, voting

from models.crowd.choices import ChoiceCrowd
from models.crowd.multiple import MultipleCrowd


def model(truth: np.ndarray, accuracy: float, seed: int, k: int = 3) -> np.ndarray:
    """Return calibrated predictions that are right so often."""
    rng = np.random.default_rng(seed)
    said = np.where(
        rng.random(len(truth)) < accuracy, truth, (truth + rng.integers(1, k, len(truth))) % k
    )
    told = np.full((len(truth), k), (1 - accuracy) / (k - 1))
    told[np.arange(len(truth)), said] = accuracy
    return told


def test_a_good_model_helps_and_noise_is_not_heard() -> None:
    votes = voting(0, tasks=400, each=2, skill=np.full(30, 0.7))
    crowd = ChoiceCrowd.fit(*votes.votes)
    alone = right(crowd.posterior, votes.truth)
    heard = crowd.with_witness(model(votes.truth, 0.85, 1))
    assert crowd.trust > 0.5
    assert right(heard, votes.truth) > alone + 0.05
    noise = np.random.default_rng(2).dirichlet(np.full(3, 0.3), 400)
    unheard = crowd.with_witness(noise)
    assert crowd.trust < 0.2
    assert right(unheard, votes.truth) > alone - 0.03


def test_the_surest_model_weighs_no_more_than_one_good_person() -> None:
    """Its word and a good person's against it leave the odds no worse than no vote at all."""
    skill = np.r_[np.full(15, 0.9), np.full(15, 0.6)]
    votes = voting(1, each=6, skill=skill)
    crowd = ChoiceCrowd.fit(*votes.votes)
    crowd.with_witness(model(votes.truth, 0.999, 1))
    assert crowd.trust > 0.2
    best = int(crowd.reliability()[0].argmax())
    sure = np.array([1.0, 0.0, 0.0])
    against = crowd.update([best], [1], sure)
    assert against[1] >= 0.9 * against[0]
    assert crowd.update([best, best], [1, 1], sure).argmax() == 1
    for people in ([], [0], [0, 1, 2]):
        labels = [2] * len(people)
        with_, without = crowd.update(people, labels, sure), crowd.update(people, labels)
        moved = np.log(with_[0] / with_[2]) - np.log(without[0] / without[2])
        assert 0 <= moved <= crowd.bound + 1e-9


def test_no_prediction_leaves_the_posterior_alone() -> None:
    votes = voting(2)
    crowd = ChoiceCrowd.fit(*votes.votes)
    told = model(votes.truth, 0.9, 3)
    told[:100] = np.nan
    told[100:110] = -1.0
    np.testing.assert_allclose(crowd.with_witness(told)[:110], crowd.posterior[:110])


def test_what_is_common_is_not_counted_twice() -> None:
    """A model that only knows how common labels are says nothing new."""
    votes = voting(3)
    crowd = ChoiceCrowd.fit(*votes.votes)
    told = np.tile(crowd.prevalence, (300, 1))
    np.testing.assert_allclose(crowd.with_witness(told), crowd.posterior, atol=1e-9)


def test_each_label_of_a_multiple_choice_is_a_question_of_its_own() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random((200, 2)) < [0.5, 0.2]
    tasks, people = np.divmod(np.arange(200 * 5), 5)
    skill = np.array([[0.95, 0.6], [0.9, 0.6], [0.6, 0.95], [0.6, 0.9], [0.6, 0.6]])
    named = np.where(rng.random((1000, 2)) < skill[people], truth[tasks], ~truth[tasks])
    gold = np.full((200, 2), -1)
    gold[:20] = truth[:20]
    crowd = MultipleCrowd.fit(tasks, people, named, (200, 5, 2), gold=gold)
    plain = np.stack([np.bincount(tasks, column) / 5 for column in named.T], axis=1)
    assert ((crowd.posterior > 0.5) == truth).mean() > ((plain > 0.5) == truth).mean() + 0.03
    assert crowd.usefulness()[0, 0] > 2 * crowd.usefulness()[0, 1]
    np.testing.assert_array_equal(crowd.posterior[:20], truth[:20])
    np.testing.assert_allclose(
        crowd.update(people[tasks == 50], named[tasks == 50]), crowd.posterior[50], atol=1e-9
    )
    heard = crowd.with_witness(np.where(truth, 0.9, 0.1))
    assert ((heard > 0.5) == truth).mean() > ((crowd.posterior > 0.5) == truth).mean()
    mean, low, high = crowd.reliability()
    assert ((low < mean) & (mean < high)).all()
