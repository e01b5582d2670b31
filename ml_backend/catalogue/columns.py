"""Results as columns of a catalogue: for each type of control, the makers of its columns."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.table import MaskedColumn

from ml_backend.catalogue.cells import clean_text
from ml_backend.catalogue.results import Answers, Results
from ml_backend.labelstudio.config import ChoicesControl

NONE = "(none)"
"""An answer to a multiple choice that names no label."""
SEPARATOR = " | "
"""Between the labels of one answer."""
_LONGEST_NAME = 60  # FITS keeps 68 characters of a column's name


class Names:
    """Names of columns: ASCII letters, digits and underscores, different in small letters too."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def take(self, *parts: str) -> str:
        """Return a name made of parts that no other column has."""
        plain = [re.sub(r"[^A-Za-z0-9]+", "_", part).strip("_") or "x" for part in parts]
        name = "_".join(plain)[:_LONGEST_NAME]
        name = name if name[0].isalpha() else f"c_{name}"
        made, number = name, 1
        while made.lower() in self._taken:
            number += 1
            made = f"{name}_{number}"
        self._taken.add(made.lower())
        return made


Maker = Callable[[Any, Results, Names], Iterator[MaskedColumn]]
"""Makes columns [n] of one control; given the control, what is known, and names to take from."""


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


MAKERS: dict[type, tuple[Maker, ...]] = {ChoicesControl: (vote_columns, model_columns)}
"""By type of control. A new type of answer gets its columns by an entry here."""


def galaxy_columns(results: Results, names: Names) -> Iterator[MaskedColumn]:
    """Who the galaxies are, and how they were chosen."""
    nowhere = np.isnan(results.ra)
    yield column(names.take("id"), np.array(results.ids, np.str_), None,
                 "Identifier of the galaxy, as it was imported", "meta.id;meta.main")  # fmt: skip
    yield column(names.take("ra"), results.ra, nowhere, "Right ascension, ICRS",
                 "pos.eq.ra;meta.main", units.deg)  # fmt: skip
    yield column(names.take("dec"), results.dec, nowhere, "Declination, ICRS",
                 "pos.eq.dec;meta.main", units.deg)  # fmt: skip
    yield column(names.take("task_id"), results.task_ids, None,
                 "Number of the task in Label Studio", "meta.id")  # fmt: skip
    yield column(names.take("drawn_at_random"), results.drawn_at_random, None,
                 "Has votes and was chosen by no model: measure rates on these alone",
                 "meta.code")  # fmt: skip
    known = np.zeros(len(results), np.bool_)
    for answers in results.answers.values():
        known |= answers.known
    version = np.full(len(results), results.version)
    yield column(names.take("model_version"), version, ~known,
                 "Version of the model that answered", "meta.version")  # fmt: skip


def all_columns(results: Results) -> Iterator[MaskedColumn]:
    """Return all columns [n] of a catalogue of results."""
    names = Names()
    yield from galaxy_columns(results, names)
    for control in results.config.controls:
        for maker in MAKERS.get(type(control), ()):
            yield from maker(control, results, names)


def column(
    name: str,
    values: npt.NDArray[Any],
    missing: npt.NDArray[np.bool_] | None,
    description: str,
    ucd: str,
    unit: Any = None,
) -> MaskedColumn:
    """Make a column; what is missing is masked, and empty or NaN beneath.

    Parameters
    ----------
    name : str
    values : [n]
    missing : bool [n] or None
        None: nothing is.
    description : str
    ucd : str
        UCD1+ words (IVOA).
    unit : astropy unit, optional
    """
    mask = np.zeros(len(values), np.bool_) if missing is None else missing
    if mask.any():
        values = np.where(mask, "" if values.dtype.kind == "U" else np.nan, values).astype(
            values.dtype
        )
    return MaskedColumn(
        values, name=name, mask=mask, unit=unit, description=description, meta={"ucd": ucd}
    )


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
