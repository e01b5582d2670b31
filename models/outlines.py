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


def simplified(ring: NDArray[np.float64], tolerance: float) -> NDArray[np.float64]:
    """Leave out corners of a closed polygon that its outline can do without.

    Parameters
    ----------
    ring : float64 [n, 2]
        At least three corners (x, y).
    tolerance : float
        How far a corner that is left out may lie from the new outline, in pixels.

    Returns
    -------
    float64 [m, 2]
        3 <= m <= n of the corners, in their order.

    Notes
    -----
    After Douglas & Peucker (1973), from the two corners that are farthest apart as seen from the
    first.
    """
    count = len(ring)
    if count <= 3:
        return ring
    far = int(((ring - ring[0]) ** 2).sum(axis=1).argmax())
    closed = np.vstack([ring, ring[:1]])
    kept = np.zeros(count + 1, dtype=np.bool_)
    kept[[0, far, count]] = True
    spans = [(0, far), (far, count)]
    while spans:
        first, last = spans.pop()
        if last - first < 2:
            continue
        away = _distances(closed[first + 1 : last], closed[first], closed[last])
        worst = int(away.argmax())
        if away[worst] > tolerance:
            at = first + 1 + worst
            kept[at] = True
            spans += [(first, at), (at, last)]
    if kept[:count].sum() < 3:
        away = _distances(ring, ring[0], ring[far])
        kept[int(away.argmax())] = True
    return ring[kept[:count]] if kept[:count].sum() >= 3 else ring


def _distances(
    points: NDArray[np.float64], start: NDArray[np.float64], end: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Distances of points [n, 2] from the straight piece between two of them."""
    along = end - start
    length = max(float(along @ along), 1e-12)
    share = np.clip((points - start) @ along / length, 0.0, 1.0)
    return np.asarray(np.hypot(*(points - start - share[:, None] * along).T))
