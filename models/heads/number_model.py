"""The numerics of numbers: a middle, a spread and half widths, all judged on rows left out."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.heads.base import HeadError
from models.heads.features import Features, as_kept, taken
from models.heads.intervals import LEVELS, half_widths
from models.heads.linear import Doubles, folds_of
from models.heads.regression import Regression, fit_regression

# Mean and standard deviation of log |r| of a normal deviate r.
_MEAN_LOG, _STD_LOG = -0.635, 1.11
# The spread of a row is at most e^2 times larger or smaller than the model itself says.
_MOST = 2.0
# Below this many rows nothing is learned about which are harder.
_FEWEST = 12


@dataclass(frozen=True)
class Said:
    """What is said of n rows, in standard units.

    Attributes
    ----------
    middle : float64 [n, k]
        The value; of directions (k = 2) a vector that points there.
    spread : float64 [n]
        Relative size of the error, above 0; of directions in radians.
    widths : float64 [n, len(LEVELS)]
        Spreads on each side of the middle that hold each share.
    """

    middle: Doubles
    spread: Doubles
    widths: Doubles

    @property
    def angle(self) -> Doubles:
        """Directions [n], radians."""
        return np.arctan2(self.middle[:, 1], self.middle[:, 0])


@dataclass(frozen=True)
class NumberModel:
    """A fitted model of one number, or of one direction (k = 2).

    Attributes
    ----------
    features : Features
    value : Regression
        Of k targets.
    harder : Regression
        Of the logarithm of the error over what `value` says of it.
    widths : float64 [len(LEVELS)]
    """

    features: Features
    value: Regression
    harder: Regression
    widths: Doubles

    def said(self, table: NDArray[Any]) -> Said:
        """Say what is expected of the rows of a table."""
        if not len(table):
            k = len(self.value.bias)
            return Said(np.zeros((0, k)), np.zeros(0), np.zeros((0, len(LEVELS))))
        stacked = np.hstack(self.features.apply(table))
        middle, base = self.value.predict(stacked), _base(self.value, stacked)
        hints = _hints(self.features.planes(table), middle, base)
        spread = base * _harder(self.harder, np.hstack(hints))
        return Said(middle, spread, np.tile(self.widths, (len(table), 1)))

    @classmethod
    def fit(
        cls,
        table: NDArray[Any],
        targets: Doubles,
        weights: Doubles,
        known: Doubles,
        *,
        split: int,
        pool: NDArray[Any] | None = None,
        seed: int = 0,
    ) -> tuple[Self, Said, list[Self]]:
        """Fit to all rows and to all but each fold.

        Parameters
        ----------
        table : float32 [n, D]
        targets : [n, k]
            In standard units; directions as unit vectors.
        weights : [n], positive
        known : [n]
            Variance of each target that is known.
        split : int
            Where the second kind of columns begins.
        pool : [m, D], optional
            More rows, for the features' statistics.
        seed : int

        Returns
        -------
        model : NumberModel
        left_out : Said
            Of each row, by models, spreads and half widths that never saw it. Where no other row
            is, the middle is 0 and the spread 1.
        fold_models : list of NumberModel
        """
        n, k = targets.shape
        features = Features.of(table if pool is None else np.vstack([pool, table]), split, seed)
        groups, planes = features.apply(table), features.planes(table)
        count = max(2, min(n, 10 if n < 40 else 5))
        fold = folds_of(table, np.zeros((n, 1)), count, seed)
        held = [rows for rows in (np.flatnonzero(fold == f) for f in range(count)) if len(rows)]
        middle, base = np.zeros((n, k)), np.ones(n)
        values = []
        for rows in held:
            seen = _others(n, rows)
            if not len(seen):
                continue
            # A row that is a landmark itself looks more unsure than new ones do.
            around = table[seen] if pool is None else np.vstack([pool, table[seen]])
            own = Features.of(around, split, seed)
            part = own.apply(table[seen])
            found = fit_regression(part, targets[seen], weights[seen], known=known[seen])
            left = np.hstack(own.apply(table[rows]))
            middle[rows], base[rows] = found.predict(left), _base(found, left)
            values.append((own, found))
        value = fit_regression(groups, targets, weights, known=known)
        # One row, or one image many times: nothing was left out.
        informed = len(held) > 1
        error = _error(targets, middle)
        hints = _hints(planes, middle, base)
        goal = np.log(np.maximum(error, 1e-4 * base) / base)[:, None] - _MEAN_LOG
        spread, harder = base.copy(), []
        for rows in held:
            harder.append(_fit_harder(hints, goal, _others(n, rows) if informed else rows[:0]))
            spread[rows] *= _harder(harder[-1], np.hstack(hints)[rows])
        scores = error / spread if informed else np.zeros(0)
        widths = np.zeros((n, len(LEVELS)))
        for rows in held:
            widths[rows] = half_widths(scores[_others(n, rows)] if informed else scores)
        every = _fit_harder(hints, goal, np.arange(n) if informed else np.arange(0))
        model = cls(features, _single(value), _single(every), as_kept(half_widths(scores)))
        members = [
            replace(model, features=own, value=_single(one), harder=_plain(own, k))
            for own, one in values
        ]
        return model, Said(middle, spread, widths), members

    def state(self) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Return what `restore` needs: float32 arrays, and json-able values."""
        tensors = self.features.state() | {
            "value": self.value.coefficients,
            "bias": self.value.bias,
            "covariance": self.value.covariance,
            "harder": self.harder.coefficients,
            "harder_bias": self.harder.bias,
            "widths": self.widths,
        }
        edges = [0, *(part.stop for part in self.features.parts)]
        values = {"noise": self.value.noise, "edges": edges}
        return {name: value.astype(np.float32) for name, value in tensors.items()}, values

    @classmethod
    def restore(cls, tensors: dict[str, NDArray[Any]], values: dict[str, Any], k: int) -> Self:
        """Build from `state`, for k targets.

        Raises
        ------
        HeadError
            If something is missing, of a wrong shape, or out of range.
        """
        try:
            edges = [int(edge) for edge in values["edges"]]
            noise = float(values["noise"])
        except (KeyError, TypeError, ValueError) as error:
            raise HeadError(f"The head's values cannot be used ({error}).") from None
        rising = all(low < high for low, high in itertools.pairwise(edges))
        if len(edges) < 2 or edges[0] != 0 or not rising or not 0 < noise < np.inf:
            raise HeadError("The head's values are out of range; roll back to another version.")
        features = Features.restore(tensors, edges)
        probe = np.zeros((1, features.columns))
        p = sum(group.shape[1] for group in features.apply(probe))
        hints = _hints(features.planes(probe), np.ones((1, k)), np.ones(1))
        h = sum(group.shape[1] for group in hints)
        value = Regression(
            taken(tensors, "value", (p, k)),
            taken(tensors, "bias", (k,)),
            taken(tensors, "covariance", (p + 1, p + 1)),
            noise,
        )
        harder = Regression(
            taken(tensors, "harder", (h, 1)),
            taken(tensors, "harder_bias", (1,)),
            np.zeros((1, 1)),
            1.0,
        )
        widths = taken(tensors, "widths", (len(LEVELS),))
        if (np.diff(widths) < 0).any() or widths[0] <= 0:
            raise HeadError("The head's half widths do not rise; roll back to another version.")
        return cls(features, value, harder, widths)


