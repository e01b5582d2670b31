"""From drawings to what is said of an image: scored, each object once, as masks or polygons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from models.answers import Box, Mask, Polygon, Shape
from models.heads.mask_drawing import Drawing
from models.heads.mask_scores import MaskScores
from models.mask_agreement import ious
from models.outlines import outlines, signed_area, simplified

Scored = list[tuple[Drawing, float]]

LEAST_SCORE = 0.05
"""What is less likely is neither looked at nor said."""

# Two masks that share this much of their pixels are one object, found twice.
_SAME = 0.5
# Corners of polygons may be moved by this much, in pixels.
_TOLERANCE = 0.5
_MOST_PROPOSALS = 100


def likely(boxes: Sequence[Shape]) -> list[Box]:
    """Return the boxes of a detector that are worth looking at, best first."""
    kept = [box for box in boxes if isinstance(box, Box) and (box.score or 0.0) >= LEAST_SCORE]
    return sorted(kept, key=lambda box: -(box.score or 0.0))[:_MOST_PROPOSALS]


def scored(drawings: Sequence[Drawing], scores: MaskScores, *, distinct: bool) -> Scored:
    """Return drawings with their scores, best first.

    Parameters
    ----------
    distinct : bool
        Whether two that share most of their pixels are the same thing; the better one is kept.
    """
    each = [
        scores.of_asked(drawing.quality)
        if drawing.detected is None
        else scores.of_found(drawing.quality, drawing.detected)
        for drawing in drawings
    ]
    kept: Scored = []
    for place in np.argsort(-np.array(each), kind="stable"):
        drawing, score = drawings[place], each[place]
        others = [other.pixels for other, _ in kept] if distinct else []
        twice = ious([drawing.pixels], others).max(initial=0.0) > _SAME
        if score >= LEAST_SCORE and not twice:
            kept.append((drawing, score))
    return kept


def name_of(drawing: Drawing, labels: Sequence[str]) -> str:
    """Return the label of a drawing: its detector's, or the network's likeliest one.

    A detector tells labels from the LVM's embedding, which needs fewer examples.
    """
    return drawing.name if drawing.name in labels else labels[int(drawing.labels.argmax())]


def as_masks(kept: Scored, labels: Sequence[str]) -> tuple[Mask, ...]:
    """Return drawings as masks."""
    return tuple(
        Mask(drawing.pixels, label=name_of(drawing, labels), score=score) for drawing, score in kept
    )


def as_polygons(kept: Scored, labels: Sequence[str], *, parts: bool) -> tuple[Polygon, ...]:
    """Return drawings as polygons without holes.

    Parameters
    ----------
    parts : bool
        Whether each part of a drawing becomes a polygon; otherwise only the largest one does.
    """
    found = []
    for drawing, score in kept:
        rings = [ring for ring in outlines(drawing.pixels) if signed_area(ring) > 0]
        for ring in rings if parts else rings[:1]:
            corners = simplified(ring, _TOLERANCE)
            found.append(Polygon.of(corners, name_of(drawing, labels), score))
    return tuple(found)
