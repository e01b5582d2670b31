"""Boxes, ellipses and points beside each other: overlap, the best of rivals, and matching."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from models.answers import Box, Ellipse, Point, Shape

Array = NDArray[np.float64]

REACH = 8.0
"""Points this many pixels apart overlap by one half, as two boxes of one object just do."""
_PLACES = 400
_STEPS = np.arange(_PLACES) + 0.5
# Places of equal area in a square, by the plastic number (Roberts 2018), on no line with edges.
_SQUARE: Array = (np.outer(_STEPS, [0.7548776662466927, 0.5698402909980532]) % 1) * 2 - 1
# And in the unit disc, on a spiral of the golden angle (Vogel 1979).
_DISC: Array = np.sqrt(_STEPS / _PLACES)[:, None] * np.stack(
    [np.cos(_STEPS * np.pi * (3 - 5**0.5)), np.sin(_STEPS * np.pi * (3 - 5**0.5))], axis=-1
)


def overlap(a: Shape, b: Shape, reach: float = REACH) -> float:
    """Return how far two shapes are one, see `overlaps`."""
    return float(overlaps([a], [b], reach)[0, 0])


def overlaps(a: Sequence[Shape], b: Sequence[Shape], reach: float = REACH) -> Array:
    """Return how far each pair of shapes is one, [len(a), len(b)] in [0, 1].

    Boxes and ellipses, also of different kinds or turned: intersection over union of their areas;
    of upright boxes exact, else from 400 places in each, to about 0.01. Where one is a point: 1 at
    the other's centre, falling with the distance d as 1 / (1 + (d / reach)^2), so one half at
    `reach` pixels.
    """
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b)))
    edges = [np.array([bounds(shape) for shape in shapes]) for shapes in (a, b)]
    found = iou(*edges)
    if all(_upright(shape) for shape in (*a, *b)):
        return found
    dots = np.array([[isinstance(s, Point) for s in a]]).T | [[isinstance(s, Point) for s in b]]
    middles = [np.array([centre(shape) for shape in shapes]) for shapes in (a, b)]
    apart = np.hypot(*(middles[0][:, None] - middles[1][None]).transpose(2, 0, 1))
    near = (found > 0) & ~dots
    found[dots] = (1 / (1 + (apart / reach) ** 2))[dots]
    one, two = np.nonzero(near)
    if len(one):
        frames = [np.array([_frame(shape) for shape in shapes]) for shapes in (a, b)]
        first, second = frames[0][one], frames[1][two]
        # The larger of two is told apart better by places in the smaller, so both are asked.
        areas = [_areas(first), _areas(second)]
        common = (_within(first, second) * areas[0] + _within(second, first) * areas[1]) / 2
        found[one, two] = (common / (areas[0] + areas[1] - common)).clip(0, 1)
    return found


def iou(a: Array, b: Array) -> Array:
    """Intersection over union of upright boxes [n, 4] and [m, 4] (left, top, right, bottom)."""
    a, b = a.reshape(-1, 1, 4), b.reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = sides.clip(0).prod(axis=-1)
    areas = (a[..., 2:] - a[..., :2]).prod(axis=-1) + (b[..., 2:] - b[..., :2]).prod(axis=-1)
    return np.asarray(common / np.maximum(areas - common, 1e-12))


def strongest(overlapping: Array, scores: Array, limit: float) -> NDArray[np.intp]:
    """Keep the best of those that overlap by more than `limit` (non-maximum suppression).

    Parameters
    ----------
    overlapping : [n, n]
    scores : [n]

    Returns
    -------
    [k] places of those kept, best first.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    kept: list[int] = []
    for place in order:
        if not kept or overlapping[place, kept].max() <= limit:
            kept.append(int(place))
    return np.array(kept, dtype=np.intp)


