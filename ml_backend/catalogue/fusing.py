"""Fusing: which shapes of several people are of the same object, and what they are together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.answers import Box, Ellipse, Mask, Point, Polygon, Shape

OVERLAP = 0.3
"""Least intersection over union of two persons' shapes of one object (of their upright bounds)."""
NEAR = 0.03
"""Largest distance of two persons' points of one object, as a share of the picture's diagonal."""

Bounds = tuple[float, float, float, float]


@dataclass(frozen=True)
class Fused:
    """One object: its shape, and how many people marked it."""

    shape: Shape
    persons: int


def fuse(people: Sequence[Sequence[Shape]], diagonal: float) -> list[Fused]:
    """Fuse what several people marked, most often marked objects first.

    Parameters
    ----------
    people : sequence of sequence of Shape
        One entry per person.
    diagonal : float
        Of the picture, in pixels.

    Returns
    -------
    list of Fused
        Shapes of one kind and label are of one object where they overlap (points: lie near); of
        each person at most one. Points are averaged; of masks each pixel that at least half of
        those painted who marked the object is taken; of other shapes the one that the others
        overlap most.
    """
    groups: list[list[tuple[int, Shape]]] = []
    for person, shapes in enumerate(people):
        taken: set[int] = set()
        for shape in shapes:
            place = _group(groups, taken, shape, diagonal)
            if place is None:
                groups.append([])
                place = len(groups) - 1
            taken.add(place)
            groups[place].append((person, shape))
    fused = [Fused(_together([shape for _, shape in group]), len(group)) for group in groups]
    return sorted(fused, key=lambda one: -one.persons)


def bounds(shape: Shape) -> Bounds:
    """Return the smallest upright box around a shape: left, top, right, bottom."""
    if isinstance(shape, Box):
        return shape.bounds
    if isinstance(shape, Ellipse):
        turn = np.radians(shape.rotation)
        wide = np.hypot(shape.radius_x * np.cos(turn), shape.radius_y * np.sin(turn))
        high = np.hypot(shape.radius_x * np.sin(turn), shape.radius_y * np.cos(turn))
        return shape.x - wide, shape.y - high, shape.x + wide, shape.y + high
    if isinstance(shape, Mask):
        rows, columns = np.nonzero(shape.pixels)
        return (
            float(columns.min()),
            float(rows.min()),
            float(columns.max()) + 1,
            float(rows.max()) + 1,
        )
    if isinstance(shape, Polygon):
        (left, top), (right, bottom) = np.min(shape.points, axis=0), np.max(shape.points, axis=0)
        return float(left), float(top), float(right), float(bottom)
    if isinstance(shape, Point):
        return shape.x, shape.y, shape.x, shape.y
    raise ValueError(f"a {shape.kind or type(shape).__name__} has no bounds")


def _group(
    groups: list[list[tuple[int, Shape]]], taken: set[int], shape: Shape, diagonal: float
) -> int | None:
    best, found = 0.0, None
    for place, group in enumerate(groups):
        first = group[0][1]
        if place in taken or first.kind != shape.kind or first.label != shape.label:
            continue
        match = float(np.mean([_match(shape, other, diagonal) for _, other in group]))
        if match > best:
            best, found = match, place
    return found


def _match(one: Shape, other: Shape, diagonal: float) -> float:
    """In [0, 1]; 0 where they are not of the same object."""
    if isinstance(one, Point) and isinstance(other, Point):
        away = float(np.hypot(one.x - other.x, one.y - other.y))
        return max(0.0, 1 - away / (NEAR * diagonal)) + 1e-9 if away <= NEAR * diagonal else 0.0
    if isinstance(one, Mask) and isinstance(other, Mask):
        if one.pixels.shape != other.pixels.shape:
            return 0.0
        both = float((one.pixels & other.pixels).sum())
        overlap = both / max(float((one.pixels | other.pixels).sum()), 1.0)
    else:
        overlap = _overlap(bounds(one), bounds(other))
    return overlap if overlap >= OVERLAP else 0.0


def _overlap(one: Bounds, other: Bounds) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    if wide <= 0 or high <= 0:
        return 0.0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    return wide * high / (sum(areas) - wide * high)


def _together(shapes: list[Shape]) -> Shape:
    first = shapes[0]
    if isinstance(first, Point):
        places = np.array([(s.x, s.y) for s in shapes if isinstance(s, Point)])
        x, y = (float(value) for value in places.mean(axis=0))
        return Point(x, y, first.size, label=first.label)
    if isinstance(first, Mask):
        painted = np.mean([s.pixels for s in shapes if isinstance(s, Mask)], axis=0)
        return Mask(painted >= 0.5, label=first.label)
    shared = [sum(_overlap(bounds(one), bounds(other)) for other in shapes) for one in shapes]
    return replace(shapes[int(np.argmax(shared))], score=None)
