"""Numbers with intervals, and what several people's numbers say together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.answers import Number
from models.heads.base import HeadError
from models.opinions import Opinions

Doubles = NDArray[np.float64]
# Deviations from the median beyond this many of their own scale are cut.
_CUT = 3.0


@dataclass(frozen=True, eq=False)
class Numbers:
    """A number for each of n images, with intervals; rows can be chosen by an index or a slice.

    Attributes
    ----------
    value : float32 [n]
        The median of what is expected, in the unit of the question.
    spread : float32 [n]
        Half of the width of the 68 % interval before it is cut at the least or largest value.
    lower68, upper68, lower95, upper95 : float32 [n]
        Ends of the intervals. Those of a periodic number may lie outside [0, period).
    """

    value: NDArray[np.float32]
    spread: NDArray[np.float32]
    lower68: NDArray[np.float32]
    upper68: NDArray[np.float32]
    lower95: NDArray[np.float32]
    upper95: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: Any) -> Numbers:
        chosen = [np.atleast_1d(getattr(self, part.name)[rows]) for part in fields(self)]
        return Numbers(*chosen)

    def logarithm(self) -> Numbers:
        """Return the natural logarithms; what is not above 0 counts as the least number."""
        least = np.finfo(np.float32).tiny
        return Numbers(*(np.log(np.maximum(part, least)) for part in vars(self).values()))

    def held(self, truth: NDArray[Any], level: int, period: float | None = None) -> NDArray[Any]:
        """Return bool [n]: whether the interval of 68 or 95 % holds a true value."""
        near = self.nearest(np.asarray(truth, np.float64), period)
        low, high = getattr(self, f"lower{level}"), getattr(self, f"upper{level}")
        return np.asarray((near >= low) & (near <= high))

    def nearest(self, truth: Doubles, period: float | None) -> Doubles:
        """Return true values [n], moved by whole periods next to `value`."""
        if period is None:
            return truth
        return self.value + wrapped(truth - self.value, period)

    def scores(self, truth: Doubles, period: float | None = None) -> Doubles:
        """Return the weighted interval score [n], 0 or more, in the unit of the values.

        Bracher et al. (2021), PLoS Comput Biol 17, e1008618: an approximation to the continuous
        ranked probability score that needs the median and the intervals only.
        """
        y = self.nearest(np.asarray(truth, np.float64), period)
        total = 0.5 * np.abs(y - self.value)
        for level in (68, 95):
            low = getattr(self, f"lower{level}").astype(np.float64)
            high = getattr(self, f"upper{level}").astype(np.float64)
            alpha = 1 - level / 100
            missed = np.maximum(low - y, 0) + np.maximum(y - high, 0)
            total = total + alpha / 2 * (high - low) + missed
        return np.asarray(total / 2.5)


def wrapped(difference: Doubles, period: float) -> Doubles:
    """Return differences moved by whole periods into [-period / 2, period / 2)."""
    return np.asarray((difference + period / 2) % period - period / 2)


def people_numbers(
    targets: Sequence[Opinions], period: float | None = None, log: bool = False
) -> tuple[Doubles, Doubles]:
    """Bring together what people said of each image.

    Parameters
    ----------
    targets : sequence of n Opinions
        With `models.answers.Number`; other answers, and people without one, are left out.
    period : float, optional
        Of a circular number.
    log : bool
        Whether to average logarithms; all numbers must then be above 0.

    Returns
    -------
    value : float64 [n]
        The mean, of three or more people after deviations of more than three robust standard
        deviations from the median are cut to that. NaN where nobody gave a number.
    variance : float64 [n]
        Of that mean, from how people differ in this image and in all; of logarithms with `log`.

    Raises
    ------
    HeadError
        If `log` is asked of numbers that are not above 0, or a row is not Opinions.
    """
    rows = []
    for place, opinions in enumerate(targets):
        if not isinstance(opinions, Opinions):
            raise HeadError(f"Target {place} is a {type(opinions).__name__}, not Opinions.")
        rows.append(np.array([answer.value for _, answer in opinions.each(Number)], np.float64))
    if log and any((row <= 0).any() for row in rows):
        raise HeadError("A logarithm was asked for, but a number is not above 0; use log=False.")
    value, variance = np.full(len(rows), np.nan), np.zeros(len(rows))
    together, freedom = 0.0, 0
    squares = np.zeros(len(rows))
    for place, row in enumerate(rows):
        if not len(row):
            continue
        if period is not None:
            turn = np.exp(2j * np.pi * row / period).sum()
            start = float(np.angle(turn)) / (2 * np.pi) * period if abs(turn) > 1e-9 else row[0]
            off = wrapped(row - start, period)
        else:
            row = np.log(row) if log else row
            start = float(np.median(row))
            off = row - start
        if len(row) > 2:
            scale = 1.4826 * float(np.median(np.abs(off - np.median(off))))
            off = np.clip(off, -_CUT * scale, _CUT * scale) if scale > 0 else np.zeros(len(off))
        middle = start + float(off.mean())
        value[place] = middle % period if period is not None else np.exp(middle) if log else middle
        if len(row) > 1:
            squares[place] = float(((off - off.mean()) ** 2).sum())
            together, freedom = together + squares[place], freedom + len(row) - 1
    if freedom:
        common = together / freedom
        for place, row in enumerate(rows):
            if len(row):
                # How people differ in general counts as four people.
                own = (squares[place] + 4 * common) / (max(len(row) - 1, 0) + 4)
                variance[place] = own / len(row)
    return value, variance
