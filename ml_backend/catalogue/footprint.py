"""What an image covers: how much of it, and where on the sky."""

from __future__ import annotations

import numpy as np

from ml_backend.catalogue.positions import Position
from models.images import GalaxyImage


def coverage(image: GalaxyImage) -> float:
    """Return the share of pixels that hold something, of the least covered band, in [0, 1].

    Exact zeros of measured images count as nothing, as does an image of one single value.
    """
    pixels = image.pixels
    if pixels.min() == pixels.max():
        return 0.0
    if image.kind == "rgb8":
        return 1.0
    filled = image.missing / image.pixels.size
    return float(min((band != 0).mean() for band in pixels) - filled)


def centre(image: GalaxyImage) -> Position | None:
    """Return where the middle of an image is on the sky; None where it does not say."""
    if image.wcs is None:
        return None
    height, width = image.pixels.shape[1:]
    try:
        sky = image.wcs.celestial.pixel_to_world((width - 1) / 2, (height - 1) / 2).icrs
        ra, dec = float(sky.ra.deg), float(sky.dec.deg)
    except Exception:  # noqa: BLE001 - a broken WCS raises anything
        return None
    return Position(ra % 360, dec) if np.isfinite(ra) and np.isfinite(dec) else None
