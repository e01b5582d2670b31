"""A flat map of an embedding space: neighbours stay neighbours, distances and empty space do not.

Standardised embeddings are turned onto their strongest directions (PCA); a spread-out sample of
them, the landmarks, is laid out by t-SNE (van der Maaten and Hinton 2008; Barnes-Hut: van der
Maaten 2014); every other galaxy is put between the landmarks that are nearest to it, so that a
million cost one pass.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from models.similarity import Standard

LANDMARKS = 3000
"""Galaxies that t-SNE lays out; about 15 s on one processor."""
_DIRECTIONS = 50
_PERPLEXITY = 30.0
_NEAREST = 5
_BLOCK = 8192
_FEWEST = 10

Read = Callable[[NDArray[np.int64]], NDArray[np.float32]]


def flat_map(
    read: Read,
    count: int,
    seed: int = 0,
    *,
    landmarks: int = LANDMARKS,
    progress: Callable[[float], None] = lambda share: None,
) -> NDArray[np.float32]:
    """Lay out embeddings on a plane.

    Parameters
    ----------
    read : callable
        Rows (int64 [m], rising) to embeddings, float32 [m, d]; those that are not finite are put
        at the origin.
    count : int
        Number n of embeddings.
    seed : int
        Of the choice of landmarks and of t-SNE; the same gives the same map.
    landmarks : int
    progress : callable
        Called with the share done; may raise to stop.

    Returns
    -------
    float32 [n, 2]
        In [-1, 1]. Fewer than ten galaxies lie along their strongest directions.
    """
    if count < 1:
        return np.zeros((0, 2), np.float32)
    rng = np.random.default_rng(seed)
    chosen = np.sort(rng.choice(count, min(count, landmarks), replace=False))
    raw = read(chosen)
    chosen, raw = _finite(chosen, raw)
    if len(chosen) < 2 or not np.ptp(raw, axis=0).any():
        return np.zeros((count, 2), np.float32)
    standard = Standard.of(raw)
    points = standard.apply(raw)
    turned = PCA(min(_DIRECTIONS, *points.shape), svd_solver="full").fit(points)
    marks = np.asarray(turned.transform(points), np.float32)
    laid = _laid_out(marks, seed)
    progress(0.6)
    out = np.zeros((count, 2), np.float32)
    out[chosen] = laid
    rest = np.setdiff1d(np.arange(count), chosen)
    lengths = (marks**2).sum(axis=1)
    for start in range(0, len(rest), _BLOCK):
        rows, block = _finite(rest[start : start + _BLOCK], read(rest[start : start + _BLOCK]))
        if len(rows):
            found = np.asarray(turned.transform(standard.apply(block)), np.float32)
            out[rows] = _between(found, marks, lengths, laid)
        progress(0.6 + 0.4 * min(1.0, (start + _BLOCK) / len(rest)))
    return out


def _laid_out(marks: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    spread = float(marks.std(axis=0).max())
    if spread <= 1e-9 or len(marks) < _FEWEST:
        flat = np.hstack([marks, np.zeros((len(marks), 2), np.float32)])[:, :2]
    else:
        # scikit-learn's own start divides by the spread of each direction, which may be 0, and its
        # tree of points does not survive the NaN; equal images must not begin at equal places.
        start = np.hstack([marks, np.zeros((len(marks), 1), np.float32)])[:, :2] / spread
        start += np.random.default_rng(seed).normal(scale=0.01, size=start.shape)
        tsne = TSNE(
            2,
            perplexity=min(_PERPLEXITY, (len(marks) - 1) / 3),
            init=np.asarray(1e-4 * start, np.float32),
            random_state=seed,
            n_jobs=1,
        )
        flat = np.asarray(tsne.fit_transform(marks), np.float32)
    flat = flat - flat.mean(axis=0)
    return np.asarray(flat / max(float(np.abs(flat).max()), 1e-12), np.float32)


def _between(
    found: NDArray[np.float32],
    marks: NDArray[np.float32],
    lengths: NDArray[np.float32],
    laid: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Put rows between their nearest landmarks, those that are nearer weighing more."""
    far = lengths - 2 * (found @ marks.T) + (found**2).sum(axis=1)[:, None]
    nearest = min(_NEAREST, len(marks))
    index = np.argpartition(far, nearest - 1, axis=1)[:, :nearest]
    near = np.sqrt(np.take_along_axis(far, index, axis=1).clip(0))
    weight = 1 / (near + 1e-3 * near.mean(axis=1, keepdims=True) + 1e-12) ** 2
    weight /= weight.sum(axis=1, keepdims=True)
    return np.asarray(np.einsum("nk,nkd->nd", weight, laid[index]), np.float32)


def _finite(
    rows: NDArray[np.int64], values: NDArray[np.float32]
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    good = np.isfinite(values).all(axis=1)
    return rows[good], values[good]
