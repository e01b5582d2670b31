"""The crowd's answer to a multiple choice: each label is a question of its own, yes or no."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.crowd.choices import ChoiceCrowd

Floats = NDArray[np.float64]


@dataclass
class MultipleCrowd:
    """A crowd of two answers (no, yes) for each of k labels.

    Attributes
    ----------
    crowds : tuple of ChoiceCrowd
        By label; answer 1 is yes.
    """

    crowds: tuple[ChoiceCrowd, ...]

    @classmethod
    def fit(
        cls,
        tasks: ArrayLike,
        people: ArrayLike,
        named: ArrayLike,
        shape: tuple[int, int, int],
        *,
        gold: ArrayLike | None = None,
    ) -> MultipleCrowd:
        """Fit a crowd for each label.

        Parameters
        ----------
        tasks, people : int64 [v]
            Of each answer.
        named : bool [v, k]
            Which labels the answer names; none is an answer, too.
        shape : (int, int, int)
            Numbers of tasks n, people p and labels k.
        gold : int64 [n, k], optional
            1 and 0 where it is known whether a label holds, -1 where it is not.

        Raises
        ------
        ValueError
            If answers lie outside `shape`.
        """
        n, p, k = shape
        answers = np.asarray(named)
        if answers.ndim != 2 or answers.shape[1] != k:
            raise ValueError(f"Answers name or leave {k} labels each.")
        known = np.full((n, k), -1) if gold is None else np.asarray(gold)
        if known.shape != (n, k):
            raise ValueError(f"Known answers are {n} rows of {k}.")
        return cls(
            tuple(
                ChoiceCrowd.fit(
                    tasks,
                    people,
                    answers[:, label].astype(np.int64),
                    (n, p, 2),
                    gold=known[:, label],
                )
                for label in range(k)
            )
        )

    @property
    def posterior(self) -> Floats:
        """Probability that each label holds [n, k]."""
        return np.stack([crowd.posterior[:, 1] for crowd in self.crowds], axis=1)

    @property
    def confusion(self) -> Floats:
        """By label, of each person [k, p, 2, 2]: rows truth (no, yes), columns answer."""
        return np.stack([crowd.confusion for crowd in self.crowds])

    @property
    def typical(self) -> Floats:
        """By label, of the population [k, 2, 2]."""
        return np.stack([crowd.typical for crowd in self.crowds])

    @property
    def prevalence(self) -> Floats:
        """Share of tasks that each label holds for [k]."""
        return np.stack([crowd.prevalence[1] for crowd in self.crowds])

    @property
    def difficulty(self) -> Floats:
        """Mean of the labels' difficulties [n], in [0, 1]."""
        return np.asarray(np.mean([crowd.difficulty for crowd in self.crowds], axis=0))

    @property
    def correlation(self) -> float:
        """Mean over labels of how much votes on a task repeat each other."""
        return float(np.mean([crowd.correlation for crowd in self.crowds]))

    @property
    def votes_of_person(self) -> Floats:
        """Answers [p] that say something of the person."""
        return self.crowds[0].votes_of_person

    def reliability(self) -> tuple[Floats, Floats, Floats]:
        """Return each person's chance to be right on a label, averaged over labels.

        Returns
        -------
        mean, low, high : float64 [p]
            The bounds are averages, too, as if a person erred alike on all labels.
        """
        told = np.array([crowd.reliability() for crowd in self.crowds]).mean(axis=0)
        return told[0], told[1], told[2]

    def usefulness(self) -> Floats:
        """Return how much an answer of each person tells of each label [p, k], in [0, 1]."""
        return np.stack([crowd.usefulness() for crowd in self.crowds], axis=1)

    def worth(self, votes: ArrayLike) -> Floats:
        """Return by what the evidence of so many answers on a task counts, in (0, 1]."""
        return np.asarray(np.mean([crowd.worth(votes) for crowd in self.crowds], axis=0))

    def with_witness(self, probabilities: ArrayLike) -> Floats:
        """Return the posterior [n, k] with the model's prediction as one more witness.

        Parameters
        ----------
        probabilities : [n, k]
            That each label holds; as `ChoiceCrowd.with_witness` takes them.
        """
        told = np.asarray(probabilities, np.float64)
        if told.shape != self.posterior.shape:
            raise ValueError(
                f"The model must say {self.posterior.shape} probabilities, not {told.shape}."
            )
        return np.stack(
            [
                crowd.with_witness(np.stack([1 - column, column], axis=1))[:, 1]
                for crowd, column in zip(self.crowds, told.T, strict=True)
            ],
            axis=1,
        )

    def update(
        self, people: ArrayLike, named: ArrayLike, witness: ArrayLike | None = None
    ) -> Floats:
        """Return the posterior [k] of one task with all its answers `named` [m, k]."""
        answers = np.asarray(named).reshape(-1, len(self.crowds)).astype(np.int64)
        found = []
        for label, crowd in enumerate(self.crowds):
            told = None
            if witness is not None:
                yes = float(np.asarray(witness, np.float64)[label])
                told = np.array([1 - yes, yes])
            found.append(crowd.update(people, answers[:, label], told)[1])
        return np.array(found)
