"""Learning curves: how many labels a level of quality needs, and how many times fewer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]

DRAWS = 2000


@dataclass(frozen=True)
class Curve:
    """Quality against the number of labels.

    Attributes
    ----------
    numbers : int64 [m]
        Of labels, rising. 0 is what is known before the first label.
    values : float64 [s, m]
        Macro AUC of each seed.
    seeds : tuple of int [s]
    """

    numbers: NDArray[np.int64]
    values: Doubles
    seeds: tuple[int, ...]

    @property
    def mean(self) -> Doubles:
        """Mean over the seeds, [m]."""
        return np.asarray(self.values.mean(axis=0))

    @property
    def spread(self) -> Doubles:
        """Standard deviation over the seeds, [m]; 0 with a single one."""
        few = len(self.values) < 2
        return np.zeros(len(self.numbers)) if few else self.values.std(axis=0, ddof=1)

    def of_seeds(self, places: NDArray[np.int64]) -> Curve:
        """Return the curve of some seeds by their place; one may occur more than once."""
        return Curve(self.numbers, self.values[places], tuple(self.seeds[p] for p in places))

    def best(self) -> tuple[float, int]:
        """Return the largest mean and the fewest labels that gave it."""
        place = int(np.argmax(self.mean))
        return float(self.mean[place]), int(self.numbers[place])


@dataclass(frozen=True)
class Needed:
    """Labels that a level needs.

    Attributes
    ----------
    labels : float
        Infinite where the level is not reached.
    at_most : bool
        Already the smallest number that was tried reaches it, so fewer may do.
    """

    labels: float
    at_most: bool = False

    def __str__(self) -> str:
        if not np.isfinite(self.labels):
            return "-"
        return f"{'<=' if self.at_most else ''}{self.labels:.0f}"


@dataclass(frozen=True)
class Ratio:
    """How many times as many labels one curve needs as another, for the same level.

    Attributes
    ----------
    value : float
        0 where the second never reaches the level, NaN where neither does.
    at_least : bool
        The second reaches the level with the smallest number that was tried.
    low, high : float
        5th and 95th percentile over bootstrap draws of the seeds; NaN with fewer than three seeds.
    """

    value: float
    at_least: bool = False
    low: float = float("nan")
    high: float = float("nan")

    def __str__(self) -> str:
        if not np.isfinite(self.value):
            return "-"
        if self.value == 0:
            return "not reached"
        band = f" (90 %: {self.low:.1f} to {self.high:.1f})" if np.isfinite(self.low) else ""
        return f"{'>=' if self.at_least else ''}{self.value:.1f}{band}"


def labels_needed(curve: Curve, level: float) -> Needed:
    """Return from how many labels on the mean stays at or above a level.

    Between two numbers of labels the mean is taken to be linear in the logarithm of the number.
    A curve that passes the level, falls below and passes it again needs what the last passage
    needs: chance peaks do not count. What is known before the first label is left out.
    """
    some = curve.numbers > 0
    numbers, means = curve.numbers[some], curve.mean[some]
    below = np.flatnonzero(means < level)
    if len(numbers) == 0 or (len(below) and below[-1] == len(numbers) - 1):
        return Needed(float("inf"))
    if len(below) == 0:
        return Needed(float(numbers[0]), at_most=True)
    place = below[-1]
    low, high = np.log(numbers[place]), np.log(numbers[place + 1])
    share = (level - means[place]) / (means[place + 1] - means[place])
    return Needed(float(np.exp(low + share * (high - low))))


def label_ratio(curve: Curve, other: Curve, level: float) -> Ratio:
    """Divide the labels that `curve` needs for a level by those that `other` needs.

    Where the denominator is only known to be at most the smallest number tried, the ratio is at
    least what is given. Where both are, nothing is known.
    """
    first, second = labels_needed(curve, level), labels_needed(other, level)
    if not np.isfinite(first.labels) or (first.at_most and second.at_most):
        return Ratio(float("nan"))
    return Ratio(first.labels / second.labels, at_least=second.at_most)


def ratio_at_best(curve: Curve, other: Curve, draws: int = DRAWS, seed: int = 0) -> Ratio:
    """Compare the labels of two curves at the best level that the first one reaches.

    The numerator is the fewest labels with which `curve` has its best mean, the denominator what
    `other` needs to reach that mean and hold it. The interval comes from drawing the seeds that
    both have with replacement, the same ones for both; level and labels follow anew in each draw.

    Parameters
    ----------
    curve, other : Curve
    draws : int
        Of the bootstrap; 0: no interval.
    seed : int
    """
    level, labels = curve.best()
    needed = labels_needed(other, level)
    shared = [name for name in curve.seeds if name in other.seeds]
    low = high = float("nan")
    if len(shared) > 2 and draws > 0:
        own = np.array([curve.seeds.index(name) for name in shared])
        theirs = np.array([other.seeds.index(name) for name in shared])
        rng = np.random.default_rng(seed)
        found = []
        for _ in range(draws):
            drawn = rng.integers(len(shared), size=len(shared))
            drawn_level, drawn_labels = curve.of_seeds(own[drawn]).best()
            wanted = labels_needed(other.of_seeds(theirs[drawn]), drawn_level)
            found.append(drawn_labels / wanted.labels)
        low, high = np.percentile(found, [5, 95])
    return Ratio(labels / needed.labels, needed.at_most, float(low), float(high))
