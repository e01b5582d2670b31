"""Numbers that several people gave: robust means, with each person's bias and scatter."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

FREEDOM = 4.0
"""Degrees of freedom of Student's t: a slip of the hand ten scatters off counts for little."""

PRIOR_ANSWERS = 4.0
"""Answers that the population's scatter is worth beside a person's own."""

_ROUNDS = 200
_TOLERANCE = 1e-6


@dataclass(frozen=True, eq=False)
class NumberCrowd:
    """What people's numbers say together.

    An answer is taken as ``value + bias of the person + scatter of the person * t``, with t of
    Student's distribution of `FREEDOM` degrees. Biases are drawn from a normal distribution around
    0 and scatters from a scaled inverse chi-squared one, both of whose widths are learned, so that
    a person with few answers is taken for a typical one (empirical Bayes; the fit is the
    expectation-conditional-maximisation of Liu & Rubin 1995, "ML estimation of the t distribution
    using EM and its extensions", Statistica Sinica 5, 19).

    Attributes
    ----------
    values : float64 [n]
        By task; NaN where nobody answered.
    errors : float64 [n]
        Standard errors of `values`, those of the biases included; 0 of known values.
    counts : int64 [n]
        People who answered.
    bias, scatter : float64 [p]
        By person, in the unit of the values: how much too large, and how widely spread.
    bias_error : float64 [p]
        Standard error of `bias`.
    answers : int64 [p]
        By person.
    period : float or None
        Of values on a circle.
    """

    values: Floats
    errors: Floats
    counts: Ints
    bias: Floats
    bias_error: Floats
    scatter: Floats
    answers: Ints
    period: float | None = None

    @classmethod
    def fit(
        cls,
        tasks: Ints,
        people: Ints,
        answers: Floats,
        shape: tuple[int, int],
        *,
        gold: Floats | None = None,
        period: float | None = None,
    ) -> NumberCrowd:
        """Estimate all values, biases and scatters at once.

        Parameters
        ----------
        tasks, people : int64 [v]
            Rows of the task and the person of each answer.
        answers : float64 [v]
            Finite.
        shape : (int, int)
            Numbers of tasks n and of people p.
        gold : float64 [n], optional
            Known values; NaN where there is none. They tie down what all people have in common,
            which nothing else can.
        period : float, optional
            Values are on a circle of this length, e.g. 180 for position angles in degrees;
            `values` are then in [0, period).

        Raises
        ------
        ValueError
            Answers of unequal number, out of range, or not finite.
        """
        tasks, people = np.asarray(tasks, np.int64), np.asarray(people, np.int64)
        given = np.asarray(answers, np.float64)
        _check(tasks, people, given, shape, gold, period)
        n, p = shape
        counts, asked = np.bincount(tasks, minlength=n), np.bincount(people, minlength=p)
        known = np.zeros(n, np.bool_) if gold is None else np.isfinite(gold)
        values: Floats = _start(tasks, given, n, period)
        if gold is not None:
            values[known] = gold[known]
        bias: Floats = np.zeros(p)
        bias_variance: Floats = np.zeros(p)
        variance: Floats
        doubt: Floats
        base = _typical_variance(_wrapped(given - values[tasks], period), counts[tasks], given)
        least = base * 1e-6
        variance, spread, doubt = np.full(p, base), base / 4, np.zeros(n)
        for _ in range(_ROUNDS if len(given) else 0):
            off = _wrapped(given - values[tasks] - bias[people], period)
            weight = (FREEDOM + 1) / (FREEDOM + off**2 / variance[people])
            precision = weight / variance[people]
            of_task = np.bincount(tasks, precision, n)
            there = (of_task > 0) & ~known
            step = np.zeros(n)
            step[there] = np.bincount(tasks, precision * off, n)[there] / of_task[there]
            values = values + step
            doubt = np.where(there, 1 / np.where(there, of_task, 1.0), 0.0)

            off = _wrapped(given - values[tasks] - bias[people], period)
            of_person = np.bincount(people, precision, p)
            bias = np.bincount(people, precision * (off + bias[people]), p) / (
                of_person + 1 / spread
            )
            bias_variance = 1 / (of_person + 1 / spread)
            voted = asked > 0
            # Two pseudo-people with a typical bias keep a crowd of one or two from running away.
            spread = max(
                float((bias[voted] ** 2 + bias_variance[voted]).sum() + 2 * base / 4)
                / (int(voted.sum()) + 2),
                least,
            )

            off = _wrapped(given - values[tasks] - bias[people], period)
            # What is not known of values and biases is part of what answers are off by.
            square = weight * (off**2 + doubt[tasks] + bias_variance[people])
            own = np.bincount(people, square, p)
            variance = np.maximum((PRIOR_ANSWERS * base + own) / (PRIOR_ANSWERS + asked), least)
            share = asked / (asked + PRIOR_ANSWERS)
            if share.sum() > 0:
                base = max(float(np.exp((share * np.log(variance)).sum() / share.sum())), least)
            if np.abs(step).max(initial=0.0) <= _TOLERANCE * math.sqrt(base):
                break
        error = _errors(tasks, people, given, values, bias, variance, bias_variance, n, period)
        values = np.where((counts > 0) | known, values % period if period else values, np.nan)
        return cls(
            values,
            np.where(known, 0.0, np.where(counts > 0, error, np.nan)),
            counts.astype(np.int64),
            bias,
            np.sqrt(bias_variance),
            np.sqrt(variance),
            asked.astype(np.int64),
            period,
        )


