"""How hard a task is for people: a number to show, that no answer depends on.

After GLAD (Whitehill et al. 2009), on a bounded scale: with chance e a person's answer to the
task is drawn from what people answer on the whole, and with chance ``1 - e`` as the person's
confusion matrix says. The difficulty is the expected e, whose distribution over tasks is learned
on a grid.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.crowd.vote_table import VoteTable

Floats = NDArray[np.float64]

GRID = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
_STEPS = 20


def difficulties(votes: VoteTable, posterior: Floats, confusion: Floats) -> Floats:
    """Return the difficulty [n] of tasks, in [0, 1].

    Parameters
    ----------
    votes : VoteTable
    posterior : float64 [n, k]
    confusion : float64 [p, k, k]

    Returns
    -------
    float64 [n]
        The mean of all where a task has no votes, 0 where there is none at all.
    """
    n, _, k = votes.shape
    if n == 0 or len(votes) == 0:
        return np.zeros(n)
    marginal = (votes.counts.sum(axis=0) + 1 / k) / (votes.counts.sum() + 1)
    told = np.zeros((n, len(GRID)))
    own = np.einsum("vk,vk->v", posterior[votes.tasks], confusion[votes.people, :, votes.labels])
    for place, e in enumerate(GRID):
        chance = np.log((1 - e) * own + e * marginal[votes.labels])
        told[:, place] = np.bincount(votes.tasks, votes.weights * chance, minlength=n)
    told = np.exp(told - told.max(axis=1, keepdims=True))
    voted = votes.per_task > 0
    shares = np.full(len(GRID), 1 / len(GRID))
    for _ in range(_STEPS):
        belief = told * shares
        belief /= belief.sum(axis=1, keepdims=True)
        shares = (belief[voted].sum(axis=0) + 1 / len(GRID)) / (voted.sum() + 1)
    return np.asarray(belief @ GRID)
