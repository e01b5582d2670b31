"""Ordinal fits of which every row is also judged by a model that never saw it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from models.heads.base import Floats
from models.heads.crossfit import EVIDENCE, VARIANCES, Model
from models.heads.landmarks import Landmarks, landmarks_of
from models.heads.linear import Doubles, Projection, folds_of, projection_of
from models.heads.ordinal import fit_steps, fit_stretch, step_chances

StepModel = tuple[Model, Doubles]
"""Weight [d, 1], bias [1] and curve [m, 1] of the score; thresholds [K - 1]."""


@dataclass(frozen=True, eq=False)
class OrdinalFit:
    """A model on all rows, the models of the folds, and what those say.

    Attributes
    ----------
    models : list of StepModel
        The one of all rows, then one fitted without the rows of each fold.
    landmarks : Landmarks or None
    fold : int64 [n]
    scores : float64 [n]
        Of each row, by the model of its fold.
    cuts : float64 [n, K - 1]
        The thresholds that go with them.
    votes : float64 [n, K]
        What was fitted to.
    informed : bool [n]
        Whether the model of the fold saw any row.
    """

    models: list[StepModel]
    landmarks: Landmarks | None
    fold: NDArray[np.int64]
    scores: Doubles
    cuts: Doubles
    votes: Doubles
    informed: NDArray[np.bool_]

    @classmethod
    def of(cls, embeddings: Floats, votes: Doubles, pool: Floats | None, seed: int) -> OrdinalFit:
        """Fit proportional odds to embeddings [n, d] and votes [n, K].

        The grid, its weights and its folds are those of `crossfit.cross_fit`.
        """
        projection = projection_of(embeddings if pool is None else pool)
        landmarks = None if pool is None else landmarks_of(pool, seed)
        families: list[Projection | Landmarks] = [projection]
        features = [projection.apply(embeddings)]
        if landmarks is not None:
            families.append(landmarks)
            features.append(landmarks.features(embeddings))
        n = len(votes)
        count = max(2, min(n, 10 if n < 20 else 5))
        fold = folds_of(embeddings, votes, count, seed)

        # Members: of each family the strengths in turn.
        seen_by = [f for f in features for _ in VARIANCES]
        scores = np.zeros((len(seen_by), n))
        cuts = np.zeros((len(seen_by), n, votes.shape[1] - 1))
        fits: list[list[tuple[Doubles, Doubles]]] = []
        for held in range(-1, count):
            shown = fold != held
            fits.append([])
            for f in features:
                strengths = [max(f.shape[1], 1) / variance for variance in VARIANCES]
                fits[-1] += fit_steps(f[shown], votes[shown], strengths)
            if held >= 0:
                for place, (f, (w, thresholds)) in enumerate(zip(seen_by, fits[-1], strict=True)):
                    scores[place, ~shown] = f[~shown] @ w
                    cuts[place, ~shown] = thresholds
        losses = np.array(
            [
                -EVIDENCE * (votes * np.log(step_chances(z, c))).sum(axis=1)
                for z, c in zip(scores, cuts, strict=True)
            ]
        )
        mixed, mixed_cuts = np.zeros(n), np.zeros(cuts.shape[1:])
        for held in range(count):
            # A row's own votes must not weigh the members that speak of it.
            rows = fold == held
            belief = softmax(-losses[:, ~rows].sum(axis=1))
            mixed[rows] = belief @ scores[:, rows]
            mixed_cuts[rows] = np.tensordot(belief, cuts[:, rows], axes=1)
        belief = softmax(-losses.sum(axis=1))
        models = [_mean(fitted, belief, families) for fitted in fits]
        informed = np.bincount(fold, minlength=count)[fold] < n
        return cls(models, landmarks, fold, mixed, mixed_cuts, votes, informed)

    def stretch(self, without: int | None = None) -> tuple[float, float]:
        """Return the calibration of all rows, or that which one fold had no part in."""
        use = self.informed if without is None else self.informed & (self.fold != without)
        return fit_stretch(self.scores[use], self.cuts[use], self.votes[use])

    def left_out(self) -> Doubles:
        """Return what is said of each row without its votes, ``[n, K]``."""
        said = np.empty(self.votes.shape)
        for held in np.unique(self.fold):
            rows = self.fold == held
            slope, shift = self.stretch(without=int(held))
            said[rows] = step_chances(slope * self.scores[rows], slope * self.cuts[rows] + shift)
        return said


def _mean(
    fitted: list[tuple[Doubles, Doubles]],
    belief: Doubles,
    families: list[Projection | Landmarks],
) -> StepModel:
    """The weighted mean of the members, as it acts on embeddings."""
    per = len(VARIANCES)
    parts = []
    for place, family in enumerate(families):
        rows = range(place * per, (place + 1) * per)
        total = np.sum([belief[row] * fitted[row][0] for row in rows], axis=0)
        parts.append(family.unfold(total[:, None], np.zeros(1)))
    weight, bias = parts[0]
    curve: Doubles = np.zeros((0, 1))
    if len(parts) > 1:
        curve, bias = parts[1][0], bias + parts[1][1]
    thresholds = np.sum([b * c for b, (_, c) in zip(belief, fitted, strict=True)], axis=0)
    return (weight, bias, curve), np.asarray(thresholds)
