"""Pace: how many votes come on which day of the week, and when as many more will be there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ml_backend.loop.forecast import BAND, DRAWS

Floats = NDArray[np.float64]

WINDOW = 28
"""Days that the pace is measured on: four of each day of the week."""
LONGEST = 3650
"""Days beyond which no date is named."""
_DAYS_OF_MEAN = 1.0
"""How strongly a day of the week is drawn towards the mean of all, in days."""


@dataclass(frozen=True)
class Dates:
    """When something is expected: the central 80 %; None: not within ten years."""

    low: date | None
    middle: date | None
    high: date | None


@dataclass(frozen=True)
class Pace:
    """What people do, day by day.

    Attributes
    ----------
    days : tuple of (date, int)
        What the pace is measured on: UTC days and their votes, days without votes included.
    per_day : float
        Mean votes a day.
    whole_days : bool
        False on the first day, of which only a part is known.
    """

    days: tuple[tuple[date, float], ...]
    per_day: float
    whole_days: bool = True

    def dates(self, votes: ArrayLike, today: date, seed: int = 0) -> Dates:
        """Return when further votes will have been given.

        Parameters
        ----------
        votes : [d]
            Further votes that are needed; several values are draws of an uncertain number.
            Infinite ones are never reached.
        today : date
            The first day that counts.
        seed : int
        """
        needed = np.asarray(votes, np.float64).ravel()
        if not len(needed):
            return Dates(None, None, None)
        needed = needed[np.linspace(0, len(needed) - 1, DRAWS).round().astype(int)]
        rng = np.random.default_rng(seed)
        rates, noise = self._weeks(rng)
        ahead = (today.weekday() + np.arange(LONGEST)) % 7
        given = rates[:, ahead] + noise[:, None] * rng.normal(size=(DRAWS, LONGEST))
        sums = np.cumsum(np.maximum(given, 0.0), axis=1)
        # A day on which nothing is left to do is today.
        waited = (sums < needed[:, None]).sum(axis=1).astype(np.float64)
        waited[waited >= LONGEST] = np.inf
        found = np.quantile(waited, BAND, method="inverted_cdf")
        low, middle, high = (
            today + timedelta(days=int(days)) if np.isfinite(days) else None for days in found
        )
        return Dates(low, middle, high)

    def _weeks(self, rng: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw the votes of each day of the week [draws, 7], and the scatter of a day [draws]."""
        counts = np.array([count for _, count in self.days], np.float64)
        of = np.eye(7)[[day.weekday() for day, _ in self.days]]
        weights = rng.dirichlet(np.ones(len(counts)), DRAWS) * len(counts)
        mean = (weights @ counts) / len(counts)
        pulled = weights @ (of * counts[:, None]) + _DAYS_OF_MEAN * mean[:, None]
        rates = pulled / (weights @ of + _DAYS_OF_MEAN)
        rates *= (mean / np.maximum(rates.mean(axis=1), 1e-12))[:, None]
        expected = rates @ of.T
        noise = np.sqrt(np.mean((counts - expected) ** 2, axis=1))
        return rates, noise


def measure_pace(by_day: Mapping[date, float], now: datetime) -> Pace | None:
    """Measure the pace of the last `WINDOW` days.

    Parameters
    ----------
    by_day : mapping
        Votes of UTC days; days may lack. Days to come (a clock was wrong) are left out.
    now : datetime

    Returns
    -------
    Pace or None
        None where nobody has voted in these days. The day that is not over counts only where
        there is no other, as the part of it that is.
    """
    now = now.astimezone(UTC)
    today = now.date()
    given = {day: max(float(count), 0.0) for day, count in by_day.items() if day <= today}
    earlier = [day for day, count in given.items() if day < today and count > 0]
    first = max(min(earlier, default=today), today - timedelta(days=WINDOW))
    if first < today:
        days = [first + timedelta(days=at) for at in range((today - first).days)]
        counted = tuple((day, given.get(day, 0.0)) for day in days)
        mean = sum(count for _, count in counted) / len(counted)
        if mean > 0:
            return Pace(counted, mean)
    if given.get(today, 0.0) > 0:
        # At least an hour, so that the first minute promises no miracles.
        passed = max((now.hour + now.minute / 60) / 24, 1 / 24)
        return Pace(((today, given[today]),), given[today] / passed, whole_days=False)
    return None
