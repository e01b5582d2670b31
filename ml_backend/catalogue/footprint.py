"""What an image covers: how much of it, and where on the sky."""

from __future__ import annotations

import numpy as np

from ml_backend.catalogue.positions import Position
from models.images import GalaxyImage
from models.picture_frame import PictureFrame, picture_to_pixel, pixel_to_sky


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
    frame = PictureFrame.of(image)
    try:
        middle = picture_to_pixel(frame, frame.width / 2, frame.height / 2)
        ra, dec = (float(angle) for angle in pixel_to_sky(frame, *middle))
    except ValueError:
        return None
    return Position(ra % 360, dec) if np.isfinite(ra) and np.isfinite(dec) else None
