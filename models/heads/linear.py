"""The numerics of linear heads: features, regularised fits, and fits that leave rows out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logsumexp

Doubles = NDArray[np.float64]

_POOL_ROWS = 8192
_COMPONENTS = 256
# Half-way between no whitening (0: few strong directions rule) and full whitening (1: noise
# directions count as much as any).
_WHITENING = 0.5


@dataclass(frozen=True)
class Projection:
    """Centred, partly whitened principal components: ``(x - mean) @ basis``.

    Attributes
    ----------
    mean : float64 [d]
    basis : float64 [d, r]
        Scaled so that the features have a mean squared length of r.
    """

    mean: Doubles
    basis: Doubles

    def apply(self, embeddings: NDArray[Any]) -> Doubles:
        """Return the features ``[n, r]`` of embeddings ``[n, d]``."""
        return np.asarray((embeddings.astype(np.float64) - self.mean) @ self.basis)

    def unfold(self, coefficients: Doubles, bias: Doubles) -> tuple[Doubles, Doubles]:
        """Return weight ``[d, k]`` and bias ``[k]`` that act on embeddings themselves."""
        weight = self.basis @ coefficients
        return weight, bias - self.mean @ weight


def projection_of(pool: NDArray[Any], components: int = _COMPONENTS) -> Projection:
    """Learn the features from embeddings, labelled or not.

    Parameters
    ----------
    pool : [m, d]
        Of more than 8,192 rows an even sample is used.
    components : int
        Most features kept.

    Returns
    -------
    Projection
        Directions without variance are left out; for a constant pool r is 0.
    """
    step = max(1, -(-len(pool) // _POOL_ROWS))
    sample = np.asarray(pool[::step], dtype=np.float64)
    mean = sample.mean(axis=0)
    # Features of very unlike scales are first brought to one, with a floor against constants.
    spread = sample.std(axis=0)
    scale = np.where(spread > 1e-6 * max(spread.max(initial=0.0), 1e-30), spread, np.inf)
    centred = (sample - mean) / scale
    values, vectors = eigh(centred.T @ centred / len(sample))
    values, vectors = values[::-1], vectors[:, ::-1]
    kept = min(components, int(np.sum(values > 1e-7 * max(values[0], 1e-30))), len(sample))
    if values[0] <= 0:
        kept = 0
    values, vectors = values[:kept], vectors[:, :kept]
    stretch = values ** (-_WHITENING / 2)
    if kept:
        stretch /= np.sqrt(np.mean(values * stretch**2))
    return Projection(mean, vectors / scale[:, None] * stretch)


def fit_linear(
    features: Doubles,
    targets: Doubles,
    weights: Doubles,
    strengths: Sequence[float],
    exclusive: bool,
    offsets: Doubles | None = None,
) -> tuple[Doubles, Doubles]:
    """Fit softmax (or independent logistic) regression at each strength of the L2 penalty.

    One vote, spread evenly over the labels and placed at the mean of the features, is added:
    it keeps the probability of labels that nobody has named finite, and gives an answer
    where there are no rows at all.

    Parameters
    ----------
    features : [n, r]
    targets : [n, k]
        Fractions.
    weights : [n]
    strengths : sequence of float
        Penalties on the squared coefficients; strongest first is quickest.
    exclusive : bool
        Whether the labels exclude each other.
    offsets : [n, k], optional
        Logits that are given for each row and added to the fitted ones.

    Returns
    -------
    coefficients : float64 [s, r, k]
    biases : float64 [s, k]
    """
    k = targets.shape[1]
    span = None
    if 0 < len(features) < features.shape[1]:
        # The penalised solution lies in the span of the rows: fit there, it is smaller.
        span, triangle = np.linalg.qr(features.T)
        features = np.asarray(triangle.T)
    r = features.shape[1]
    x = np.vstack([features, np.zeros((1, r))])
    x = np.hstack([x, np.ones((len(x), 1))])
    t = np.vstack([targets, np.full((1, k), 1 / k if exclusive else 0.5)])
    w = np.append(weights, 1.0)[:, None]
    given = np.zeros(t.shape) if offsets is None else np.vstack([offsets, np.zeros((1, k))])
    theta = np.zeros((r + 1) * k)
    found = []
    for strength in strengths:

        def loss(flat: Doubles, strength: float = strength) -> tuple[float, Doubles]:
            c = flat.reshape(r + 1, k)
            z = x @ c + given
            if exclusive:
                log_p = z - logsumexp(z, axis=1, keepdims=True)
                value, p = -np.sum(w * t * log_p), np.exp(log_p)
            else:
                value, p = -np.sum(w * (t * log_expit(z) + (1 - t) * log_expit(-z))), expit(z)
            gradient = x.T @ (w * (p - t))
            gradient[:r] += strength * c[:r]
            return float(value + 0.5 * strength * np.sum(c[:r] ** 2)), gradient.ravel()

        best = minimize(
            loss, theta, jac=True, method="L-BFGS-B", options={"maxiter": 200, "ftol": 1e-7}
        )
        theta = best.x
        found.append(theta.reshape(r + 1, k).copy())
    path = np.array(found)
    coefficients = path[:, :r]
    if span is not None:
        coefficients = np.einsum("dr,srk->sdk", span, coefficients)
    return coefficients, path[:, r]


def folds_of(
    embeddings: NDArray[Any], targets: NDArray[Any], count: int, seed: int
) -> NDArray[np.int64]:
    """Assign each row to one of `count` folds, evenly over the labels.

    Rows with equal embeddings (one image imported twice) share a fold, so that none is
    judged by a model that saw its twin.

    Returns
    -------
    int64 [n]
        In ``[0, count)``.
    """
    rng = np.random.default_rng(seed)
    _, twin = np.unique(embeddings, axis=0, return_inverse=True)
    twin = np.asarray(twin).ravel()
    groups = int(twin.max()) + 1
    first = np.zeros(groups, dtype=np.int64)
    first[twin] = np.arange(len(twin))
    shuffled = rng.permutation(groups)
    named = np.asarray(targets)[first[shuffled]].argmax(axis=1)
    ordered = shuffled[np.argsort(named, kind="stable")]
    fold_of_group = np.empty(groups, dtype=np.int64)
    fold_of_group[ordered] = np.arange(groups) % count
    return fold_of_group[twin]
