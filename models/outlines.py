"""Outlines: masks -> polygons along the pixels' edges, exact."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Directions in the order right, down, left, up, with the inside on the right hand.
_STEPS = ((1, 0), (0, 1), (-1, 0), (0, -1))


def outlines(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Trace the edges of a mask.

    Parameters
    ----------
    mask : bool [H, W]

    Returns
    -------
    list of float64 [n, 2]
        Closed polygons (x, y) whose corners lie on pixel corners, largest first: one around each
        part of the mask, clockwise on the screen, and one around each hole, anticlockwise. Filled
        together (`models.rasters.rings_mask`) they give the mask back exactly. Pixels that touch
        at a corner only are different parts.
    """
    inside = np.pad(np.asarray(mask, dtype=np.bool_), 1)
    here, above, left = inside[1:, 1:], inside[:-1, 1:], inside[1:, :-1]
    # Arrays of the unit edges that leave each pixel corner, by direction.
    leaving = [
        here & ~above,
        left & ~here,
        inside[:-1, :-1] & ~left,
        above & ~inside[:-1, :-1],
    ]
    edges: dict[tuple[int, int], list[int]] = {}
    for direction, starts in enumerate(leaving):
        for y, x in zip(*(axis.tolist() for axis in np.nonzero(starts)), strict=True):
            edges.setdefault((x, y), []).append(direction)
    found = []
    while edges:
        start = next(iter(edges))
        found.append(_ring(start, edges))
    return sorted(found, key=lambda ring: -abs(signed_area(ring)))


def _ring(start: tuple[int, int], edges: dict[tuple[int, int], list[int]]) -> NDArray[np.float64]:
    (x, y), direction = start, edges[start][0]
    first = direction
    corners: list[tuple[int, int]] = []
    came = -1
    while True:
        open_ = edges[x, y]
        open_.remove(direction)
        if not open_:
            del edges[x, y]
        if direction != came:
            corners.append((x, y))
        came = direction
        x, y = x + _STEPS[direction][0], y + _STEPS[direction][1]
        if (x, y) == start and ((x, y) not in edges or first == (came + 1) % 4):
            break
        choices = edges[x, y]
        # Where two parts touch, the turn to the right stays with the part that we came along.
        direction = next(d for d in ((came + 1) % 4, came, (came + 3) % 4) if d in choices)
    if came == first and len(corners) > 1:
        corners = corners[1:]
    return np.array(corners, dtype=np.float64)


def signed_area(ring: NDArray[np.float64]) -> float:
    """Area of a polygon [n, 2] in square pixels: positive clockwise on the screen (a part)."""
    x, y = ring[:, 0], ring[:, 1]
    return float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)) / 2)
