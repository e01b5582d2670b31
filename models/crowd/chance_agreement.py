"""Agreement beyond chance: how far people who answer the same questions say the same.

All three measures are 1 where everybody agrees and 0 where people agree as often as chance would
have it; below 0 they disagree on purpose. They are None where nothing can be said: nobody was
compared, or everybody always gave the same one answer.

Sources
-------
Cohen (1960), "A coefficient of agreement for nominal scales", Educ. Psychol. Meas. 20, 37; its
large-sample standard error as given by Fleiss, Cohen & Everitt (1969), Psychol. Bull. 72, 323,
equation 13.
Fleiss (1971), "Measuring nominal scale agreement among many raters", Psychol. Bull. 76, 378.
Krippendorff (2011), "Computing Krippendorff's alpha-reliability", University of Pennsylvania.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Kappa:
    """Cohen's kappa of two people.

    Attributes
    ----------
    value : float
        In [-1, 1].
    error : float
        Large-sample standard error, at least 0.
    items : int
        What both have answered.
    agreed : float
        Share of these on which they said the same, in [0, 1].
    """

    value: float
    error: float
    items: int
    agreed: float


def cohen_kappa(table: ArrayLike) -> Kappa | None:
    """Return Cohen's kappa of two people's answers.

    Parameters
    ----------
    table : [k, k]
        How often the first said the row's label while the second said the column's.

    Raises
    ------
    ValueError
        The table is not square, or holds what is no count.
    """
    counts = np.asarray(table, np.float64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise ValueError(f"a table of two people's answers must be square, not {counts.shape}")
    _check_counts(counts)
    total = counts.sum()
    if not total:
        return None
    p = counts / total
    rows, columns = p.sum(axis=1), p.sum(axis=0)
    agreed, chance = float(np.trace(p)), float(rows @ columns)
    if chance >= 1 - 1e-12:
        return None
    kappa = (agreed - chance) / (1 - chance)
    diagonal = np.diagonal(p)
    # Fleiss, Cohen & Everitt (1969), eq. 13: the row's margin goes with the other's column.
    first = (diagonal * ((1 - chance) - (rows + columns) * (1 - agreed)) ** 2).sum()
    weights = (columns[:, None] + rows[None, :]) ** 2
    off = (p * weights).sum() - (diagonal * np.diagonal(weights)).sum()
    second = (1 - agreed) ** 2 * off
    third = (agreed * chance - 2 * chance + agreed) ** 2
    variance = (first + second - third) / (total * (1 - chance) ** 4)
    return Kappa(float(kappa), math.sqrt(max(float(variance), 0.0)), int(total), agreed)


def fleiss_kappa(counts: ArrayLike) -> float | None:
    """Return Fleiss' kappa of many people.

    Parameters
    ----------
    counts : [n, k]
        How many people gave each label to each item. Items need not have the same number of
        people (each item's agreement counts by its pairs of people, as in Fleiss' formula where
        the numbers are the same); those with fewer than two are left out.
    """
    table = np.asarray(counts, np.float64)
    if table.ndim != 2:
        raise ValueError(f"counts must be a table of items by labels, not {table.ndim}-dimensional")
    _check_counts(table)
    people = table.sum(axis=1)
    table, people = table[people > 1], people[people > 1]
    if not len(table):
        return None
    pairs = people * (people - 1)
    agreed = float(((table * (table - 1)).sum(axis=1) / pairs) @ (pairs / pairs.sum()))
    share = table.sum(axis=0) / table.sum()
    chance = float(share @ share)
    return None if chance >= 1 - 1e-12 else (agreed - chance) / (1 - chance)


def krippendorff_alpha(
    items: ArrayLike, values: ArrayLike, level: Level = "nominal"
) -> float | None:
    """Return Krippendorff's alpha; answers may be missing, and people may be any number.

    Parameters
    ----------
    items : int [v]
        What each answer is about; which numbers are used does not matter.
    values : [v]
        The answers: codes of labels, places in an order, or measured numbers. Answers that are
        not finite are missing. Items with one answer compare with nothing and are left out.
    level : str
        How far apart two answers are: ``nominal`` (the same or not), ``ordinal`` (by how many
        answers lie between them), ``interval`` (by the square of their difference).

    Returns
    -------
    float or None
        At most 1.
    """
    value = np.asarray(values, np.float64).ravel()
    item = np.asarray(items).ravel()
    if len(value) != len(item):
        raise ValueError(f"{len(item)} items do not fit {len(value)} answers")
    known = np.isfinite(value)
    value, item = value[known], item[known]
    _, unit = np.unique(item, return_inverse=True)
    people = np.bincount(unit) if len(unit) else np.zeros(0, np.int64)
    paired = people[unit] > 1 if len(unit) else np.zeros(0, np.bool_)
    value, unit = value[paired], unit[paired]
    if not len(value):
        return None
    _, unit = np.unique(unit, return_inverse=True)
    if level == "interval":
        return _interval(unit, value)
    if level not in ("nominal", "ordinal"):
        raise ValueError(f"no level is called {level!r}; there are nominal, ordinal and interval")
    found, code = np.unique(value, return_inverse=True)
    totals = np.bincount(code, minlength=len(found)).astype(np.float64)
    if level == "nominal":
        return _nominal(unit, code, totals)
    # Krippendorff (2011), the metric of ordinal data: each value stands in the middle of the
    # answers that are the same, on the line of all answers.
    middle = np.cumsum(totals) - totals / 2
    return _interval(unit, middle[code])


def _nominal(unit: Ints, code: Ints, totals: Floats) -> float | None:
    n, k = totals.sum(), len(totals)
    people = np.bincount(unit).astype(np.float64)
    cells, times = np.unique(unit.astype(np.int64) * k + code, return_counts=True)
    at = cells // k
    # Pairs within each item that differ, each counted by 1 / (people - 1).
    same = (times * (times - 1.0) / (people[at] - 1)).sum()
    observed = n - same
    expected = (n * n - (totals**2).sum()) / (n - 1)
    return None if expected <= 0 else float(1 - observed / expected)


def _interval(unit: Ints, value: Floats) -> float | None:
    # From the mean: squares of large numbers that lie close together would lose all digits.
    value = value - value.mean()
    n = float(len(value))
    people = np.bincount(unit).astype(np.float64)
    sums, squares = np.bincount(unit, value), np.bincount(unit, value**2)
    # The sum over ordered pairs of (a - b)^2 is 2 m sum(a^2) - 2 (sum a)^2.
    observed = (2 * (people * squares - sums**2) / (people - 1)).sum()
    expected = 2 * (n * (value**2).sum() - value.sum() ** 2) / (n - 1)
    return None if expected <= 1e-300 else float(1 - observed / expected)


def _check_counts(counts: Floats) -> None:
    if not np.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("counts must be finite and not negative")
