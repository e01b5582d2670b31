"""Stretches from flux to what a screen or a network can show."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]


def lupton_rgb(
    bands: NDArray[np.floating],
    scales: tuple[float, float, float] = (1.0, 1.0, 1.0),
    softening: float = 20.0,
    offset: float = 0.0,
) -> NDArray[np.uint8]:
    """Compose a colour image that keeps colours where the brightness saturates.

    The intensity ``I`` (mean of the scaled bands) is mapped to ``asinh(Q I) / sqrt(Q)`` and all
    bands are multiplied by the same factor; a pixel whose largest channel exceeds one is scaled
    down as a whole (Lupton et al. 2004, PASP 116, 133; the normalisation by ``sqrt(Q)`` is the
    one of the Legacy Surveys viewer).

    Parameters
    ----------
    bands : float [3, H, W]
        Red, green and blue, sky subtracted, finite.
    scales : three floats
        Factor of each band.
    softening : float
        ``Q`` > 0; larger compresses bright pixels more.
    offset : float
        Added to every scaled band, in units of display intensity, so that the sky is grey.

    Returns
    -------
    uint8 [H, W, 3]
    """
    if bands.ndim != 3 or bands.shape[0] != 3:
        raise ValueError(f"lupton_rgb needs three bands [3, H, W], not an array of {bands.shape}.")
    factors = np.asarray(scales, dtype=np.float32)[:, None, None]
    scaled = np.maximum(np.asarray(bands, dtype=np.float32) * factors + offset, 0.0)
    intensity = np.maximum(scaled.mean(axis=0), np.float32(1e-10))
    scaled *= np.arcsinh(softening * intensity) / (np.sqrt(softening) * intensity)
    scaled /= np.maximum(scaled.max(axis=0), 1.0)
    return np.moveaxis((scaled * 255.0 + 0.5).astype(np.uint8), 0, -1).copy()


def sky_level(band: NDArray[np.floating], sample: int = 20_000) -> tuple[float, float]:
    """Estimate the sky of one band and its noise by clipping at three sigma.

    Parameters
    ----------
    band : float [H, W]
        Pixels that are not finite are left out.
    sample : int
        Pixels looked at, evenly spread; 20,000 give the sky to a hundredth of its noise.

    Returns
    -------
    (median, sigma)
        ``sigma`` (from the median absolute deviation) is 0 for a constant band. A value that
        half of the pixels share (coverage that is missing) is not sky.
    """
    step = max(1, math.isqrt(band.size // sample))
    grid = band[::step, ::step]
    values = grid[np.isfinite(grid)].astype(np.float64)
    if values.size == 0:
        return 0.0, 0.0
    median, sigma = _median_sigma(values)
    if sigma == 0.0:
        others = values[values != median]
        without = _median_sigma(others) if others.size >= 16 else (median, 0.0)
        if without[1] == 0.0:
            return median, 0.0
        values, (median, sigma) = others, without
    for _ in range(5):
        kept = values[np.abs(values - median) < 3.0 * sigma]
        if kept.size == values.size or kept.size < 16:
            break
        clipped = _median_sigma(kept)
        if clipped[1] == 0.0:
            break
        values, (median, sigma) = kept, clipped
    return median, sigma


def _median_sigma(values: NDArray[np.float64]) -> tuple[float, float]:
    median = float(np.median(values))
    return median, 1.4826 * float(np.median(np.abs(values - median)))


def noise_units(
    bands: NDArray[np.floating], levels: Sequence[tuple[float, float]] | None = None
) -> FloatArray:
    """Subtract the sky of every band and divide by its noise.

    Parameters
    ----------
    bands : float [bands, H, W]
        Finite pixels.
    levels : sequence of (sky, sigma), optional
        One pair per band; by default `sky_level` of each.

    Returns
    -------
    float32 [bands, H, W]
        A band without noise is scaled so that its largest departure from the sky is 300.
    """
    scaled = np.empty(bands.shape, dtype=np.float32)
    for index, band in enumerate(bands):
        sky, sigma = sky_level(band) if levels is None else levels[index]
        if sigma == 0.0:
            sigma = float(np.abs(np.asarray(band, dtype=np.float64) - sky).max()) / 300.0 or 1.0
        scaled[index] = (np.asarray(band, dtype=np.float64) - sky) / sigma
    return scaled


def asinh_stretch(
    bands: NDArray[np.floating],
    softness: float = 3.0,
    bright: float = 300.0,
    levels: Sequence[tuple[float, float]] | None = None,
) -> FloatArray:
    """Stretch every band by itself to [0, 1]: linear in the noise, logarithmic above.

    ``0.1 + 0.9 asinh(s / softness) / asinh(bright / softness)``, clipped to [0, 1], with ``s`` the
    height above the sky in sigma (`noise_units`).

    Parameters
    ----------
    bands : float [bands, H, W]
        Finite pixels.
    softness : float
        Where the stretch turns from linear to logarithmic, in sigma of the sky.
    bright : float
        Height above the sky, in sigma, that becomes white.
    levels : sequence of (sky, sigma), optional
        One pair per band; by default `sky_level` of each.

    Returns
    -------
    float32 [bands, H, W]
    """
    height = noise_units(bands, levels)
    curve = np.arcsinh(height / softness) / np.arcsinh(bright / softness)
    return np.clip(0.1 + 0.9 * curve, 0.0, 1.0).astype(np.float32)
