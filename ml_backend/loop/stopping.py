"""When to stop: further labels no longer change what the model says.

Two signs must agree. *Stabilised predictions* (Bloodgood and Vijay-Shanker 2009, "A method for
stopping active learning based on stabilizing predictions and the need for user-adjustable
stopping", CoNLL): versions say the same of a fixed set of galaxies, by Cohen's kappa, three times
in a row. And *the learning curve*: even at the good end of its band the next `NEXT` votes add less
than `LEAST_GAIN`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from ml_backend.loop.forecast import CurveForecast

STOP_SET = 2000
"""Galaxies that versions are compared on (the authors' size)."""
LEAST_KAPPA = 0.99
"""Mean agreement of the last comparisons from which on predictions are stable (the authors')."""
COMPARISONS = 3
"""Comparisons that must agree (the authors')."""
NEW_VOTES = 0.05
"""Share of new votes between versions that are compared: versions of the same votes always agree,
which says nothing."""
FEWEST_NEW = 10
NEXT = 100
LEAST_GAIN = 0.005


@dataclass(frozen=True)
class Advice:
    """Whether to stop, and why.

    Attributes
    ----------
    state : str
        ``stop``, ``go_on`` or ``unknown`` (not enough data yet).
    reasons : tuple of str
        Sentences with their figures.
    """

    state: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Agreement:
    """How alike two versions answer the same galaxies: Cohen's kappa, and the share changed."""

    kappa: float
    changed: float
    galaxies: int


def agreement(before: ArrayLike, after: ArrayLike) -> Agreement | None:
    """Compare the labels [n] that two versions give the same galaxies; None without galaxies."""
    first, second = np.asarray(before), np.asarray(after)
    if first.shape != second.shape:
        raise ValueError(f"Shapes differ: {first.shape} and {second.shape}.")
    if not len(first):
        return None
    same = float(np.mean(first == second))
    labels = np.union1d(first, second)
    chance = float(sum(np.mean(first == label) * np.mean(second == label) for label in labels))
    # All the same label, both times: nothing can differ, which is agreement.
    kappa = 1.0 if chance >= 1.0 else (same - chance) / (1.0 - chance)
    return Agreement(kappa, 1.0 - same, len(first))


def enough_new(before: int, after: int) -> bool:
    """Tell whether a version has enough more votes than another one to be compared with it."""
    return after - before >= max(FEWEST_NEW, NEW_VOTES * before)


def stop_advice(changes: Sequence[Agreement], curve: CurveForecast | None) -> Advice:
    """Advise to stop, or not.

    Parameters
    ----------
    changes : sequence of Agreement
        Of successive versions, oldest first.
    curve : CurveForecast or None
    """
    last = list(changes)[-COMPARISONS:]
    reasons = []
    stable = flat = None
    if len(last) < COMPARISONS:
        reasons.append(
            f"Versions have been compared {len(last)} of {COMPARISONS} times (each time a "
            f"twentieth more votes, at least {FEWEST_NEW})."
        )
    else:
        kappa = float(np.mean([one.kappa for one in last]))
        stable = kappa >= LEAST_KAPPA
        reasons.append(
            f"Between the last {len(last) + 1} compared versions "
            f"{100 * np.mean([one.changed for one in last]):.1f} % of {last[-1].galaxies} "
            f"galaxies drawn at random changed their predicted label (agreement kappa "
            f"{kappa:.3f}; stable from {LEAST_KAPPA})."
        )
    if curve is None:
        reasons.append("The learning curve cannot be continued yet.")
    else:
        gain = curve.gain(NEXT)
        assert gain.high is not None
        assert gain.middle is not None
        assert gain.low is not None
        flat = gain.high < LEAST_GAIN
        reasons.append(
            f"The next {NEXT} votes are expected to add {100 * gain.middle:.2f} points of accuracy "
            f"(80 % band {100 * gain.low:.2f} to {100 * gain.high:.2f}; "
            f"little below {100 * LEAST_GAIN:.1f})."
        )
    if stable and flat:
        return Advice("stop", tuple(reasons))
    if stable is False or flat is False:
        return Advice("go_on", tuple(reasons))
    return Advice("unknown", tuple(reasons))
