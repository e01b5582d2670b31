"""Fits of one question of a tree to the votes of those who were asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.heads.base import Floats
from models.heads.crossfit import CrossFit, Model, cross_fit
from models.heads.dirichlet import USUAL, Doubles, VoteCalibration, fit_votes, vote_losses

# Concentrations among which the usual one of a tree is sought.
_LEVELS = np.log(np.array([1.0, 2.0, 4.0, 7.0, 10.0, 15.0, 25.0, 40.0, 80.0, 160.0]))


@dataclass(frozen=True, eq=False)
class QuestionFit:
    """One question, fitted to the rows in which it was asked.

    Attributes
    ----------
    found : CrossFit
        Of these m rows.
    rows : int64 [m]
        Their places among all n.
    counts : float64 [m, k]
    weights : float64 [m]
    """

    found: CrossFit
    rows: NDArray[np.int64]
    counts: Doubles
    weights: Doubles

    @classmethod
    def of(
        cls,
        embeddings: Floats,
        counts: Doubles,
        weights: Doubles,
        pool: Floats | None,
        seed: int,
    ) -> QuestionFit | None:
        """Fit to votes [n, k]; None where nobody was asked, or there is nothing to choose."""
        rows = np.flatnonzero(counts.sum(axis=1) > 0)
        if counts.shape[1] < 2 or not len(rows):
            return None
        votes = counts[rows].sum(axis=1)
        # Votes on one galaxy share what the fit does not know of it, so many of them say little
        # more than a few: n votes are worth n (c + 1) / (n + c), at most c + 1 (the variance of
        # Dirichlet-multinomial fractions). Measured: c from 3 to 30 gives the same errors.
        worth = votes * (USUAL + 1) / (votes + USUAL)
        found = cross_fit(
            embeddings[rows],
            counts[rows] / votes[:, None],
            weights[rows] * worth,
            exclusive=True,
            pool=pool,
            seed=seed,
        )
        return cls(found, rows, counts[rows], weights[rows])

    def calibration(self, usual: float, without: int | None = None) -> VoteCalibration:
        """Return the calibration of all rows, or that which one fold had no part in."""
        use = self.found.informed.copy()
        if without is not None:
            use &= self.found.fold != without
        return fit_votes(self.found.logits[use], self.counts[use], self.weights[use], usual)

    def model(self, member: int | None) -> Model:
        """Return the model of all rows, or that of a fold (of which there may be fewer)."""
        if member is None:
            return self.found.model
        return self.found.fold_models[member % len(self.found.fold_models)]


def usual_level(fits: Sequence[QuestionFit | None]) -> float:
    """Return the log concentration that is most probable for all questions at once.

    What single questions with few votes are drawn towards.
    """
    losses = 0.5 * 2.0 * (_LEVELS - np.log(USUAL)) ** 2
    for fit in fits:
        if fit is None or not fit.found.informed.any():
            continue
        use = fit.found.informed
        means = VoteCalibration().means(fit.found.logits[use])
        for place, level in enumerate(_LEVELS):
            each = vote_losses(means, np.full(len(means), np.exp(level)), fit.counts[use])
            losses[place] += np.sum(fit.weights[use] * each)
    return float(_LEVELS[np.argmin(losses)])
