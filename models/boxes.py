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
_CORNERS = 48


def overlap(a: Shape, b: Shape, reach: float = REACH) -> float:
    """Return how far two shapes are one, in [0, 1].

    Boxes and ellipses, also of different kinds or turned: intersection over union of their areas
    (an ellipse as a polygon of 48 corners of the same area). Where one is a point: 1 at the other's
    centre, falling with the distance d as 1 / (1 + (d / reach)^2), so one half at `reach` pixels.
    """
    if isinstance(a, Point) or isinstance(b, Point):
        d = math.dist(centre(a), centre(b))
        return 1 / (1 + (d / reach) ** 2)
    left_a, top_a, right_a, bottom_a = bounds(a)
    left_b, top_b, right_b, bottom_b = bounds(b)
    width = min(right_a, right_b) - max(left_a, left_b)
    height = min(bottom_a, bottom_b) - max(top_a, top_b)
    if width <= 0 or height <= 0:
        return 0.0
    if _upright(a) and _upright(b):
        common = width * height
        areas = [
            (right_a - left_a) * (bottom_a - top_a),
            (right_b - left_b) * (bottom_b - top_b),
        ]
    else:
        one, two = _polygon(a), _polygon(b)
        common = _area(_clipped(one, two))
        areas = [_area(one), _area(two)]
    return float(min(max(common / max(sum(areas) - common, 1e-12), 0.0), 1.0))


def overlaps(a: Sequence[Shape], b: Sequence[Shape], reach: float = REACH) -> Array:
    """Return `overlap` of each pair, [len(a), len(b)]."""
    if all(isinstance(s, Box) and not s.rotation for s in (*a, *b)):
        return iou(np.array([bounds(s) for s in a]), np.array([bounds(s) for s in b]))
    rows = [[overlap(one, two, reach) for two in b] for one in a]
    return np.array(rows, dtype=np.float64).reshape(len(a), len(b))


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


def _polygon(shape: Shape) -> Array:
    if isinstance(shape, Box):
        return shape.corners
    assert isinstance(shape, Ellipse)
    steps = np.arange(_CORNERS) * 2 * np.pi / _CORNERS
    # Slightly outside, so that the polygon has the ellipse's area.
    wider = math.sqrt(2 * np.pi / _CORNERS / math.sin(2 * np.pi / _CORNERS))
    along = np.stack([shape.radius_x * np.cos(steps), shape.radius_y * np.sin(steps)]) * wider
    turn = math.radians(shape.rotation)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return (matrix @ along).T + np.array([shape.x, shape.y])


def _area(corners: Array) -> float:
    if len(corners) < 3:
        return 0.0
    x, y = corners.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def _clipped(polygon: Array, by: Array) -> Array:
    """Common part of two convex polygons, both clockwise on the screen.

    Sutherland & Hodgman (1974), Communications of the ACM 17, 32.
    """
    for start, end in zip(by, np.roll(by, -1, axis=0), strict=True):
        if not len(polygon):
            break
        edge = end - start
        side = edge[0] * (polygon[:, 1] - start[1]) - edge[1] * (polygon[:, 0] - start[0])
        following, side_next = np.roll(polygon, -1, axis=0), np.roll(side, -1)
        kept: list[Array] = []
        for here, there, s, t in zip(polygon, following, side, side_next, strict=True):
            if s >= 0:
                kept.append(here)
            if (s >= 0) != (t >= 0):
                kept.append(here + (there - here) * (s / (s - t)))
        polygon = np.array(kept).reshape(-1, 2)
    return polygon
