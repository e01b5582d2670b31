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

from models.crowd.vote_table import VoteTable

Floats = NDArray[np.float64]

GRID = (0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
# Votes beyond this number tell nothing new about one number.
_ENOUGH = 200_000


def worth(votes: Floats, correlation: float) -> Floats:
    """Return by what the evidence of so many votes on a task is multiplied, in (0, 1]."""
    return 1 / (1 + np.maximum(votes - 1, 0) * correlation)


def fit_correlation(
    votes: VoteTable,
    posterior: Floats,
    counts: Floats,
    prior: Floats,
    prevalence: Floats,
    known: NDArray[np.bool_],
) -> float:
    """Choose the correlation by leaving out one vote at a time.

    Each vote is foretold by the others on its task and by its person's other answers. Of the
    values that do as well as the best within one standard error (over tasks), the largest is
    taken: doubt is the safer fault.

    Parameters
    ----------
    votes : VoteTable
    posterior : float64 [n, k]
    counts : float64 [p, k, k]
        Each person's answers, by what is believed of the truth.
    prior : float64 [k, k]
        Of each row of a confusion matrix.
    prevalence : float64 [k]
    known : bool [n]
        Tasks whose answer is known; of these, the known answer is foretold by the votes.

    Returns
    -------
    float
        One of `GRID`; 0 where no task has two votes.
    """
    table = counts + prior
    log_confusion = np.log(table / table.sum(axis=2, keepdims=True))
    evidence = votes.evidence(log_confusion)
    usable = np.flatnonzero((votes.per_task[votes.tasks] > 1.5) & ~known[votes.tasks])
    if len(usable) > _ENOUGH:
        usable = usable[votes.tasks[usable] % (-(-len(usable) // _ENOUGH)) == 0]
    t, p, a = votes.tasks[usable], votes.people[usable], votes.labels[usable]
    w = votes.weights[usable][:, None]
    left = evidence[t] - w * log_confusion[p, :, a]
    others = votes.per_task[t] - w[:, 0]
    own = w * posterior[t]
    chance = (np.maximum(counts[p, :, a] - own, 0) + prior[:, a].T) / (
        np.maximum(counts[p].sum(axis=2) - own, 0) + prior.sum(axis=1)
    )
    golds = np.flatnonzero(known & (votes.per_task > 0))
    if not len(usable) and not len(golds):
        return 0.0
    log_prevalence = np.log(prevalence)
    _, group = np.unique(t, return_inverse=True)
    losses = []
    for correlation in GRID:
        told = _softmax(log_prevalence + worth(others, correlation)[:, None] * left)
        by_vote = -np.log((told * chance).sum(axis=1)) * w[:, 0]
        by_task = np.bincount(group, by_vote) if len(t) else np.zeros(0)
        sure = worth(votes.per_task[golds], correlation)[:, None] * evidence[golds]
        told = _softmax(log_prevalence + sure)
        right = posterior[golds].argmax(axis=1)
        by_gold = -np.log(np.maximum(told[np.arange(len(golds)), right], 1e-12))
        losses.append(np.concatenate([by_task, by_gold]))
    table_of_losses = np.array(losses)
    best = int(table_of_losses.mean(axis=1).argmin())
    differences = table_of_losses - table_of_losses[best]
    error = differences.std(axis=1) / np.sqrt(table_of_losses.shape[1])
    fine = np.flatnonzero(differences.mean(axis=1) <= error)
    return float(GRID[max(int(fine.max()), best)])


def _softmax(z: Floats) -> Floats:
    z = np.exp(z - z.max(axis=1, keepdims=True))
    return np.asarray(z / z.sum(axis=1, keepdims=True))
