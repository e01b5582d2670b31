"""Restored images as pictures and FITS files."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from models import restored_files
from models.galaxy_image import GalaxyImage, ImageError, flux_image
from models.looks import draw
from models.restored_files import draw_deviation, draw_restored, restored_fits, restored_image


def sky() -> WCS:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [150.0, 2.0], [20.0, 16.0], [-1e-4, 1e-4]
    return wcs


def measured(bands: int = 3, **facts: object) -> GalaxyImage:
    y, x = np.indices((32, 40))
    blob = 60 * np.exp(-0.5 * ((y - 10) ** 2 + (x - 25) ** 2) / 12)
    noise = np.random.default_rng(0).normal(0, 2, (bands, 32, 40))
    return flux_image(
        (blob + 5 + noise).astype(np.float32), ("g", "r", "z")[:bands],
        wcs=sky(), unit="nanomaggy", origin="lower", **facts,
    )  # type: ignore[arg-type]  # fmt: skip


def picture() -> GalaxyImage:
    values = np.clip(np.round(measured().pixels * 3), 0, 255).astype(np.float32)
    return GalaxyImage(values, "rgb8", ("red", "green", "blue"))


@pytest.mark.parametrize("bands", [1, 2, 3])
def test_pictures_can_be_compared(bands: int) -> None:
    image = measured(bands)
    done, found = restored_image(image)
    assert (done.bands, done.unit, done.origin) == (image.bands, "nanomaggy", "lower")
    shown, before = draw_restored(image, done), draw(image)
    assert shown.shape == before.shape == (32, 40, 3)
    assert shown.dtype == np.uint8
    # The same stretch: the sky is as bright, and smoother.
    corner = (slice(0, 8), slice(0, 12))
    assert abs(float(shown[corner].mean()) - float(before[corner].mean())) < 8
    assert shown[corner].std() < before[corner].std()
    # Rows from the top: the blob in row 10 from the bottom.
    assert abs(int(np.unravel_index(shown.sum(2).argmax(), (32, 40))[0]) - 21) <= 2
    map_ = draw_deviation(image, found)
    assert map_.shape == (32, 40, 3)
    assert 0 < map_.mean() < 255


def test_pictures_of_pictures() -> None:
    image = picture()
    done, _ = restored_image(image)
    assert done.kind == "rgb8"
    assert done.pixels.min() >= 0
    assert done.pixels.max() <= 255
    assert draw_restored(image, done).shape == (32, 40, 3)


def test_a_fits_file_holds_both_planes_and_where_they_are() -> None:
    image = measured()
    done, found = restored_image(image, psf_fwhm=2.0)
    with fits.open(io.BytesIO(restored_fits(image, done, found)), checksum=True) as hdus:
        assert [hdu.name for hdu in hdus] == ["PRIMARY", "UNCERT"]
        np.testing.assert_array_equal(hdus[0].data, done.pixels)
        np.testing.assert_array_equal(hdus["UNCERT"].data, found.deviation)
        for hdu in hdus:
            assert hdu.header["BUNIT"] == "nanomaggy"
            assert [hdu.header[f"BAND{n}"] for n in (1, 2, 3)] == ["g", "r", "z"]
            assert WCS(hdu.header).celestial.wcs.crval.tolist() == [150.0, 2.0]
        history = "\n".join(hdus[0].header["HISTORY"])
        assert "FWHM 2.00 pixels" in history
        assert "band z" in history
        assert "HISTORY" not in hdus["UNCERT"].header


def test_single_bands_are_planes_and_pictures_stand_upright() -> None:
    image = measured(1)
    done, found = restored_image(image, psf_fwhm=0.0)
    with fits.open(io.BytesIO(restored_fits(image, done, found))) as hdus:
        assert hdus[0].data.shape == (32, 40)
        assert "no blur" in "\n".join(hdus[0].header["HISTORY"])
    image = picture()
    done, found = restored_image(image)
    with fits.open(io.BytesIO(restored_fits(image, done, found))) as hdus:
        np.testing.assert_array_equal(hdus[0].data, done.pixels[:, ::-1])


def test_flagged_pixels_are_filled() -> None:
    flagged = np.zeros((1, 32, 40), dtype=bool)
    flagged[0, 20, 5] = True
    image = measured()
    broken = image.pixels.copy()
    broken[:, 20, 5] = 1e5
    done, _ = restored_image(replace(image, pixels=broken, flagged=flagged))
    assert done.flagged is None
    assert done.pixels[:, 20, 5].max() < 20
    everywhere = replace(image, flagged=np.ones((1, 32, 40), dtype=bool))
    np.testing.assert_array_equal(restored_image(everywhere)[0].pixels,
                                  restored_image(image)[0].pixels)  # fmt: skip


def test_too_large_and_too_small_images_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    small = flux_image(np.zeros((1, 5, 50), np.float32), ("r",))
    with pytest.raises(ImageError, match="at least 8"):
        restored_image(small)
    monkeypatch.setattr(restored_files, "LARGEST", 100)
    with pytest.raises(ImageError, match="at most 100"):
        restored_image(measured())
