"""Segmentation without learning: the object under a point, measured against the sky around it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import (
    binary_fill_holes,
    find_objects,
    gaussian_filter,
    label,
)

from models.answers import Box, Ellipse

_SEEING = 1.0
"""Standard deviation in pixels of the filter before the threshold: about that of a star image."""
_SIGMAS = 8.0
"""Height of the threshold over the sky, in standard deviations of the filtered sky."""
_VISIBLE = 16.0
"""Least height of the threshold, in steps of 255: what people see as lit on a dark sky."""
_FAINT = 0.4
"""Share of the threshold that is enough where a point lies on nothing brighter."""
_CUT = 0.06
"""Share of an object's peak below which light is left out: glare and wings of bright objects."""
_MERGE = 0.72
"""Two peaks are one object if the pass between them is higher than this share of the lower."""
_REACH = 0.015
"""How far from a point an object is still meant by it, as a share of the longer side."""

_NEIGHBOURS = np.ones((3, 3), dtype=np.int8)


def sky_of(light: NDArray[np.floating]) -> tuple[float, float]:
    """Level and noise of the sky: the mode, and the spread of what is darker.

    Parameters
    ----------
    light : [H, W]
        Any unit, at least one pixel.

    Returns
    -------
    (float, float)
        Level and standard deviation, the latter at least 1e-3 of the light's range or 1e-9.

    Notes
    -----
    Objects only add light, so that what is above the level is clipped at 2.5 deviations, which are
    measured below it; after Stetson (1987, PASP 99, 191), section III.
    """
    kept = np.asarray(light, dtype=np.float64).ravel()
    kept = kept[np.isfinite(kept)]
    if not kept.size:
        raise ValueError("The picture has no finite pixel, so there is no sky to measure.")
    floor = max(1e-3 * float(kept.max() - kept.min()), 1e-9)
    level, noise = 0.0, floor
    for _ in range(8):
        level = float(np.median(kept))
        below = kept[kept <= level]
        noise = max(1.4826 * float(np.median(level - below)), floor)
        left = kept[kept < level + 2.5 * noise]
        if left.size == kept.size:
            break
        kept = left
    return level, noise


def segment_at(pixels: NDArray[np.uint8], x: float, y: float) -> NDArray[np.bool_]:
    """Find the pixels of the object under a point.

    What is brighter than the sky and connected with the point is cut at the valleys between its
    peaks (a watershed); peaks with no valley between them, as of spiral arms, stay together.

    Parameters
    ----------
    pixels : uint8 [H, W, 3]
        The picture as people see it.
    x, y : float
        The point, in pixels of the image (see `models.answers`); inside it.

    Returns
    -------
    bool [H, W]
        One connected part without holes; empty if there is only sky near the point.

    Raises
    ------
    ValueError
        The picture has another shape, or the point lies outside.
    """
    picture = np.asarray(pixels)
    if picture.ndim != 3 or picture.shape[2] != 3 or not picture.size:
        raise ValueError(f"A picture is an array [H, W, 3], not {list(picture.shape)}.")
    height, width = picture.shape[:2]
    if not (0 <= x <= width and 0 <= y <= height):
        raise ValueError(f"The point ({x}, {y}) lies outside the picture of {width} x {height}.")
    row, column = min(int(y), height - 1), min(int(x), width - 1)
    light = gaussian_filter(picture.astype(np.float32).mean(axis=2), _SEEING)
    level, noise = sky_of(light)
    light -= np.float32(level)
    threshold = max(_SIGMAS * noise, _VISIBLE)
    for share in (1.0, _FAINT):
        part = _part_at(light > share * threshold, row, column)
        if part is not None:
            break
    else:
        return np.zeros((height, width), dtype=np.bool_)
    return _deblended(light, part, row, column)


def mask_to_box(mask: NDArray[np.bool_], label: str = "", score: float | None = None) -> Box:
    """Return the smallest upright box around the pixels of a mask [H, W].

    Raises
    ------
    ValueError
        The mask is empty.
    """
    rows, columns = _pixels_of(mask)
    left, top = float(columns.min()), float(rows.min())
    return Box(left, top, columns.max() + 1 - left, rows.max() + 1 - top, label=label, score=score)


def mask_to_ellipse(
    mask: NDArray[np.bool_], label: str = "", score: float | None = None
) -> Ellipse:
    """Return the ellipse with the mask's centre and second moments; the major axis is radius_x.

    Of a filled ellipse it is that ellipse: its variance along a semi-axis a is a^2 / 4, of which a
    pixel's own extent is 1 / 12.

    Raises
    ------
    ValueError
        The mask is empty.
    """
    rows, columns = _pixels_of(mask)
    x, y = float(columns.mean()) + 0.5, float(rows.mean()) + 0.5
    dx, dy = columns + 0.5 - x, rows + 0.5 - y
    xx, yy, xy = float((dx**2).mean()), float((dy**2).mean()), float((dx * dy).mean())
    middle, spread = (xx + yy) / 2, math.hypot((xx - yy) / 2, xy)
    major = 2 * math.sqrt(middle + spread + 1 / 12)
    minor = 2 * math.sqrt(max(middle - spread, 0.0) + 1 / 12)
    # Angles are clockwise on the screen since y runs downwards.
    angle = math.degrees(0.5 * math.atan2(2 * xy, xx - yy)) % 180.0
    return Ellipse(x, y, major, minor, angle, label=label, score=score)


