"""Fits of which every row is also judged by a model that never saw it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, softmax

from models.heads.landmarks import Landmarks, landmarks_of
from models.heads.linear import Doubles, fit_linear, folds_of, projection_of
from models.metrics import log_losses

# Variance that a logit is expected to have over the galaxies, smallest first. The penalty
# follows from it and from the number of features.
VARIANCES = (0.04, 0.2, 1.0, 5.0)
PRIOR_SHARES = (0.0, 0.5)
# Members differ on the same few rows and their folds share most of theirs, so what is left out
# is less evidence than as many independent rows: a power of the likelihood weighs the members.
EVIDENCE = 0.2

Model = tuple[Doubles, Doubles, Doubles]


@dataclass(frozen=True)
class CrossFit:
    """A model on all rows, the models of the folds, and what those say.

    Attributes
    ----------
    model : (float64 [d, k], [k], [m, k])
        Weight and bias that act on embeddings, and what acts on the likeness to landmarks;
        fitted on all rows.
    fold_models : list of the same
        Fitted without the rows of each fold.
    landmarks : Landmarks or None
        None: m is 0.
    fold : int64 [n]
        The fold of each row.
    logits : float64 [n, k]
        Of each row, by the model of its fold.
    informed : bool [n]
        Whether that model saw any row at all; its logits mean nothing otherwise.
    """

    model: Model
    fold_models: list[Model]
    landmarks: Landmarks | None
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

    The grid: fits on linear features and, with a pool, on likeness to landmarks; of several
    strengths; with and without the prior. Its members are averaged (in logits), each weighted
    by a power of the likelihood that its fold models give to the rows they left out. With ten
    votes many members are about as good and the average is steadier than any choice; with a
    thousand the best ones rule.

    Parameters
    ----------
    embeddings : [n, d]
    targets : [n, k]
    weights : [n]
    exclusive : bool
        Whether the labels exclude each other.
    pool : [m, d], optional
        Embeddings for the statistics of the features and for landmarks; if left out, the
        rows themselves give the statistics and all members are linear.
    prior : (weight [d, k], bias [k]), optional
        A linear model that never saw these rows. Coefficients are drawn towards shares of it
        (none and half, on the same grid) instead of to zero. All of it is never best:
        simulated galaxies are easier than real ones.
    seed : int
        Seed of the folds and of the draw of landmarks.
    """
    n, k = targets.shape
    projection = projection_of(embeddings if pool is None else pool)
    landmarks = landmarks_of(pool, seed) if pool is not None else None
    families = [projection.apply(embeddings)]
    if landmarks is not None:
        families.append(landmarks.features(embeddings))
    given = np.zeros((n, k)) if prior is None else embeddings @ prior[0] + prior[1]
    shares = PRIOR_SHARES if prior is not None else (0.0,)
    count = max(2, min(n, 10 if n < 20 else 5))
    fold = folds_of(embeddings, targets, count, seed)

    grid = [(features, share) for features in families for share in shares]
    members: list[list[tuple[NDArray[Any], NDArray[Any]]]] = []
    left_out = np.zeros((len(grid), len(VARIANCES), n, k))
    for held in range(-1, count):
        seen = fold != held
        members.append([])
        for g, (features, share) in enumerate(grid):
            offset = share * given
            strengths = [max(features.shape[1], 1) / variance for variance in VARIANCES]
            found = fit_linear(
                features[seen], targets[seen], weights[seen], strengths, exclusive, offset[seen]
            )
            members[-1].append(found)
            if held >= 0:
                z = np.einsum("nr,srk->snk", features[~seen], found[0]) + found[1][:, None]
                left_out[g][:, ~seen] = z + offset[~seen]

    flat = left_out.reshape(-1, n, k)
    link = softmax if exclusive else expit
    scale = 1 if exclusive else k
    losses = (
        scale
        * EVIDENCE
        * np.array(
            [
                weights * log_losses(link(z, axis=1) if exclusive else link(z), targets, exclusive)
                for z in flat
            ]
        )
    )
    belief = softmax(-losses.sum(axis=1)).reshape(len(grid), len(VARIANCES))
    logits = np.zeros((n, k))
    for held in range(count):
        # A row's own vote must not weigh the members that speak of it.
        rows = fold == held
        unseeing = softmax(-losses[:, ~rows].sum(axis=1))
        logits[rows] = np.tensordot(unseeing, flat[:, rows], axes=1)
    part = float(belief.sum(axis=1) @ [share for _, share in grid])
    models = []
    for fitted in members:
        sums: list[tuple[Doubles, Doubles]] = []
        for f, features in enumerate(families):
            coefficients: Doubles = np.zeros((features.shape[1], k))
            bias: Doubles = np.zeros(k)
            for g in range(f * len(shares), (f + 1) * len(shares)):
                coefficients += np.tensordot(belief[g], fitted[g][0], axes=1)
                bias += belief[g] @ fitted[g][1]
            sums.append((coefficients, bias))
        weight, bias = projection.unfold(*sums[0])
        curve: Doubles = np.zeros((0, k))
        if landmarks is not None:
            curve, more = landmarks.unfold(*sums[1])
            bias = bias + more
        if prior is not None:
            weight, bias = weight + part * prior[0], bias + part * prior[1]
        models.append((weight, bias, curve))
    return CrossFit(
        models[0],
        models[1:],
        landmarks,
        fold,
        logits,
        np.bincount(fold, minlength=count)[fold] < n,
    )
