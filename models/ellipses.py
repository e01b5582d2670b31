"""Ellipses as five numbers: their mean, what two have in common, and one relative to another.

A row is centre x and y, semi-major and semi-minor axis in pixels, and the angle of the major axis
in degrees clockwise from +x, in [0, 180).
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.answers import Ellipse
from models.photometry import Outline

Doubles = NDArray[np.float64]

_GRID = 64
_SHORTEST = 0.3
_THINNEST = 0.1
_LONGEST = 1e5


def row_of(ellipse: Ellipse) -> Doubles:
    """Return the five numbers of an ellipse."""
    return np.array([ellipse.x, ellipse.y, ellipse.major, ellipse.minor, ellipse.angle])


def ellipse_of(row: ArrayLike, label: str, score: float) -> Ellipse:
    """Return the ellipse of five numbers."""
    x, y, major, minor, angle = (float(value) for value in np.asarray(row))
    return Ellipse(x, y, major, minor, angle, label=label, score=score)


def mean_ellipse(ellipses: Sequence[Ellipse]) -> Doubles:
    """Return the mean as five numbers: of the centres, of the logarithms of size, of elongations.

    Elongation and angle are averaged as ``(1 - q) / (1 + q) exp(2 i angle)``, so that the angles
    of round ones do not count.
    """
    rows = np.array([row_of(ellipse) for ellipse in ellipses])
    size = float(np.exp(np.log(rows[:, 2]).mean()))
    turn = complex(np.mean([_elongation(row[3] / row[2], row[4]) for row in rows]))
    return _from(rows[:, :2].mean(axis=0), size, turn)


def relative(row: Doubles, outline: Outline) -> tuple[float, float]:
    """Return how an ellipse differs from a measured outline.

    Returns
    -------
    (float, float)
        Log of the semi-major axis over r50; elongation along the outline's axis, less the
        outline's.
    """
    turn = _elongation(row[3] / row[2], row[4] - outline.angle)
    return math.log(row[2] / outline.r50), turn.real - _elongation(outline.axis_ratio, 0).real


def drawn_from(outline: Outline, change: Doubles) -> Doubles:
    """Return the ellipse that differs from an outline as `relative` says.

    An elongation below 0 is one across the outline's axis.
    """
    size = outline.r50 * math.exp(min(max(float(change[0]), -4.0), 4.0))
    long = _elongation(outline.axis_ratio, 0) + float(change[1])
    return _from(
        np.array([outline.x, outline.y]), size, long * cmath.exp(2j * math.radians(outline.angle))
    )


def overlap(first: Doubles, second: Doubles) -> float:
    """Return the area of two ellipses' intersection over that of their union, in [0, 1].

    Counted on a grid of 64 x 64 points over both; good to about 0.01.
    """
    boxes = np.array([_bounds(row) for row in (first, second)])
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    steps = (np.arange(_GRID) + 0.5) / _GRID
    x, y = low[0] + steps * (high[0] - low[0]), low[1] + steps * (high[1] - low[1])
    inside = [_inside(row, x[None], y[:, None]) for row in (first, second)]
    union = np.count_nonzero(inside[0] | inside[1])
    return np.count_nonzero(inside[0] & inside[1]) / union if union else 0.0


def _elongation(ratio: float, angle: float) -> complex:
    return (1 - ratio) / (1 + ratio) * cmath.exp(2j * math.radians(angle))


def _from(centre: Doubles, size: float, turn: complex) -> Doubles:
    long = min(abs(turn), 0.95)
    major = min(max(size, _SHORTEST), _LONGEST)
    minor = max(major * (1 - long) / (1 + long), _THINNEST)
    angle = math.degrees(cmath.phase(turn)) / 2 % 180 if long > 1e-9 else 0.0
    return np.array([*centre, major, minor, angle])


def _bounds(row: Doubles) -> list[float]:
    x, y, major, minor, angle = row
    turn = math.radians(angle)
    wide = math.hypot(major * math.cos(turn), minor * math.sin(turn))
    high = math.hypot(major * math.sin(turn), minor * math.cos(turn))
    return [x - wide, y - high, x + wide, y + high]


def _inside(row: Doubles, x: Doubles, y: Doubles) -> NDArray[np.bool_]:
    turn = math.radians(row[4])
    dx, dy = x - row[0], y - row[1]
    along = dx * math.cos(turn) + dy * math.sin(turn)
    across = dy * math.cos(turn) - dx * math.sin(turn)
    return np.asarray((along / row[2]) ** 2 + (across / row[3]) ** 2 <= 1)
