"""The distribution of votes: likelihood, concentration, information."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import softmax

from models.heads.dirichlet import VoteCalibration, fit_votes, information, vote_losses


def test_vote_losses_are_those_of_votes_one_after_the_other() -> None:
    a = np.array([2.0, 1.0, 1.0])
    # First vote for 0, then for 0 again, then for 2.
    expected = -np.log(2 / 4 * 3 / 5 * 1 / 6)
    found = vote_losses(a[None] / 4, np.array([4.0]), np.array([[2, 0, 1]]))
    assert found == pytest.approx([expected], rel=1e-5)
    assert vote_losses(a[None] / 4, np.array([4.0]), np.zeros((1, 3))) == pytest.approx([0])


def test_concentration_is_found_again() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3000, 3))
    alpha = 12 * softmax(logits, axis=1)
    votes = np.array([rng.multinomial(30, rng.dirichlet(row)) for row in alpha])
    found = fit_votes(logits, votes, np.ones(3000))
    assert np.exp(found.level) == pytest.approx(12, rel=0.1)
    assert found.slope == pytest.approx(1, abs=0.05)
    assert found.lean == pytest.approx(0, abs=0.5)
    assert fit_votes(logits[:0], votes[:0], np.ones(0)) == VoteCalibration()


def test_information_falls_with_what_is_known() -> None:
    even = np.full((1, 2), 0.5)
    told = [float(information(even, np.array([c]))[0]) for c in (1.0, 10.0, 100.0, 1e6)]
    assert told == sorted(told, reverse=True)
    assert told[-1] == pytest.approx(0, abs=1e-5)
    # Against a sum over many draws of the fraction.
    p = np.random.default_rng(0).beta(0.5, 0.5, 200_000)
    entropy = -(p * np.log(np.maximum(p, 1e-300)) + (1 - p) * np.log(np.maximum(1 - p, 1e-300)))
    assert told[0] == pytest.approx(np.log(2) - entropy.mean(), abs=5e-3)
