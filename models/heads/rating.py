"""Ratings: how many stars people would give."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.answers import Answer, Stars
from models.heads.base import Floats, Head, HeadError
from models.heads.inputs import finite_rows, pool_rows, positive_weights
from models.heads.landmarks import Landmarks
from models.heads.linear import Doubles
from models.heads.logits import Logits
from models.heads.ordinal import step_chances
from models.heads.ordinal_fit import OrdinalFit, StepModel
from models.opinions import Opinions


class RatingHead(Head):
    """Proportional odds of 1 to K stars, calibrated on ratings that the fit had not seen.

    One score, linear in the embedding and, where a pool was given, in the likeness to some of its
    galaxies, is cut by K - 1 thresholds. As in `crossfit.cross_fit`, fits of several strengths
    are averaged, each weighted by how well it says what it was not shown.

    Parameters
    ----------
    maximum : int
        K, the most stars that can be given; 2 or more.
    """

    kind = "rating"

    def __init__(self, maximum: int = 5) -> None:
        if maximum < 2:
            raise HeadError(f"A rating needs two stars or more to choose from, not {maximum}.")
        super().__init__([str(stars) for stars in range(1, maximum + 1)])
        self._logits: Logits | None = None
        self._thresholds: Floats = np.zeros(maximum - 1, np.float32)

    @property
    def maximum(self) -> int:
        """The most stars that can be given."""
        return len(self.labels)

    @property
    def dimension(self) -> int:
        """Length d of the embeddings that the head takes."""
        return self._fitted().dimension

    def fit(
        self,
        seen: ArrayLike,
        targets: Sequence[Opinions],
        weights: ArrayLike | None = None,
        *,
        pool: ArrayLike | None = None,
        seed: int = 0,
    ) -> Self:
        """Fit to the `Stars` of people (see `Head.fit`); images without any are left out."""
        x = finite_rows(seen, "embeddings")
        counts = self._counts(targets, len(x))
        w = positive_weights(weights, len(x))
        basis = pool_rows(pool, x.shape[1])
        rated = np.flatnonzero(counts.sum(axis=1) > 0)
        if not len(rated):
            raise HeadError("Nobody has given stars to any of the rows; there is nothing to fit.")
        found = OrdinalFit.of(x[rated], counts[rated] * w[rated, None], basis, seed)
        stretch = found.stretch()
        self._set(found.models[0], found.landmarks, stretch)
        self.committee = tuple(
            type(self)(self.maximum)._set(model, found.landmarks, stretch)
            for model in found.models[1:]
        )
        # Rows without stars were in no fit at all.
        self.out_of_fold = self.predict(x)
        self.out_of_fold[rated] = found.left_out()
        return self

    def predict(self, seen: ArrayLike) -> Floats:
        """Return the probability of 1, 2, ... K stars, ``[n, K]``; rows sum to 1."""
        scores = self._fitted().at(seen)[:, 0]
        return step_chances(scores, self._thresholds.astype(np.float64)).astype(np.float32)

    def uncertainty(self, seen: ArrayLike) -> Floats:
        """Return the variance of the stars over its largest possible value, ``[n]`` in [0, 1].

        That is ``((K - 1) / 2)^2``, where one star and K stars are equally probable.
        """
        p = self.predict(seen).astype(np.float64)
        stars = np.arange(self.maximum)
        mean = p @ stars
        variance = p @ stars**2 - mean**2
        return np.asarray(np.clip(variance / ((self.maximum - 1) / 2) ** 2, 0, 1), np.float32)

    def answers(self, seen: ArrayLike) -> list[tuple[Answer, ...]]:
        """Return the most probable number of stars, with its probability."""
        return [
            (Stars(int(row.argmax()) + 1, score=float(min(row.max(), 1.0))),)
            for row in self.predict(seen)
        ]

    def losses(self, said: Floats, targets: Sequence[Opinions]) -> Floats:
        """Return minus the log probability of the stars given, mean over people, in nats, ``[n]``.

        0 where nobody gave any.
        """
        counts = self._counts(targets, len(said))
        each = -(counts * np.log(np.clip(np.asarray(said, np.float64), 1e-7, 1))).sum(axis=1)
        people = counts.sum(axis=1)
        return np.asarray(each / np.where(people > 0, people, 1), np.float32)

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return the tensors of `Logits` (one column) and thresholds ``[K - 1]``."""
        return {**self._fitted().tensors(), "thresholds": self._thresholds}, {}

    @classmethod
    def restore(
        cls, labels: Sequence[str], tensors: dict[str, NDArray[Any]], values: dict[str, Any]
    ) -> Self:
        """Build a head from its `state`."""
        head = cls(len(labels))
        if head.labels != tuple(labels):
            raise HeadError(
                f"The labels of a rating are 1, 2, ... K, not {tuple(labels)}. Roll back to "
                "another version."
            )
        head._logits = Logits.restore(tensors, 1, {"thresholds": (len(labels) - 1,)})
        head._thresholds = tensors["thresholds"].astype(np.float32)
        if (np.diff(head._thresholds) < 0).any():
            raise HeadError(
                "The thresholds of the rating do not rise. Roll back to another version."
            )
        return head

    def _set(
        self, model: StepModel, landmarks: Landmarks | None, stretch: tuple[float, float]
    ) -> Self:
        (weight, bias, curve), thresholds = model
        slope, shift = stretch
        self._logits = Logits.of((slope * weight, slope * bias, slope * curve), landmarks)
        self._thresholds = np.asarray(slope * thresholds + shift, np.float32)
        return self

    def _counts(self, targets: Sequence[Opinions], n: int) -> Doubles:
        """How many people gave each number of stars, [n, K]."""
        if len(targets) != n:
            raise HeadError(f"{n} images need as many opinions, not {len(targets)}.")
        counts = np.zeros((n, self.maximum))
        for row, opinions in enumerate(targets):
            for _, answer in opinions.each(Stars):
                if answer.value > self.maximum:
                    raise HeadError(
                        f"Somebody gave {answer.value} of {self.maximum} stars; leave the answer "
                        "out or raise the maximum of the rating."
                    )
                counts[row, answer.value - 1] += 1
        return counts

    def _fitted(self) -> Logits:
        if self._logits is None:
            raise HeadError("This head is not fitted; call fit() or load() first.")
        return self._logits
