"""Reading of image files: every format that is promised, and every fault that is named."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
import tifffile
from astropy.io import fits
from image_files import cube, encoded, fits_bytes, galaxy, picture
from PIL import Image

from models.images import (
    FACTS,
    ImageError,
    content_hash,
    image_extensions,
    image_facts,
    read_image,
    to_rgb8,
)
from models.picture_frame import PictureFrame

MEBIBYTE = 2**20


# --- pictures


@pytest.mark.parametrize("name", ["PNG", "WEBP", "TIFF"])
def test_lossless_pictures_come_back_as_they_were(name: str) -> None:
    options = {"lossless": True} if name == "WEBP" else {}
    image = read_image(encoded(picture(), name, **options))
    assert image.kind == "rgb8"
    assert image.bands == ("red", "green", "blue")
    np.testing.assert_array_equal(to_rgb8(image), picture())


def test_jpeg_is_close() -> None:
    smooth = np.repeat(np.arange(50, dtype=np.uint8)[None, :, None] * 4, 40, axis=0).repeat(3, 2)
    image = read_image(encoded(smooth, "JPEG", quality=95))
    assert np.abs(to_rgb8(image).astype(int) - smooth).max() < 12


@pytest.mark.parametrize("name", ["PNG", "TIFF"])
def test_grey_is_repeated(name: str) -> None:
    grey = picture()[..., 0]
    image = read_image(encoded(grey, name))
    np.testing.assert_array_equal(to_rgb8(image), np.repeat(grey[..., None], 3, axis=2))


def test_transparent_parts_are_black() -> None:
    rgba = np.dstack([picture(), np.full((40, 50), 255, np.uint8)])
    rgba[:10, :, 3] = 0
    shown = to_rgb8(read_image(encoded(rgba, "PNG")))
    assert shown[:10].max() == 0
    np.testing.assert_array_equal(shown[10:], rgba[10:, :, :3])


def test_palette_and_cmyk() -> None:
    for mode, name in (("P", "PNG"), ("CMYK", "JPEG"), ("1", "PNG")):
        buffer = io.BytesIO()
        Image.fromarray(picture()).convert(mode).save(buffer, name)
        assert read_image(buffer.getvalue()).pixels.shape == (3, 40, 50)


def test_orientation_is_applied_as_browsers_do() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    image = read_image(encoded(picture(), "JPEG", exif=exif))
    assert image.pixels.shape == (3, 50, 40)


@pytest.mark.parametrize("shape", [(40, 50), (40, 50, 3), (40, 50, 4), (40, 50, 2)])
def test_16_bit_png_keeps_its_depth(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(3).integers(0, 65536, shape, dtype=np.uint16)
    image = read_image(imagecodecs.png_encode(values))
    assert image.kind == "flux"
    expected = values[..., None] if values.ndim == 2 else values
    kept = 1 if expected.shape[-1] < 3 else 3
    np.testing.assert_array_equal(np.moveaxis(image.pixels, 0, -1), expected[..., :kept])


@pytest.mark.parametrize("dtype", ["uint16", "int16", "uint32", "float32", "float64"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("byteorder", ["<", ">"])
def test_deep_tiff(dtype: str, compression: str | None, byteorder: str) -> None:
    values = (galaxy() * 10 + 500).astype(dtype)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, values, compression=compression, byteorder=byteorder)
    image = read_image(buffer.getvalue())
    assert image.kind == "flux"
    np.testing.assert_allclose(image.pixels[0], values, rtol=1e-6)


def test_tiff_with_colour_and_with_pages() -> None:
    colour = (picture().astype(np.uint16)) * 257
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, colour, photometric="rgb")
    image = read_image(buffer.getvalue())
    assert image.bands == ("red", "green", "blue")
    np.testing.assert_array_equal(np.moveaxis(image.pixels, 0, -1), colour)
    planes = np.stack([galaxy()] * 5)
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, planes, photometric="minisblack")
    assert read_image(buffer.getvalue()).pixels.shape == (5, 40, 50)


# --- FITS


@pytest.mark.parametrize("dtype", ["uint8", ">i2", ">i4", ">f4", ">f8", "uint16", "<f4"])
def test_fits_number_types(dtype: str) -> None:
    values = (galaxy() + 20).clip(0, 250).astype(dtype)
    image = read_image(fits_bytes(fits.PrimaryHDU(values)))
    assert image.kind == "flux"
    assert image.bands == ("1",)
    np.testing.assert_array_equal(image.pixels[0], values)


def test_fits_header_gives_scale_unit_and_band() -> None:
    hdu = fits.PrimaryHDU(galaxy())
    hdu.header.update(
        {
            "CTYPE1": "RA---TAN",
            "CTYPE2": "DEC--TAN",
            "CRPIX1": 20.0,
            "CRPIX2": 20.0,
            "CD1_1": -0.262 / 3600,
            "CD2_2": 0.262 / 3600,
            "BUNIT": "nanomaggy",
            "FILTER": "z DECam SDSS c0004",
        }
    )
    image = read_image(fits_bytes(hdu))
    assert image.pixel_scale == pytest.approx(0.262, rel=1e-6)
    assert image.unit == "nanomaggy"
    assert image.bands == ("z",)
    assert image.wcs is not None
    assert image.wcs.has_celestial


def test_scaled_integers_and_blank() -> None:
    hdu = fits.PrimaryHDU(np.full((20, 30), 7, dtype=np.int16))
    hdu.data[3, 4] = -32768
    data = bytearray(fits_bytes(hdu))
    card = b"BSCALE  =                  2.0".ljust(80)
    card += b"BZERO   =                100.0".ljust(80) + b"BLANK   =               -32768".ljust(
        80
    )
    end = data.index(b"END" + b" " * 77)
    data[end : end + 320] = card + b"END".ljust(80)
    image = read_image(bytes(data))
    assert image.missing == 1
    assert np.unique(image.pixels).tolist() == [114.0]


def test_nan_and_infinity_are_counted_and_filled() -> None:
    values = galaxy()
    values[:2, :3] = np.nan
    values[5, 5] = np.inf
    image = read_image(fits_bytes(fits.PrimaryHDU(values)))
    assert image.missing == 7
    assert np.isfinite(image.pixels).all()
    assert image.pixels[0, 0, 0] == pytest.approx(np.median(values[np.isfinite(values)]))


def test_values_beyond_single_precision_are_missing() -> None:
    values = galaxy().astype(np.float64)
    values[0, 0] = 1e300
    assert read_image(fits_bytes(fits.PrimaryHDU(values))).missing == 1


@pytest.mark.parametrize("bands", ["g", "gr", "grz", "griz", "ugrizy"])
def test_cubes_of_bands(bands: str) -> None:
    image = read_image(cube(bands))
    assert image.bands == tuple(bands)
    assert image.pixels.shape == (len(bands), 40, 50)
    for index in range(len(bands)):
        np.testing.assert_array_equal(image.pixels[index], galaxy() * (1 + index))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_bands_are_found_on_any_axis(axis: int) -> None:
    planes = np.stack([galaxy() * (1 + index) for index in range(3)])
    image = read_image(fits_bytes(fits.PrimaryHDU(np.moveaxis(planes, 0, axis))))
    np.testing.assert_array_equal(image.pixels, planes)


def test_a_named_number_of_bands_decides_between_small_axes() -> None:
    hdu = fits.PrimaryHDU(np.zeros((10, 3, 12), dtype=np.float32))
    with pytest.raises(ImageError, match="does not tell which axis"):
        read_image(fits_bytes(hdu))
    hdu.header["BANDS"] = "grz"
    assert read_image(fits_bytes(hdu)).pixels.shape == (3, 10, 12)


def test_axes_of_length_one_are_dropped() -> None:
    image = read_image(fits_bytes(fits.PrimaryHDU(galaxy()[None, None])))
    assert image.pixels.shape == (1, 40, 50)


def test_extensions_are_chosen() -> None:
    weights, science = galaxy() * 0 + 3, galaxy()
    data = fits_bytes(
        fits.PrimaryHDU(),
        fits.ImageHDU(weights, name="WHT"),
        fits.BinTableHDU.from_columns([fits.Column("a", "J", array=[1, 2])]),
        fits.ImageHDU(science, name="chip 1"),
    )
    np.testing.assert_array_equal(read_image(data).pixels[0], science)
    np.testing.assert_array_equal(read_image(data, extension="WHT").pixels[0], weights)
    np.testing.assert_array_equal(read_image(data, extension=3).pixels[0], science)
    with pytest.raises(ImageError, match=r"no extension 'SCI'; it has: .*CHIP 1"):
        read_image(data, extension="SCI")
    with pytest.raises(ImageError, match="holds no image"):
        read_image(data, extension=2)
    with pytest.raises(ImageError, match="only FITS and HDF5 files have extensions"):
        read_image(encoded(picture(), "PNG"), extension=1)


def test_an_empty_plane_is_passed_over() -> None:
    data = fits_bytes(fits.PrimaryHDU(np.zeros((40, 50))), fits.ImageHDU(galaxy()))
    np.testing.assert_array_equal(read_image(data).pixels[0], galaxy())


def test_extensions_named_as_filters_are_bands() -> None:
    planes = [galaxy() * (1 + index) for index in range(3)]
    hdus = [fits.ImageHDU(plane, name=name) for plane, name in zip(planes, "GRZ", strict=True)]
    image = read_image(fits_bytes(fits.PrimaryHDU(), *hdus))
    assert image.bands == ("g", "r", "z")
    np.testing.assert_array_equal(image.pixels, np.stack(planes))
    hdus[1] = fits.ImageHDU(galaxy(30, 30), name="R")
    with pytest.raises(ImageError, match="differ in shape"):
        read_image(fits_bytes(fits.PrimaryHDU(), *hdus))


@pytest.mark.parametrize("kind", ["RICE_1", "GZIP_1", "GZIP_2", "PLIO_1", "HCOMPRESS_1"])
def test_tile_compressed(kind: str) -> None:
    values = (galaxy() + 20).clip(0, 250).astype(np.int16)
    data = fits_bytes(fits.PrimaryHDU(), fits.CompImageHDU(values, compression_type=kind))
    np.testing.assert_array_equal(read_image(data).pixels[0], values)


def test_tile_compressed_floats_and_cubes() -> None:
    planes = np.stack([galaxy(), 2 * galaxy(), 3 * galaxy()])
    hdu = fits.CompImageHDU(planes, compression_type="RICE_1", quantize_level=64)
    image = read_image(fits_bytes(fits.PrimaryHDU(), hdu))
    np.testing.assert_allclose(image.pixels, planes, atol=0.1)
    lossless = fits.CompImageHDU(planes, compression_type="GZIP_2", quantize_level=0)
    np.testing.assert_array_equal(
        read_image(fits_bytes(fits.PrimaryHDU(), lossless)).pixels, planes
    )


def test_gzipped_fits() -> None:
    data = gzip.compress(cube("grz"))
    np.testing.assert_array_equal(read_image(data).pixels, read_image(cube("grz")).pixels)


def test_content_hash_is_sha256() -> None:
    expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert content_hash(b"abc") == expected


# --- real files


def test_all_real_formats_open_or_are_refused_by_name() -> None:
    folder = os.environ.get("GALAXYLOOP_DATA")
    if not folder or not (Path(folder) / "fits_formats" / "index.csv").is_file():
        pytest.skip("GALAXYLOOP_DATA does not name a folder with fits_formats/index.csv.")
    formats = Path(folder) / "fits_formats"
    with (formats / "index.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    for row in rows:
        data = (formats / row["file"]).read_bytes()
        hdus = row["hdus"].replace(":0", "")
        has_image = row["status"] == "opens" and any(
            "x" in part.rsplit(":", 1)[-1] for part in hdus.split(";")
        )
        if has_image:
            image = read_image(data)
            assert np.isfinite(image.pixels).all(), row["file"]
            assert to_rgb8(image).shape == (*image.pixels.shape[1:], 3), row["file"]
            facts = image_facts(image)
            assert json.loads(json.dumps(facts, allow_nan=False)) == facts
            assert facts.keys() <= set(FACTS)
            frame = PictureFrame.from_facts(facts)
            assert (frame.width, frame.height) == image.pixels.shape[:0:-1]
            assert image_extensions(data), row["file"]
        else:
            with pytest.raises(ImageError):
                read_image(data)
