"""Where on the sky the pixels of a FITS image lie."""

from __future__ import annotations

from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

# Cards that state arcseconds per pixel where there are no coordinates.
_SCALES = ("PIXSCALE", "PIXELSCL", "PIXSCAL1", "SECPIX", "SECPIX1")


def coordinates(
    header: Any, axes: tuple[int, int], file: fits.HDUList | None = None
) -> tuple[WCS | None, float | None, tuple[str, ...]]:
    """Celestial coordinates of the rows and columns of an image, and its pixel scale.

    Parameters
    ----------
    header : astropy.io.fits.Header
    axes : two int
        Rows and columns, counted as FITS does: the first axis is 1. Columns come second.
    file : HDUList, optional
        The file, for distortions that lie in extensions of their own.

    Returns
    -------
    wcs : WCS or None
        Of two pixel axes: columns, rows. None without coordinates, or where they are broken.
    scale : float or None
        Arcseconds per pixel, the geometric mean of both axes; without coordinates what
        PIXSCALE, PIXELSCL, PIXSCAL1 or SECPIX say.
    notes : tuple of str
        What is wrong with the coordinates.
    """
    stated = _stated_scale(header)
    try:
        if axes == (2, 1):
            wcs = WCS(header, fobj=file, naxis=2)
        else:
            wcs = WCS(header, fobj=file).sub([axes[1], axes[0]])
        if not wcs.has_celestial:
            return None, stated, ()
        scale = float(np.sqrt(np.prod(proj_plane_pixel_scales(wcs)))) * 3600.0
    except Exception as error:  # noqa: BLE001 - a broken WCS must not cost the image
        reason = str(error).strip().split("\n")[0][:160].rstrip(". ") or type(error).__name__
        return None, stated, (f"The celestial coordinates cannot be used: {reason}.",)
    if not (np.isfinite(scale) and scale > 0):
        note = "The celestial coordinates cannot be used: their pixels have no size on the sky."
        return None, stated, (note,)
    return wcs, scale, ()


def _stated_scale(header: Any) -> float | None:
    for key in _SCALES:
        try:
            scale = abs(float(header[key]))
        except (KeyError, TypeError, ValueError):
            continue
        if np.isfinite(scale) and scale > 0:
            return scale
    return None
