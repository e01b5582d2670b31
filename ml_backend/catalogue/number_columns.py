"""Columns of numbers, ratings and places in a taxonomy: consensus, spread, the model's answer."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.table import MaskedColumn

from ml_backend.catalogue.cells import clean_text
from ml_backend.catalogue.choice_columns import NONE, SEPARATOR
from ml_backend.catalogue.column import Names, column
from ml_backend.catalogue.results import Results
from ml_backend.catalogue.said import Said
from ml_backend.labelstudio.config import Control, NumberControl, RatingControl, TaxonomyControl
from ml_backend.loop.number_crowds import agree_on_numbers, first_of, number_of
from models.answers import Number, Paths, Stars

BETWEEN = "/"
"""Between the names of one place in a taxonomy."""


@dataclass(frozen=True)
class _Numbers:
    """By row: people who answered, their median, standard deviation, and what they say together
    (with its error); the model's number."""

    count: npt.NDArray[np.int32]
    middle: npt.NDArray[np.float64]
    spread: npt.NDArray[np.float64]
    together: npt.NDArray[np.float64]
    error: npt.NDArray[np.float64]
    model: npt.NDArray[np.float64]
    confidence: npt.NDArray[np.float32]


def number_columns(
    control: NumberControl, results: Results, names: Names
) -> Iterator[MaskedColumn]:
    """Numbers: people's median and spread, the model's number."""
    quantity = results.quantities.get(control.name)
    unit, ucd = (quantity.unit, quantity.ucd) if quantity else (None, "")
    period = quantity.period if quantity else None
    told = _gathered(results, control.name, period)
    turns = f", on a circle of {period:g}" if period else ""
    yield from _number_columns(control, names, told, ucd or "stat.value", unit, turns)


def star_columns(control: RatingControl, results: Results, names: Names) -> Iterator[MaskedColumn]:
    """Ratings: people's median and spread, the model's stars."""
    told = _gathered(results, control.name, None)
    turns = f", 1 to {control.maximum} stars"
    yield from _number_columns(control, names, told, "meta.code.qual", None, turns)


def path_columns(
    control: TaxonomyControl, results: Results, names: Names
) -> Iterator[MaskedColumn]:
    """Places in a taxonomy: those that at least half of the people named, and the model's."""
    said = results.said.get(control.name, Said(control.name))
    count = np.zeros(len(results), np.int32)
    agreed, model = [""] * len(results), [""] * len(results)
    share = np.full(len(results), np.nan, np.float32)
    confidence = np.full(len(results), np.nan, np.float32)
    for row in range(len(results)):
        people = [paths for told in said.of_people(row) if (paths := first_of(told, Paths))]
        count[row] = len(people)
        if people:
            named = Counter(path for paths in people for path in set(paths.paths))
            chosen = [path for path in control.paths if 2 * named[path] >= len(people)]
            agreed[row] = _written(chosen)
            share[row] = max([named[path] for path in chosen], default=0) / len(people)
        own = first_of(said.of_model(row), Paths)
        if own is not None:
            model[row] = _written(own.paths)
            confidence[row] = np.nan if own.score is None else own.score
    asked = f"to {clean_text(control.name, 100)!r}"
    yield column(names.take(control.name, "consensus"), np.array(agreed, np.str_), count == 0,
                 f"Places that at least half of the people named, {NONE}: none ({asked})",
                 "meta.code.class")  # fmt: skip
    yield column(names.take(control.name, "votes"), count, None,
                 f"Number of people who answered {asked}", "meta.number")  # fmt: skip
    yield column(names.take(control.name, "agreement"), share, np.isnan(share),
                 f"Share of the people who named the place most of them named {asked}",
                 "stat.probability")  # fmt: skip
    yield from _of_model(control, names, np.array(model, np.str_),
                         np.array([not text for text in model]), confidence,
                         "meta.code.class", None)  # fmt: skip


