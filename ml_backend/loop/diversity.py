"""Diversity: small sets of galaxies that stand for many, without near-duplicates."""

from __future__ import annotations

import heapq
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ml_backend.store.rows import Table
from models.heads.linear import Projection, projection_of

Singles = NDArray[np.float32]

_COMPONENTS = 48


def directions(embeddings: Table) -> Projection:
    """Learn a space of few dimensions in which distances between galaxies are measured.

    Parameters
    ----------
    embeddings : [n, d]
        An even sample of at most 8,192 rows is read.
    """
    # Projections are learned from rows alone, whatever they are read from.
    return projection_of(cast(NDArray[Any], embeddings), _COMPONENTS)


def squared_distances(a: Singles, b: Singles) -> Singles:
    """Return the squared Euclidean distances ``[n, m]`` between rows of `a` and `b`."""
    product = np.float32(-2) * (a @ b.T)
    product += np.sum(a * a, axis=1)[:, None]
    product += np.sum(b * b, axis=1)[None, :]
    np.maximum(product, 0, out=product)
    return product


def representatives(
    points: Singles,
    count: int,
    *,
    interest: Singles | None = None,
    taken: Singles | None = None,
    neighbours: int = 20,
) -> tuple[NDArray[np.int64], Singles]:
    """Order points so that every beginning of the order stands for the whole.

    Greedy facility location: each point is stood for by the most similar one chosen so far,
    and the next choice adds most to the sum, over all points, of interest x similarity. The
    first is therefore typical, later ones open other regions, a near-duplicate of a chosen
    one adds nothing, and outliers (that stand for nobody else) come late.

    Parameters
    ----------
    points : float32 [m, p]
    count : int
        How many to choose; at most m are.
    interest : float32 [m], optional
        Weight of each point that wants to be stood for, >= 0; 1 each if left out.
    taken : float32 [t, p], optional
        Points that stand already (labelled ones).
    neighbours : int
        The similarity falls with the distance to this nearest neighbour (median over the
        points).

    Returns
    -------
    order : int64 [min(count, m)]
    gain : float32 [min(count, m)]
        What each choice added; does not rise.

    Notes
    -----
    Lazy greedy after Minoux (1978); the greedy choice is within 1 - 1/e of the best set
    (Nemhauser et al. 1978).
    """
    m = len(points)
    weight = np.ones(m, dtype=np.float32) if interest is None else interest.astype(np.float32)
    similarity = squared_distances(points, points)
    near = min(neighbours, m - 1)
    width = float(np.median(np.partition(similarity, near, axis=1)[:, near])) or 1.0
    covered = np.zeros(m, dtype=np.float32)
    np.exp(similarity / np.float32(-width), out=similarity)
    if taken is not None and len(taken):
        for start in range(0, len(taken), 4096):
            nearest = squared_distances(points, taken[start : start + 4096]).min(axis=1)
            np.maximum(covered, np.exp(nearest / np.float32(-width)), out=covered)

    def gain_of(row: int) -> float:
        return float(weight @ np.maximum(similarity[row] - covered, 0))

    heap = [(-gain_of(row), row, 0) for row in range(m)]
    heapq.heapify(heap)
    order: list[int] = []
    gains: list[float] = []
    while heap and len(order) < count:
        bound, row, seen = heapq.heappop(heap)
        if seen < len(order):
            heapq.heappush(heap, (-gain_of(row), row, len(order)))
            continue
        order.append(row)
        gains.append(-bound)
        np.maximum(covered, similarity[row], out=covered)
    return np.array(order, dtype=np.int64), np.array(gains, dtype=np.float32)
