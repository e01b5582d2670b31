"""Quantities: what the numbers of a control measure, as the user tells it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from astropy import units
from astropy.io.votable.ucd import check_ucd

from ml_backend.errors import GalaxyLoopError


class QuantityError(GalaxyLoopError):
    """A unit, UCD or period is none, or of no number; the message says what to write."""


@dataclass(frozen=True)
class Quantity:
    """What a number is.

    Attributes
    ----------
    unit : astropy unit or None
    ucd : str
        UCD1+ words; "" if not told.
    period : float or None
        Of numbers that turn, e.g. 180 for position angles of galaxies.
    """

    unit: Any = None
    ucd: str = ""
    period: float | None = None


def read_quantities(
    told_units: Iterable[str] = (), ucds: Iterable[str] = (), periods: Iterable[str] = ()
) -> dict[str, Quantity]:
    """Read ``NAME=WHAT`` options, by control.

    Raises
    ------
    QuantityError
        One is not of that form, or names no unit, UCD or number.
    """
    made: dict[str, Quantity] = {}
    for option, given in (("unit", told_units), ("ucd", ucds), ("period", periods)):
        for text in given:
            name, equals, what = text.partition("=")
            if not (name and equals and what):
                raise QuantityError(f"--{option} {text} is not of the form NAME=WHAT.")
            value = _READ[option](what)
            made[name] = replace(made.get(name, Quantity()), **{option: value})
    return made


def _unit(text: str) -> Any:
    try:
        return units.Unit(text)
    except ValueError:
        raise QuantityError(
            f"{text!r} is no unit that catalogues know; write e.g. arcsec, mag, deg, km / s."
        ) from None


def _ucd(text: str) -> str:
    if not check_ucd(f"{text};stat.median", check_controlled_vocabulary=True):
        raise QuantityError(
            f"{text!r} is no UCD of the vocabulary (ivoa.net/documents/UCD1+) that a median may "
            "have; write e.g. phot.mag, phys.angSize, src.redshift."
        )
    return text


def _period(text: str) -> float:
    try:
        period = float(text)
    except ValueError:
        period = 0.0
    if not 0 < period < float("inf"):
        raise QuantityError(f"A period is a number above 0, not {text!r}; write e.g. 180.")
    return period


_READ = {"unit": _unit, "ucd": _ucd, "period": _period}
