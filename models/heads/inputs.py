"""Inputs of heads: the checks that all of them make of rows and weights."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.heads.base import Floats, HeadError


def finite_rows(array: ArrayLike, name: str, dimension: int | None = None) -> Floats:
    """Return embeddings as float32 [n, d]; a `HeadError` if they are not that, or not finite."""
    x = np.asarray(array)
    if x.ndim != 2 or x.shape[1] == 0 or (dimension is not None and x.shape[1] != dimension):
        wanted = "d" if dimension is None else dimension
        raise HeadError(f"{name} must be a table [n, {wanted}], not {list(x.shape)}.")
    x = x.astype(np.float32, copy=False)
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise HeadError(
            f"{int(bad.sum())} rows of {name} hold NaN or infinite values (first: row "
            f"{int(np.flatnonzero(bad)[0])}); encode these images again or leave them out."
        )
    return x


def positive_weights(weights: ArrayLike | None, n: int) -> NDArray[np.float64]:
    """Return weights as float64 [n], 1 where none are given; a `HeadError` if they do not fit."""
    w = np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64)
    if w.shape != (n,):
        raise HeadError(f"{n} embeddings need weights [{n}], not {list(w.shape)}.")
    check_positive(w)
    return w


def check_positive(weights: NDArray[Any]) -> None:
    """Refuse weights [n] that are not finite or not above 0."""
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise HeadError("Weights must be finite and positive; leave rows without votes out.")


def pool_rows(pool: ArrayLike | None, dimension: int) -> Floats | None:
    """Return the embeddings of a pool as float32 [m, d]; None where there are none."""
    if pool is None:
        return None
    rows = finite_rows(pool, "pool", dimension)
    return rows if len(rows) else None
