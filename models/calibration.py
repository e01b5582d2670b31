"""Calibration: making a probability of 0.8 right four times in five."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp

_TEMPERATURES = (0.05, 20.0)


def fit_temperature(
    logits: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    prior_votes: float = 10.0,
) -> float:
    """Find the temperature T for which ``softmax(logits / T)`` has the least log loss.

    With few rows the estimate is drawn towards 1 by a Gaussian prior on log T of the
    strength of `prior_votes` rows, because ten held-out votes cannot tell T.

    Parameters
    ----------
    logits, targets : [n, k]
        Held-out logits and target fractions (rows sum to 1).
    weights : [n], optional
        Weight of each row.
    prior_votes : float
        Weight of the prior, >= 0.

    Returns
    -------
    float
        T in [0.05, 20]; 1.0 without rows.

    Notes
    -----
    Temperature scaling is that of Guo et al. (2017), "On Calibration of Modern Neural
    Networks".
    """
    z, t, w = _checked(logits, targets, weights)
    if len(z) == 0:
        return 1.0

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scaled = z * np.exp(theta[0])
        log_p = scaled - logsumexp(scaled, axis=1, keepdims=True)
        value = -np.sum(w[:, None] * t * log_p) + 0.5 * prior_votes * theta[0] ** 2
        slope = np.sum(w[:, None] * (np.exp(log_p) - t) * scaled) + prior_votes * theta[0]
        return float(value), np.array([slope])

    low, high = -np.log(_TEMPERATURES[1]), -np.log(_TEMPERATURES[0])
    found = minimize(loss, np.zeros(1), jac=True, bounds=[(low, high)], method="L-BFGS-B")
    return float(np.exp(-found.x[0]))


def fit_platt(
    logits: ArrayLike,
    targets: ArrayLike,
    weights: ArrayLike | None = None,
    prior_votes: float = 10.0,
) -> tuple[float, NDArray[np.float64]]:
    """Find a slope a and offsets b so that ``sigmoid(a * logits + b)`` has the least log loss.

    The slope is common to the labels (one label alone has too few votes), the offset is each
    label's own; both are drawn towards (1, 0) by a prior of the strength of `prior_votes`.

    Parameters
    ----------
    logits, targets : [n, k]
        Held-out logits and target fractions in [0, 1].
    weights : [n], optional
        Weight of each row.
    prior_votes : float
        Weight of the prior, >= 0.

    Returns
    -------
    slope : float
        In [0.05, 20].
    offsets : float64 [k]

    Notes
    -----
    After Platt (1999), "Probabilistic Outputs for Support Vector Machines".
    """
    z, t, w = _checked(logits, targets, weights)
    if len(z) == 0:
        return 1.0, np.zeros(z.shape[1])

    def loss(theta: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        slope, offsets = np.exp(theta[0]), theta[1:]
        y = slope * z + offsets
        value = -np.sum(w[:, None] * (t * log_expit(y) + (1 - t) * log_expit(-y)))
        residual = w[:, None] * (expit(y) - t)
        gradient = np.concatenate([[np.sum(residual * slope * z)], residual.sum(axis=0)])
        return float(value + 0.5 * prior_votes * theta @ theta), gradient + prior_votes * theta

    bound = np.log(_TEMPERATURES[1])
    found = minimize(
        loss,
        np.zeros(1 + z.shape[1]),
        jac=True,
        bounds=[(-bound, bound)] + [(-10.0, 10.0)] * z.shape[1],
        method="L-BFGS-B",
    )
    return float(np.exp(found.x[0])), np.asarray(found.x[1:], dtype=np.float64)


def expected_calibration_error(
    confidences: ArrayLike, correct: ArrayLike, weights: ArrayLike | None = None, bins: int = 10
) -> float:
    """Mean gap between confidence and accuracy over bins of equal width.

    Parameters
    ----------
    confidences : [n] in [0, 1]
        Probability given to the answer.
    correct : [n] in [0, 1]
        Whether (or in which fraction of the votes) the answer was right.
    weights : [n], optional
        Weight of each row.
    bins : int
        Number of bins, >= 1.

    Returns
    -------
    float
        In [0, 1]; NaN without rows.

    Notes
    -----
    Naeini et al. (2015), "Obtaining Well Calibrated Probabilities Using Bayesian Binning".
    """
    p = np.asarray(confidences, dtype=np.float64).ravel()
    hit = np.asarray(correct, dtype=np.float64).ravel()
    w = np.ones(len(p)) if weights is None else np.asarray(weights, dtype=np.float64).ravel()
    if not len(p) == len(hit) == len(w):
        raise ValueError(f"Lengths differ: {len(p)} confidences, {len(hit)} answers, {len(w)}.")
    if len(p) == 0 or w.sum() <= 0:
        return float("nan")
    place = np.clip((p * bins).astype(int), 0, bins - 1)
    gap = np.bincount(place, weights=w * (p - hit), minlength=bins)
    return float(np.abs(gap).sum() / w.sum())


def _checked(
    logits: ArrayLike, targets: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    z = np.asarray(logits, dtype=np.float64)
    t = np.asarray(targets, dtype=np.float64)
    w = np.ones(len(z)) if weights is None else np.asarray(weights, dtype=np.float64)
    if z.ndim != 2 or z.shape != t.shape or w.shape != (len(z),):
        raise ValueError(f"Shapes differ: logits {z.shape}, targets {t.shape}, weights {w.shape}.")
    if not (np.isfinite(z).all() and np.isfinite(t).all() and np.isfinite(w).all()):
        raise ValueError("Calibration needs finite logits, targets and weights.")
    return z, t, w
