"""The mask of the object that a person points at, at once."""

from __future__ import annotations

import numpy as np

from models.answers import Box, Mask
from models.heads.masks import MaskHead
from models.rasters import mask_of
from models.scenes import Scene
from models.segmentation import segment_at


def mask_under(
    scene: Scene,
    box: Box | None = None,
    point: tuple[float, float] | None = None,
    head: MaskHead | None = None,
) -> Mask:
    """Return the mask of the object in a box, or under a point.

    Parameters
    ----------
    scene : Scene
    box : Box, optional
        A rectangle that a person drew; its label is kept.
    point : (x, y), optional
        A place that a person clicked on, in pixels of the image; used where there is no box.
    head : MaskHead, optional
        A fitted head. Without one, or where it draws regions and not objects, the object is
        measured against the sky around it (`models.segmentation`).

    Returns
    -------
    Mask
        Without a pixel where there is nothing but sky. The score is None if nothing was learned.

    Raises
    ------
    ValueError
        Neither box nor point is given, or the point lies outside the image.
    """
    width, height = scene.size
    if box is None and point is None:
        raise ValueError("Ask for a box or a point; neither is given.")
    if box is None and point is not None:
        x, y = point
        if not (0 <= x <= width and 0 <= y <= height):
            raise ValueError(f"The point ({x}, {y}) lies outside the image of {width} x {height}.")
    if head is not None and head.objects:
        return head.prompted(scene, box, point)
    if box is None:
        assert point is not None
        return Mask(segment_at(scene.pixels, *point))
    inside = mask_of(box, height, width)
    x, y = (float(np.clip(at, 0, side)) for at, side in zip(box.centre, scene.size, strict=True))
    # What a person framed has no part outside.
    return Mask(segment_at(scene.pixels, x, y) & inside, label=box.label)
