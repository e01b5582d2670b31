"""Cumulative logits: the numerics of answers that are steps of one scale."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from models.heads.linear import Doubles

_FLOOR = 1e-12
# Of the Gaussian prior on the log of the gaps between thresholds, in votes: a step that nobody
# has chosen keeps some width.
_GAP_FIRMNESS = 0.5


def step_chances(scores: NDArray[Any], thresholds: NDArray[Any]) -> Doubles:
    """Return the probability of each of K steps, ``[n, K]``; rows sum to 1.

    ``P(step <= j) = sigmoid(threshold_j - score)``: the odds of being beyond any step grow alike
    with the score.

    Parameters
    ----------
    scores : [n]
    thresholds : [K - 1] or [n, K - 1]
        Rising.

    Notes
    -----
    McCullagh (1980), "Regression Models for Ordinal Data": the proportional odds model.
    """
    upto = expit(np.asarray(thresholds) - np.asarray(scores, np.float64)[:, None])
    n = len(upto)
    edges = np.hstack([np.zeros((n, 1)), upto, np.ones((n, 1))])
    p = np.maximum(np.diff(edges, axis=1), _FLOOR)
    return np.asarray(p / p.sum(axis=1, keepdims=True))


def start_of(counts: Doubles) -> Doubles:
    """Return thresholds that give the overall shares of votes [n, K], one spread vote added."""
    k = counts.shape[1]
    shares = counts.sum(axis=0) + 1 / k
    upto = np.cumsum(shares)[:-1] / shares.sum()
    return np.asarray(np.log(upto) - np.log1p(-upto))


def fit_steps(
    features: Doubles, counts: Doubles, strengths: Sequence[float]
) -> list[tuple[Doubles, Doubles]]:
    """Fit the proportional odds model at each strength of the L2 penalty.

    One vote, spread evenly over the steps and placed at the mean of the features, is added.

    Parameters
    ----------
    features : [n, r]
    counts : [n, K]
        Votes, or parts of them.
    strengths : sequence of float
        Penalties on the squared coefficients; strongest first is quickest.

    Returns
    -------
    list of (coefficients float64 [r], thresholds float64 [K - 1])
    """
    span = None
    if 0 < len(features) < features.shape[1]:
        # The penalised solution lies in the span of the rows: fit there, it is smaller.
        span, triangle = np.linalg.qr(features.T)
        features = np.asarray(triangle.T)
    r, k = features.shape[1], counts.shape[1]
    x = np.vstack([features, np.zeros((1, r))])
    t = np.vstack([counts, np.full((1, k), 1 / k)])
    begun = start_of(counts)
    # Thresholds rise: the first is free, gaps are exponentials.
    usual = np.log(np.maximum(np.diff(begun), 1e-2))
    theta = np.concatenate([np.zeros(r), begun[:1], usual])
    found = []
    for strength in strengths:

        def loss(flat: Doubles, strength: float = strength) -> tuple[float, Doubles]:
            w, first, gaps = flat[:r], flat[r], np.exp(flat[r + 1 :])
            thresholds = first + np.concatenate([[0.0], np.cumsum(gaps)])
            z = thresholds[None, :] - (x @ w)[:, None]
            upto = expit(z)
            n = len(x)
            edges = np.hstack([np.zeros((n, 1)), upto, np.ones((n, 1))])
            p = np.maximum(np.diff(edges, axis=1), _FLOOR)
            pull = flat[r + 1 :] - usual
            value = -np.sum(t * np.log(p))
            value += 0.5 * strength * w @ w + 0.5 * _GAP_FIRMNESS * pull @ pull
            # Each cumulative probability lifts its own step and lowers the next.
            share = -(t[:, :-1] / p[:, :-1] - t[:, 1:] / p[:, 1:]) * upto * (1 - upto)
            each = share.sum(axis=0)
            beyond = np.cumsum(each[::-1])[::-1]
            gradient = np.concatenate(
                [
                    -x.T @ share.sum(axis=1) + strength * w,
                    [each.sum()],
                    beyond[1:] * gaps + _GAP_FIRMNESS * pull,
                ]
            )
            return float(value), gradient

        best = minimize(
            loss,
            theta,
            jac=True,
            method="L-BFGS-B",
            bounds=[(None, None)] * (r + 1) + [(-5.0, 4.0)] * (k - 2),
            options={"maxiter": 200, "ftol": 1e-8},
        )
        theta = best.x
        thresholds = theta[r] + np.concatenate([[0.0], np.cumsum(np.exp(theta[r + 1 :]))])
        found.append((theta[:r] if span is None else span @ theta[:r], thresholds))
    return found


def fit_stretch(scores: Doubles, thresholds: Doubles, counts: Doubles) -> tuple[float, float]:
    """Find how held-out scores must be stretched and moved to be right.

    Parameters
    ----------
    scores : [n]
    thresholds : [n, K - 1]
        Of the models that gave the scores, which differ between the folds.
    counts : [n, K]

    Returns
    -------
    slope, shift : float
        Used as ``slope * (threshold - score) + shift``; drawn towards (1, 0) as by ten votes.
    """
    if not len(scores):
        return 1.0, 0.0

    def loss(theta: Doubles) -> float:
        z = np.exp(theta[0]) * (thresholds - scores[:, None]) + theta[1]
        n = len(z)
        edges = np.hstack([np.zeros((n, 1)), expit(z), np.ones((n, 1))])
        p = np.maximum(np.diff(edges, axis=1), _FLOOR)
        return float(-np.sum(counts * np.log(p)) + 5.0 * theta @ theta)

    best = minimize(loss, np.zeros(2), method="L-BFGS-B", bounds=[(-3.0, 3.0), (-5.0, 5.0)]).x
    return float(np.exp(best[0])), float(best[1])
