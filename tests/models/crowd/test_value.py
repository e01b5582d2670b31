"""What a click is worth, against counting every outcome, and at its limits."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.crowd.value import first_vote_gain, learning_gain, vote_gain


def enumerated(p, typical, look_ahead):
    """The definition, one row: every sequence of votes, Bayes' rule after each."""
    best = 0.0
    for votes in range(1, look_ahead + 1):
        expected = 0.0
        for answers in product(range(len(p)), repeat=votes):
            joint = p * np.prod([typical[:, answer] for answer in answers], axis=0)
            if joint.sum() > 0:
                expected += joint.sum() * (joint / joint.sum()).max()
        best = max(best, (expected - p.max()) / votes)
    return best


def crowd_of(k, seed, sharpness=3.0):
    return np.random.default_rng(seed).dirichlet(np.ones(k), k) / (1 + sharpness) + np.eye(
        k
    ) * sharpness / (1 + sharpness)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5])
def test_gain_is_that_of_counting_every_outcome(k):
    rng = np.random.default_rng(k)
    p = np.vstack([rng.dirichlet(np.ones(k), 6), rng.dirichlet(np.full(k, 0.1), 6)])
    typical = crowd_of(k, k, 1.0)
    depth = 5 if k < 4 else 4
    wanted = [enumerated(row, typical, depth) for row in p]
    assert vote_gain(p, typical, look_ahead=depth) == pytest.approx(wanted, abs=1e-11)
    assert k == 1 or max(wanted) > 0.01


def test_answers_that_a_label_never_gets_are_no_trouble():
    typical = np.array([[1.0, 0.0, 0.0], [0.0, 0.5, 0.5], [0.0, 0.5, 0.5]])
    p = np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5], [0.2, 0.4, 0.4]])
    wanted = [enumerated(row, typical, 5) for row in p]
    assert vote_gain(p, typical) == pytest.approx(wanted, abs=1e-12)
    assert wanted[1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("k", [6, 8])
def test_many_labels_give_a_lower_bound_that_is_close(k):
    rng = np.random.default_rng(k)
    p = rng.dirichlet(np.full(k, 0.15), 40)
    typical = crowd_of(k, 1)
    exact = np.array([enumerated(row, typical, 3) for row in p])
    bound = vote_gain(p, typical, look_ahead=5)
    at_three = vote_gain(p, typical, look_ahead=3)
    assert (at_three <= exact + 1e-11).all()
    assert (bound >= at_three - 1e-11).all()
    # Three votes on so many labels are counted in full.
    assert at_three == pytest.approx(exact, abs=1e-11)
    wide = rng.dirichlet(np.full(12, 0.15), 10)
    assert (
        vote_gain(wide, crowd_of(12, 1), look_ahead=3)
        >= 0.9 * np.array([enumerated(row, crowd_of(12, 1), 3) for row in wide])
    ).all()


def test_two_leaders_among_many_labels_are_worth_what_they_are_alone():
    # Nobody names the other labels, so nothing is lost by merging them.
    typical = np.eye(12)
    typical[:2, :2] = [[0.8, 0.2], [0.3, 0.7]]
    p = np.zeros((2, 12))
    p[:, :2] = [[0.6, 0.4], [0.1, 0.9]]
    assert vote_gain(p, typical) == pytest.approx(vote_gain(p[:, :2], typical[:2, :2]), abs=1e-12)


def test_one_vote_turns_nothing_round_where_three_do():
    typical = np.array([[0.8, 0.2], [0.2, 0.8]])
    p = np.array([[0.9, 0.1]])
    assert vote_gain(p, typical, look_ahead=1)[0] == 0
    assert vote_gain(p, typical, look_ahead=2)[0] > 0.005


probability = st.floats(0.01, 0.99)


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 7), st.integers(0, 10**6), st.floats(0.0, 1.0))
def test_gain_is_bounded_and_falls_with_noise(k, seed, noise):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(k), 5)
    typical = crowd_of(k, seed)
    gain = vote_gain(p, typical)
    assert (gain >= 0).all()
    assert (gain <= 1 - p.max(axis=1) + 1e-12).all()
    if k <= 5:
        # What is garbled on its way is worth no more (Blackwell 1953). The bound of many labels
        # need not follow it.
        garble = (1 - noise) * np.eye(k) + noise * rng.dirichlet(np.ones(k), k)
        assert (vote_gain(p, typical @ garble) <= gain + 1e-12).all()
        turned = rng.permutation(k)
        again = vote_gain(p[:, turned], typical[np.ix_(turned, turned)])
        assert again == pytest.approx(gain, abs=1e-12)
    deeper = vote_gain(p, typical, look_ahead=3)
    assert (deeper >= vote_gain(p, typical, look_ahead=2) - 1e-12).all()