def _others(n: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.setdiff1d(np.arange(n), rows)


def _base(found: Regression, stacked: Doubles) -> Doubles:
    """Standard deviation that a regression itself states, [n]."""
    x = np.hstack([stacked, np.ones((len(stacked), 1))])
    unsure = np.einsum("np,np->n", x @ found.covariance, x)
    return np.sqrt(found.noise**2 + np.maximum(unsure, 0))


def _plain(features: Features, k: int) -> Regression:
    """What leaves the spread as a regression itself states it."""
    hints = _hints(features.planes(np.zeros((1, features.columns))), np.ones((1, k)), np.ones(1))
    width = sum(group.shape[1] for group in hints)
    return Regression(np.zeros((width, 1)), np.zeros(1), np.zeros((1, 1)), 1.0)


def _error(targets: Doubles, middle: Doubles) -> Doubles:
    """Absolute errors [n]; of directions the angle between, radians."""
    if targets.shape[1] == 1:
        return np.abs(targets[:, 0] - middle[:, 0])
    along = targets[:, 0] * middle[:, 0] + targets[:, 1] * middle[:, 1]
    across = targets[:, 0] * middle[:, 1] - targets[:, 1] * middle[:, 0]
    return np.abs(np.arctan2(across, along))


def _hints(planes: list[Doubles], middle: Doubles, base: Doubles) -> list[Doubles]:
    """What may tell how large an error is: all columns, the value, and the length of a vector."""
    if middle.shape[1] == 1:
        value = np.clip(middle, -4, 4)
        own = np.hstack([value, value**2 - 1])
    else:
        length = np.log(np.maximum(np.hypot(middle[:, :1], middle[:, 1:]), 0.03))
        own = np.hstack([length + 0.5, (length + 0.5) ** 2])
    return [*planes, own, np.log(base)[:, None] + 1]


def _fit_harder(hints: list[Doubles], goal: Doubles, rows: NDArray[np.int64]) -> Regression:
    width = sum(group.shape[1] for group in hints)
    if len(rows) < _FEWEST:
        return Regression(np.zeros((width, 1)), np.zeros(1), np.zeros((1, 1)), 1.0)
    # An error that happens to be tiny says nothing, but its logarithm is far off.
    seen = goal[rows].clip(-2.5 * _STD_LOG, None) / _STD_LOG
    parts = [group[rows] for group in hints]
    return fit_regression(parts, seen, np.ones(len(rows)), robust=False, tie=1.0)


def _harder(found: Regression, hints: Doubles) -> Doubles:
    log = found.predict(hints)[:, 0] * _STD_LOG
    return np.exp(np.clip(log, -_MOST, _MOST))


def _single(found: Regression) -> Regression:
    return Regression(
        as_kept(found.coefficients),
        as_kept(found.bias),
        as_kept(found.covariance),
        float(np.float32(found.noise)),
    )
