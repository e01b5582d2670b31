"""Looks: the ways in which a measured image can be drawn for people."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from astropy.visualization import ZScaleInterval
from numpy.typing import NDArray

from models.galaxy_image import GalaxyImage, ImageError
from models.rendering import grey_of, red_to_blue, to_rgb8

Look = Literal["lupton", "asinh", "zscale"]
LOOKS: tuple[Look, ...] = get_args(Look)


def draw(image: GalaxyImage, look: str = "lupton", band: str | None = None) -> NDArray[np.uint8]:
    """Draw an image for people, one picture pixel per pixel.

    Parameters
    ----------
    image : GalaxyImage
        A picture (`rgb8`) is returned as it is, whatever the look.
    look : {"lupton", "asinh", "zscale"}
        "lupton": in colour, what `to_rgb8` draws and an LVM for pictures sees. "asinh": one band,
        grey, as `to_rgb8` draws single bands: linear in the noise, logarithmic above. "zscale":
        one band, grey, linear between the limits of `astropy.visualization.ZScaleInterval` (IRAF's
        algorithm), which shows faint structure and saturates cores.
    band : str, optional
        Name of the band of a grey look; by default the middle one by wavelength, which is also
        the green one of "lupton".

    Returns
    -------
    uint8 [H, W, 3]
        The first row is the top one, whatever the origin of the image.

    Raises
    ------
    ImageError
        There is no such look or band.
    """
    if look not in LOOKS:
        raise ImageError(f"There is no look {look[:40]!r}; there are {', '.join(LOOKS)}.")
    if band is not None and band not in image.bands:
        raise ImageError(f"The image has no band {band[:40]!r}; it has {', '.join(image.bands)}.")
    if image.kind == "rgb8" or (look == "lupton" and band is None):
        return to_rgb8(image)
    order = red_to_blue(image.bands)
    index = image.bands.index(band) if band is not None else order[len(order) // 2]
    plane = image.pixels[index]
    if image.origin == "lower":
        plane = plane[::-1]
    return grey_of(plane) if look != "zscale" else _zscale(plane)


def _zscale(plane: NDArray[np.float32]) -> NDArray[np.uint8]:
    low, high = (float(limit) for limit in ZScaleInterval().get_limits(plane))
    if not high > low:
        # Half of the pixels or more share one value.
        low, high = float(plane.min()), float(plane.max())
    if not high > low:
        return np.zeros((*plane.shape, 3), dtype=np.uint8)
    scaled = (plane.astype(np.float64) - low) / (high - low)
    grey = (np.clip(scaled, 0, 1) * 255 + 0.5).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)
