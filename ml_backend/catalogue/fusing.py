"""Fusing: which shapes of several people are of the same object, and what they are together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.agreement import SAME, agreed
from models.answers import Box, Ellipse, Mask, Point, Polygon, Shape
from models.boxes import overlap
from models.mask_agreement import fused_pixels
from models.opinions import Opinions

OVERLAP = 0.3
"""Least intersection over union of two persons' masks or outlines of one object."""
NEAR = 0.03
"""Largest distance of two persons' points of one object, as a share of the picture's diagonal."""


@dataclass(frozen=True)
class Fused:
    """One object: its shape, and the places of those who marked it."""

    shape: Shape
    people: tuple[int, ...]

    @property
    def persons(self) -> int:
        """How many people marked it."""
        return len(self.people)


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
        Boxes, ellipses and points: see `models.agreement.agreed`; the label is the one that most
        of them gave. Outlines and masks are of one object where they overlap and have the same
        label, since things of several labels may well lie on one another; of masks the pixels are
        taken that people agree on (`models.mask_agreement.fused_pixels`), of outlines the one
        whose bounds the others' overlap most.
    """
    opinions = Opinions.of(*people)
    # The distance at which two points overlap by `SAME`, see `models.boxes.overlap`.
    reach = NEAR * diagonal / math.sqrt(1 / SAME - 1)
    fused = [
        Fused(replace(one.shape, score=None), one.people)
        for kind in (Box, Ellipse, Point)
        for one in agreed(opinions, kind, reach=reach)
    ]
    painted = [[s for s in shapes if isinstance(s, Mask | Polygon)] for shapes in people]
    groups: list[list[Shape]] = []
    marked_by: list[list[int]] = []
    for person, shapes in enumerate(painted):
        taken: set[int] = set()
        for shape in shapes:
            place = _group(groups, taken, shape)
            if place is None:
                groups.append([])
                marked_by.append([])
                place = len(groups) - 1
            taken.add(place)
            groups[place].append(shape)
            marked_by[place].append(person)
    fused += [
        Fused(_together(group), tuple(who)) for group, who in zip(groups, marked_by, strict=True)
    ]
    return sorted(fused, key=lambda one: -one.persons)


def _group(groups: list[list[Shape]], taken: set[int], shape: Shape) -> int | None:
    best, found = 0.0, None
    for place, group in enumerate(groups):
        first = group[0]
        if place in taken or first.kind != shape.kind or first.label != shape.label:
            continue
        match = float(np.mean([_match(shape, other) for other in group]))
        if match >= OVERLAP and match > best:
            best, found = match, place
    return found


def _match(one: Shape, other: Shape) -> float:
    if isinstance(one, Mask) and isinstance(other, Mask):
        if one.pixels.shape != other.pixels.shape:
            return 0.0
        both = float((one.pixels & other.pixels).sum())
        return both / max(float((one.pixels | other.pixels).sum()), 1.0)
    return overlap(_bounds(one), _bounds(other))


def _bounds(shape: Shape) -> Box:
    """The upright box around an outline; of one without extent a box of a thousandth of a pixel."""
    points = np.asarray(shape.points if isinstance(shape, Polygon) else [], np.float64)
    low, high = points.min(axis=0), points.max(axis=0)
    width, height = np.maximum(high - low, 1e-3)
    return Box(float(low[0]), float(low[1]), float(width), float(height))


def _together(shapes: list[Shape]) -> Shape:
    first = shapes[0]
    if isinstance(first, Mask):
        pixels = fused_pixels([s.pixels for s in shapes if isinstance(s, Mask)])
        return Mask(pixels, label=first.label)
    shared = [sum(_match(one, other) for other in shapes) for one in shapes]
    return replace(shapes[int(np.argmax(shared))], score=None)
