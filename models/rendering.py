"""From an image to the picture that people see."""

from __future__ import annotations

import io
import re

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.galaxy_image import RGB, GalaxyImage
from models.stretch import asinh_stretch, lupton_rgb, noise_units, sky_level

# Strength, softening and grey sky of the Legacy Surveys viewer, for bands in sigma of the sky.
_LEVEL = 0.006
_SOFTENING = 20.0
_OFFSET = 0.016
_ORDER = "uUBgGVrRiIzZyYJHK"
# Factors that make an ordinary galaxy white when the bands share one zero point: those of the
# Legacy Surveys viewer for g, r, z, and for u, i, y by the same colours.
_WEIGHTS = {"u": 20.0, "g": 6.0, "r": 3.4, "i": 2.5, "z": 2.2, "y": 2.0}


def to_rgb8(image: GalaxyImage, like: GalaxyImage | None = None) -> NDArray[np.uint8]:
    """Draw an image for the eye.

    8-bit pictures are returned as they are. Of flux images, a single band is drawn grey by
    `asinh_stretch`, white at its 99.8th percentile but not below 50 sigma of the sky. Several bands
    are drawn in colour by `lupton_rgb`: the bluest is blue, the reddest red, the middle one green
    (of two, their mean). Three bands out of u, g, r, i, z, y are taken to share a zero point, so
    that colours are comparable between images; others are each scaled by the noise of their
    sky, unknown names in the order of the file as blue to red. FITS images are turned upside
    down, so that their first row is at the bottom as in every FITS viewer.

    Parameters
    ----------
    image : GalaxyImage
    like : GalaxyImage, optional
        Whose sky and noise set the stretch, so that both pictures can be compared; of the same
        bands. By default the image's own.

    Returns
    -------
    uint8 [H, W, 3]
    """
    if image.kind == "rgb8":
        return np.ascontiguousarray(np.moveaxis(image.pixels, 0, -1).astype(np.uint8))
    pixels = image.pixels[:, ::-1] if image.origin == "lower" else image.pixels
    model = image.pixels if like is None else like.pixels
    if pixels.shape[0] == 1:
        return grey_of(pixels[0], model[0])
    chosen = red_to_blue(image.bands)
    names = [image.bands[index] for index in chosen]
    units = _colour_units(pixels[chosen], names, model[chosen])
    return lupton_rgb(units, (_LEVEL,) * 3, _SOFTENING, _OFFSET)


def grey_of(
    plane: NDArray[np.float32], like: NDArray[np.float32] | None = None
) -> NDArray[np.uint8]:
    """Draw one band [H, W] grey, as `to_rgb8` does: uint8 [H, W, 3], the first row on top."""
    model = plane if like is None else like
    height = noise_units(plane[None], [_level(model)])
    bright = max(50.0, float(np.percentile(noise_units(model[None])[0], 99.8)))
    grey = asinh_stretch(height, bright=bright, levels=[(0.0, 1.0)])[0]
    return np.repeat((grey * 255 + 0.5).astype(np.uint8)[:, :, None], 3, axis=2)


def _level(plane: NDArray[np.float32]) -> tuple[float, float]:
    """Sky and noise; where there is no noise, what `noise_units` takes in its place."""
    sky, sigma = sky_level(plane)
    if sigma == 0.0:
        sigma = float(np.abs(np.asarray(plane, dtype=np.float64) - sky).max()) / 300.0 or 1.0
    return sky, sigma


def _colour_units(
    bands: NDArray[np.float32], names: list[str], like: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Red, green and blue above the sky, in sigma of the sky."""
    if len(names) == 3 and all(name in _WEIGHTS for name in names):
        weights = [_WEIGHTS[name] for name in names]
        levels = [sky_level(band) for band in like]
        common = levels[1][1] * weights[1]
        if common > 0:
            pairs = zip(levels, weights, strict=True)
            return noise_units(bands, [(sky, common / weight) for (sky, _), weight in pairs])
    units = noise_units(bands, [_level(band) for band in like])
    if len(names) == 2:
        units = np.stack([units[0], units.mean(axis=0), units[1]])
    return units


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


def red_to_blue(bands: tuple[str, ...]) -> list[int]:
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
