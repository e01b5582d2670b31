"""Forecast of a model's quality: a power law of its error against votes, with a band.

The error falls as ``floor + scale * votes ** -power``, the form of learning curves of many kinds
of classifiers (Hestness et al. 2017, arXiv:1712.00409; Viering and Loog 2021, arXiv:2103.10948).
The band is that of `DRAWS` fits. Each draws its weights from the Bayesian bootstrap (Rubin 1981),
its power in proportion to its likelihood, and its noise as that of a running mean: later versions
are measured on the galaxies of earlier ones too, so their errors go together.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

LEAST_POINTS = 4
"""Versions with different numbers of votes before anything is forecast: the law has three unknowns,
and one point more must be able to disagree."""
LEAST_SPAN = 1.5
"""Times as many votes as at the first version there must be at the last one."""
DRAWS = 400
BAND = (0.1, 0.5, 0.9)
"""Quantiles of a band: the middle, and the ends of the central 80 %."""
FARTHEST = 50.0
"""Times the votes there are beyond which nothing is said: the law is known there no more."""
_POWERS = np.geomspace(0.1, 1.5, 28)
_LEAST_VARIANCE = 1e-4


@dataclass(frozen=True)
class Range:
    """A forecast with its central 80 %; None: beyond what can be said, or never."""

    low: float | None
    middle: float | None
    high: float | None
    chance: float
    """Share of the fits that come there at all, in [0, 1]."""


@dataclass(frozen=True)
class CurveForecast:
    """A power law of the error, drawn many times.

    Attributes
    ----------
    votes : float
        Votes that there are.
    floor, scale, power : float64 [draws]
        Of ``error = floor + scale * (votes / self.votes) ** -power``.
    """

    votes: float
    floor: Floats
    scale: Floats
    power: Floats

    def quality(self, votes: ArrayLike) -> Floats:
        """Return the quality at numbers of votes [m]: low, middle and high, [3, m]."""
        at = np.maximum(np.asarray(votes, np.float64), 1.0)[:, None] / self.votes
        errors = self.floor + self.scale * at**-self.power
        return np.asarray(np.quantile(1.0 - np.clip(errors, 0.0, 1.0), BAND, axis=1))

    def gain(self, more: float) -> Range:
        """Return what `more` votes add to the quality."""
        at = (self.votes + max(more, 0.0)) / self.votes
        low, middle, high = np.quantile(self.scale * (1.0 - at**-self.power), BAND)
        return Range(float(low), float(middle), float(high), 1.0)

    def needed(self, quality: float) -> Range:
        """Return how many more votes bring the model to a quality.

        Parameters
        ----------
        quality : float
            In [0, 1].

        Returns
        -------
        Range
            0 where it is there already; None where it is not reached within `FARTHEST` times the
            votes there are.
        """
        votes = self._reached(quality)
        low, middle, high = np.quantile(votes, BAND, method="inverted_cdf")
        chance = float(np.isfinite(votes).mean())
        return Range(_known(low), _known(middle), _known(high), chance)

    def draws_needed(self, quality: float) -> Floats:
        """Return the further votes of each fit [draws]; infinite where it does not come there."""
        return self._reached(quality)

    def _reached(self, quality: float) -> Floats:
        above = (1.0 - quality) - self.floor
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            times = np.where(above > 0, (self.scale / above) ** (1.0 / self.power), np.inf)
        times = np.where((self.scale <= 0) & (above >= 0), 0.0, times)
        times = np.where(times > FARTHEST, np.inf, times)
        return np.asarray(np.maximum(times - 1.0, 0.0) * self.votes)


def forecast_quality(
    votes: ArrayLike, quality: ArrayLike, rows: ArrayLike, seed: int = 0
) -> CurveForecast | None:
    """Fit the curve of a model's quality.

    Parameters
    ----------
    votes : [n]
        Votes of each version, in any order. Of several versions with as many votes, or with fewer
        than one that comes later in the list, all are used; what is not finite is left out.
    quality : [n]
        In [0, 1], e.g. the accuracy.
    rows : [n]
        Galaxies that each was measured on.
    seed : int

    Returns
    -------
    CurveForecast or None
        None: not enough data yet (see `why_not`).
    """
    v, q, n = _cleaned(votes, quality, rows)
    if why_not(v, q, n):
        return None
    rng = np.random.default_rng(seed)
    last = v.max()
    x = (v / last)[None, :] ** -_POWERS[:, None]
    error = 1.0 - q
    spread = np.maximum(error * (1.0 - error), _LEAST_VARIANCE)
    weights = rng.dirichlet(np.ones(len(v)), DRAWS) * len(v) * (n / spread)
    y = error + _running_noise(rng, n, np.sqrt(spread.mean()))
    floor, scale, misfit = _fits(x, y, weights)
    odds = -0.5 * (misfit - misfit.min(axis=1, keepdims=True))
    chosen = np.argmax(odds + rng.gumbel(size=odds.shape), axis=1)
    draws, powers = np.arange(DRAWS), np.tile(_POWERS, 2)
    return CurveForecast(float(last), floor[draws, chosen], scale[draws, chosen], powers[chosen])


def why_not(votes: ArrayLike, quality: ArrayLike, rows: ArrayLike) -> str:
    """Return why no curve can be fitted, in a sentence; empty where one can."""
    v, _, _ = _cleaned(votes, quality, rows)
    different = len(np.unique(v))
    if different < LEAST_POINTS:
        return (
            f"Not enough data yet: {different} of {LEAST_POINTS} versions with different numbers "
            "of votes are measured."
        )
    if v.max() < LEAST_SPAN * v.min():
        return (
            f"Not enough data yet: the versions lie too close together ({v.min():.0f} to "
            f"{v.max():.0f} votes) to tell how the curve goes on."
        )
    return ""


def _cleaned(
    votes: ArrayLike, quality: ArrayLike, rows: ArrayLike
) -> tuple[Floats, Floats, Floats]:
    v, q, n = (np.asarray(part, np.float64).ravel() for part in (votes, quality, rows))
    if not len(v) == len(q) == len(n):
        raise ValueError(f"Lengths differ: {len(v)} votes, {len(q)} qualities, {len(n)} rows.")
    kept = np.isfinite(v) & np.isfinite(q) & np.isfinite(n) & (v >= 1) & (n >= 1)
    kept &= (q >= 0) & (q <= 1)
    order = np.argsort(v[kept], kind="stable")
    return v[kept][order], q[kept][order], n[kept][order]


def _running_noise(rng: np.random.Generator, rows: Floats, spread: float) -> Floats:
    """Noise of means over ever more rows [draws, n]: a random walk, divided by the rows."""
    order = np.argsort(rows, kind="stable")
    steps = np.diff(rows[order], prepend=0.0)
    walk = np.cumsum(rng.normal(size=(DRAWS, len(rows))) * np.sqrt(steps) * spread, axis=1)
    noise = np.empty_like(walk)
    noise[:, order] = walk / rows[order]
    return noise


def _fits(x: Floats, y: Floats, weights: Floats) -> tuple[Floats, Floats, Floats]:
    """Fit ``y = floor + scale * x`` with both at least 0: x [g, n], y and weights [d, n].

    Returns floor, scale and the weighted sum of squares, [d, 2 g] each: first with a free floor,
    then without one, since a slow curve that is known in part looks like one that levels off.
    """
    total = weights.sum(axis=1, keepdims=True)
    wy = weights * y
    sy, syy = wy.sum(axis=1, keepdims=True), (wy * y).sum(axis=1, keepdims=True)
    sx, sxx, sxy = weights @ x.T, weights @ (x**2).T, wy @ x.T
    spread = np.maximum(total * sxx - sx**2, 1e-12)
    scale = np.maximum((total * sxy - sx * sy) / spread, 0.0)
    floor = (sy - scale * sx) / total
    scale = np.where(floor < 0, np.maximum(sxy / sxx, 0.0), scale)
    bare = np.maximum(sxy / sxx, 0.0)
    floor = np.concatenate([np.maximum(floor, 0.0), np.zeros_like(bare)], axis=1)
    scale = np.concatenate([scale, bare], axis=1)
    sx, sxx, sxy = (np.tile(part, 2) for part in (sx, sxx, sxy))
    misfit = (
        syy - 2 * floor * sy - 2 * scale * sxy
        + total * floor**2 + 2 * floor * scale * sx + scale**2 * sxx
    )  # fmt: skip
    return floor, scale, np.maximum(misfit, 0.0)


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
