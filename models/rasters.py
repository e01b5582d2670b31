"""Polygons, boxes and ellipses <-> masks.

One rule for all: a pixel belongs to a shape if its centre lies inside. Polygons are filled by the
even-odd rule; a centre exactly on an edge belongs to the side at larger x (or larger y), so that
shapes that share an edge share no pixel and leave none out.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from models.answers import Box, Ellipse, Mask, Polygon, Shape

Bools = NDArray[np.bool_]


def polygon_mask(points: ArrayLike, height: int, width: int) -> Bools:
    """Fill a polygon.

    Parameters
    ----------
    points : [n, 2]
        Corners (x, y) in pixels; the last is joined to the first. It may cross itself and may
        reach beyond the image.
    height, width : int
        Of the image, in pixels.

    Returns
    -------
    bool [height, width]
    """
    return rings_mask([points], height, width)


def rings_mask(rings: list[ArrayLike], height: int, width: int) -> Bools:
    """Fill several polygons at once by the even-odd rule: a ring inside another is a hole."""
    toggles = np.zeros((height, width + 1), dtype=np.int32)
    for ring in rings:
        corners = np.asarray(ring, dtype=np.float64).reshape(-1, 2)
        ends = np.roll(corners, -1, axis=0)
        downward = corners[:, 1] <= ends[:, 1]
        upper = np.where(downward[:, None], corners, ends)
        lower = np.where(downward[:, None], ends, corners)
        # Rows whose centre r + 0.5 lies in [upper y, lower y).
        first = np.ceil(upper[:, 1] - 0.5).clip(0, height).astype(np.int64)
        last = np.ceil(lower[:, 1] - 0.5).clip(0, height).astype(np.int64)
        counts = np.maximum(last - first, 0)
        edge = np.repeat(np.arange(len(corners)), counts)
        row = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
        run = lower[edge] - upper[edge]
        along = (row + 0.5 - upper[edge, 1]) / run[:, 1]
        crossing = upper[edge, 0] + along * run[:, 0]
        column = np.ceil(crossing - 0.5).clip(0, width).astype(np.int64)
        np.add.at(toggles, (row, column), 1)
    return np.asarray(np.cumsum(toggles, axis=1)[:, :width] % 2 == 1)


def ellipse_mask(ellipse: Ellipse, height: int, width: int) -> Bools:
    """Fill an ellipse: bool [height, width]."""
    turn = np.deg2rad(ellipse.rotation)
    x = np.arange(width) + 0.5 - ellipse.x
    y = (np.arange(height) + 0.5 - ellipse.y)[:, None]
    along = (x * np.cos(turn) + y * np.sin(turn)) / ellipse.radius_x
    across = (y * np.cos(turn) - x * np.sin(turn)) / ellipse.radius_y
    return np.asarray(along**2 + across**2 < 1)


def mask_of(shape: Shape, height: int, width: int) -> Bools:
    """Return the pixels [height, width] of a box, ellipse, polygon or mask.

    Raises
    ------
    ValueError
        The shape has no area (a point), or is a mask of another size.
    """
    if isinstance(shape, Mask):
        if shape.pixels.shape != (height, width):
            raise ValueError(f"the mask is {shape.pixels.shape}, the image {(height, width)}")
        return shape.pixels
    if isinstance(shape, Box):
        return polygon_mask(shape.corners, height, width)
    if isinstance(shape, Polygon):
        return polygon_mask(shape.points, height, width)
    if isinstance(shape, Ellipse):
        return ellipse_mask(shape, height, width)
    raise ValueError(f"a {shape.kind or 'shape'} has no pixels")
