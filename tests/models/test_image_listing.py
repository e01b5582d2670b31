"""Which images of a file can be chosen: each that is listed opens."""

from __future__ import annotations

import gzip
import io
from typing import Any

import h5py
import numpy as np
import pytest
from astropy.io import fits
from image_files import cube, encoded, fits_bytes, galaxy, picture

from models.images import ImageError, ImageLimits, image_extensions, read_image


def hdf5(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        for name, values in arrays.items():
            file[name] = values
    return buffer.getvalue()


PLANES = [fits.ImageHDU(galaxy(20 + n, 30)) for n in range(3)]
NAMED = [fits.ImageHDU(galaxy(), name=name) for name in ("SCI", "WHT", "DQ")]
BANDS = [fits.ImageHDU(galaxy(), name=name) for name in "GRZ"]
TABLE = fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])])


@pytest.mark.parametrize(
    ("data", "listed"),
    [
        (encoded(picture(), "PNG"), (None,)),
        (cube("grz"), (None,)),
        (gzip.compress(cube("grz")), (None,)),
        (fits_bytes(fits.PrimaryHDU(), *PLANES, TABLE), (1, 2, 3)),
        (fits_bytes(fits.PrimaryHDU(galaxy()), TABLE, *PLANES), (0, 2, 3, 4)),
        (fits_bytes(fits.PrimaryHDU(), *NAMED), (None,)),
        (fits_bytes(fits.PrimaryHDU(), *BANDS), (None,)),
        (hdf5(images=np.zeros((4, 3, 40, 40), np.float32)), (0, 1, 2, 3)),
        (hdf5(images=np.zeros((1, 3, 40, 40), np.float32)), (None,)),
        (hdf5(image=galaxy(), other=galaxy()), (None,)),
        (hdf5(a=galaxy(), b=galaxy(), n=np.arange(3)), ("a", "b")),
    ],
    ids=range(11),
)
def test_what_is_listed_opens(data: bytes, listed: tuple[Any, ...]) -> None:
    assert image_extensions(data) == listed
    for extension in listed:
        assert read_image(data, extension=extension).pixels.size


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "empty"),
        (fits_bytes(fits.PrimaryHDU(), TABLE), "no image"),
        (b"SIMPLE  =                    T".ljust(2880), "no image|broken"),
        (hdf5(n=np.arange(3)), "no data set"),
        (hdf5(a=galaxy())[:900], "broken or cut short"),
        (gzip.compress(cube("grz"))[:100], "cut short"),
    ],
    ids=range(6),
)
def test_broken_files_are_named(data: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        image_extensions(data)


def test_limits_hold() -> None:
    with pytest.raises(ImageError, match="at most 5"):
        image_extensions(cube("grz"), ImageLimits(max_bytes=5))