def _check(
    tasks: Ints,
    people: Ints,
    given: Floats,
    shape: tuple[int, int],
    gold: Floats | None,
    period: float | None,
) -> None:
    if not (tasks.shape == people.shape == given.shape and tasks.ndim == 1):
        raise ValueError("Every answer needs one task, one person and one number.")
    for rows, count, what in ((tasks, shape[0], "task"), (people, shape[1], "person")):
        if len(rows) and not (rows.min() >= 0 and rows.max() < count):
            raise ValueError(f"A row of a {what} lies outside 0 to {count - 1}.")
    if not np.isfinite(given).all():
        raise ValueError("An answer is not a finite number; leave it out.")
    if gold is not None and np.shape(gold) != (shape[0],):
        raise ValueError("There must be one known value (or NaN) for each task.")
    if period is not None and not (math.isfinite(period) and period > 0):
        raise ValueError("A period is larger than 0.")


def _wrapped(off: Floats, period: float | None) -> Floats:
    return off if period is None else (off + period / 2) % period - period / 2


def _start(tasks: Ints, given: Floats, n: int, period: float | None) -> Floats:
    """The median of each task's answers (on a circle: the circular mean)."""
    if period is not None:
        turn = given * (2 * math.pi / period)
        sine, cosine = np.bincount(tasks, np.sin(turn), n), np.bincount(tasks, np.cos(turn), n)
        return np.asarray(np.arctan2(sine, cosine) * period / (2 * math.pi) % period)
    order = np.lexsort((given, tasks))
    ends = np.cumsum(np.bincount(tasks, minlength=n))
    begins = np.concatenate([[0], ends[:-1]]) if n else np.zeros(0, np.int64)
    values, there = np.zeros(n), ends > begins
    low, high = (begins + ends - 1) // 2, (begins + ends) // 2
    ranked = given[order]
    values[there] = (ranked[low[there]] + ranked[high[there]]) / 2
    return values


def _typical_variance(off: Floats, counts: Ints, given: Floats) -> float:
    """A scatter to begin with, from tasks with several answers; never 0."""
    least = max(float(np.abs(given).max(initial=0.0)) * 1e-6, 1e-12) ** 2
    several = off[counts > 1]
    if not len(several):
        # Nothing tells it: as wide as the answers are among one another.
        middle = float(np.median(given)) if len(given) else 0.0
        return max(
            float(np.median(np.abs(given - middle)) * 1.4826) ** 2 if len(given) else 1.0, least
        )
    return max(
        float(np.median(np.abs(several)) * 1.4826) ** 2, float(np.mean(several**2)) / 100, least
    )


def _errors(
    tasks: Ints,
    people: Ints,
    given: Floats,
    values: Floats,
    bias: Floats,
    variance: Floats,
    bias_variance: Floats,
    n: int,
    period: float | None,
) -> Floats:
    """Standard errors from the expected information of Student's t, and from the biases."""
    off = _wrapped(given - values[tasks] - bias[people], period)
    weight = (FREEDOM + 1) / (FREEDOM + off**2 / variance[people])
    precision = weight / variance[people]
    total = np.bincount(tasks, precision, n)
    total = np.where(total > 0, total, np.inf)
    # The expected information of one answer is (f + 1) / (f + 3) of that of a normal one.
    information = np.bincount(tasks, (FREEDOM + 1) / (FREEDOM + 3) / variance[people], n)
    information = np.where(information > 0, information, np.inf)
    of_bias = np.bincount(tasks, precision**2 * bias_variance[people], n) / total**2
    return np.asarray(np.sqrt(1 / information + of_bias))
