"""Stretches from flux to what a screen or a network can show."""

from __future__ import annotations

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


def sky_level(band: NDArray[np.floating], sample: int = 200_000) -> tuple[float, float]:
    """Estimate the sky of one band and its noise by clipping at three sigma.

    Parameters
    ----------
    band : float [H, W]
        Pixels that are not finite are left out.
    sample : int
        Pixels looked at, evenly spread; enough for a per-cent estimate at any image size.

    Returns
    -------
    (median, sigma)
        ``sigma`` (from the median absolute deviation) is 0 for a constant band.
    """
    flat = band.reshape(-1)[:: max(1, band.size // sample)]
    values = flat[np.isfinite(flat)].astype(np.float64)
    if values.size == 0:
        return 0.0, 0.0
    median, sigma = 0.0, 0.0
    for _ in range(5):
        median = float(np.median(values))
        sigma = 1.4826 * float(np.median(np.abs(values - median)))
        if sigma == 0.0:
            break
        kept = values[np.abs(values - median) < 3.0 * sigma]
        if kept.size == values.size or kept.size < 16:
            break
        values = kept
    return median, sigma


def asinh_stretch(
    bands: NDArray[np.floating], softness: float = 3.0, bright: float = 300.0
) -> FloatArray:
    """Stretch every band by itself to [0, 1]: linear in the noise, logarithmic above.

    ``asinh((f - sky) / (softness sigma)) / asinh(bright / softness)`` with the sky and its noise
    from `sky_level`, then an offset that puts the sky at 0.1, clipped to [0, 1].

    Parameters
    ----------
    bands : float [bands, H, W]
        Finite pixels.
    softness : float
        Where the stretch turns from linear to logarithmic, in sigma of the sky.
    bright : float
        Height above the sky, in sigma, that becomes white.

    Returns
    -------
    float32 [bands, H, W]
    """
    stretched = np.empty(bands.shape, dtype=np.float32)
    for index, band in enumerate(bands):
        sky, sigma = sky_level(band)
        if sigma == 0.0:
            spread = np.abs(np.asarray(band, dtype=np.float64) - sky)
            sigma = float(spread.max()) / bright or 1.0
        height = (np.asarray(band, dtype=np.float32) - np.float32(sky)) / np.float32(sigma)
        curve = np.arcsinh(height / softness) / np.arcsinh(bright / softness)
        stretched[index] = np.clip(0.1 + 0.9 * curve, 0.0, 1.0)
    return stretched
