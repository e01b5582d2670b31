"""Agreement: one truth of the boxes, ellipses or points that several people drew."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from models.answers import Box, Ellipse, Point, Shape
from models.boxes import REACH, overlap
from models.opinions import Opinions

SAME = 0.4
"""Shapes of two people that overlap by this much mean one object; people differ by more than a
detector is allowed to."""


@dataclass(frozen=True)
class Agreed:
    """One object that people marked.

    Attributes
    ----------
    shape : Box, Ellipse or Point
        The median of the shapes, with the label that most gave it; score is `share`.
    share : float
        Share of the people who looked that marked it, in (0, 1].
    labels : dict of str to float
        Share of those who marked it that gave each label; they sum to 1.
    people : tuple of int
        Places in the opinions of those who marked it.
    """

    shape: Shape
    share: float
    labels: dict[str, float]
    people: tuple[int, ...] = ()


def agreed(
    opinions: Opinions,
    kind: type[Shape] = Box,
    same: float = SAME,
    reach: float = REACH,
) -> list[Agreed]:
    """Fuse the shapes of one kind that several people drew.

    Each person's shapes are joined, one to one, to those of the people before where they overlap
    most; where nothing overlaps by `same`, a new object begins.

    Parameters
    ----------
    opinions : Opinions
        A person with an empty entry looked and marked nothing.
    kind : type
        Box, Ellipse or Point; other answers are left aside.
    same : float
        Least overlap of one object's shapes, see `models.boxes.overlap`.
    reach : float
        Distance in pixels at which two points overlap by one half.

    Returns
    -------
    list of Agreed
        Most agreed first, then in the order drawn; empty where nobody looked.
    """
    groups: list[list[Shape]] = []
    marked_by: list[list[int]] = []
    for person, answers in enumerate(opinions.by_person):
        mine = [answer for answer in answers if isinstance(answer, kind)]
        pairs = [
            (max(overlap(shape, other, reach) for other in group), i, g)
            for i, shape in enumerate(mine)
            for g, group in enumerate(groups)
        ]
        taken: dict[int, int] = {}
        for value, i, g in sorted(pairs, key=lambda pair: (-pair[0], pair[1], pair[2])):
            if value >= same and i not in taken and g not in taken.values():
                taken[i] = g
        for i, shape in enumerate(mine):
            if i in taken:
                groups[taken[i]].append(shape)
                marked_by[taken[i]].append(person)
            else:
                groups.append([shape])
                marked_by.append([person])
    found = [
        replace(_fused(group, len(opinions)), people=tuple(people))
        for group, people in zip(groups, marked_by, strict=True)
    ]
    return sorted(found, key=lambda one: -one.share)


def _fused(group: Sequence[Shape], people: int) -> Agreed:
    counts = Counter(shape.label for shape in group)
    labels = {label: count / len(group) for label, count in sorted(counts.items())}
    # Where labels tie, the first one drawn stands.
    best = max(counts, key=lambda label: counts[label])
    share = len(group) / people
    shape = group[0] if len(group) == 1 else _median(group)
    return Agreed(replace(shape, label=best, score=share), share, labels)


def _median(group: Sequence[Shape]) -> Shape:
    first = group[0]
    if isinstance(first, Point):
        x, y = np.median([(s.x, s.y) for s in group if isinstance(s, Point)], axis=0)
        return Point(float(x), float(y))
    if isinstance(first, Ellipse):
        rows = [ellipse_numbers(s) for s in group if isinstance(s, Ellipse)]
        return ellipse_of(*np.median(rows, axis=0).tolist())
    boxes = [s for s in group if isinstance(s, Box)]
    # Corners of turned boxes mean little beside those of upright ones, so sides are compared.
    if any(box.rotation for box in boxes):
        return _turned(boxes)
    edges = np.array([(b.x, b.y, b.x + b.width, b.y + b.height) for b in boxes])
    left, top, right, bottom = np.median(edges, axis=0).tolist()
    return Box(left, top, right - left, bottom - top)


def _turned(boxes: Sequence[Box]) -> Box:
    """Median of turned boxes: that of the ellipses inside them."""
    inner = [Ellipse(*b.centre, b.width / 2, b.height / 2, b.rotation) for b in boxes]
    one = ellipse_of(*np.median([ellipse_numbers(e) for e in inner], axis=0).tolist())
    box = Box(0, 0, 2 * one.radius_x, 2 * one.radius_y, one.rotation)
    dx, dy = box.centre
    return replace(box, x=one.x - dx, y=one.y - dy)


def ellipse_numbers(ellipse: Ellipse) -> tuple[float, float, float, float, float]:
    """Five numbers of an ellipse without a jump where axes swap or angles wrap.

    x, y, log of the mean radius (the geometric one), and the logarithm of major over minor axis
    along cos and sin of twice the angle: the logarithm of its shape matrix.
    """
    stretch = math.log(ellipse.major / ellipse.minor)
    turn = 2 * math.radians(ellipse.angle)
    mean = math.log(ellipse.major * ellipse.minor) / 2
    return ellipse.x, ellipse.y, mean, stretch * math.cos(turn), stretch * math.sin(turn)


def ellipse_of(x: float, y: float, mean: float, e1: float, e2: float) -> Ellipse:
    """Return the ellipse of `ellipse_numbers`, its major axis as `radius_x`."""
    stretch = math.hypot(e1, e2)
    angle = math.degrees(math.atan2(e2, e1) / 2) % 180.0
    return Ellipse(x, y, math.exp(mean + stretch / 2), math.exp(mean - stretch / 2), angle)
