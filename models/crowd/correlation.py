"""How much a task's votes repeat each other.

People err together where a galaxy is hard, so their votes hold less than independent ones would,
and a posterior that multiplies them all is far too sure. As in surveys whose respondents come in
clusters (the design effect of Kish 1965, "Survey Sampling"), m votes on a task are taken to be
worth ``m / (1 + (m - 1) correlation)``: one vote keeps its full worth. The correlation is the
value under which each vote is best foretold by those cast before it on its task.

By those before it, not by all others: votes are asked for until a posterior is high, so that the
last vote on a task agrees with the others by choice, which looks like votes that hold much. What
is foretold from the past alone does not depend on when one stops (Dawid 1984, "Statistical theory:
the prequential approach").
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
    """Choose the correlation by foretelling each vote.

    Each vote is foretold by those before it on its task and by its person's other answers; of
    tasks whose answer is known, that answer is foretold by the votes.

    Parameters
    ----------
    votes : VoteTable
        Those on a task in the order in which they were cast.
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
        One of `GRID`; `EXPECTED` where no task has three votes.
    """
    log_confusion = np.log(population.confusion(counts))
    evidence = votes.evidence(log_confusion)
    left, others = _before(votes, log_confusion)
    # A lone vote keeps its worth whatever the correlation, so two are needed to foretell one.
    usable = np.flatnonzero((others > 1.5) & ~known[votes.tasks])
    if len(usable) > _ENOUGH:
        usable = usable[votes.tasks[usable] % (-(-len(usable) // _ENOUGH)) == 0]
    t, p, a = votes.tasks[usable], votes.people[usable], votes.labels[usable]
    w = votes.weights[usable][:, None]
    left, others = left[usable], others[usable]
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


def _before(votes: VoteTable, log_confusion: Floats) -> tuple[Floats, Floats]:
    """Return the evidence [v, k] and the number [v] of the votes before each one on its task."""
    order = np.argsort(votes.tasks, kind="stable")
    tasks, weights = votes.tasks[order], votes.weights[order]
    own = weights[:, None] * log_confusion[votes.people[order], :, votes.labels[order]]
    first = np.flatnonzero(np.diff(tasks, prepend=-1))
    group = np.repeat(first, np.diff(np.append(first, len(tasks))))
    evidence: Floats = own.cumsum(axis=0) - own
    number: Floats = weights.cumsum() - weights
    back = np.empty(len(order), dtype=np.int64)
    back[order] = np.arange(len(order))
    return (evidence - evidence[group])[back], (number - number[group])[back]


def _softmax(z: Floats) -> Floats:
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(z / z.sum(axis=1, keepdims=True))
