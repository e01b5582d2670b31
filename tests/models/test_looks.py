"""Looks: what people are shown of measured images."""

from __future__ import annotations

import numpy as np
import pytest
from astropy.visualization import AsinhStretch, ZScaleInterval
from image_files import cube, encoded, fits_bytes, galaxy, picture

from models.galaxy_image import flux_image
from models.images import LOOKS, ImageError, draw, read_image, to_rgb8
from models.stretch import noise_units


def test_lupton_is_what_the_lvm_sees() -> None:
    image = read_image(cube("grz"))
    np.testing.assert_array_equal(draw(image), to_rgb8(image))
    single = read_image(cube("r"))
    for look in ("lupton", "asinh"):
        np.testing.assert_array_equal(draw(single, look), to_rgb8(single))


def test_zscale_is_astropys() -> None:
    image = read_image(cube("grz"))
    plane = image.pixels[2][::-1]
    expected = ZScaleInterval()(plane, clip=True) * 255
    shown = draw(image, "zscale", "z")
    assert np.abs(shown[..., 0] - expected).max() <= 0.51
    assert (shown == shown[..., :1]).all()


def test_asinh_is_astropys_above_a_grey_sky() -> None:
    image = read_image(cube("grz"))
    height = noise_units(image.pixels[:1])[0][::-1]
    bright = max(50.0, float(np.percentile(height, 99.8)))
    curve = AsinhStretch(3.0 / bright)(np.clip(height / bright, 0, None), clip=False)
    expected = np.clip(0.1 + 0.9 * curve, 0, 1) * 255
    above = height > 0
    assert np.abs(draw(image, "asinh", "g")[..., 0] - expected)[above].max() <= 0.51


@pytest.mark.parametrize(
    ("bands", "middle"), [("grz", "r"), ("zrg", "r"), ("gr", "r"), ("ugriz", "r"), ("i", "i")]
)
def test_grey_looks_show_the_middle_band(bands: str, middle: str) -> None:
    image = read_image(cube(bands))
    for look in ("asinh", "zscale"):
        np.testing.assert_array_equal(draw(image, look), draw(image, look, middle))


def test_rows_go_where_the_file_says() -> None:
    values = np.zeros((1, 20, 30), dtype=np.float32)
    values[0, 2, 5] = 100
    for origin, row in (("lower", 17), ("upper", 2)):
        image = flux_image(values, ("r",), origin=origin)
        for look in LOOKS:
            shown = draw(image, look)[..., 0]
            assert np.argwhere(shown == shown.max()).tolist() == [[row, 5]]


def test_pictures_are_shown_as_they_are() -> None:
    image = read_image(encoded(picture(), "PNG"))
    for look in LOOKS:
        np.testing.assert_array_equal(draw(image, look), picture())


@pytest.mark.parametrize("look", LOOKS)
@pytest.mark.parametrize(
    "values",
    [
        np.zeros((9, 9)),
        np.full((9, 9), 3e38),
        np.where(np.eye(9) > 0, 3e38, -3e38),
        np.where(np.eye(9) > 0, 1e-40, 0),
        np.ones((1, 1)),
        np.arange(9.0).reshape(1, 9),
    ],
    ids=["zeros", "largest", "both ends", "denormal", "one pixel", "one row"],
)
def test_odd_images_are_drawn(look: str, values: np.ndarray) -> None:
    for count in (1, 2, 3, 5):
        image = flux_image(np.stack([values] * count), tuple("abcde"[:count]))
        with np.errstate(all="raise", under="ignore"):
            shown = draw(image, look)
        assert shown.shape == (*values.shape, 3)
        assert shown.dtype == np.uint8


@pytest.mark.parametrize(("look", "band"), [("nosuch", None), ("x" * 9000, None), ("zscale", "q")])
def test_unknown_looks_and_bands_are_named(look: str, band: str | None) -> None:
    with pytest.raises(ImageError, match=r"There is no look|has no band 'q'; it has g, r, z") as no:
        draw(read_image(cube("grz")), look, band)
    assert len(str(no.value)) < 200


def test_faint_structure_shows() -> None:
    values = galaxy(100, 100) * 10
    values[50:60, 50:60] += 20
    shown = draw(read_image(fits_bytes_of(values)), "zscale")[..., 0][::-1].astype(float)
    assert shown[50:60, 50:60].mean() > shown[80:90, 80:90].mean() + 10


def fits_bytes_of(values: np.ndarray) -> bytes:
    from astropy.io import fits

    return fits_bytes(fits.PrimaryHDU(values))
