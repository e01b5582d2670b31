"""The judge: how likely a candidate is right, from the map's answer and a closer look at it.

The map of centres is quick and coarse. A second look at each candidate alone, by the LVM's
embedding of what its shape encloses, tells a galaxy from a star's glare and a whole one from a
part; two-stage detectors do so, too (Ren et al. 2015, arXiv:1506.01497).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

from models.answers import Shape
from models.boxes import bounds

Array = NDArray[np.float64]

_PLAIN = 3
_PRIOR_VOTES = 10.0
_VARIANCE = 2.0
"""Variance that the closer look is expected to add to the log odds."""


@dataclass(frozen=True, eq=False)
class Judge:
    """Log odds linear in those of the heat, in the logarithm of size and in the embedding.

    Attributes
    ----------
    weights : float64 [3 + d]
        Offset, slope of the heat's log odds, slope of the size's logarithm, and the embedding's.
    middle, spread : float64 [1 + d]
        Of the size's logarithm and the embedding, which are standardised by them.
    """

    weights: Array
    middle: Array
    spread: Array

    @classmethod
    def plain(cls, d: int) -> Judge:
        """Make one that takes the heat as it is."""
        weights = np.zeros(_PLAIN + d)
        weights[1] = 1.0
        return cls(weights, np.zeros(1 + d), np.ones(1 + d))

    @classmethod
    def of(cls, seen: Array, right: Array, votes: Array) -> Judge:
        """Fit by penalised likelihood.

        Parameters
        ----------
        seen : float64 [n, 2 + d]
            See `features`.
        right : float64 [n]
            Share of the people that would call each right, in [0, 1].
        votes : float64 [n]
            Weight of each.

        Notes
        -----
        Offset and slope of the heat are drawn towards 0 and 1 as by 10 votes (see
        `models.calibration.fit_platt`); the embedding's weights towards 0, so that few candidates
        leave the heat as it is.
        """
        d = seen.shape[1] - 2
        if not len(seen):
            return cls.plain(d)
        middle = seen[:, 1:].mean(axis=0)
        # What does not vary tells nothing, and must not be blown up.
        spread = np.where(seen[:, 1:].std(axis=0) > 1e-6, seen[:, 1:].std(axis=0), 1e6)
        x = np.column_stack([np.ones(len(seen)), seen[:, 0], (seen[:, 1:] - middle) / spread])
        start = cls.plain(d).weights
        pull = np.full(_PLAIN + d, (d + 1) / _VARIANCE)
        pull[:2] = _PRIOR_VOTES / 4

        def loss(w: Array) -> tuple[float, Array]:
            z = x @ w
            value = -votes @ (right * log_expit(z) + (1 - right) * log_expit(-z))
            off = w - start
            return float(value + 0.5 * pull @ off**2), x.T @ (
                votes * (expit(z) - right)
            ) + pull * off

        found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 500})
        return cls(found.x, middle, spread)

    def probability(self, seen: Array) -> Array:
        """Return how likely candidates [n, 2 + d] are right, [n] in (0, 1)."""
        x = (seen[:, 1:] - self.middle) / self.spread
        z = self.weights[0] + self.weights[1] * seen[:, 0] + x @ self.weights[2:]
        return np.asarray(expit(z.clip(-30, 30)))

    def arrays(self) -> dict[str, Array]:
        """Return all that it knows, by name."""
        return {"weights": self.weights, "middle": self.middle, "spread": self.spread}

    @classmethod
    def read(cls, arrays: dict[str, NDArray[Any]]) -> Judge:
        """Undo `arrays`; a ValueError names what is wrong."""
        try:
            w, middle, spread = (arrays[name] for name in ("weights", "middle", "spread"))
        except KeyError as error:
            raise ValueError(f"the judge lacks {error}") from None
        if w.ndim != 1 or not middle.shape == spread.shape == (len(w) - 2,) or len(w) < _PLAIN:
            raise ValueError("the judge's arrays do not fit each other")
        if not all(np.isfinite(a).all() for a in (w, middle, spread)) or spread.min() <= 0:
            raise ValueError("the judge holds values that are not finite, or spreads of 0")
        return cls(*(np.asarray(a, dtype=np.float64) for a in (w, middle, spread)))


def features(heat: Array, shapes: Sequence[Shape], shown: NDArray[np.float32]) -> Array:
    """What a judge is told of m candidates, [m, 2 + d]: log odds of heat, log size, embedding."""
    edges = np.array([bounds(shape) for shape in shapes]).reshape(-1, 4)
    size = np.log(np.maximum(edges[:, 2:] - edges[:, :2], 1.0)).mean(axis=1)
    return np.column_stack([logit(heat.clip(1e-6, 1 - 1e-6)), size, shown.astype(np.float64)])
