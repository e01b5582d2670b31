"""Fits of which every row is also judged by a model that never saw it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from models.heads.linear import Doubles, fit_linear, folds_of, projection_of
from models.metrics import log_losses

STRENGTHS = (1000.0, 200.0, 40.0, 8.0)
PRIOR_SHARES = (0.0, 0.5, 1.0)


@dataclass(frozen=True)
class CrossFit:
    """A linear model on all rows, the models of the folds, and what those say.

    Attributes
    ----------
    weight, bias : float64 [d, k], [k]
        Fitted on all rows.
    fold_weights, fold_biases : float64 [f, d, k], [f, k]
        Fitted without the rows of each fold.
    fold : int64 [n]
        The fold of each row.
    logits : float64 [n, k]
        Of each row, by the model of its fold.
    informed : bool [n]
        Whether that model saw any row at all; its logits mean nothing otherwise.
    """

    weight: Doubles
    bias: Doubles
    fold_weights: Doubles
    fold_biases: Doubles
    fold: NDArray[np.int64]
    logits: Doubles
    informed: NDArray[np.bool_]


def cross_fit(
    embeddings: NDArray[Any],
    targets: Doubles,
    weights: Doubles,
    *,
    exclusive: bool,
    pool: NDArray[Any] | None = None,
    prior: tuple[Doubles, Doubles] | None = None,
    seed: int = 0,
) -> CrossFit:
    """Fit on all rows and on all but each fold, over a grid of penalties.

    The members of the grid are averaged (in logits), each weighted by the likelihood that
    its fold models give to the rows they left out. With ten votes many members are about as
    good and the average is steadier than any choice; with a thousand one member rules.

    Parameters
    ----------
    embeddings : [n, d]
    targets : [n, k]
    weights : [n]
    exclusive : bool
        Whether the labels exclude each other.
    pool : [m, d], optional
        Embeddings for the statistics of the features; the rows themselves if left out.
    prior : (weight [d, k], bias [k]), optional
        A linear model that never saw these rows. Coefficients are drawn towards shares of it
        (0 to 1, on the same grid) instead of to zero.
    seed : int
        Seed of the folds.
    """
    n, k = targets.shape
    projection = projection_of(embeddings if pool is None else pool)
    features = projection.apply(embeddings)
    given = np.zeros((n, k)) if prior is None else embeddings @ prior[0] + prior[1]
    shares = PRIOR_SHARES if prior is not None else (0.0,)
    count = max(2, min(n, 10 if n < 20 else 5))
    fold = folds_of(embeddings, targets, count, seed)

    members: list[tuple[float, NDArray[Any], NDArray[Any]]] = []
    left_out = np.zeros((len(shares), len(STRENGTHS), n, k))
    for held in range(-1, count):
        seen = fold != held
        for s, share in enumerate(shares):
            offset = share * given
            found = fit_linear(
                features[seen], targets[seen], weights[seen], STRENGTHS, exclusive, offset[seen]
            )
            members.append((share, *found))
            if held >= 0:
                z = np.einsum("nr,srk->snk", features[~seen], found[0]) + found[1][:, None]
                left_out[s][:, ~seen] = z + offset[~seen]

    flat = left_out.reshape(-1, n, k)
    link = softmax if exclusive else expit
    scale = 1 if exclusive else k
    losses = scale * np.array(
        [
            weights * log_losses(link(z, axis=1) if exclusive else link(z), targets, exclusive)
            for z in flat
        ]
    )
    belief = softmax(-losses.sum(axis=1)).reshape(len(shares), len(STRENGTHS))
    logits = np.zeros((n, k))
    for held in range(count):
        # A row's own vote must not weigh the members that speak of it.
        rows = fold == held
        unseeing = softmax(-losses[:, ~rows].sum(axis=1))
        logits[rows] = np.tensordot(unseeing, flat[:, rows], axes=1)
    models = []
    for start in range(0, len(members), len(shares)):
        coefficients: Doubles = np.zeros((features.shape[1], k))
        bias: Doubles = np.zeros(k)
        for b, (_, c, intercept) in zip(belief, members[start : start + len(shares)], strict=True):
            coefficients += np.tensordot(b, c, axes=1)
            bias += b @ intercept
        weight, bias = projection.unfold(coefficients, bias)
        if prior is not None:
            part = float(belief.sum(axis=1) @ np.asarray(shares))
            weight, bias = weight + part * prior[0], bias + part * prior[1]
        models.append((weight, bias))
    return CrossFit(
        models[0][0],
        models[0][1],
        np.array([weight for weight, _ in models[1:]]),
        np.array([bias for _, bias in models[1:]]),
        fold,
        logits,
        np.bincount(fold, minlength=count)[fold] < n,
    )
