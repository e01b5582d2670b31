"""Measured shapes of galaxy pictures: what can be said of a stamp without a network or a label.

Pre-training asks the embedding of a stamp for these numbers. None changes when a picture is turned
or mirrored. The ingredients are those of the literature: moments, concentration, asymmetry
(Conselice 2003, ApJS 147, 1), the Gini coefficient and M20 (Lotz et al. 2004, AJ 128, 163),
colours, and Fourier amplitudes of the light along ellipses and log-spirals.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import label, map_coordinates, uniform_filter

Array = NDArray[np.float64]

RINGS = 16
ANGLES = 64
# Radii of the rings in units of the galaxy's size (root of the second moments).
RADII = np.geomspace(0.12, 3.2, RINGS)
HARMONICS = 4
SPIRAL_FREQUENCIES = 5


def measure(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure one picture with a galaxy near its centre.

    Parameters
    ----------
    picture : uint8 [h, h, 3]
        At least 32 pixels on a side.

    Returns
    -------
    ndarray
        float32 `[FEATURES]`, finite, of all signs and sizes (standardise them over a set).
    """
    rgb = picture.astype(np.float64) / 255
    size = len(rgb)
    edges = (rgb[:4], rgb[-4:], rgb[:, :4], rgb[:, -4:])
    border = np.concatenate([edge.reshape(-1, 3) for edge in edges])
    rgb = rgb - np.median(border, axis=0)
    light = rgb.mean(axis=2)
    noise = 1.48 * np.median(np.abs(border.mean(1) - np.median(border.mean(1)))) + 2e-3
    mask = _central(uniform_filter(light, 3) > max(3 * noise / 2, 0.02))
    x, y, major, ratio, angle = _moments(light, mask)

    theta = np.linspace(0, 2 * np.pi, ANGLES, endpoint=False)
    radius = RADII[:, None] * major
    across, along = radius * np.sin(theta) * ratio, radius * np.cos(theta)
    columns = x + along * np.cos(angle) - across * np.sin(angle)
    rows = y + along * np.sin(angle) + across * np.cos(angle)
    polar = np.stack(
        [map_coordinates(rgb[..., c], [rows, columns], order=1, mode="nearest") for c in range(3)]
    )
    total = polar.mean(0)
    profile = total.mean(1)
    scale = max(float(profile[:4].mean()), 0.02)

    waves = np.abs(np.fft.rfft(total, axis=1)[:, 1 : HARMONICS + 1]) / ANGLES
    amplitudes = waves / (np.abs(profile)[:, None] + 0.05 * scale + 0.01)
    colours = np.log((polar.mean(2) + 0.03).clip(0.01))
    # Rings and arms stand out from the smooth fall of the light.
    smooth = np.exp(
        np.polyval(np.polyfit(np.log(RADII), np.log(profile.clip(0.005)), 3), np.log(RADII))
    )
    residual = (profile - smooth) / (smooth + 0.02)
    return np.concatenate(
        [
            [np.log(major / size), ratio, np.log(mask.sum() / size**2 + 1e-4), noise * 10, scale],
            np.log((profile / scale).clip(0.02)),
            amplitudes.reshape(-1).clip(0, 3),
            residual.clip(-2, 2),
            (colours[0] - colours[1])[::2],
            (colours[1] - colours[2])[::2],
            _spirality(total, profile, scale),
            _scatter(total, scale),
            _statistics(light, mask, x, y, scale),
        ]
    ).astype(np.float32)


def _central(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Part of a mask that holds the centre, or is nearest to it."""
    parts, count = label(mask)
    size = len(mask)
    rows, columns = np.mgrid[:size, :size] - (size - 1) / 2
    distance = rows**2 + columns**2
    if not count:
        return distance < (size / 16) ** 2
    nearest = np.where(mask, distance, np.inf).argmin()
    found: NDArray[np.bool_] = parts == parts.flat[nearest]
    return found


def _moments(light: Array, mask: NDArray[np.bool_]) -> tuple[float, float, float, float, float]:
    """Centre x and y, root of the major second moment (px), axis ratio, angle (rad)."""
    rows, columns = np.nonzero(mask)
    weights = light[rows, columns].clip(1e-3)
    weights = weights / weights.sum()
    x, y = float(weights @ columns), float(weights @ rows)
    dx, dy = columns - x, rows - y
    matrix = np.array(
        [[weights @ dx**2, weights @ (dx * dy)], [weights @ (dx * dy), weights @ dy**2]]
    )
    values, vectors = np.linalg.eigh(matrix + 0.1 * np.eye(2))
    major, minor = np.sqrt(values[1]), np.sqrt(values[0])
    return (
        x,
        y,
        float(2 * major),
        float(minor / major),
        float(np.arctan2(vectors[1, 1], vectors[0, 1])),
    )


def _spirality(total: Array, profile: Array, scale: float) -> Array:
    """Power of log-spirals: Fourier modes in angle and log radius, both hands alike."""
    contrast = (total - profile[:, None]) / (np.abs(profile)[:, None] + 0.05 * scale + 0.01)
    window = np.hanning(RINGS - 3)[:, None]
    modes = np.abs(np.fft.fft2(contrast[3:].clip(-2, 2) * window)) / contrast.size
    parts = []
    for m in range(1, HARMONICS + 1):
        positive = modes[1 : SPIRAL_FREQUENCIES + 1, m]
        negative = modes[-1 : -SPIRAL_FREQUENCIES - 1 : -1, m]
        parts += [modes[:1, m], np.maximum(positive, negative), np.abs(positive - negative)]
    return np.log(np.concatenate(parts) + 0.003)


def _scatter(total: Array, scale: float) -> Array:
    """Spread of the light along each second ring, in units of the centre's brightness."""
    return (total.std(axis=1) / scale)[::2].clip(0, 3)


def _statistics(light: Array, mask: NDArray[np.bool_], x: float, y: float, scale: float) -> Array:
    """Concentration, asymmetries, Gini, M20, clumpiness and brightness."""
    values = np.sort(light[mask].clip(0))
    total, n = values.sum() + 1e-6, len(values)
    rows, columns = np.nonzero(mask)
    flux = light[rows, columns].clip(0)
    distance = np.hypot(rows - y, columns - x)
    order = distance.argsort()
    grown = np.cumsum(flux[order]) / total
    r20, r50, r80 = (
        distance[order][min(np.searchsorted(grown, q), n - 1)] + 0.5 for q in (0.2, 0.5, 0.8)
    )
    gini = float(((2 * np.arange(1, n + 1) - n - 1) * values).sum() / (total * max(n - 1, 1)))
    moment = flux * distance**2
    bright = flux.argsort()[::-1]
    brightest = bright[np.cumsum(flux[bright]) <= 0.2 * total]
    m20 = np.log10((moment[brightest].sum() + 1e-3) / (moment.sum() + 1e-3))
    turned = [
        map_coordinates(light, [y - (rows - y), x - (columns - x)], order=1, mode="nearest"),
        map_coordinates(light, [y + (columns - x), x - (rows - y)], order=1, mode="nearest"),
    ]
    asymmetries = [np.abs(flux - other).sum() / total for other in turned]
    clumps = np.abs(light - uniform_filter(light, 5))[mask].sum() / total
    fill = n / max(np.pi * r80**2, 1.0)
    return np.array(
        [np.log(r80 / r20), np.log(r50), gini, m20, *asymmetries, clumps, np.log(total / n + 1e-3),
         np.log(fill)]
    )  # fmt: skip


FEATURES = len(measure(np.zeros((32, 32, 3), dtype=np.uint8)))
