"""Questions of which only one answer was ever given, and labels that hardly any galaxy has."""

from __future__ import annotations

import numpy as np
import pytest
from voting import Voting, majority, right

from models.crowd import choices
from models.crowd.choices import ChoiceCrowd
from models.crowd.correlation import EXPECTED
from models.crowd.multiple import MultipleCrowd
from models.crowd.rarity import RARE, expected_shares

SIZES = [(41, 4, 4), (54, 3, 10), (20, 2, 5), (12, 2, 30), (300, 3, 30), (5, 10, 10), (1, 4, 4)]
"""Tasks, votes on each, people."""


def asked(tasks: int, each: int, people: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    who = np.concatenate([rng.permutation(people)[:each] for _ in range(tasks)])
    return np.repeat(np.arange(tasks), each), who


def rare(seed: int, labels: int, each: int, share: float = 0.02, tasks: int = 600) -> Voting:
    """Label 1 is rare, and all others but 0 are nowhere; people are right 84 % of the time."""
    rng = np.random.default_rng(seed)
    truth = (rng.random(tasks) < share).astype(np.int64)
    skill = rng.beta(8, 1.5, 40)
    which = np.repeat(np.arange(tasks), each)
    who = np.concatenate([rng.permutation(40)[:each] for _ in range(tasks)])
    wrong = (truth[which] + rng.integers(1, labels, len(which))) % labels
    said = np.where(rng.random(len(which)) < skill[who], truth[which], wrong)
    return Voting(which, who, said, (tasks, 40, labels), truth, skill)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("labels", [2, 4])
@pytest.mark.parametrize("given", [0, 1])
def test_what_all_people_say_of_all_galaxies_is_believed(
    size: tuple[int, int, int], labels: int, given: int
) -> None:
    tasks, people = asked(*size)
    crowd = ChoiceCrowd.fit(tasks, people, np.full(len(tasks), given), (size[0], size[2], labels))
    assert crowd.posterior[:, given].min() > 0.95
    # Answers that never differ cannot tell how far they repeat each other.
    assert crowd.correlation == EXPECTED
    # People are thought good at what nobody has ever been asked to tell.
    assert np.diagonal(crowd.typical).min() >= 1 / labels


def test_with_labels_as_common_as_each_other_nothing_could_be_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Without what is mended the test above would fail."""
    monkeypatch.setattr(choices, "expected_shares", lambda counts, _: np.full(2, 0.5))
    monkeypatch.setattr(choices, "anchored", lambda counts, _: counts)
    tasks, people = asked(54, 3, 10)
    crowd = ChoiceCrowd.fit(tasks, people, np.zeros(len(tasks), np.int64), (54, 10, 2))
    assert crowd.posterior[:, 0].max() < 0.6


@pytest.mark.parametrize("size", SIZES)
def test_a_label_of_a_multiple_choice_that_nobody_named_does_not_hold(
    size: tuple[int, int, int],
) -> None:
    tasks, people = asked(*size)
    named = np.zeros((len(tasks), 3), np.bool_)
    named[:, 2] = True
    named[:, 1] = tasks % 3 == 0
    crowd = MultipleCrowd.fit(tasks, people, named, (size[0], size[2], 3))
    assert crowd.posterior[:, 0].max() < 0.05
    assert crowd.posterior[:, 2].min() > 0.95
    assert ((crowd.posterior[:, 1] > 0.5) == (np.arange(size[0]) % 3 == 0)).all()


@pytest.mark.parametrize("labels", [2, 4])
def test_the_one_galaxy_on_which_all_say_otherwise_is_not_lost(labels: int) -> None:
    tasks, people = asked(200, 3, 10)
    said = (tasks == 7).astype(np.int64)
    crowd = ChoiceCrowd.fit(tasks, people, said, (200, 10, labels))
    assert crowd.posterior[7, 1] > 0.95
    assert np.delete(crowd.posterior[:, 0], 7).min() > 0.95


@pytest.mark.parametrize("labels", [2, 4])
@pytest.mark.parametrize("each", [3, 5, 10])
def test_a_rare_label_is_found_and_not_invented(labels: int, each: int) -> None:
    found, real, hits, ours, plain = 0, 0, 0, [], []
    for seed in range(4):
        votes = rare(seed, labels, each)
        said = ChoiceCrowd.fit(*votes.votes).posterior.argmax(axis=1)
        found += int((said == 1).sum())
        real += int(votes.truth.sum())
        hits += int(((said == 1) & (votes.truth == 1)).sum())
        ours.append((said == votes.truth).mean())
        plain.append(right(majority(votes), votes.truth))
    assert hits >= 0.85 * real
    assert found <= 4 * real
    # A tie of four labels goes to the first of them in `right`, which is the common one here.
    assert np.mean(ours) > np.mean(plain) - 0.01


def test_known_answers_can_say_that_most_people_miss_a_label() -> None:
    rng = np.random.default_rng(5)
    truth = rng.integers(0, 2, 300)
    tasks, people = np.divmod(np.arange(300 * 12), 12)
    # Everybody knows a "no"; a "yes" is seen by three of twelve.
    sees = np.r_[np.full(3, 0.95), np.full(9, 0.1)][people]
    hit = rng.random(len(tasks)) < np.where(truth[tasks] == 1, sees, 0.95)
    labels = np.where(hit, truth[tasks], 1 - truth[tasks])
    gold = np.where(np.arange(300) < 80, truth, -1)
    crowd = ChoiceCrowd.fit(tasks, people, labels, (300, 12, 2), gold=gold)
    assert crowd.confusion[3:, 1, 1].max() < 0.25
    assert right(crowd.posterior[80:], truth[80:]) > 0.95


def test_expected_shares_are_even_but_for_rare_labels() -> None:
    counts = np.repeat(np.array([[3.0, 1, 0], [1, 2, 0], [0, 1, 4]]), [10, 10, 10], axis=0)
    none = np.zeros_like(counts)
    np.testing.assert_allclose(expected_shares(counts, none), 1 / 3)
    np.testing.assert_allclose(expected_shares(counts[:0], none[:0]), 1 / 3)
    few = np.r_[np.repeat(counts[:1], 990, axis=0), counts[-10:]]
    shares = expected_shares(few, np.zeros_like(few))
    assert shares[2] / shares[0] == pytest.approx(RARE * 3 * 0.01, rel=0.05)
    assert 0 < shares[1] < shares[2] < shares[0]
    known = np.zeros_like(few)
    known[:300, 1] = 1
    assert expected_shares(few, known)[1] == pytest.approx(expected_shares(few, known)[0])
    np.testing.assert_allclose(expected_shares(np.array([[1.0, 1.0]]), np.zeros((1, 2))), 0.5)
