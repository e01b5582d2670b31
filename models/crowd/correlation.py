"""How much a task's votes repeat each other.

People err together where a galaxy is hard, so their votes hold less than independent ones would,
and a posterior that multiplies them all is far too sure. As in surveys whose respondents come in
clusters (the design effect of Kish 1965, "Survey Sampling"), m votes on a task are taken to be
worth ``m / (1 + (m - 1) correlation)``: one vote keeps its full worth. The correlation is the
value under which each vote is best foretold by the other votes on its task.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models.crowd.population import Population
from models.crowd.vote_table import VoteTable

Floats = NDArray[np.float64]

GRID = (0.01, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.7, 1.0)
# A gamma prior of shape 2 with its peak here: what is taken where votes cannot tell.
EXPECTED = 0.1
# Votes beyond this number tell nothing new about one number.
_ENOUGH = 200_000


def worth(votes: Floats, correlation: float) -> Floats:
    """Return by what the evidence of so many votes on a task is multiplied, in (0, 1]."""
    return 1 / (1 + np.maximum(votes - 1, 0) * correlation)


def fit_correlation(
    votes: VoteTable,
    posterior: Floats,
    counts: Floats,
    population: Population,
    prevalence: Floats,
    known: NDArray[np.bool_],
) -> float:
    """Choose the correlation by leaving out one vote at a time.

    Each vote is foretold by the others on its task and by its person's other answers; of tasks
    whose answer is known, that answer is foretold by the votes.

    Parameters
    ----------
    votes : VoteTable
    posterior : float64 [n, k]
    counts : float64 [p, k, k]
        Each person's answers, by what is believed of the truth.
    population : Population
    prevalence : float64 [k]
    known : bool [n]
        Tasks whose answer is known.

    Returns
    -------
    float
        One of `GRID`; `EXPECTED` where no task has two votes.
    """
    log_confusion = np.log(population.confusion(counts))
    evidence = votes.evidence(log_confusion)
    usable = np.flatnonzero((votes.per_task[votes.tasks] > 1.5) & ~known[votes.tasks])
    if len(usable) > _ENOUGH:
        usable = usable[votes.tasks[usable] % (-(-len(usable) // _ENOUGH)) == 0]
    t, p, a = votes.tasks[usable], votes.people[usable], votes.labels[usable]
    w = votes.weights[usable][:, None]
    left = evidence[t] - w * log_confusion[p, :, a]
    others = votes.per_task[t] - w[:, 0]
    chance = population.without_a_vote(counts, p, a, w * posterior[t])
    golds = np.flatnonzero(known & (votes.per_task > 1.5))
    right = posterior[golds].argmax(axis=1)
    log_prevalence = np.log(prevalence)
    fits = []
    for correlation in GRID:
        told = _softmax(log_prevalence + worth(others, correlation)[:, None] * left)
        fit = float(w[:, 0] @ np.log((told * chance).sum(axis=1)))
        sure = worth(votes.per_task[golds], correlation)[:, None] * evidence[golds]
        told = _softmax(log_prevalence + sure)[np.arange(len(golds)), right]
        fit += float(np.log(np.maximum(told, 1e-12)).sum())
        fits.append(fit + np.log(correlation) - correlation / EXPECTED)
    return GRID[int(np.argmax(fits))]


def _softmax(z: Floats) -> Floats:
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(z / z.sum(axis=1, keepdims=True))
