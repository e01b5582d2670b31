"""Votes of several people on one galaxy: the Dirichlet-multinomial distribution.

A galaxy's true vote fractions are drawn from a Dirichlet distribution of mean m and concentration
c, votes from these fractions. c says how well m is known: as if c votes had been counted already.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import betaincinv, gammaln, psi, softmax, xlogy

Doubles = NDArray[np.float64]

FLOOR = 1e-6
"""Smallest mean fraction: an answer that is certain would make one vote against it impossible."""
USUAL = 10.0
"""Concentration before any evidence: fractions known to about +-0.15 at 0.5."""
_LOWEST, _HIGHEST = 0.5, 2000.0
# Precisions of the priors on log slope, log concentration and its lean, in rows of evidence:
# with ten galaxies nobody can tell how concentrated their fractions are.
_FIRMNESS = np.array([10.0, 2.0, 4.0])


@dataclass(frozen=True)
class VoteCalibration:
    """From logits to a mean and a concentration.

    Attributes
    ----------
    slope : float
        Means are ``softmax(slope * logits)``.
    level : float
        Log of the concentration at a normalised entropy of the mean of one half.
    lean : float
        How the log of the concentration grows with that entropy, from 0 (sure) to 1 (even).
    """

    slope: float = 1.0
    level: float = float(np.log(USUAL))
    lean: float = 0.0

    def means(self, logits: NDArray[Any]) -> Doubles:
        """Return the mean fractions ``[n, k]``, each at least 1e-6; rows sum to 1."""
        return floored(softmax(self.slope * logits.astype(np.float64), axis=1))

    def concentrations(self, means: NDArray[Any]) -> Doubles:
        """Return the concentration of each row, ``[n]`` in [0.5, 2000]."""
        size = self.level + self.lean * (even(means) - 0.5)
        return np.asarray(np.exp(np.clip(size, np.log(_LOWEST), np.log(_HIGHEST))))


def floored(means: NDArray[Any]) -> Doubles:
    """Return fractions ``[n, k]`` lifted to at least about 1e-6, rows summing to 1."""
    lifted = np.maximum(np.asarray(means, np.float64), FLOOR)
    return np.asarray(lifted / lifted.sum(axis=1, keepdims=True))


def even(means: NDArray[Any]) -> Doubles:
    """Return the entropy of rows over its largest value, ``[n]`` in [0, 1]; 0 for one label."""
    k = means.shape[1]
    return np.asarray(entropies(means) / np.log(k)) if k > 1 else np.zeros(len(means))


def entropies(means: NDArray[Any]) -> Doubles:
    """Return the entropy of rows ``[n, k]`` in nats, ``[n]``."""
    return np.asarray(-xlogy(means, means).sum(axis=1))


def vote_losses(means: NDArray[Any], concentrations: NDArray[Any], counts: ArrayLike) -> Doubles:
    """Minus the log probability of votes, cast one after the other, in nats.

    Parameters
    ----------
    means : [n, k]
    concentrations : [n]
    counts : [n, k]
        Votes, 0 or more; parts of votes are allowed.

    Returns
    -------
    float64 [n]
        0 or more; 0 without votes.

    Notes
    -----
    Minka (2000), "Estimating a Dirichlet distribution", eq. 38, without the number of orders
    in which the votes may come, which no model changes.
    """
    a = floored(means) * np.asarray(concentrations, np.float64)[:, None]
    n = np.asarray(counts, np.float64)
    each = gammaln(a + n).sum(axis=1) - gammaln(a).sum(axis=1)
    total = gammaln(a.sum(axis=1)) - gammaln((a + n).sum(axis=1))
    return np.asarray(np.maximum(-(each + total), 0.0))


def information(means: NDArray[Any], concentrations: NDArray[Any]) -> Doubles:
    """What one more vote is expected to tell of the fractions, ``[n]`` in nats.

    The entropy of the vote less its expected entropy if the fractions were known; the latter is
    ``psi(c + 1) - sum m psi(c m + 1)`` for a Dirichlet distribution.
    """
    m = floored(means)
    c = np.asarray(concentrations, np.float64)
    expected = psi(c + 1) - np.sum(m * psi(c[:, None] * m + 1), axis=1)
    return np.asarray(np.maximum(entropies(m) - expected, 0.0))


def fit_votes(
    logits: NDArray[Any],
    counts: NDArray[Any],
    weights: NDArray[Any],
    usual: float = float(np.log(USUAL)),
) -> VoteCalibration:
    """Find the most probable calibration for held-out logits.

    Parameters
    ----------
    logits : [n, k]
        Of models that never saw the rows.
    counts : [n, k]
    weights : [n]
    usual : float
        Log of the concentration that is expected before there is evidence.
    """
    asked = counts.sum(axis=1) > 0
    if logits.shape[1] < 2 or not asked.any():
        return VoteCalibration(level=usual)
    z, n, w = logits[asked], counts[asked], weights[asked]

    def loss(theta: Doubles) -> float:
        tried = VoteCalibration(float(np.exp(theta[0])), usual + theta[1], theta[2])
        means = tried.means(z)
        found = np.sum(w * vote_losses(means, tried.concentrations(means), n))
        return float(found + 0.5 * np.sum(_FIRMNESS * theta**2))

    best = minimize(
        loss, np.zeros(3), method="L-BFGS-B", bounds=[(-2.0, 2.0), (-4.0, 4.0), (-4.0, 4.0)]
    ).x
    return VoteCalibration(float(np.exp(best[0])), usual + float(best[1]), float(best[2]))


def fraction_intervals(
    means: NDArray[Any], concentrations: NDArray[Any], level: float
) -> tuple[Doubles, Doubles]:
    """Return the central intervals of the true fractions: lower and upper ``[n, k]``.

    Each fraction of a Dirichlet distribution has a Beta distribution.
    """
    m = floored(means)
    c = np.asarray(concentrations, np.float64)[:, None]
    tail = (1 - level) / 2
    a, b = c * m, c * np.maximum(1 - m, FLOOR)
    return np.asarray(betaincinv(a, b, tail)), np.asarray(betaincinv(a, b, 1 - tail))


def cumulative(
    means: NDArray[Any], concentrations: NDArray[Any], votes: int
) -> tuple[Doubles, Doubles]:
    """Return P(count < j) and P(count <= j) of each label, ``[n, k, votes + 1]``.

    The count of one label among `votes` has a Beta-binomial distribution.
    """
    m = floored(means)
    c = np.asarray(concentrations, np.float64)[:, None]
    a, b = (c * m)[..., None], (c * np.maximum(1 - m, FLOOR))[..., None]
    j = np.arange(votes + 1)
    size = (
        gammaln(votes + 1)
        - gammaln(j + 1)
        - gammaln(votes - j + 1)
        + gammaln(a + j)
        + gammaln(b + votes - j)
        - gammaln(a + b + votes)
        - gammaln(a)
        - gammaln(b)
        + gammaln(a + b)
    )
    upto = np.minimum(np.cumsum(np.exp(size), axis=2), 1.0)
    upto[..., -1] = 1.0
    below = np.concatenate([np.zeros_like(upto[..., :1]), upto[..., :-1]], axis=2)
    return below, upto
