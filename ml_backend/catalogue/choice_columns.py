"""Columns of choices: votes, and the model's probabilities."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.table import MaskedColumn

from ml_backend.catalogue.cells import clean_text
from ml_backend.catalogue.column import Names, column
from ml_backend.catalogue.results import Answers, Results
from ml_backend.labelstudio.config import ChoicesControl

NONE = "(none)"
"""An answer to a multiple choice that names no label."""
SEPARATOR = " | "
"""Between the labels of one answer."""


def vote_columns(control: ChoicesControl, results: Results, names: Names) -> Iterator[MaskedColumn]:
    """What people answered: consensus, number of votes, share of each label."""
    votes = results.votes[control.name]
    silent = votes.count == 0
    if control.multiple:
        agreed, undecided = _ticked(control, votes.fractions), silent
        rule = f"Labels that at least half of the people named; {NONE}: no label"
    else:
        agreed = _first(control, votes.fractions)
        best = np.nan_to_num(votes.fractions).max(axis=1, keepdims=True)
        undecided = silent | ((votes.fractions == best).sum(axis=1) > 1)
        rule = "Label that most people named; missing where two have as many"
    asked = f"to {clean_text(control.name, 100)!r}"
    yield column(names.take(control.name, "consensus"), agreed, undecided, f"{rule} ({asked})",
                 "meta.code.class")  # fmt: skip
    yield column(names.take(control.name, "votes"), votes.count, None,
                 f"Number of people who answered {asked}", "meta.number")  # fmt: skip
    for place, label in enumerate(control.labels):
        yield column(
            names.take(control.name, "fraction", label), votes.fractions[:, place], silent,
            f"Share of the people who named {clean_text(label, 100)!r}", "meta.number;arith.ratio",
        )  # fmt: skip
    if votes.posterior is None:
        return
    told = votes.posterior.astype(np.float64)
    if control.multiple:
        likeliest = _ticked(control, votes.posterior)
        confidence = np.maximum(told, 1 - told).prod(axis=1)
    else:
        likeliest, confidence = _first(control, votes.posterior), np.nan_to_num(told).max(axis=1)
    yield column(names.take(control.name, "crowd"), likeliest, silent,
                 f"Likeliest answer {asked}, people weighted by their reliability",
                 "meta.code.class")  # fmt: skip
    yield column(names.take(control.name, "crowd", "confidence"), confidence.astype(np.float32),
                 silent, f"Probability that the crowd's answer {asked} is right",
                 "stat.probability")  # fmt: skip


def model_columns(
    control: ChoicesControl, results: Results, names: Names
) -> Iterator[MaskedColumn]:
    """What the model answers: labels, confidence, entropy, probability of each label."""
    answers = results.answers.get(control.name)
    if answers is None:
        nothing = np.full((len(results), len(control.labels)), np.nan, np.float32)
        answers = Answers(np.zeros(len(results), np.bool_), nothing)
    p, hidden = answers.probabilities, ~answers.known
    told = p.astype(np.float64).clip(0, 1)
    entropy = -_xlog2(told)
    if control.multiple:
        labels = _ticked(control, p)
        confidence = np.maximum(told, 1 - told).prod(axis=1)
        entropy = entropy - _xlog2(1 - told)
    else:
        labels, confidence = _first(control, p), np.nan_to_num(told).max(axis=1)
    asked = f"to {clean_text(control.name, 100)!r}"
    yield column(names.take(control.name, "model"), labels, hidden,
                 f"The model's answer {asked}", "meta.code.class;meta.modelled")  # fmt: skip
    yield column(names.take(control.name, "confidence"), confidence.astype(np.float32), hidden,
                 f"Calibrated probability that the model's answer {asked} is right",
                 "stat.probability")  # fmt: skip
    yield column(names.take(control.name, "entropy"), entropy.sum(axis=1).astype(np.float32),
                 hidden, f"Entropy of the model's probabilities {asked}", "stat.value",
                 units.bit)  # fmt: skip
    for place, label in enumerate(control.labels):
        yield column(
            names.take(control.name, "probability", label), p[:, place], hidden,
            f"The model's calibrated probability of {clean_text(label, 100)!r}",
            "stat.probability",
        )  # fmt: skip


def _first(control: ChoicesControl, p: npt.NDArray[np.float32]) -> npt.NDArray[np.str_]:
    return np.asarray(_labels(control)[np.nan_to_num(p, nan=-1.0).argmax(axis=1)])


def _ticked(control: ChoicesControl, p: npt.NDArray[np.float32]) -> npt.NDArray[np.str_]:
    labels = _labels(control)
    named = [SEPARATOR.join(labels[row]) or NONE for row in np.nan_to_num(p) >= 0.5]
    return np.array(named, np.str_)


def _labels(control: ChoicesControl) -> npt.NDArray[np.str_]:
    return np.array([clean_text(label, 200) or "x" for label in control.labels], np.str_)


def _xlog2(p: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(p * np.log2(np.where(p > 0, p, 1.0)))