@pytest.mark.parametrize("k", [2, 4, 9])
def test_limits(k):
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(k), 20)
    assert (vote_gain(p, np.full((k, k), 1 / k)) == 0).all()
    assert (vote_gain(np.eye(k), crowd_of(k, 0)) == 0).all()
    if k <= 5:
        assert vote_gain(p, np.eye(k)) == pytest.approx(1 - p.max(axis=1))
    half = np.zeros((1, k))
    half[0, :2] = 0.5
    assert vote_gain(half, np.eye(k)) == pytest.approx([0.5])
    assert vote_gain(np.zeros((0, k)), np.eye(k)).shape == (0,)


def test_doubt_falls_towards_certainty():
    right = np.linspace(0.5, 1, 51)
    gain = vote_gain(np.column_stack([right, 1 - right]), [[0.8, 0.2], [0.2, 0.8]])
    assert (np.diff(gain) <= 1e-12).all()
    assert gain[0] > 0.25
    assert gain[-1] == 0


def test_guessing_is_worth_less_and_pure_guessing_nothing():
    p = np.tile([[0.6, 0.4]], (11, 1))
    typical = np.array([[0.9, 0.1], [0.2, 0.8]])
    gain = vote_gain(p, typical, difficulty=np.linspace(0, 1, 11))
    assert gain[0] == vote_gain(p[:1], typical)[0]
    assert (np.diff(gain) <= 1e-12).all()
    assert gain[-1] == 0
    mixed = 0.7 * typical + 0.3 / 2
    assert gain[3] == pytest.approx(vote_gain(p[:1], mixed)[0])


def test_a_first_vote_also_teaches():
    predicted = np.array([[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]])
    typical = np.array([[0.8, 0.2], [0.2, 0.8]])
    alone = first_vote_gain(predicted, typical, 0.0)
    assert (alone == vote_gain(predicted, typical)).all()
    taught = first_vote_gain(predicted, typical, 0.3) - alone
    assert taught.mean() == pytest.approx(0.3)
    assert taught[0] == pytest.approx(5 * taught[1])
    assert taught[2] == 0
    assert (first_vote_gain([[1.0, 0.0]], typical, 0.3) == 0).all()


def test_learning_is_the_slope_times_those_that_profit():
    labels = np.array([50, 100, 200])
    errors = 0.5 - 0.04 * np.log(labels)
    assert learning_gain(labels, errors, 1000) == pytest.approx(0.04 / 200 * 1000)
    assert learning_gain(labels, errors[::-1], 1000) == 0
    assert learning_gain([100], [0.2], 1000) == 0
    assert learning_gain([100, 100], [0.2, 0.1], 1000) == 0
    assert learning_gain([], [], 1000) == 0
    assert learning_gain(labels, errors, 0) == 0


good = np.array([[0.6, 0.4]])
crowd = np.array([[0.8, 0.2], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("posterior", "typical", "more", "said"),
    [
        ([[np.nan, 1.0]], crowd, {}, "posterior"),
        ([[0.6, 0.6]], crowd, {}, "posterior"),
        ([[1.2, -0.2]], crowd, {}, "posterior"),
        ([0.6, 0.4], crowd, {}, "table"),
        (np.zeros((3, 0)), crowd, {}, "table"),
        (good, np.eye(3), {}, "typical"),
        (good, [[0.8, 0.8], [0.2, 0.2]], {}, "typical"),
        (good, crowd, {"difficulty": [0.1, 0.2]}, "difficulty"),
        (good, crowd, {"difficulty": [1.5]}, "difficulty"),
        (good, crowd, {"difficulty": [np.nan]}, "difficulty"),
        (good, crowd, {"look_ahead": 0}, "look_ahead"),
    ],
)
def test_bad_arguments_are_named(posterior, typical, more, said):
    with pytest.raises(ValueError, match=said):
        vote_gain(posterior, typical, **more)


@pytest.mark.parametrize("learning", [-0.1, np.nan, np.inf])
def test_bad_learning_is_named(learning):
    with pytest.raises(ValueError, match="learning"):
        first_vote_gain(good, crowd, learning)


@pytest.mark.parametrize(
    ("labels", "errors", "remaining"),
    [
        ([1, 2], [0.1], 5),
        ([0, 2], [0.1, 0.2], 5),
        ([np.inf, 2], [0.1, 0.2], 5),
        ([1, 2], [0.1, 1.2], 5),
        ([1, 2], [0.1, np.nan], 5),
        ([1, 2], [0.1, 0.2], -1),
        ([1, 2], [0.1, 0.2], np.nan),
    ],
)
def test_bad_learning_curves_are_named(labels, errors, remaining):
    with pytest.raises(ValueError, match=r"errors|labels|remaining"):
        learning_gain(labels, errors, remaining)


def test_rounded_rows_are_taken():
    assert vote_gain(np.array([[0.3334, 0.6667]], np.float32), crowd)[0] > 0


def test_a_million_galaxies_take_seconds():
    import time

    p = np.random.default_rng(0).dirichlet(np.ones(4), 1_000_000)
    begun = time.process_time()
    gain = vote_gain(p, crowd_of(4, 0))
    # 0.4 s on one core of 2023; the bound tells vectors from loops, not machines apart.
    assert time.process_time() - begun < 10
    assert np.isfinite(gain).all()
