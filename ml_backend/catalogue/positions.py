"""Positions on the sky, as catalogues write them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from ml_backend.bulk.items import SourceError


class PositionError(ValueError):
    """A position cannot be used; the message says why."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a galaxy is, ICRS.

    Attributes
    ----------
    ra : float
        Right ascension, degrees, 0 to below 360.
    dec : float
        Declination, degrees, -90 to 90.
    """

    ra: float
    dec: float

    @property
    def name(self) -> str:
        """Name in the manner of the IAU, truncated as it asks: J001026.36-011246.8."""
        hours = math.floor(self.ra / 15 * 360_000 + 1e-6)
        degrees = math.floor(abs(self.dec) * 36_000 + 1e-6)
        sign = "-" if self.dec < 0 else "+"
        return (
            f"J{hours // 360_000:02d}{hours // 6_000 % 60:02d}{hours % 6_000 / 100:05.2f}"
            f"{sign}{degrees // 36_000:02d}{degrees // 600 % 60:02d}{degrees % 600 / 10:04.1f}"
        )

    def separation(self, other: Position) -> float:
        """Return the angle to another position in arcseconds (Vincenty's formula)."""
        a, b, turn = math.radians(self.dec), math.radians(other.dec), self.ra - other.ra
        step = math.radians(turn)
        across = math.cos(b) * math.sin(step)
        along = math.cos(a) * math.sin(b) - math.sin(a) * math.cos(b) * math.cos(step)
        toward = math.sin(a) * math.sin(b) + math.cos(a) * math.cos(b) * math.cos(step)
        return math.degrees(math.atan2(math.hypot(across, along), toward)) * 3600


def degrees_per(unit: str, column: str) -> float:
    """Return what a number in `unit` is in degrees; no unit means degrees.

    Raises
    ------
    SourceError
        The column is in something else than an angle.
    """
    from astropy import units

    try:
        return float(units.Unit(unit).to(units.deg)) if unit.strip() else 1.0
    except (ValueError, TypeError):
        raise SourceError(
            f"The column {column!r} is in {unit!r}, which is no unit of an angle. Give degrees."
        ) from None


def read_position(ra: str, dec: str, scales: tuple[float, float] = (1.0, 1.0)) -> Position:
    """Read a position from texts.

    Parameters
    ----------
    ra, dec : str
        Numbers in units of `scales`, or sexagesimal: hours and degrees, "00 10 26.4" or "0:10:26.4"
        or "0h10m26.4s".
    scales : tuple of float
        Degrees per unit of each.

    Raises
    ------
    PositionError
        One is missing, no number, or out of range.
    """
    values = _degrees(ra, "ra", scales[0]), _degrees(dec, "dec", scales[1])
    if not 0 <= values[0] <= 360:
        raise PositionError(f"its ra is {ra}, outside 0 to 360 degrees")
    if not -90 <= values[1] <= 90:
        raise PositionError(f"its dec is {dec}, outside -90 to 90 degrees")
    return Position(values[0] % 360, values[1])


def _degrees(text: str, name: str, scale: float) -> float:
    if not text:
        raise PositionError(f"it has no {name}")
    try:
        value = float(text) * scale
    except ValueError:
        value = _sexagesimal(text, name)
    if not math.isfinite(value):
        raise PositionError(f"its {name} is {text}, which is no number")
    return value


def _sexagesimal(text: str, name: str) -> float:
    # Long texts are none, and Angle's parser is slow to say so.
    if len(text) <= 40 and re.fullmatch(r"[-+]?\d+[:hd ][\d:hmsd'\" .]+", text):
        from astropy.coordinates import Angle

        try:
            return float(Angle(text, unit="hourangle" if name == "ra" else "deg").deg)
        except (ValueError, TypeError):
            pass
    shown = text if len(text) <= 40 else text[:37] + "..."
    raise PositionError(f"its {name} is {shown!r}, which is no number")
