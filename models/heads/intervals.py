"""Intervals that hold as often as they say, from how wrong unseen rows were."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

from models.heads.linear import Doubles

LEVELS = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.68, 0.75, 0.8, 0.85, 0.9, 0.95, 0.99])
"""Shares of the rows that the kept half widths hold."""
# Rows that the smooth guess of a tail counts for: the quantile of 30 rows is off by as much.
_PRIOR_ROWS = 30.0
_FREEDOM = 5.0


def half_widths(scores: Doubles, weights: Doubles | None = None) -> Doubles:
    """Return how many spreads from the value hold each share of `LEVELS`.

    Parameters
    ----------
    scores : [n]
        Absolute errors of rows that a model did not see, in units of the spread it stated.
    weights : [n], optional
        How much each row counts.

    Returns
    -------
    float64 [len(LEVELS)]
        Rising, above 0.

    Notes
    -----
    Split conformal prediction (Lei et al. 2018, JASA 113, 1094): of n scores the one of rank
    ``(n + 1) level`` holds a new row with probability `level`. Where n is small that rank is
    uncertain, or beyond all rows; it is averaged (in logarithms) with Student's t of five degrees
    of freedom, scaled to the scores' middle, that counts as 30 rows.
    """
    n = len(scores)
    smooth = student.ppf((1 + LEVELS) / 2, _FREEDOM)
    if not n:
        return np.asarray(smooth)
    order = np.argsort(scores)
    ordered = np.maximum(scores[order], 1e-9)
    heavy = np.ones(n) if weights is None else weights[order] * (n / weights.sum())
    # The middle of the lower 80 % is robust and uses more rows than the median alone.
    places = np.cumsum(heavy) / (n + 1)
    inside = places <= 0.8
    if inside.any():
        ideal = student.ppf((1 + places[inside]) / 2, _FREEDOM)
        ratio = np.average(ordered[inside], weights=heavy[inside]) / np.average(
            ideal, weights=heavy[inside]
        )
    else:
        ratio = float(ordered[0]) / student.ppf(0.75, _FREEDOM)
    # One or two rows that happen to fit do not make a narrow interval.
    ratio = float(np.exp((n * np.log(max(ratio, 1e-3))) / (n + 4)))
    smooth = smooth * ratio
    exact = np.interp(LEVELS, places, ordered, right=np.inf)
    reached = np.isfinite(exact)
    found = smooth.copy()
    share = n / (n + _PRIOR_ROWS)
    found[reached] = np.exp(share * np.log(exact[reached]) + (1 - share) * np.log(smooth[reached]))
    if not reached.all():
        found[~reached] = np.maximum(found[~reached], ordered[-1])
    return np.maximum.accumulate(np.maximum(found, 1e-9))


def share_within(distance: NDArray[np.float64], widths: Doubles) -> Doubles:
    """Return how probable an error of at most `distance` spreads is, in [0, 1]."""
    known = np.concatenate([[0.0], widths, [2 * widths[-1]]])
    return np.interp(distance, known, np.concatenate([[0.0], LEVELS, [1.0]]))
