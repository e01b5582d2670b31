"""Regression with few rows: groups of features, each as strong as the evidence says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from scipy.optimize import minimize

from models.heads.linear import Doubles

# Before there are rows: a group explains about a third of the targets' variance, as does noise,
# within factors of some e^2 and e^1.5. It keeps the search for the evidence where it means
# something; twenty rows overrule it.
_SHARE = 1 / 3
_WIDTH_GROUP = 2.0
_WIDTH_NOISE = 1.5
# Rows far off count less, as under Student's t with this many degrees of freedom.
_FREEDOM = 4.0
_MOST_ROWS = 2000


@dataclass(frozen=True)
class Regression:
    """A fitted model of k targets, linear in p features.

    Attributes
    ----------
    coefficients : float64 [p, k]
    bias : float64 [k]
    covariance : float64 [p + 1, p + 1]
        Of the coefficients and the bias (last), of each target alike.
    noise : float
        Standard deviation of a row of weight 1 about the model.
    """

    coefficients: Doubles
    bias: Doubles
    covariance: Doubles
    noise: float

    def predict(self, features: NDArray[Any]) -> Doubles:
        """Return ``[n, k]`` of features ``[n, p]``."""
        return np.asarray(features @ self.coefficients + self.bias)


def fit_regression(
    groups: Sequence[NDArray[Any]],
    targets: Doubles,
    weights: Doubles,
    *,
    known: Doubles | None = None,
    robust: bool = True,
    tie: float | None = None,
) -> Regression:
    """Fit targets by Bayesian linear regression, with one prior variance per group of features.

    The variances and the noise maximise the evidence (MacKay 1992, Neural Computation 4, 415), so
    that a group that tells nothing is left out, also where there are more features than rows.

    Parameters
    ----------
    groups : sequence of [n, p_g]
        Features, each group with a mean squared length of about p_g; n >= 1.
    targets : [n, k]
        Best of unit variance.
    weights : [n], positive
        A row of weight w has the noise's variance over w.
    known : [n], optional
        Variance of each row that is known and adds to the noise.
    robust : bool
        Whether rows far off count less.
    tie : float, optional
        Standard deviation of the prior of the bias about 0; by default it is free.

    Returns
    -------
    Regression
    """
    sizes = [group.shape[1] for group in groups]
    x = np.hstack([*groups, np.ones((len(targets), 1))]).astype(np.float64)
    free = np.repeat(np.arange(len(sizes)), sizes)
    kept = [index for index, size in enumerate(sizes) if size]
    loose = 1e4 if tie is None else tie**2
    # First guess: half of the variance is noise.
    theta = np.log(np.append(np.full(len(kept), _SHARE), 0.5))
    noise_of = weights.astype(np.float64)
    found = None
    for step in range(3 if robust and len(x) > 8 else 2):
        if step and known is not None:
            floor = float(np.exp(theta[-1]))
            noise_of = weights / (1 + weights * known / floor)
        used = noise_of
        if step == 2 and found is not None:
            off = (targets - x @ found[0]) ** 2 * noise_of[:, None] / np.exp(theta[-1])
            used = noise_of * (_FREEDOM + 1) / (_FREEDOM + off.mean(axis=1))
            used *= noise_of.sum() / used.sum()
        theta = _evidence(x, targets, used, free, sizes, kept, loose, theta)
        found = _posterior(x, targets, used, free, sizes, kept, loose, theta)
    assert found is not None
    mean, covariance = found
    return Regression(mean[:-1], mean[-1], covariance, float(np.exp(theta[-1] / 2)))


def _prior(
    theta: Doubles, free: NDArray[np.int64], sizes: list[int], kept: list[int], loose: float
) -> Doubles:
    """Prior variance of each coefficient and of the bias."""
    shares = np.zeros(len(sizes))
    shares[kept] = np.exp(theta[:-1]) / np.array([sizes[index] for index in kept])
    return np.append(shares[free], loose)


def _posterior(
    x: Doubles,
    targets: Doubles,
    weights: Doubles,
    free: NDArray[np.int64],
    sizes: list[int],
    kept: list[int],
    loose: float,
    theta: Doubles,
) -> tuple[Doubles, Doubles]:
    precise = weights / np.exp(theta[-1])
    prior = _prior(theta, free, sizes, kept, loose)
    root = np.sqrt(prior)
    # Solved in units of the prior, in which the matrix is well conditioned.
    scaled = x * root
    inner = (scaled * precise[:, None]).T @ scaled
    inner[np.diag_indices_from(inner)] += 1
    inverse = cho_solve(cho_factor(inner), np.eye(len(inner)))
    mean = root[:, None] * (inverse @ (scaled.T @ (precise[:, None] * targets)))
    return mean, inverse * root * root[:, None]


def _evidence(
    x: Doubles,
    targets: Doubles,
    weights: Doubles,
    free: NDArray[np.int64],
    sizes: list[int],
    kept: list[int],
    loose: float,
    start: Doubles,
) -> Doubles:
    """Return log variances of the groups and of the noise, of the largest evidence."""
    if len(x) > _MOST_ROWS:
        few = np.linspace(0, len(x) - 1, _MOST_ROWS).astype(np.int64)
        x, targets, weights = x[few], targets[few], weights[few]
    n, k = targets.shape
    gram = (x * weights[:, None]).T @ x
    moment = x.T @ (weights[:, None] * targets)
    square = float(np.sum(weights[:, None] * targets**2))
    expected = np.append(np.full(len(kept), np.log(_SHARE)), np.log(_SHARE))
    width = np.append(np.full(len(kept), _WIDTH_GROUP), _WIDTH_NOISE)

    def loss(theta: Doubles) -> tuple[float, Doubles]:
        noise = float(np.exp(theta[-1]))
        prior = _prior(theta, free, sizes, kept, loose)
        root = np.sqrt(prior)
        inner = gram * (root * root[:, None]) / noise
        inner[np.diag_indices_from(inner)] += 1
        factor = cho_factor(inner, lower=True)
        inverse = cho_solve(factor, np.eye(len(inner)))
        mean = inverse @ (root[:, None] * moment) / noise
        explained = float(np.sum(mean * (root[:, None] * moment)))
        value = k * (n * theta[-1] + 2 * float(np.log(np.diag(factor[0])).sum()))
        value += (square - explained) / noise
        # Of each coefficient, in units of the prior: variance and square.
        known = k * (1 - np.diag(inverse)) - np.sum(mean**2, axis=1)
        by_group = np.bincount(free, weights=known[:-1], minlength=len(sizes))[kept]
        left = square - 2 * explained + float(np.sum(mean * ((inner @ mean) - mean))) * noise
        by_noise = k * n - k * float((1 - np.diag(inverse)).sum()) - left / noise
        off = (theta - expected) / width
        gradient = np.append(by_group, by_noise) / 2 + off / width
        return value / 2 + 0.5 * float(off @ off), gradient

    bounds = [(-14.0, 6.0)] * len(kept) + [(-14.0, 3.0)]
    best = minimize(
        loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 60}
    )
    return np.asarray(best.x)
