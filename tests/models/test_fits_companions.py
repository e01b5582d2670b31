"""Weight maps, masks, axes and coordinates of FITS files."""

from __future__ import annotations

import io

import numpy as np
import pytest
from astropy.io import fits
from image_files import fits_bytes, galaxy

from models.images import GalaxyImage, image_facts, read_image

TAN = {
    "CTYPE1": "RA---TAN",
    "CTYPE2": "DEC--TAN",
    "CRPIX1": 20.0,
    "CRPIX2": 20.0,
    "CRVAL1": 150.0,
    "CRVAL2": 2.0,
    "CD1_1": -0.262 / 3600,
    "CD2_2": 0.262 / 3600,
}


def with_companions(*others: fits.ImageHDU) -> GalaxyImage:
    science = fits.ImageHDU(galaxy(), name="SCI")
    return read_image(fits_bytes(fits.PrimaryHDU(), science, *others))


def test_pixels_without_weight_are_missing() -> None:
    weight = np.full((40, 50), 4.0, dtype=np.float32)
    weight[:5] = 0
    image = with_companions(fits.ImageHDU(weight, name="WHT"))
    assert image.missing == 250
    assert image.pixels[0, 0, 0] == pytest.approx(np.median(galaxy()[5:]), rel=1e-6)
    np.testing.assert_array_equal(image.weight, weight[None])
    assert image_facts(image)["missing"] == 250


@pytest.mark.parametrize(("name", "power"), [("VAR", 1), ("ERR", 2), ("SIGMA", 2)])
def test_variances_and_errors_become_weights(name: str, power: int) -> None:
    values = np.full((40, 50), 2.0, dtype=np.float32)
    values[3, 4], values[3, 5], values[3, 6] = np.nan, 0, -1
    image = with_companions(fits.ImageHDU(values, name=name))
    assert image.weight is not None
    assert image.weight[0, 0, 0] == pytest.approx(2.0**-power)
    assert image.weight[0, 3, 4:7].tolist() == [0, 0, 0]
    assert np.isfinite(image.weight).all()
    assert image.missing == 3


def test_masked_pixels_are_flagged_and_keep_their_values() -> None:
    mask = np.zeros((40, 50), dtype=np.int32)
    mask[7, 8] = 4096
    image = with_companions(fits.ImageHDU(mask, name="DQ"))
    assert image.flagged is not None
    assert np.argwhere(image.flagged).tolist() == [[0, 7, 8]]
    assert image.pixels[0, 7, 8] == galaxy()[7, 8]
    assert image_facts(image)["flagged"] == 1


def test_a_weight_of_nothing_but_zeros_is_not_used() -> None:
    image = with_companions(fits.ImageHDU(np.zeros((40, 50), np.float32), name="WHT"))
    assert image.missing == 0
    assert "weight of band 1 is 0 everywhere" in image.notes[0]


def test_companions_of_cubes_follow_their_axes() -> None:
    planes = np.stack([galaxy() * (1 + index) for index in range(3)])
    weight = np.ones_like(planes)
    weight[1, 0, 0] = 0
    turned = [
        fits.ImageHDU(np.moveaxis(cube, 0, 2), name=name)
        for cube, name in ((planes, "IMAGE"), (weight, "IVAR"))
    ]
    image = read_image(fits_bytes(fits.PrimaryHDU(), *turned))
    np.testing.assert_array_equal(image.weight, weight)
    assert image.missing == 1
    flat = fits.ImageHDU(weight[1], name="IVAR")
    image = read_image(fits_bytes(fits.PrimaryHDU(), turned[0], flat))
    assert image.weight is not None
    assert image.weight.shape == (1, 40, 50)
    assert image.missing == 3


def test_companions_go_with_the_extension_of_their_number() -> None:
    hdus = []
    for number in (1, 2):
        hdus.append(fits.ImageHDU(galaxy() * number, name="SCI", ver=number))
        hdus.append(fits.ImageHDU(galaxy() * 0 + number, name="WHT", ver=number))
    data = fits_bytes(fits.PrimaryHDU(), *hdus)
    for extension, number in ((None, 1), (3, 2)):
        image = read_image(data, extension=extension)
        assert image.weight is not None
        assert image.weight[0, 0, 0] == number
    assert read_image(data, extension=2).weight is None


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (fits.ImageHDU(np.ones((7, 9), np.float32), name="WHT"), "has the shape"),
        (fits.ImageHDU(np.ones((7, 9), np.float32), name="DQ"), "has the shape"),
    ],
)
def test_what_does_not_fit_is_noted(other: fits.ImageHDU, said: str) -> None:
    image = with_companions(other)
    assert image.weight is None
    assert image.flagged is None
    assert said in image.notes[0]
    assert image_facts(image)["notes"].endswith(".")


def test_a_companion_that_is_cut_short_does_not_cost_the_image() -> None:
    science = fits.ImageHDU(galaxy(200, 200), name="SCI")
    weight = fits.ImageHDU(galaxy(200, 200), name="WHT")
    data = fits_bytes(fits.PrimaryHDU(), science, weight)
    image = read_image(data[:-60_000])
    assert image.weight is None
    assert "WHT is not used: The FITS file is cut short" in image.notes[0]


