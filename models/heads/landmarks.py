"""Curved features: how alike a galaxy is to some of the project's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from models.heads.linear import Doubles, Projection, projection_of

Singles = NDArray[np.float32]

_COMPONENTS = 48
_LANDMARKS = 128
# Below this many there is nothing that a plane does not say as well.
_FEWEST = 16


@dataclass(frozen=True)
class Landmarks:
    """Some galaxies of the pool, and how likeness to them falls with distance.

    Attributes
    ----------
    projection : Projection
        To the few directions in which distances are measured.
    points : float64 [m, p]
        The landmarks in these directions.
    whitening : float64 [m, q]
        From likenesses to features that are uncorrelated with respect to the kernel.
    centre : float64 [q]
        Mean of these features over the pool.
    """

    projection: Projection
    points: Doubles
    whitening: Doubles
    centre: Doubles

    @property
    def width(self) -> float:
        """Twice the mean squared length of a point: likeness is ``exp(-distance^2 / width)``."""
        return 2.0 * self.points.shape[1]

    def likeness(self, embeddings: NDArray[Any]) -> Doubles:
        """Return ``[n, m]`` in [0, 1] of embeddings ``[n, d]``."""
        points = self.projection.apply(embeddings)
        return np.asarray(likeness(points, self.points, self.width))

    def features(self, embeddings: NDArray[Any]) -> Doubles:
        """Return the features ``[n, q]`` that a linear fit is made on."""
        return np.asarray(self.likeness(embeddings) @ self.whitening - self.centre)

    def unfold(self, coefficients: Doubles, bias: Doubles) -> tuple[Doubles, Doubles]:
        """Return what acts on likenesses, ``[m, k]``, and the bias ``[k]`` that goes with it."""
        return self.whitening @ coefficients, bias - self.centre @ coefficients


@dataclass(frozen=True)
class Curves:
    """What a fitted head keeps of its landmarks, float32.

    Attributes
    ----------
    basis : [d, p]
    origin : [p]
        Points are ``x @ basis - origin``.
    points : [m, p]
        The landmarks.
    """

    basis: Singles
    origin: Singles
    points: Singles

    @classmethod
    def of(cls, landmarks: Landmarks) -> Curves:
        """Keep what predictions need."""
        basis = landmarks.projection.basis
        return cls(
            basis.astype(np.float32),
            (landmarks.projection.mean @ basis).astype(np.float32),
            landmarks.points.astype(np.float32),
        )

    def likeness(self, embeddings: Singles) -> Singles:
        """Return ``[n, m]`` in [0, 1] of embeddings ``[n, d]``."""
        points = embeddings @ self.basis - self.origin
        return likeness(points, self.points, 2.0 * self.points.shape[1])


def likeness(points: NDArray[Any], landmarks: NDArray[Any], width: float) -> NDArray[Any]:
    """Return ``exp(-distance^2 / width)`` between rows, in the precision of `points`."""
    squared = -2 * (points @ landmarks.T)
    squared += np.sum(points * points, axis=1)[:, None]
    squared += np.sum(landmarks * landmarks, axis=1)[None, :]
    np.maximum(squared, 0, out=squared)
    squared *= -1 / width
    return np.asarray(np.exp(squared, out=squared))


def landmarks_of(pool: NDArray[Any], seed: int) -> Landmarks | None:
    """Draw landmarks from a pool (Nystroem features of a Gaussian kernel).

    Parameters
    ----------
    pool : [m, d]
    seed : int
        Of the draw.

    Returns
    -------
    Landmarks or None
        None where fewer than 16 rows differ.

    Notes
    -----
    Williams & Seeger (2001), "Using the Nystroem method to speed up kernel machines".
    """
    projection = projection_of(pool, _COMPONENTS)
    if not projection.basis.shape[1]:
        return None
    rng = np.random.default_rng(seed)
    drawn = rng.choice(len(pool), min(len(pool), 8 * _LANDMARKS), replace=False)
    points = projection.apply(pool[np.sort(drawn)])
    chosen = np.unique(points[rng.permutation(len(points))[:_LANDMARKS]], axis=0)
    if len(chosen) < _FEWEST:
        return None
    values, vectors = eigh(likeness(chosen, chosen, 2.0 * chosen.shape[1]))
    kept = values > 1e-6 * values[-1]
    raw = Landmarks(
        projection, chosen, vectors[:, kept] / np.sqrt(values[kept]), np.zeros(int(kept.sum()))
    )
    seen = likeness(points, chosen, raw.width) @ raw.whitening
    centre = seen.mean(axis=0)
    # As for other features, the mean squared length is their number.
    length = np.sqrt(np.mean((seen - centre) ** 2)) or 1.0
    return Landmarks(projection, chosen, raw.whitening / length, centre / length)
