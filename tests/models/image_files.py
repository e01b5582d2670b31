"""Small image files that tests make."""

from __future__ import annotations

import io

import numpy as np
from astropy.io import fits
from PIL import Image


def galaxy(height: int = 40, width: int = 50) -> np.ndarray:
    """A Gaussian blob on noise, float32."""
    rows, columns = np.indices((height, width))
    blob = 100 * np.exp(-((rows - height / 2) ** 2 + (columns - width / 3) ** 2) / 50)
    return (blob + np.random.default_rng(1).normal(0, 1, blob.shape)).astype(np.float32)


def picture() -> np.ndarray:
    return np.random.default_rng(2).integers(0, 256, (40, 50, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray, name: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, name, **options)
    return buffer.getvalue()


def fits_bytes(*hdus: object) -> bytes:
    buffer = io.BytesIO()
    fits.HDUList(list(hdus)).writeto(buffer, output_verify="silentfix")
    return buffer.getvalue()


def cube(bands: str, header_bands: bool = True) -> bytes:
    planes = np.stack([galaxy() * (1 + index) for index in range(len(bands))])
    hdu = fits.PrimaryHDU(planes)
    if header_bands:
        hdu.header["BANDS"] = bands
    return fits_bytes(hdu)
