"""Which axes of a FITS image are rows, columns and bands, and what the bands are called."""

from __future__ import annotations

from typing import Any

from models.galaxy_image import MAX_BANDS, ImageError

FILTERS = frozenset("ugrizyUBVRIJHKYGZ")
_LONGITUDES = ("RA--", "GLON", "ELON", "SLON", "HLON")
_LATITUDES = ("DEC-", "GLAT", "ELAT", "SLAT", "HLAT")


def band_names(*headers: Any) -> tuple[str, ...]:
    """Names from BANDS, BAND0..., BAND or FILTER... of the first header that has any."""
    for cards in headers:
        bands = str(cards.get("BANDS", "")).strip()
        if bands:
            parts = bands.replace(",", " ").split()
            return tuple(parts) if len(parts) > 1 else tuple(bands)
        numbered = [str(cards[f"BAND{i}"]).strip() for i in range(MAX_BANDS) if f"BAND{i}" in cards]
        if numbered:
            return tuple(numbered)
        for key in ("BAND", "FILTER", "FILTER1", "FILTER2"):
            words = str(cards.get(key, "")).split()
            if words and not words[0].upper().startswith("CLEAR"):
                return (words[0],)
    return ()


def image_axes(header: Any, shape: tuple[int, ...], named: int) -> tuple[int, int, int | None]:
    """Tell which axes (in numpy order) are rows, columns and bands.

    Axes of length one, as radio and spectral cubes carry them, are passed over. Where the header
    calls two axes celestial, these are rows and columns; else the bands lie on the only axis
    short enough, or on the one that is as long as the header names bands.

    Parameters
    ----------
    header : astropy.io.fits.Header
    shape : tuple of int
    named : int
        Number of bands that the header names.

    Returns
    -------
    row, column, band : int
        `band` is None for a plain image.

    Raises
    ------
    ImageError
        There are more than three axes, or that of the bands cannot be told.
    """
    axes = list(range(len(shape)))
    for axis in range(len(shape)):
        if len(axes) > 2 and shape[axis] == 1:
            axes.remove(axis)
    if len(axes) == 2:
        return axes[0], axes[1], None
    if len(axes) > 3:
        raise ImageError(f"The FITS image has {len(axes)} axes {shape}; two or three are read.")
    band = _band_axis(header, shape, axes, named)
    row, column = (axis for axis in axes if axis != band)
    return row, column, band


def celestial_axes(header: Any, count: int) -> tuple[int, ...]:
    """Axes (in numpy order, of `count`) that the header calls celestial: both, or none."""
    kinds = [str(header.get(f"CTYPE{count - axis}", "")).upper()[:4] for axis in range(count)]
    longitudes = [axis for axis, kind in enumerate(kinds) if kind in _LONGITUDES or kind == "RA"]
    latitudes = [axis for axis, kind in enumerate(kinds) if kind in _LATITUDES or kind == "DEC"]
    if len(longitudes) != 1 or len(latitudes) != 1:
        return ()
    return tuple(sorted((longitudes[0], latitudes[0])))


def _band_axis(header: Any, shape: tuple[int, ...], axes: list[int], named: int) -> int:
    small = [axis for axis in axes if shape[axis] <= MAX_BANDS]
    if not small:
        raise ImageError(
            f"The FITS cube {shape} has no axis of at most {MAX_BANDS} that could hold bands; "
            "save one band, or one plane."
        )
    celestial = celestial_axes(header, len(shape))
    others = [axis for axis in axes if axis not in celestial]
    if len(others) == 1 and others[0] in small:
        return others[0]
    if len(small) == 1:
        return small[0]
    fitting = [axis for axis in small if shape[axis] == named]
    if len(fitting) == 1:
        return fitting[0]
    raise ImageError(
        f"The FITS cube {shape} does not tell which axis holds its bands; "
        "name them in the header (BANDS = 'grz')."
    )