def test_extensions_with_a_filter_of_their_own_are_bands() -> None:
    hdus = []
    for index, name in enumerate(("F435W", "F606W", "F814W")):
        hdu = fits.ImageHDU(galaxy() * (1 + index))
        hdu.header["FILTER"] = name
        hdus.append(hdu)
    image = read_image(fits_bytes(fits.PrimaryHDU(), *hdus))
    assert image.bands == ("F435W", "F606W", "F814W")
    hdus[1].header["FILTER"] = "F814W"
    assert read_image(fits_bytes(fits.PrimaryHDU(), *hdus)).bands == ("F435W",)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_celestial_axes_decide_between_small_ones(axis: int) -> None:
    planes = np.stack([galaxy(10, 12) * (1 + index) for index in range(3)])
    hdu = fits.PrimaryHDU(np.moveaxis(planes, 0, axis))
    first, second, band = {0: (1, 2, 3), 1: (1, 3, 2), 2: (2, 3, 1)}[axis]
    names = {first: "RA---TAN", second: "DEC--TAN", band: "FILTER"}
    steps = {first: -1e-4, second: 1e-4, band: 1.0}
    places = {first: 150.0, second: 2.0, band: 0.0}
    for number in (1, 2, 3):
        hdu.header[f"CTYPE{number}"] = names[number]
        hdu.header[f"CDELT{number}"] = steps[number]
        hdu.header[f"CRVAL{number}"] = places[number]
        hdu.header[f"CRPIX{number}"] = 1.0
    image = read_image(fits_bytes(hdu))
    np.testing.assert_array_equal(image.pixels, planes)
    assert image.wcs is not None
    assert image.pixel_scale == pytest.approx(0.36, rel=1e-6)
    assert image_facts(image)["dec"] == pytest.approx(2.0 + 4.5e-4, abs=1e-9)


def test_lone_axes_anywhere_are_passed_over() -> None:
    planes = np.stack([galaxy() * (1 + index) for index in range(3)])
    for shape in ((3, 1, 40, 50), (1, 3, 1, 40, 50)):
        image = read_image(fits_bytes(fits.PrimaryHDU(planes.reshape(shape))))
        np.testing.assert_array_equal(image.pixels, planes)


@pytest.mark.parametrize(
    ("card", "value", "scale"),
    [
        ("PIXSCALE", 0.4, 0.4),
        ("SECPIX", "0.5", 0.5),
        ("PIXSCAL1", -0.3, 0.3),
        ("PIXSCALE", 0, None),
        ("PIXSCALE", "no", None),
        ("PIXSCALE", "1e999", None),
    ],
)
def test_scale_is_taken_from_cards_without_coordinates(
    card: str, value: object, scale: float | None
) -> None:
    hdu = fits.PrimaryHDU(galaxy())
    hdu.header[card] = value
    assert read_image(fits_bytes(hdu)).pixel_scale == scale


@pytest.mark.parametrize(
    "broken",
    [
        {"CD1_1": 0.0, "CD2_2": 0.0},
        {"CD1_1": 0.0},
        {"CTYPE1": "RA---XXX", "CTYPE2": "DEC--XXX"},
        {"CTYPE2": "RA---TAN"},
        {"CTYPE1": "RA---TPV", "CTYPE2": "DEC--TAN"},
        {"CRVAL2": 1e30},
        {"CRPIX1": 1e300},
        {"CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 99},
        {"RADESYS": "NOWHERE"},
        {"EQUINOX": -1e9, "RADESYS": "FK5"},
    ],
    ids=str,
)
def test_broken_coordinates_do_not_cost_the_image(broken: dict[str, object]) -> None:
    import json

    hdu = fits.PrimaryHDU(galaxy())
    hdu.header.update(TAN | broken)
    image = read_image(fits_bytes(hdu))
    facts = image_facts(image)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert ("ra" in facts) == ("dec" in facts)


def test_facts_of_a_whole_header() -> None:
    hdu = fits.PrimaryHDU(np.stack([galaxy()] * 3))
    hdu.header.update(TAN | {"BANDS": "grz", "BUNIT": "nanomaggy"})
    facts = image_facts(read_image(fits_bytes(hdu)))
    assert facts.pop("wcs").startswith("WCSAXES")
    assert facts.pop("ra") == pytest.approx(150 - 5.5 * 0.262 / 3600, abs=1e-6)
    assert facts.pop("dec") == pytest.approx(2 + 0.5 * 0.262 / 3600, abs=1e-9)
    assert facts.pop("pixel_scale") == pytest.approx(0.262)
    assert facts.pop("north") % 360 == pytest.approx(0, abs=0.01)
    assert facts == {
        "width": 50,
        "height": 40,
        "kind": "flux",
        "bands": "g,r,z",
        "origin": "lower",
        "unit": "nanomaggy",
        "mirrored": False,
    }


def test_unsigned_integers_by_bzero_of_a_compressed_file() -> None:
    values = (galaxy() + 40_000).astype(np.uint16)
    hdu = fits.CompImageHDU(values, compression_type="RICE_1")
    buffer = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), hdu]).writeto(buffer)
    np.testing.assert_array_equal(read_image(buffer.getvalue()).pixels[0], values)
