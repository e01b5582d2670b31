"""More like this: galaxies ranked by their likeness to one or several examples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logsumexp

_BLOCK = 8192
_POOL_ROWS = 8192
Doubles = NDArray[np.float64]


@dataclass(frozen=True)
class Standard:
    """Centre and scale of each number of an embedding over a pool.

    Directions are not whitened further: in strong ones galaxies differ by kind, in weak ones by
    noise, and few examples cannot tell which weak ones matter.

    Attributes
    ----------
    mean, scale : float64 [d]
    """

    mean: Doubles
    scale: Doubles

    @classmethod
    def of(cls, pool: NDArray[Any]) -> Self:
        """Measure a pool [m, d]; numbers that do not vary are left out by an infinite scale."""
        sample = np.asarray(pool[:: max(1, -(-len(pool) // _POOL_ROWS))], dtype=np.float64)
        spread = sample.std(axis=0)
        floor = 1e-6 * max(float(spread.max(initial=0.0)), 1e-30)
        return cls(sample.mean(axis=0), np.where(spread > floor, spread, np.inf))

    def apply(self, embeddings: NDArray[Any]) -> Doubles:
        """Return embeddings in standard units."""
        return np.asarray((embeddings - self.mean) / self.scale)


def more_like(
    embeddings: ArrayLike, examples: ArrayLike, pool: ArrayLike | None = None
) -> NDArray[np.float32]:
    """Score embeddings by their likeness to examples: of what differs from the pool, the cosine.

    Parameters
    ----------
    embeddings : [n, d]
        Those to be ranked.
    examples : [e, d]
        One or several.
    pool : [m, d], optional
        Galaxies that tell what is common, at least two that differ; by default `embeddings` and
        `examples`.

    Returns
    -------
    float32 [n]
        In [0, 1]: 1 in the direction of a single example, 1/2 for what has nothing in common
        with it. Of several the mean, in which near ones count more.

    Raises
    ------
    ValueError
        If there is no example, lengths differ, or a value is not finite.
    """
    x, e = _rows(embeddings, "embeddings"), _rows(examples, "examples")
    if not len(e):
        raise ValueError("At least one example is needed.")
    if x.shape[1] != e.shape[1]:
        raise ValueError(
            f"Embeddings of length {x.shape[1]} and examples of length {e.shape[1]} cannot be "
            "compared; encode them with one LVM."
        )
    basis = np.vstack([x, e]) if pool is None else _rows(pool, "pool")
    if basis.shape[1] != x.shape[1]:
        raise ValueError(f"A pool of length {basis.shape[1]} is not one of length {x.shape[1]}.")
    standard = Standard.of(basis)
    points = _unit(standard.apply(e))
    out = np.empty(len(x), dtype=np.float32)
    for start in range(0, len(x), _BLOCK):
        cosine = _unit(standard.apply(x[start : start + _BLOCK])) @ points.T
        near = logsumexp(cosine, axis=1) - np.log(len(points))
        out[start : start + _BLOCK] = np.clip((1 + near) / 2, 0, 1)
    return out


def _unit(rows: Doubles) -> Doubles:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.where(length > 0, length, 1))


def _rows(values: ArrayLike, name: str) -> NDArray[Any]:
    rows = np.asarray(values)
    if rows.ndim != 2 or rows.shape[1] == 0:
        raise ValueError(f"{name} must be a table [n, d], not {list(rows.shape)}.")
    if not np.isfinite(rows).all():
        raise ValueError(f"{name} hold values that are not finite; encode them again.")
    return rows