def matched(overlapping: Array, scores: Array, limit: float = 0.5) -> NDArray[np.intp]:
    """Match what was found to the truth, the surest first, each to its best one still free.

    Parameters
    ----------
    overlapping : [n, m]
        Of n found and m true.
    scores : [n]
    limit : float
        Least overlap of a match.

    Returns
    -------
    [n] place of the true one, or -1.

    Notes
    -----
    The rule of Pascal VOC and COCO (Everingham et al. 2010, IJCV 88, 303).
    """
    found = np.full(len(scores), -1, dtype=np.intp)
    free = np.array(overlapping, dtype=np.float64)
    for place in np.argsort(-np.asarray(scores), kind="stable"):
        if free.shape[1] and free[place].max() >= limit:
            found[place] = free[place].argmax()
            free[:, found[place]] = -1
    return found


def average_precision(correct: NDArray[np.bool_], scores: Array, truths: int) -> float:
    """Area under precision over recall, the precision made falling; NaN without any truth."""
    if not truths:
        return math.nan
    order = np.argsort(-np.asarray(scores), kind="stable")
    hits = np.cumsum(np.asarray(correct)[order])
    precision = hits / np.arange(1, len(hits) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    gained = np.diff(hits, prepend=0) / truths
    return float((precision * gained).sum())


def centre(shape: Shape) -> tuple[float, float]:
    """Centre (x, y) of a box, ellipse or point."""
    if isinstance(shape, Box):
        return shape.centre
    if isinstance(shape, (Ellipse, Point)):
        return shape.x, shape.y
    raise ValueError(f"A {shape.kind} has no centre here; only boxes, ellipses and points do.")


def bounds(shape: Shape) -> tuple[float, float, float, float]:
    """Smallest upright box (left, top, right, bottom) around a box, ellipse or point."""
    if isinstance(shape, Box):
        if not shape.rotation:
            return shape.x, shape.y, shape.x + shape.width, shape.y + shape.height
        return shape.bounds
    if isinstance(shape, Ellipse):
        turn = math.radians(shape.rotation)
        across = math.hypot(shape.radius_x * math.cos(turn), shape.radius_y * math.sin(turn))
        down = math.hypot(shape.radius_x * math.sin(turn), shape.radius_y * math.cos(turn))
        return shape.x - across, shape.y - down, shape.x + across, shape.y + down
    x, y = centre(shape)
    return x, y, x, y


def _upright(shape: Shape) -> bool:
    return isinstance(shape, Box) and not shape.rotation


def _frame(shape: Shape) -> tuple[float, ...]:
    """Centre, half sides, cosine and sine of the turn, and whether it is an ellipse."""
    x, y = centre(shape)
    if isinstance(shape, Box):
        turn, half = math.radians(shape.rotation), (shape.width / 2, shape.height / 2)
    elif isinstance(shape, Ellipse):
        turn, half = math.radians(shape.rotation), (shape.radius_x, shape.radius_y)
    else:
        turn, half = 0.0, (1.0, 1.0)
    return x, y, *half, math.cos(turn), math.sin(turn), float(isinstance(shape, Ellipse))


def _areas(frames: Array) -> Array:
    return np.asarray(np.where(frames[:, 6] > 0, np.pi, 4.0) * frames[:, 2] * frames[:, 3])


def _within(inner: Array, outer: Array) -> Array:
    """Share of the area of each inner shape [n, 7] that lies in its outer one."""
    places = np.where(inner[:, 6, None, None] > 0, _DISC, _SQUARE) * inner[:, None, 2:4]
    places = _turned(places, inner[:, 4], inner[:, 5]) + inner[:, None, :2]
    own = _turned(places - outer[:, None, :2], outer[:, 4], -outer[:, 5]) / outer[:, None, 2:4]
    inside = np.where(outer[:, 6, None] > 0, (own**2).sum(-1), np.abs(own).max(-1)) <= 1
    return np.asarray(inside.mean(axis=1))


def _turned(places: Array, cosine: Array, sine: Array) -> Array:
    x, y = places[..., 0], places[..., 1]
    c, s = cosine[:, None], sine[:, None]
    return np.stack([x * c - y * s, x * s + y * c], axis=-1)
