"""What astronomers use to measure galaxies: photutils and statmorph, each of one galaxy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from astropy.convolution import convolve
from numpy.typing import NDArray
from photutils.segmentation import (
    SourceCatalog,
    deblend_sources,
    detect_sources,
    make_2dgaussian_kernel,
)
from statmorph import SourceMorphology

NAMES = ("magnitude", "log_radius", "axis_ratio", "angle", "sersic_n")
Row = NDArray[np.float64]


@dataclass(frozen=True)
class Detection:
    """The galaxy in the middle of an image: a segmentation map and its label there."""

    white: NDArray[np.float32]
    smooth: NDArray[np.float64]
    segments: object
    label: int


def detect(bands: NDArray[np.float32]) -> Detection | None:
    """Find the galaxy nearest to the middle on the bands together; None where there is none.

    Settings of the manuals: smoothed by 3 pixels, 10 pixels above 1.5 sigma, deblended.
    """
    rim = np.ones(bands.shape[1:], dtype=bool)
    margin = max(2, round(0.08 * min(rim.shape)))
    rim[margin:-margin, margin:-margin] = False
    levels = [_sky(band[rim]) for band in bands]
    precise = np.array([1 / noise**2 for _, noise in levels])
    flat = np.stack([band - sky for band, (sky, _) in zip(bands, levels, strict=True)])
    white = np.tensordot(precise / precise.sum(), flat, axes=1)
    smooth = convolve(white, make_2dgaussian_kernel(3.0, size=5))
    threshold = 1.5 * _sky(smooth[rim])[1]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = detect_sources(smooth, threshold, n_pixels=10)
        if found is None:
            return None
        found = deblend_sources(smooth, found, n_pixels=10, progress_bar=False)
    rows, columns = np.nonzero(found.data)
    middle = (np.array(white.shape) - 1) / 2
    nearest = np.argmin((rows - middle[0]) ** 2 + (columns - middle[1]) ** 2)
    if np.hypot(rows[nearest] - middle[0], columns[nearest] - middle[1]) > 0.1 * len(white):
        return None
    label = int(found.data[rows[nearest], columns[nearest]])
    return Detection(white.astype(np.float32), smooth, found, label)


def photutils_row(bands: NDArray[np.float32], band: int) -> Row:
    """Kron magnitude in one band, half-light radius and shape on all; NaN where not detected."""
    found = detect(bands)
    row = np.full(len(NAMES), np.nan)
    if found is None:
        return row
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        white = SourceCatalog(found.white, found.segments, convolved_data=found.smooth)
        one = white.get_label(found.label)
        sky, _ = _sky(bands[band])
        place = list(np.atleast_1d(white.labels)).index(found.label)
        flux = SourceCatalog(bands[band] - sky, found.segments, detection_catalog=white)
        value = float(np.atleast_1d(flux.kron_flux)[place])
        radius = float(np.atleast_1d(one.flux_radius(0.5).value)[0])
        major, minor = float(one.semimajor_axis.value), float(one.semiminor_axis.value)
        angle = float(one.orientation.value)
    if value > 0:
        row[0] = -2.5 * np.log10(value)
    # To the major axis, where the truth is given: a circle of the same area.
    if np.isfinite(radius) and radius > 0 and minor > 0:
        row[1] = np.log10(radius * np.sqrt(major / minor))
    row[2:4] = minor / major, angle % 180
    return row


def statmorph_rows(
    bands: NDArray[np.float32], band: int, psf: NDArray[np.float64]
) -> tuple[Row, Row]:
    """Measure by statmorph on one band: by moments and growth of the light, and as a Sersic model.

    It is given the PSF, and the segmentation of all bands; NaN where nothing was detected.
    """
    found = detect(bands)
    plain, model = np.full(len(NAMES), np.nan), np.full(len(NAMES), np.nan)
    if found is None:
        return plain, model
    sky, noise = _sky(bands[band])
    image = (bands[band] - sky).astype(np.float64)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            seen = SourceMorphology(
                image,
                found.segments,
                found.label,
                weightmap=np.full(image.shape, noise),
                psf=psf,
            )
    except (ValueError, IndexError, RuntimeError, AssertionError, ZeroDivisionError):
        return plain, model
    if seen.flag < 4:
        if seen.flux_ellip > 0 and seen.rhalf_ellip > 0:
            plain[:2] = -2.5 * np.log10(seen.flux_ellip), np.log10(seen.rhalf_ellip)
        turn = np.degrees(seen.orientation_asymmetry) % 180
        plain[2:4] = 1 - seen.ellipticity_asymmetry, turn
        if seen.sersic_rhalf > 0 and 0.05 < seen.sersic_n < 12:
            turn = np.degrees(seen.sersic_theta) % 180
            model[1:] = np.log10(seen.sersic_rhalf), 1 - seen.sersic_ellip, turn, seen.sersic_n
    return plain, model


def _sky(values: NDArray[np.floating]) -> tuple[float, float]:
    middle, spread = 0.0, 0.0
    kept = np.asarray(values, dtype=np.float64).ravel()
    for _ in range(5):
        middle = float(np.median(kept))
        spread = 1.4826 * float(np.median(np.abs(kept - middle)))
        inside = kept[np.abs(kept - middle) < 2.5 * spread]
        if len(inside) in (0, len(kept)):
            break
        kept = inside
    return middle, max(spread, 1e-30)