def _number_columns(
    control: Control, names: Names, told: _Numbers, ucd: str, unit: Any, rule: str
) -> Iterator[MaskedColumn]:
    asked = f"to {clean_text(control.name, 100)!r}"
    yield column(names.take(control.name, "consensus"), told.middle, np.isnan(told.middle),
                 f"Median of what people answered {asked}{rule}", f"{ucd};stat.median",
                 unit)  # fmt: skip
    yield column(names.take(control.name, "spread"), told.spread, np.isnan(told.spread),
                 f"Standard deviation of what people answered {asked}; missing for one person",
                 "stat.stdev" if ucd.startswith("meta.") else f"stat.stdev;{ucd}",
                 unit)  # fmt: skip
    yield column(names.take(control.name, "together"), told.together, np.isnan(told.together),
                 f"Robust mean of what people answered {asked}{rule}, by each person's bias and "
                 "scatter; missing where no galaxy has two people's answers",
                 f"{ucd};stat.mean", unit)  # fmt: skip
    yield column(names.take(control.name, "error"), told.error, np.isnan(told.error),
                 f"Standard error of the robust mean {asked}",
                 "stat.error" if ucd.startswith("meta.") else f"stat.error;{ucd}",
                 unit)  # fmt: skip
    yield column(names.take(control.name, "votes"), told.count, None,
                 f"Number of people who answered {asked}", "meta.number")  # fmt: skip
    yield from _of_model(control, names, told.model, np.isnan(told.model), told.confidence,
                         ucd, unit)  # fmt: skip


def _of_model(
    control: Control,
    names: Names,
    values: npt.NDArray[Any],
    missing: npt.NDArray[np.bool_],
    confidence: npt.NDArray[np.float32],
    ucd: str,
    unit: Any,
) -> Iterator[MaskedColumn]:
    asked = f"to {clean_text(control.name, 100)!r}"
    yield column(names.take(control.name, "model"), values, missing,
                 f"The model's answer {asked}", f"{ucd};meta.modelled", unit)  # fmt: skip
    yield column(names.take(control.name, "confidence"), confidence, np.isnan(confidence),
                 f"Calibrated probability that the model's answer {asked} is right",
                 "stat.probability")  # fmt: skip


def _gathered(results: Results, name: str, period: float | None) -> _Numbers:
    said = results.said.get(name, Said(name))
    n = len(results)
    count = np.zeros(n, np.int32)
    middle, spread, together, error, model = np.full((5, n), np.nan)
    confidence = np.full(n, np.nan, np.float32)
    for row in range(n):
        values = [v for told in said.of_people(row) if (v := number_of(told)) is not None]
        count[row] = len(values)
        if values:
            middle[row], spread[row] = median_and_spread(np.array(values), period)
        own = said.of_model(row)
        answer = first_of(own, Number) or first_of(own, Stars)
        if answer is not None:
            model[row] = answer.value
            confidence[row] = np.nan if answer.score is None else answer.score
    agreed = agree_on_numbers(
        ((row, who, told) for row in said.people for who, told in said.by_person(row)), period
    )
    if agreed.overlaps:
        together[agreed.tasks], error[agreed.tasks] = agreed.crowd.values, agreed.crowd.errors
    return _Numbers(count, middle, spread, together, error, model, confidence)


def median_and_spread(
    values: npt.NDArray[np.float64], period: float | None = None
) -> tuple[float, float]:
    """Return the median and the standard deviation (n - 1; NaN for one value).

    With a period, e.g. 180 for position angles, values are first turned to within half a period of
    their circular mean, and the median is given in [0, period).
    """
    if period:
        angles = values * (2 * math.pi / period)
        mean = math.atan2(np.sin(angles).mean(), np.cos(angles).mean()) * period / (2 * math.pi)
        values = mean + (values - mean + period / 2) % period - period / 2
    middle = float(np.median(values))
    spread = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return middle % period if period else middle, spread


def _written(paths: Any) -> str:
    return clean_text(SEPARATOR.join(BETWEEN.join(path) for path in paths)) or NONE
