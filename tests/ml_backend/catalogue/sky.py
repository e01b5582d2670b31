"""Images of a sky whose brightness is known everywhere, for tests."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from astropy.io import fits
from astropy.wcs import WCS

SCALE = 0.25  # arcsec per pixel


def wcs_at(
    ra: float, dec: float, shape: tuple[int, int], scale: float = SCALE, shift: float = 0.0
) -> WCS:
    """Return a tangential projection whose middle, moved by `shift` pixels, is at ra and dec."""
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [ra, dec]
    wcs.wcs.crpix = [(shape[1] + 1) / 2 + shift, (shape[0] + 1) / 2 + shift]
    wcs.wcs.cdelt = [-scale / 3600, scale / 3600]
    return wcs


def light(wcs: WCS, shape: tuple[int, int], band: int = 0) -> Any:
    """Return brightness that depends on the place on the sky alone."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    sky = wcs.pixel_to_world(columns, rows)
    away = np.hypot((sky.ra.deg - 150) * 3600, (sky.dec.deg - 2) * 3600)
    return (10 + band + 1000 * np.exp(-away / 5)).astype(np.float32)


def survey_file(path: Path, wcs: WCS, shape: tuple[int, int], band: str = "r", **how: Any) -> Path:
    """Write a survey image; `change` may alter its pixels."""
    pixels = light(wcs, shape, how.get("number", 0))
    how.get("change", lambda pixels: None)(pixels)
    header = wcs.to_header()
    if band:
        header["FILTER"] = band
    fits.PrimaryHDU(pixels, header).writeto(path)
    return path


def stamp(ra: float, dec: float, size: int = 64, scale: float = SCALE, bands: str = "grz") -> bytes:
    """Return a FITS file as a cut-out server sends it."""
    wcs = wcs_at(ra, dec, (size, size), scale)
    pixels = np.stack([light(wcs, (size, size), band) for band in range(len(bands))])
    header = wcs.to_header()
    header["BANDS"] = bands
    made = io.BytesIO()
    fits.PrimaryHDU(pixels, header).writeto(made)
    return made.getvalue()