def _pixels_of(mask: NDArray[np.bool_]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    inside = np.asarray(mask, dtype=np.bool_)
    if inside.ndim != 2 or not inside.any():
        raise ValueError("The mask has no pixel, so it has no shape; take another point or mask.")
    rows, columns = np.nonzero(inside)
    return rows, columns


def _part_at(bright: NDArray[np.bool_], row: int, column: int) -> NDArray[np.bool_] | None:
    """Part of a mask that holds the pixel, or the nearest one within reach."""
    parts, count = label(bright)
    if not count:
        return None
    here = parts[row, column]
    if not here:
        reach = max(3, round(_REACH * max(bright.shape)))
        top, left = max(row - reach, 0), max(column - reach, 0)
        near = parts[top : row + reach + 1, left : column + reach + 1]
        rows, columns = np.nonzero(near)
        if not len(rows):
            return None
        distance = (rows + top - row) ** 2 + (columns + left - column) ** 2
        best = int(distance.argmin())
        if distance[best] > reach**2:
            return None
        here = near[rows[best], columns[best]]
    found: NDArray[np.bool_] = parts == here
    return found


def _deblended(
    light: NDArray[np.float32], part: NDArray[np.bool_], row: int, column: int
) -> NDArray[np.bool_]:
    """Of a connected part, what belongs to the same peak as the pixel."""
    window = find_objects(part.astype(np.int8))[0]
    inside = part[window]
    row, column = row - window[0].start, column - window[1].start
    # Smoother for large objects, whose knots are no objects of their own.
    smooth = gaussian_filter(light[window], max(1.0, 0.05 * math.sqrt(inside.sum())))
    smooth = np.where(inside, np.maximum(smooth, 1e-3), 0)
    basins = _basins(smooth, inside)
    place = _nearest(inside, row, column)
    basins = _merged(smooth, basins)
    chosen = basins == basins[place]
    # A bright peak reaches far above the sky; what is hidden in its wings is not its shape.
    chosen &= smooth > _CUT * smooth[chosen].max()
    chosen = binary_fill_holes(chosen)
    parts, _ = label(chosen)
    whole = np.zeros(part.shape, dtype=np.bool_)
    whole[window] = parts == parts[_nearest(chosen, row, column)]
    return whole


def _nearest(mask: NDArray[np.bool_], row: int, column: int) -> tuple[int, int]:
    rows, columns = np.nonzero(mask)
    best = int(((rows - row) ** 2 + (columns - column) ** 2).argmin())
    return int(rows[best]), int(columns[best])


def _basins(smooth: NDArray[np.float32], inside: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Number each pixel by the peak that steepest ascent leads it to; 0 outside."""
    height, width = smooth.shape
    framed = np.pad(smooth, 1, constant_values=-1.0)
    steps = [(row, column) for row in (-1, 0, 1) for column in (-1, 0, 1)]
    around = np.stack([framed[1 + r : 1 + r + height, 1 + c : 1 + c + width] for r, c in steps])
    # Of equal neighbours the first in reading order is taken, so that ascents end.
    best = around.argmax(axis=0).ravel()
    moves = np.array([row * width + column for row, column in steps])
    towards = np.arange(height * width) + moves[best]
    while (further := towards[towards] != towards).any():
        towards = np.where(further, towards[towards], towards)
    tops = np.zeros(height * width, dtype=np.bool_)
    tops[towards] = True
    peaks, _ = label(tops.reshape(height, width) & inside, _NEIGHBOURS)
    return np.where(inside, peaks.ravel()[towards].reshape(height, width), 0).astype(np.int32)


def _merged(smooth: NDArray[np.float32], basins: NDArray[np.int32]) -> NDArray[np.int32]:
    """Join basins whose common border is nearly as high as the lower of their peaks."""
    count = int(basins.max()) + 1
    peaks = np.zeros(count)
    np.maximum.at(peaks, basins.ravel(), smooth.ravel())
    passes: dict[tuple[int, int], float] = {}
    for axis in (0, 1):
        a, b = (np.moveaxis(basins, axis, 0)[part] for part in (slice(1, None), slice(-1)))
        va, vb = (np.moveaxis(smooth, axis, 0)[part] for part in (slice(1, None), slice(-1)))
        border = (a != b) & (a > 0) & (b > 0)
        heights = np.minimum(va, vb)[border]
        for one, two, height in zip(a[border], b[border], heights, strict=True):
            pair = (min(int(one), int(two)), max(int(one), int(two)))
            passes[pair] = max(passes.get(pair, 0.0), float(height))
    owner = list(range(count))

    def root(name: int) -> int:
        while owner[name] != name:
            name = owner[name]
        return name

    for (one, two), height in sorted(passes.items(), key=lambda item: -item[1]):
        one, two = root(one), root(two)
        if one != two and height >= _MERGE * min(peaks[one], peaks[two]):
            low, high = sorted((one, two), key=lambda name: peaks[name])
            owner[low] = high
    return np.array([root(name) for name in range(count)], dtype=np.int32)[basins]
