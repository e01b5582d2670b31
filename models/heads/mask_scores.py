"""Scores of masks: the IoU with the truth that experience lets expect."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize
from scipy.special import expit, log_expit, logit

Doubles = NDArray[np.float64]

# What the networks say is believed as if this many masks had confirmed it.
_PRIOR_MASKS = 5.0
_FLOOR = 1e-3


class MaskScores:
    """Expected IoU with the truth from what the networks say, 0 for things that are not there.

    Attributes
    ----------
    found, asked : float64 [3], [2]
        Of masks that a detector proposed: offset, and factors of the logits of the network's own
        expectation and of the detector's score. Of masks that a person asked for: offset and
        factor of the former.
    """

    def __init__(self, found: ArrayLike = (0.0, 1.0, 0.5), asked: ArrayLike = (0.0, 1.0)) -> None:
        self.found, self.asked = np.asarray(found, np.float64), np.asarray(asked, np.float64)

    def fit(
        self,
        found: tuple[ArrayLike, ArrayLike, ArrayLike],
        asked: tuple[ArrayLike, ArrayLike],
    ) -> MaskScores:
        """Return scores calibrated on masks that no network has seen.

        Parameters
        ----------
        found : (qualities [n], detector scores [n], IoU [n])
            Qualities as logits, scores and IoU in [0, 1].
        asked : (qualities [m], IoU [m])
        """
        quality, detected, overlap = (np.asarray(v, np.float64) for v in found)
        other, right = (np.asarray(v, np.float64) for v in asked)
        return MaskScores(
            _fit(
                np.stack([np.ones_like(quality), quality, _logits(detected)], 1),
                overlap,
                self.found,
            ),
            _fit(np.stack([np.ones_like(other), other], 1), right, self.asked),
        )

    def of_found(self, quality: float, detected: float) -> float:
        """Score of a mask that a detector proposed, in [0, 1]."""
        return float(expit(self.found @ [1.0, quality, float(_logits(detected))]))

    def of_asked(self, quality: float) -> float:
        """Score of a mask that a person asked for, in [0, 1]."""
        return float(expit(self.asked @ [1.0, quality]))


def _logits(scores: Any) -> Doubles:
    return np.asarray(logit(np.clip(np.asarray(scores, np.float64), _FLOOR, 1 - _FLOOR)))


def _fit(features: Doubles, shares: Doubles, prior: Doubles) -> Doubles:
    """Fit logistic weights to shares in [0, 1], drawn towards `prior`."""
    if not len(features):
        return prior

    def loss(weights: Doubles) -> tuple[float, Doubles]:
        z = features @ weights
        cost = -(shares * log_expit(z) + (1 - shares) * log_expit(-z)).sum()
        away = weights - prior
        slope = features.T @ (expit(z) - shares) + _PRIOR_MASKS * away
        return float(cost + 0.5 * _PRIOR_MASKS * away @ away), np.asarray(slope)

    return np.asarray(minimize(loss, prior, jac=True, method="L-BFGS-B").x)
