"""The object under a point: what an annotator who clicks or draws a box means."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Literal

from models.answers import Box, Ellipse, Point, Shape
from models.boxes import bounds, centre
from models.heads.base import HeadError
from models.heads.detection import DetectionHead
from models.scenes import Scene
from models.segmentation import mask_to_box, mask_to_ellipse, segment_at

LIKELY = 0.2
"""A detection at least this likely is taken for the object; else the light is measured."""


def object_under(
    head: DetectionHead | None,
    scene: Scene,
    x: float,
    y: float,
    shape: Literal["box", "ellipse", "point"] | None = None,
) -> Shape | None:
    """Return the object under a point.

    Of what the head finds around the point, the likeliest that has its centre near; without a
    fitted head, and where it finds nothing, the light around the point is cut out of the sky
    (`models.segmentation`).

    Parameters
    ----------
    head : DetectionHead or None
        Fitted or not.
    x, y : float
        In pixels of the image.
    shape : {"box", "ellipse", "point"}, optional
        What to return; by default what the head finds, or a box without a head. A head that finds
        another shape is not asked.

    Returns
    -------
    Shape or None
        With label and score if the head found it, else with "" and None. None if there is only sky.

    Raises
    ------
    ValueError
        The point lies outside the image, or the shape is another.
    HeadError
        The head was fitted on another LVM.
    """
    width, height = scene.size
    if not (0 <= x <= width and 0 <= y <= height):
        raise ValueError(f"The point ({x}, {y}) lies outside the image of {width} x {height}.")
    wanted = shape or (head.shape if head is not None else "box")
    if wanted not in ("box", "ellipse", "point"):
        raise ValueError(f"An object under a point is a box, ellipse or point, not {wanted!r}.")
    if head is not None and head.shape == wanted and _is_fitted(head):
        (found,) = head.found([scene])
        named = found.said(head.labels, 0.0)
        worth = [
            (place * _nearness(one, x, y), one)
            for place, one in zip(found.place, named, strict=True)
            if place >= LIKELY
        ]
        best = max(worth, key=lambda pair: pair[0], default=(0.0, None))
        if best[0] > 0:
            return best[1]
    mask = segment_at(scene.pixels, x, y)
    if not mask.any():
        return None
    if wanted == "box":
        return mask_to_box(mask)
    ellipse = mask_to_ellipse(mask)
    return ellipse if wanted == "ellipse" else Point(ellipse.x, ellipse.y)


def object_in(
    head: DetectionHead | None,
    scene: Scene,
    drawn: Box,
    shape: Literal["box", "ellipse", "point"] | None = None,
) -> Shape | None:
    """Return the object that an annotator's box is drawn around: that under its centre.

    It keeps the label that the annotator gave, if any. See `object_under`.
    """
    width, height = scene.size
    x, y = drawn.centre
    found = object_under(head, scene, min(max(x, 0), width), min(max(y, 0), height), shape)
    return replace(found, label=drawn.label) if found is not None and drawn.label else found


def _is_fitted(head: DetectionHead) -> bool:
    try:
        return head.dimension > 0
    except HeadError:
        return False


def _nearness(shape: Shape, x: float, y: float) -> float:
    """From 1 at the centre to 0.1 at the edge and 0 outside; of points, 0 beyond 16 pixels."""
    cx, cy = centre(shape)
    if isinstance(shape, Point):
        return max(0.0, 1 - math.dist((x, y), (cx, cy)) / 16)
    left, top, right, bottom = bounds(shape)
    across = abs(x - cx) / max((right - left) / 2, 1e-9)
    down = abs(y - cy) / max((bottom - top) / 2, 1e-9)
    far = math.hypot(across, down) if isinstance(shape, Ellipse) else max(across, down)
    return 1 - 0.9 * far if far <= 1 else 0.0
