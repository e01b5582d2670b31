"""Which images a file holds, where it holds several."""

from __future__ import annotations

import io
import warnings

import h5py
from astropy.io import fits

from models.fits_guards import unpack
from models.fits_images import UNPACKED, images_of
from models.galaxy_image import ImageError, ImageLimits
from models.hdf5_images import HDF5, stamps_of


def image_extensions(
    data: bytes, limits: ImageLimits | None = None
) -> tuple[int | str | None, ...]:
    """List the values of `extension` with which `read_image` opens the images of a file.

    Parameters
    ----------
    data : bytes
        The whole file.
    limits : ImageLimits, optional
        As of `read_image`.

    Returns
    -------
    tuple of int, str or None
        Of a FITS file the numbers of the extensions that hold an image and are not named as a
        weight, error or mask; of an HDF5 file stamps by number, or data sets by name. ``(None,)``
        where the file is a single image, its bands included, and for all other files. No pixel is
        read, so a listed image may still be refused.

    Raises
    ------
    ImageError
        The FITS or HDF5 file holds no image, or is broken.
    """
    limits = limits or ImageLimits()
    limits.check_bytes(len(data))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if data.startswith(HDF5):
                with h5py.File(io.BytesIO(data), "r") as file:
                    return stamps_of(file)
            if data.startswith(b"\x1f\x8b"):
                data = unpack(data, UNPACKED * limits.max_bytes)
            if data.startswith(b"SIMPLE  ="):
                with fits.open(io.BytesIO(data), memmap=False) as file:
                    return images_of(file)
    except ImageError:
        raise
    except Exception as error:  # noqa: BLE001 - readers raise anything on broken bytes
        reason = str(error).strip().split("\n")[0][:160].rstrip(". ") or type(error).__name__
        raise ImageError(f"The file is broken or cut short: {reason}.") from None
    return (None,)
