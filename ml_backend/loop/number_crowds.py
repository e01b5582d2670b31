"""Crowds of numbers: what people's numbers and stars say together, by control."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from ml_backend.labelstudio.config import NumberControl, RatingControl
from ml_backend.labelstudio.typed import TypedAnswer
from models.answers import Answer, Number, Stars
from models.crowd.numbers import NumberCrowd

A = TypeVar("A", bound=Answer)


@dataclass(frozen=True, eq=False)
class AgreedNumbers:
    """People's numbers of one control.

    Attributes
    ----------
    tasks : int64 [n]
        In rising order.
    people : tuple of str, of length p
    crowd : NumberCrowd
        Of these tasks and people.
    """

    tasks: npt.NDArray[np.int64]
    people: tuple[str, ...]
    crowd: NumberCrowd

    @property
    def overlaps(self) -> bool:
        """Whether any task has two people's answers: else nothing is known of biases."""
        return bool((self.crowd.counts > 1).any())


def agree_on_numbers(
    answers: Iterable[tuple[int, str, TypedAnswer]],
    period: float | None = None,
    golds: Sequence[tuple[int, TypedAnswer]] = (),
) -> AgreedNumbers:
    """Bring people's numbers of one control together.

    Parameters
    ----------
    answers : iterable of (task, person, TypedAnswer)
        One per task and person; those without a number are left out.
    period : float, optional
        Of numbers on a circle, in their unit.
    golds : sequence of (task, TypedAnswer)
        Known numbers.
    """
    given = [
        (task, person, value)
        for task, person, told in answers
        if (value := number_of(told)) is not None
    ]
    tasks, rows = np.unique(np.array([task for task, _, _ in given], np.int64), return_inverse=True)
    names = tuple(sorted({person for _, person, _ in given}))
    places = {name: place for place, name in enumerate(names)}
    known = np.full(len(tasks), np.nan)
    for task, told in golds:
        place, value = int(np.searchsorted(tasks, task)), number_of(told)
        if value is not None and place < len(tasks) and tasks[place] == task:
            known[place] = value
    crowd = NumberCrowd.fit(
        rows.astype(np.int64),
        np.array([places[person] for _, person, _ in given], np.int64),
        np.array([value for _, _, value in given], np.float64),
        (len(tasks), len(names)),
        gold=known,
        period=period,
    )
    return AgreedNumbers(tasks, names, crowd)


def period_of(control: RatingControl | NumberControl) -> float | None:
    """Return the period of numbers on a circle, in their unit; None of others.

    179 and 1 degrees of a position angle are two degrees apart: where the control is called an
    angle, and has two limits, these are the same place.
    """
    if not isinstance(control, NumberControl) or "angle" not in control.name.lower():
        return None
    low, high = control.minimum, control.maximum
    return high - low if low is not None and high is not None and high > low else None


def number_of(told: TypedAnswer) -> float | None:
    """Return the number, or the stars, of an answer; None where there are none."""
    found = first_of(told, Number) or first_of(told, Stars)
    return None if found is None else float(found.value)


def first_of(told: TypedAnswer | None, kind: type[A]) -> A | None:
    """Return the first value of a kind, None where there is none."""
    values = told.values if told is not None else ()
    return next((value for value in values if isinstance(value, kind)), None)
