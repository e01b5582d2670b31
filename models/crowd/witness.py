"""The model as one more witness, trusted as far as it has agreed, never above a good person.

A calibrated prediction m of a task adds to the logarithm of each truth j

    word_j = max(trust * (log(m_j / prevalence_j) - max over i of the same), -bound)

The ratio to `prevalence` takes out what the model only knows of how common labels are, since the
posterior counts that once already. `trust` in [0, 3] is the power under which the model best
foretells the votes of people on tasks that it has not seen: of two halves of the tasks, each
chooses a power, and the smaller is kept. `bound` is the evidence of one vote of a good person,
``log(g (k - 1) / (1 - g))``, where g is the upper quartile of people's reliability: however sure
the model is, one good person who disagrees can hold it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

Floats = NDArray[np.float64]

# Above 1: a model that learned from divided votes foretells how they divide, so says of the one
# answer of the whole crowd less than it knows.
_TRUSTS = np.linspace(0, 3, 31)
# People with fewer votes than this say little about what a good person is.
_KNOWN_BY = 10
_LEAST = 1e-4


def bound_of(reliability: Floats, votes: Floats, k: int) -> float:
    """Return the most that the model's word may move the odds of two labels, >= 0 (nats).

    Parameters
    ----------
    reliability : float64 [p]
        Chance that an answer of each person is right.
    votes : float64 [p]
        Of each person; those of few votes are left out where there are others.
    k : int
        Number of labels.
    """
    if k < 2 or not len(reliability):
        return 0.0
    good = min(max(good_person(reliability, votes), 1 / k), 1 - 1e-3)
    return float(np.log(good * (k - 1) / (1 - good)))


def good_person(reliability: Floats, votes: Floats) -> float:
    """Return the upper quartile of people's reliability [p >= 1], of those who are known if any."""
    tried = votes >= _KNOWN_BY
    return float(np.quantile(reliability[tried] if tried.any() else reliability, 0.75))


def testimony(told: Floats, prevalence: Floats, trust: float, bound: float) -> Floats:
    """Return what predictions [n, k] add to log-posteriors; 0 in rows that are not finite."""
    heard = np.isfinite(told).all(axis=1) & (told >= 0).all(axis=1) & (told.sum(axis=1) > 0)
    told = np.where(heard[:, None], told, prevalence)
    told = np.maximum(told / told.sum(axis=1, keepdims=True), _LEAST)
    ratio = np.log(told) - np.log(prevalence)
    ratio = trust * (ratio - ratio.max(axis=1, keepdims=True))
    return np.where(heard[:, None], np.maximum(ratio, -bound), 0.0)


def trust_in(told: Floats, evidence: Floats, prevalence: Floats, bound: float) -> float:
    """Learn how far to trust the model from tasks with votes.

    Parameters
    ----------
    told : float64 [n, k]
        Predictions of a model that has not seen these tasks.
    evidence : float64 [n, k]
        Log-likelihood of each task's votes by what the truth may be.
    prevalence : float64 [k]
    bound : float

    Returns
    -------
    float
        In [0, 3]; 0 without at least two such tasks.
    """
    heard = np.isfinite(told).all(axis=1)
    told, evidence = told[heard], evidence[heard]
    if len(told) < 2:
        return 0.0
    halves = np.zeros((2, len(_TRUSTS)))
    for place, trust in enumerate(_TRUSTS):
        z = np.log(prevalence) + testimony(told, prevalence, float(trust), bound)
        gain = logsumexp(z + evidence, axis=1) - logsumexp(z, axis=1)
        halves[:, place] = gain[::2].sum(), gain[1::2].sum()
    return float(_TRUSTS[halves.argmax(axis=1)].min())
