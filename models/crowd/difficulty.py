"""How hard a task is for people: a number to show, that no answer depends on.

As in GLAD (Whitehill et al. 2009), people answer an easy task better than they do on the whole:
on a task of ease g the chances of a person's answers are the person's confusion matrix to the
power g, normalised, which for two labels is GLAD's ``sigmoid(ability * ease)``. The difficulty is
the expected ``1 / (1 + g)``; how ease is spread over tasks is learned on a grid.

As a part of the posterior the ease was tried and left out: on the four benchmarks of
``benchmarks/crowd.py`` it changed accuracy by less than a standard error, and cured little of the
over-confidence that `models.crowd.correlation` cures.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from models.crowd.vote_table import VoteTable

Floats = NDArray[np.float64]

EASE = np.array([0.0, 0.25, 0.5, 1.0, 2.0, 4.0])
_STEPS = 20


def difficulties(votes: VoteTable, confusion: Floats, prevalence: Floats, known: Floats) -> Floats:
    """Return the difficulty [n] of tasks, in [0, 1].

    Parameters
    ----------
    votes : VoteTable
    confusion : float64 [p, k, k]
    prevalence : float64 [k]
    known : float64 [n, k]
        1 at known answers; rows of 0 where the answer is not known.

    Returns
    -------
    float64 [n]
        What is expected of a new task where a task has no votes.
    """
    n = votes.shape[0]
    if n == 0:
        return np.zeros(0)
    ruled_out = np.where((known.sum(axis=1, keepdims=True) > 0) & (known == 0), -np.inf, 0.0)
    logs = np.log(confusion)
    told = np.empty((n, len(EASE)))
    for place, ease in enumerate(EASE):
        eased = ease * logs
        eased = eased - logsumexp(eased, axis=2, keepdims=True) if eased.size else eased
        chance = votes.evidence(eased) + np.log(prevalence) + ruled_out
        told[:, place] = logsumexp(chance, axis=1)
    told = np.exp(told - told.max(axis=1, keepdims=True))
    voted = votes.per_task > 0
    shares = np.full(len(EASE), 1 / len(EASE))
    for _ in range(_STEPS):
        belief = told[voted] * shares
        belief /= belief.sum(axis=1, keepdims=True)
        shares = (belief.sum(axis=0) + 1 / len(EASE)) / (voted.sum() + 1)
    belief = told * shares
    return np.asarray((belief / belief.sum(axis=1, keepdims=True)) @ (1 / (1 + EASE)))
