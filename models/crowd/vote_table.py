"""Votes as a sparse table, so that a million of them are two matrix products."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.sparse as sparse
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class VoteTable:
    """Votes on single labels.

    Attributes
    ----------
    tasks, people, labels : int64 [v]
        Of each vote: places below `shape`.
    weights : float64 [v]
        Share of one person's vote, in (0, 1]; below 1 where a person named several labels.
    shape : (int, int, int)
        Numbers of tasks n, people p and labels k.
    """

    tasks: Ints
    people: Ints
    labels: Ints
    weights: Floats
    shape: tuple[int, int, int]

    @classmethod
    def of(
        cls,
        tasks: ArrayLike,
        people: ArrayLike,
        labels: ArrayLike,
        shape: tuple[int, int, int],
        weights: ArrayLike | None = None,
    ) -> VoteTable:
        """Check votes and make a table of them.

        Raises
        ------
        ValueError
            If lengths differ, a number is not whole or lies outside `shape`, or a weight is not
            in (0, 1].
        """
        sizes = tuple(int(size) for size in shape)
        if len(sizes) != 3 or min(sizes) < 0 or sizes[2] < 1:
            raise ValueError(f"Tasks, people and labels are counted by three numbers, not {shape}.")
        columns = []
        for name, values, size in zip(
            ("tasks", "people", "labels"), (tasks, people, labels), sizes, strict=True
        ):
            column = np.asarray(values)
            if column.size == 0:
                column = column.astype(np.int64)
            if column.ndim != 1 or column.dtype.kind not in "iu":
                raise ValueError(f"The {name} of votes are one whole number a vote.")
            column = column.astype(np.int64)
            if len(column) and (column.min() < 0 or column.max() >= size):
                raise ValueError(f"The {name} of votes lie outside 0 to {size - 1}.")
            columns.append(column)
        count = len(columns[0])
        shares = np.ones(count) if weights is None else np.asarray(weights, np.float64)
        if any(len(column) != count for column in columns) or shares.shape != (count,):
            raise ValueError("Votes need as many tasks as people, labels and weights.")
        if count and not ((shares > 0) & (shares <= 1)).all():
            raise ValueError("The weight of a vote lies above 0 and is at most 1.")
        return cls(columns[0], columns[1], columns[2], shares, (sizes[0], sizes[1], sizes[2]))

    def __len__(self) -> int:
        return len(self.tasks)

    @cached_property
    def matrix(self) -> sparse.csr_matrix:
        """Votes as [n, p k]: a row per task, a column per person and label."""
        n, p, k = self.shape
        return sparse.csr_matrix(
            (self.weights, (self.tasks, self.people * k + self.labels)), shape=(n, p * k)
        )

    @cached_property
    def _turned(self) -> sparse.csr_matrix:
        return self.matrix.T.tocsr()

    @cached_property
    def per_task(self) -> Floats:
        """Votes of each task [n]."""
        return self.counts.sum(axis=1)

    @cached_property
    def per_person(self) -> Floats:
        """Votes of each person [p]."""
        return np.asarray(
            np.bincount(self.people, self.weights, minlength=self.shape[1]), np.float64
        )

    @cached_property
    def counts(self) -> Floats:
        """Votes of each task for each label [n, k]."""
        n, _, k = self.shape
        flat = np.bincount(self.tasks * k + self.labels, self.weights, minlength=n * k)
        return np.asarray(flat, np.float64).reshape(n, k)

    def evidence(self, log_confusion: Floats) -> Floats:
        """Sum the logarithms of the chances of each task's votes, by what the truth may be.

        Parameters
        ----------
        log_confusion : float64 [p, k, k]
            Of each person: rows truth, columns answer.

        Returns
        -------
        float64 [n, k]
        """
        _, p, k = self.shape
        by_answer = log_confusion.transpose(0, 2, 1).reshape(p * k, k)
        return np.asarray(self.matrix @ by_answer)

    def confusions(self, posterior: Floats) -> Floats:
        """Count each person's answers [p, k, k] (rows: truth) under beliefs [n, k] about it."""
        _, p, k = self.shape
        counted = np.asarray(self._turned @ posterior)
        return counted.reshape(p, k, k).transpose(0, 2, 1)
