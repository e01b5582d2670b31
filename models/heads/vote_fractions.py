"""What a decision tree says of images: how people's votes would divide, and how surely."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.heads.base import Floats, HeadError
from models.heads.dirichlet import cumulative, fraction_intervals
from models.heads.questions import QuestionTree


@dataclass(frozen=True, eq=False)
class VoteFractions:
    """Dirichlet distributions of the vote fractions of n images, one per question.

    Rows can be taken by index, slice or array; ``np.asarray`` gives [n, K + Q].

    Attributes
    ----------
    tree : QuestionTree
        Q questions with K labels in all.
    means : float32 [n, K]
        Expected fractions; those of each question sum to 1, also where it would not be asked.
    concentrations : float32 [n, Q]
        As if so many votes had been counted already.
    """

    tree: QuestionTree
    means: Floats
    concentrations: Floats

    def __len__(self) -> int:
        return len(self.means)

    def __getitem__(self, rows: Any) -> VoteFractions:
        chosen = np.arange(len(self))[rows]
        rows = np.atleast_1d(chosen)
        return VoteFractions(self.tree, self.means[rows], self.concentrations[rows])

    def __iter__(self) -> Iterator[VoteFractions]:
        return (self[row] for row in range(len(self)))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.hstack([self.means, self.concentrations]).astype(dtype or np.float32)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, VoteFractions):
            return NotImplemented
        return self.tree == other.tree and np.array_equal(np.asarray(self), np.asarray(other))

    __hash__ = None  # type: ignore[assignment]

    def of(self, question: str) -> Floats:
        """Return the mean fractions of one question, ``[n, k]``."""
        return self.means[:, self.tree.columns[self.tree.place(question)]]

    def reached(self) -> Floats:
        """Return how probably each question is asked, ``[n, Q]``."""
        return self.tree.reached(self.means)

    def intervals(self, level: float, votes: ArrayLike | None = None) -> tuple[Floats, Floats]:
        """Return central intervals of fractions.

        Parameters
        ----------
        level : float
            Probability that a fraction lies inside, in (0, 1).
        votes : int or [n, Q], optional
            For fractions of so many votes, which scatter more than the true ones; where it is 0,
            the interval is [0, 1]. Left out: true fractions, as of endless votes.

        Returns
        -------
        lower, upper : float32 [n, K]
            Both ends belong to the interval. As votes are whole numbers, intervals for few of
            them hold somewhat more than `level`.

        Raises
        ------
        HeadError
            If `level` is not inside (0, 1), or votes are negative, not whole or of another shape.
        """
        if not 0 < level < 1:
            raise HeadError(f"The level of an interval lies between 0 and 1, not at {level}.")
        lower, upper = np.zeros(self.means.shape), np.ones(self.means.shape)
        if votes is None:
            for place, columns in enumerate(self.tree.columns):
                c = self.concentrations[:, place]
                found = fraction_intervals(self.means[:, columns], c, level)
                lower[:, columns], upper[:, columns] = found
            return lower.astype(np.float32), upper.astype(np.float32)
        for place, columns, number, rows in self.asked(votes):
            _, upto = cumulative(
                self.means[rows, columns], self.concentrations[rows, place], number
            )
            tail = (1 - level) / 2
            lower[rows, columns] = np.argmax(upto > tail, axis=2) / number
            upper[rows, columns] = np.argmax(upto >= 1 - tail, axis=2) / number
        return lower.astype(np.float32), upper.astype(np.float32)

    def ranks(self, counts: ArrayLike, rng: np.random.Generator) -> NDArray[np.float64]:
        """Return where votes fall in what was expected, ``[n, K]``; evenly in [0, 1] if right.

        Parameters
        ----------
        counts : [n, K]
            Whole votes. NaN is returned where nobody was asked.
        rng : Generator
            A count falls anywhere within the step that its whole number takes.

        Notes
        -----
        The randomised probability integral transform; Czado, Gneiting & Held (2009),
        "Predictive Model Assessment for Count Data".
        """
        n = np.asarray(counts, np.float64)
        ranks = np.full(self.means.shape, np.nan)
        totals = np.stack([n[:, columns].sum(axis=1) for columns in self.tree.columns], axis=1)
        for place, columns, number, rows in self.asked(totals):
            below, upto = cumulative(
                self.means[rows, columns], self.concentrations[rows, place], number
            )
            at = n[rows, columns].astype(int)[..., None]
            low = np.take_along_axis(below, at, axis=2)[..., 0]
            high = np.take_along_axis(upto, at, axis=2)[..., 0]
            ranks[rows, columns] = low + rng.random(low.shape) * (high - low)
        return ranks

    def asked(self, votes: ArrayLike) -> Iterator[tuple[int, slice, int, NDArray[np.int64]]]:
        """Yield (place of question, its columns, votes above 0, rows that have so many)."""
        shape = self.concentrations.shape
        try:
            each = np.broadcast_to(np.asarray(votes, np.float64), shape)
        except ValueError:
            raise HeadError(f"Votes are one number or {list(shape)}.") from None
        if not (np.isfinite(each).all() and (each >= 0).all() and (each == each.round()).all()):
            raise HeadError("Votes are whole numbers, 0 or more; round them first.")
        for place, columns in enumerate(self.tree.columns):
            for number in np.unique(each[:, place]):
                if number > 0:
                    yield place, columns, int(number), np.flatnonzero(each[:, place] == number)
