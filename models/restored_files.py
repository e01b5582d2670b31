"""Restored images as pictures for people and as FITS files for science."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
from astropy.io import fits
from numpy.typing import ArrayLike, NDArray

from models.galaxy_image import GalaxyImage, ImageError
from models.rendering import to_rgb8
from models.restoration_inputs import RestorationError
from models.restorer import Restored, Restorer, shipped

LARGEST = 4_000_000
"""Pixels (of one band) of an image that is restored for people at most."""
_MOST = 3.0


def restored_image(
    image: GalaxyImage,
    restorer: Restorer | None = None,
    psf_fwhm: float | None = 0.0,
    mask: ArrayLike | None = None,
) -> tuple[GalaxyImage, Restored]:
    """Restore an image as it was read; pixels that its file flags are filled.

    Parameters
    ----------
    image : GalaxyImage
    restorer : Restorer, optional
        By default the shipped one.
    psf_fwhm, mask
        See `Restorer.restore`; `mask` in rows of the file. By default nothing is sharpened: a
        smooth galaxy looks like a blurred one, and only who knows the PSF can tell.

    Returns
    -------
    GalaxyImage
        Like the one given; of a picture the values are cut to 0 to 255.
    Restored

    Raises
    ------
    ImageError
        The image is too large or too small to be restored.
    """
    height, width = image.pixels.shape[1:]
    if height * width > LARGEST:
        raise ImageError(
            f"The image has {width:,} x {height:,} pixels; at most {LARGEST:,} are restored. "
            "Cut out the galaxy."
        )
    try:
        hidden = _hidden(image, mask)
        found = (restorer or shipped()).restore(image.pixels, psf_fwhm, hidden)
    except RestorationError as error:
        raise ImageError(str(error)) from None
    pixels = np.clip(found.image, 0, 255) if image.kind == "rgb8" else found.image
    done = replace(image, pixels=np.asarray(pixels, np.float32), weight=None, flagged=None)
    return done, found


def draw_restored(image: GalaxyImage, restored: GalaxyImage) -> NDArray[np.uint8]:
    """Draw a restored image with the stretch of the original, so that both can be compared.

    Parameters
    ----------
    image, restored : GalaxyImage
        As `restored_image` takes and gives them.

    Returns
    -------
    uint8 [H, W, 3]
        With the look "lupton" of `models.looks.draw`.
    """
    if image.kind == "rgb8":
        return to_rgb8(replace(restored, pixels=np.round(restored.pixels)))
    return to_rgb8(restored, like=image)


def draw_deviation(image: GalaxyImage, found: Restored) -> NDArray[np.uint8]:
    """Draw the error map: dark where the restoration is sure.

    Grey from no deviation (black) to three times the noise of the image per pixel (white), as the
    square root, so that small ones are seen; of several bands their mean.

    Returns
    -------
    uint8 [H, W, 3]
        The first row is the top one.
    """
    share = (found.deviation / np.maximum(found.noise, 1e-30)[:, None, None]).mean(axis=0)
    scaled = np.sqrt(np.clip(share / _MOST, 0, 1))
    grey = (scaled * 255 + 0.5).astype(np.uint8)
    if image.origin == "lower":
        grey = grey[::-1]
    return np.repeat(grey[:, :, None], 3, axis=2)


def restored_fits(image: GalaxyImage, done: GalaxyImage, found: Restored) -> bytes:
    """Write a restored image as FITS: it and, in the extension UNCERT, its standard deviations.

    Celestial coordinates, the unit (BUNIT) and the names of the bands are kept. Rows are in FITS
    order, from the bottom.

    Returns
    -------
    bytes
        A whole file.
    """
    header = image.wcs.to_header() if image.wcs is not None else fits.Header()
    if image.unit:
        header["BUNIT"] = image.unit
    for place, name in enumerate(image.bands):
        header[f"BAND{place + 1}"] = str(name)[:60]
    header.add_history("Restored by GalaxyLoop: denoised, masked pixels filled,")
    if found.fwhm > 0:
        header.add_history(f"blur of FWHM {found.fwhm:.2f} pixels removed.")
    else:
        header.add_history("no blur removed.")
    for name, noise in zip(image.bands, found.noise, strict=True):
        header.add_history(f"Noise before, band {str(name)[:20]}: {float(noise):.6g} per pixel.")
    header.add_history("UNCERT holds the standard deviation of each pixel's error.")
    header.add_history("Values between pixels are inferred; measure on the original, too.")
    flip = image.origin == "upper" and image.wcs is None
    planes = [plane[:, ::-1] if flip else plane for plane in (done.pixels, found.deviation)]
    if len(image.bands) == 1:
        planes = [plane[0] for plane in planes]
    deviations = header.copy()
    deviations.remove("HISTORY", ignore_missing=True, remove_all=True)
    hdus = fits.HDUList(
        [
            fits.PrimaryHDU(np.ascontiguousarray(planes[0], dtype=np.float32), header),
            fits.ImageHDU(
                np.ascontiguousarray(planes[1], dtype=np.float32), deviations, name="UNCERT"
            ),
        ]
    )
    buffer = io.BytesIO()
    hdus.writeto(buffer, checksum=True)
    return buffer.getvalue()


def _hidden(image: GalaxyImage, mask: ArrayLike | None) -> NDArray[np.bool_] | None:
    hidden = None if mask is None else np.asarray(mask, dtype=np.bool_)
    for plane in (image.flagged, None if image.weight is None else image.weight == 0):
        # A file that flags everything, or nearly, uses its flags for something else.
        if plane is not None and plane.any() and plane.mean() < 0.5:
            hidden = plane if hidden is None else hidden | plane
    return hidden
