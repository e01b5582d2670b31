"""Weight maps and masks that lie beside an image in a FITS file."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits
from numpy.typing import NDArray

from models.fits_guards import check_complete, check_tiles, shape_of
from models.galaxy_image import ImageError, ImageLimits

_WEIGHTS = ("WHT", "WEIGHT", "IVAR", "INVVAR", "WT")
_VARIANCES = ("VAR", "VARIANCE")
_ERRORS = ("ERR", "ERROR", "UNCERT", "SIGMA", "RMS")
_MASKS = ("DQ", "MASK", "MSK", "FLAGS", "BPM")
COMPANIONS = frozenset(
    (*_WEIGHTS, *_VARIANCES, *_ERRORS, *_MASKS, "PSF", "MODEL", "SEGMAP", "CTX", "EXP")
)

Planes = tuple[NDArray[np.float32] | None, NDArray[np.bool_] | None, tuple[str, ...]]


def companions(
    file: fits.HDUList, hdu: Any, order: tuple[int, ...], data: bytes, limits: ImageLimits
) -> Planes:
    """Read the weight map and the mask of an image.

    They are told by their name, must have the image's shape, or that of one of its bands, and
    where there are several, its EXTVER. Variances are inverted, errors squared and inverted.

    Parameters
    ----------
    file : HDUList
    hdu : image HDU
    order : tuple of int
        Axes of the image (in numpy order) that hold bands, rows and columns, or rows and columns.
    data : bytes
        The file.
    limits : ImageLimits

    Returns
    -------
    weight : float32 [1 or bands, H, W], or None
        Finite, not negative.
    flagged : bool [1 or bands, H, W], or None
    notes : tuple of str
        What lies beside the image and cannot be used.
    """
    if hdu.name.upper() in COMPANIONS:
        return None, None, ()
    notes: list[str] = []
    weight = flagged = None
    named = _beside(file, hdu, (*_WEIGHTS, *_VARIANCES, *_ERRORS))
    if named is not None:
        values = _planes(named, hdu, order, data, limits, notes)
        if values is not None:
            weight = _weight(values.astype(np.float32), named.name.upper())
    named = _beside(file, hdu, _MASKS)
    if named is not None:
        values = _planes(named, hdu, order, data, limits, notes)
        if values is not None:
            flagged = np.nan_to_num(values) != 0
    return weight, flagged, tuple(notes)


def _beside(file: fits.HDUList, hdu: Any, names: tuple[str, ...]) -> Any:
    """Return the first extension of these names (in their order) with the image's EXTVER."""
    for name in names:
        found = [other for other in file if other.name.upper() == name and other.is_image]
        same = [other for other in found if other.ver == hdu.ver]
        if same or len(found) == 1:
            return (same or found)[0]
    return None


def _planes(
    named: Any,
    hdu: Any,
    order: tuple[int, ...],
    data: bytes,
    limits: ImageLimits,
    notes: list[str],
) -> NDArray[np.generic] | None:
    shape, whole = shape_of(named), shape_of(hdu)
    try:
        if shape != whole and shape != tuple(whole[axis] for axis in order[-2:]):
            raise ImageError(f"it has the shape {shape} and the image {whole}.")
        check_complete(named, data)
        check_tiles(named, data, limits)
        values: NDArray[np.generic] = np.asarray(named.data)
        if values.dtype.kind not in "biuf":
            raise ImageError(f"it holds {values.dtype}.")
    except Exception as error:  # noqa: BLE001 - what lies beside must not cost the image
        reason = str(error).strip().split("\n")[0][:160].rstrip(". ") or type(error).__name__
        notes.append(f"The extension {named.name} is not used: {reason}.")
        return None
    if shape != whole:
        return values[None]
    rest = [axis for axis in range(len(shape)) if axis not in order]
    turned = np.transpose(values, [*order, *rest])
    return turned.reshape(-1, *(whole[axis] for axis in order[-2:]))


def _weight(values: NDArray[np.float32], name: str) -> NDArray[np.float32]:
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if name in _ERRORS:
            values = np.where(values > 0, values * values, 0)
        if name in _ERRORS or name in _VARIANCES:
            values = np.where(values > 0, 1 / values, 0).astype(np.float32)
    return np.where(np.isfinite(values) & (values > 0), values, 0).astype(np.float32)
