"""From an image to the picture that people see."""

from __future__ import annotations

import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.galaxy_image import RGB, GalaxyImage
from models.stretch import asinh_stretch, lupton_rgb, noise_units

# Strength, softening and grey sky of the Legacy Surveys viewer, for bands in sigma of the sky.
_LEVEL = 0.006
_SOFTENING = 20.0
_OFFSET = 0.016
_ORDER = "uUBgGVrRiIzZyYJHK"


def to_rgb8(image: GalaxyImage) -> NDArray[np.uint8]:
    """Draw an image for the eye.

    8-bit pictures are returned as they are. Of flux images, a single band is drawn grey by
    `asinh_stretch`; several bands, each sky subtracted and in sigma of its sky, in colour by
    `lupton_rgb`: the bluest band is blue, the reddest red, the middle one green (of two, their
    mean). Bands with unknown names are taken in the order of the file as blue to red. FITS images
    are turned upside down, so that their first row is at the bottom as in every FITS viewer.

    Parameters
    ----------
    image : GalaxyImage

    Returns
    -------
    uint8 [H, W, 3]
    """
    if image.kind == "rgb8":
        return np.ascontiguousarray(np.moveaxis(image.pixels, 0, -1).astype(np.uint8))
    pixels = image.pixels[:, ::-1] if image.origin == "lower" else image.pixels
    if pixels.shape[0] == 1:
        grey = (asinh_stretch(pixels)[0] * 255 + 0.5).astype(np.uint8)
        return np.repeat(grey[:, :, None], 3, axis=2)
    units = noise_units(pixels[_red_to_blue(image.bands)])
    if units.shape[0] == 2:
        units = np.stack([units[0], units.mean(axis=0), units[1]])
    return lupton_rgb(units, (_LEVEL,) * 3, _SOFTENING, _OFFSET)


def encode_png(rgb: NDArray[np.uint8]) -> bytes:
    """Encode uint8 [H, W, 3] as PNG, fast rather than small.

    Raises
    ------
    ValueError
        If the array has another shape or type.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise ValueError(f"A PNG is made of uint8 [H, W, 3], not {rgb.dtype} {rgb.shape}.")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(rgb)).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _red_to_blue(bands: tuple[str, ...]) -> list[int]:
    """Indices of the bands to show as red, green and blue; of two bands, red and blue."""
    if bands == RGB:
        return [0, 1, 2]
    order = list(range(len(bands)))
    lengths = [_wavelength(name) for name in bands]
    if all(length is not None for length in lengths):
        order.sort(key=lambda index: lengths[index] or 0.0)
    if len(order) == 2:
        return [order[1], order[0]]
    return [order[-1], order[len(order) // 2], order[0]]


def _wavelength(name: str) -> float | None:
    """Something that rises with wavelength: the place of a letter, or F814W's number."""
    hubble = re.fullmatch(r"[Ff](\d{3})[WMNLPX]+\d*", name)
    if hubble:
        number = float(hubble.group(1))
        return number * 10 if number < 200 else number
    return float(_ORDER.index(name)) if len(name) == 1 and name in _ORDER else None
