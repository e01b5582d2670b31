"""FITS files to images: extensions, cubes of bands, compression, and what can be wrong."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from models.fits_bands import FILTERS, band_names, image_axes
from models.fits_companions import COMPANIONS, companions
from models.fits_coordinates import coordinates
from models.fits_guards import check_complete, check_tiles, load_headers, shape_of, unpack
from models.galaxy_image import MAX_BANDS, GalaxyImage, ImageError, ImageLimits, flux_image

UNPACKED = 4
_PREFERRED = ("SCI", "IMAGE")


def read_fits(data: bytes, limits: ImageLimits, extension: int | str | None = None) -> GalaxyImage:
    """Read one image, or one cube of bands, from a FITS file that may be gzipped.

    Without `extension` it is the first extension called SCI or IMAGE, else the first that holds
    an image and is not named as a weight, error or mask; planes of one single value are passed
    over if another follows. A file whose extensions are images of
    one shape, each named as a filter (g, r, z...) or with a filter of its own in its header,
    gives them all as bands.

    A weight map or error, and a mask, that lie beside the image are read with it; see
    `companions`. Scaled integers (BSCALE, BZERO), BLANK, byte orders and tile compression (.fz)
    are resolved.

    Parameters
    ----------
    data : bytes
        The file.
    limits : ImageLimits
        Checked on the header before any pixel is read.
    extension : int or str or None
        Number (0 is the primary one) or name of the extension.

    Raises
    ------
    ImageError
        If there is no image, the file is cut short or broken, or an axis of bands cannot be told.
    """
    if data[:2] == b"\x1f\x8b":
        data = unpack(data, UNPACKED * limits.max_bytes)
        if not data.startswith(b"SIMPLE"):
            raise ImageError("The gzip file holds no FITS file; only FITS is read from gzip.")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fits.open(io.BytesIO(data), memmap=False) as file:
                return _read(file, data, limits, extension)
        except ImageError:
            raise
        except Exception as error:  # noqa: BLE001 - astropy raises anything on broken bytes
            reason = str(error).strip().split("\n")[0][:160].rstrip(". ") or type(error).__name__
            raise ImageError(f"The FITS file is broken or cut short: {reason}.") from None


def _read(
    file: fits.HDUList, data: bytes, limits: ImageLimits, extension: int | str | None
) -> GalaxyImage:
    load_headers(file)
    if extension is not None:
        try:
            chosen = file[extension]
        except (KeyError, IndexError):
            names = ", ".join(f"{i} {hdu.name}".strip() for i, hdu in enumerate(file))
            raise ImageError(
                f"The FITS file has no extension {extension!r}; it has: {names}."
            ) from None
        if not _is_image(chosen):
            raise ImageError(f"The FITS extension {extension!r} holds no image.")
        return _image(file, chosen, data, limits)
    images = _images(file)
    plain = [hdu for hdu in images if hdu.name.upper() not in COMPANIONS]
    filters = _filters(plain)
    if filters:
        return _stack(file, plain, filters, data, limits)
    preferred = [hdu for hdu in images if hdu.name.upper() in _PREFERRED]
    candidates = preferred or plain or images
    for hdu in candidates:
        image = _image(file, hdu, data, limits)
        # GALFIT and others begin with an empty plane.
        if image.pixels.min() < image.pixels.max():
            return image
    return _image(file, candidates[0], data, limits)


def images_of(file: fits.HDUList) -> tuple[int | None, ...]:
    """Numbers of the extensions that are images of their own; ``(None,)`` for a single one.

    Raises
    ------
    ImageError
        There is none.
    """
    load_headers(file)
    images = _images(file)
    plain = [hdu for hdu in images if hdu.name.upper() not in COMPANIONS] or images
    if len(plain) == 1 or _filters(plain):
        return (None,)
    return tuple(index for index, hdu in enumerate(file) if any(hdu is one for one in plain))


def _images(file: fits.HDUList) -> list[Any]:
    images = [hdu for hdu in file if _is_image(hdu)]
    if not images:
        held = sorted({type(hdu).__name__.removesuffix("HDU") for hdu in file[1:]})
        raise ImageError(
            "The FITS file holds no image"
            + (f", only extensions of the kind {', '.join(held)}." if held else ".")
        )
    return images


def _is_image(hdu: Any) -> bool:
    return bool(hdu.is_image) and len(shape_of(hdu)) >= 2


def _filters(images: list[Any]) -> tuple[str, ...]:
    """Names of several extensions that are bands of one image: all different; else none."""
    names = tuple(str(hdu.header.get("EXTNAME", "")).strip() for hdu in images)
    if len(names) < 2 or not all(name in FILTERS for name in names):
        own = [band_names(hdu.header) for hdu in images]
        if len({shape_of(hdu) for hdu in images}) != 1 or any(len(name) != 1 for name in own):
            return ()
        names = tuple(name[0] for name in own)
    if len(set(names)) != len(names) or len(names) < 2:
        return ()
    if all(len(name) == 1 for name in names) and ("G" in names or "Z" in names):
        # Many writers put names in capitals; only the Sloan filters have a g and a z.
        return tuple(name.lower() for name in names)
    return names


def _stack(
    file: fits.HDUList, images: list[Any], names: tuple[str, ...], data: bytes, limits: ImageLimits
) -> GalaxyImage:
    if len({shape_of(hdu) for hdu in images}) != 1:
        raise ImageError("The FITS extensions are bands by name but differ in shape.")
    if len(images) > MAX_BANDS:
        raise ImageError(f"The FITS file has {len(images)} bands; at most {MAX_BANDS} are read.")
    shape = shape_of(images[0])
    row, column, band = image_axes(images[0].header, shape, 1)
    if band is not None:
        raise ImageError("The FITS extensions are bands by name but hold cubes themselves.")
    limits.check_shape(shape[column], shape[row], len(images))
    parts = [_image(file, hdu, data, limits) for hdu in images]
    first = parts[0]
    return GalaxyImage(
        np.concatenate([part.pixels for part in parts]),
        "flux",
        names,
        first.pixel_scale,
        first.wcs,
        first.unit,
        sum(part.missing for part in parts),
        "lower",
        first.weight,
        first.flagged,
        tuple(dict.fromkeys(note for part in parts for note in part.notes)),
    )


def _image(file: fits.HDUList, hdu: Any, data: bytes, limits: ImageLimits) -> GalaxyImage:
    shape, primary = shape_of(hdu), file[0].header
    named = band_names(hdu.header, primary)
    row, column, band = image_axes(hdu.header, shape, len(named))
    count = 1 if band is None else shape[band]
    limits.check_shape(shape[column], shape[row], count)
    check_complete(hdu, data)
    check_tiles(hdu, data, limits)
    order = (row, column) if band is None else (band, row, column)
    rest = [axis for axis in range(len(shape)) if axis not in order]
    values: NDArray[np.generic] = np.transpose(np.asarray(hdu.data), [*order, *rest])
    values = values.reshape(count, shape[row], shape[column])
    bands = named if len(named) == count else tuple(str(index + 1) for index in range(count))
    unit = str(hdu.header.get("BUNIT") or primary.get("BUNIT") or "").strip()
    wcs, scale, unplaced = coordinates(hdu.header, (len(shape) - row, len(shape) - column), file)
    weight, flagged, unused = companions(file, hdu, order, data, limits)
    return flux_image(
        values, bands, scale, wcs, unit or None, "lower", weight, flagged, unplaced + unused
    )
