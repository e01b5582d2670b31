"""What is drawn on the picture is found again in the file and on the sky, exactly."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.wcs import WCS
from hypothesis import given, settings
from hypothesis import strategies as st
from image_files import fits_bytes

from models.images import draw, image_facts, read_image
from models.picture_frame import (
    PictureFrame,
    compass,
    picture_to_pixel,
    pixel_to_picture,
    pixel_to_sky,
    sky_to_pixel,
)

SCALE = 0.262 / 3600


def placed(angle: float = 0.0, mirrored: bool = False, kind: str = "TAN", **cards: Any) -> bytes:
    """A FITS file with one bright pixel at x = 4, y = 2 (from 0); north turned by `angle`."""
    values = np.random.default_rng(0).normal(0, 1, (30, 40)).astype(np.float32)
    values[2, 4] = 1000
    hdu = fits.PrimaryHDU(values)
    turn = np.radians(angle)
    east = 1 if mirrored else -1
    matrix = SCALE * np.array(
        [[east * np.cos(turn), east * np.sin(turn)], [-np.sin(turn), np.cos(turn)]]
    )
    hdu.header.update(
        {
            "CTYPE1": f"RA---{kind}",
            "CTYPE2": f"DEC--{kind}",
            "CRPIX1": 20.5,
            "CRPIX2": 15.5,
            "CRVAL1": 150.0,
            "CRVAL2": 20.0,
        }
        | {f"CD{i + 1}_{j + 1}": matrix[i, j] for i in (0, 1) for j in (0, 1)}
        | cards
    )
    return fits_bytes(hdu)


def test_the_bright_pixel_lies_where_the_rule_says() -> None:
    image = read_image(placed())
    frame = PictureFrame.of(image)
    shown = draw(image, "zscale")[..., 0]
    assert shown[27, 4] == 255  # 30 rows: row 2 from the bottom is row 27 from the top
    x, y = picture_to_pixel(frame, 4.5, 27.5)
    assert (x, y) == (4.0, 2.0)
    assert picture_to_pixel(frame, 4.5, 27.5, origin=1) == (5.0, 3.0)
    assert pixel_to_picture(frame, 4, 2) == (4.5, 27.5)
    assert pixel_to_picture(frame, 5, 3, origin=1) == (4.5, 27.5)
    # The corners of the picture are those of the corner pixels.
    assert picture_to_pixel(frame, 0, 0) == (-0.5, 29.5)
    assert picture_to_pixel(frame, 40, 30) == (39.5, -0.5)


def test_pictures_keep_their_rows() -> None:
    frame = PictureFrame(40, 30, "upper")
    assert picture_to_pixel(frame, 4.5, 2.5) == (4.0, 2.0)
    assert pixel_to_picture(frame, 4, 2) == (4.5, 2.5)


@given(
    st.integers(1, 20_000),
    st.integers(1, 20_000),
    st.sampled_from(["upper", "lower"]),
    st.sampled_from([0, 1]),
    st.lists(st.tuples(st.integers(-4000, 80_000), st.integers(-4000, 80_000)), min_size=1),
)
def test_quarter_pixels_come_back_to_the_bit(
    width: int, height: int, first_row: Any, origin: int, quarters: list[tuple[int, int]]
) -> None:
    frame = PictureFrame(width, height, first_row)
    u, v = (np.array(axis) / 4 for axis in zip(*quarters, strict=True))
    back = pixel_to_picture(frame, *picture_to_pixel(frame, u, v, origin), origin)
    np.testing.assert_array_equal(back, (u, v))


@settings(max_examples=40, deadline=None)
@given(
    st.floats(0, 360),
    st.booleans(),
    st.sampled_from(["TAN", "SIN", "ZEA", "CAR"]),
    st.floats(0, 40),
    st.floats(0, 30),
)
def test_the_sky_and_back(angle: float, mirrored: bool, kind: str, u: float, v: float) -> None:
    frame = PictureFrame.of(read_image(placed(angle, mirrored, kind)))
    ra, dec = pixel_to_sky(frame, *picture_to_pixel(frame, u, v))
    again = pixel_to_picture(frame, *sky_to_pixel(frame, ra, dec))
    np.testing.assert_allclose(again, (u, v), atol=1e-6)
    frame_of_task = PictureFrame.from_facts(image_facts(read_image(placed(angle, mirrored, kind))))
    same = pixel_to_sky(frame_of_task, *picture_to_pixel(frame_of_task, u, v))
    apart = SkyCoord(ra, dec, unit="deg").separation(SkyCoord(*same, unit="deg"))
    assert apart.arcsec < 1e-5


def test_the_sky_is_astropys_with_its_conventions() -> None:
    data = placed(33)
    frame = PictureFrame.of(read_image(data))
    with fits.open(__import__("io").BytesIO(data)) as file:
        wcs = WCS(file[0].header)
    for origin in (0, 1):
        ours = pixel_to_sky(frame, [4, 7.25], [2, 9.5], origin)
        theirs = wcs.all_pix2world([4, 7.25], [2, 9.5], origin)
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-10)
        np.testing.assert_allclose(sky_to_pixel(frame, *theirs, origin), ([4, 7.25], [2, 9.5]))


@pytest.mark.parametrize("angle", [0, 10, 90, 200, 315])
@pytest.mark.parametrize("mirrored", [False, True])
def test_compass(angle: float, mirrored: bool) -> None:
    frame = PictureFrame.of(read_image(placed(angle, mirrored)))
    found = compass(frame)
    # In both, pixel axes are turned by `angle`; mirrored, the other way round on the picture.
    assert (found.north - angle + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)
    assert found.mirrored is mirrored
    # A step of that angle on the picture leads to that position angle on the sky.
    for clockwise in (0.0, 30.0, 135.0, 300.0):
        step = np.radians(clockwise)
        here = pixel_to_sky(frame, *picture_to_pixel(frame, 20, 15))
        there = pixel_to_sky(frame, *picture_to_pixel(frame, 20 + np.cos(step), 15 + np.sin(step)))
        angle_on_sky = SkyCoord(*here, unit="deg").position_angle(SkyCoord(*there, unit="deg")).deg
        difference = found.position_angle(clockwise) - angle_on_sky
        assert (difference + 180) % 360 - 180 == pytest.approx(0, abs=1e-3)


def test_other_frames_and_latitude_first() -> None:
    galactic = {"CTYPE1": "GLON-TAN", "CTYPE2": "GLAT-TAN", "CRVAL1": 120.0, "CRVAL2": -60.0}
    frame = PictureFrame.of(read_image(placed(**galactic)))
    place = SkyCoord(*pixel_to_sky(frame, 19.5, 14.5), unit="deg").galactic
    assert (place.l.deg, place.b.deg) == pytest.approx((120, -60), abs=1e-9)
    turned = {"CTYPE1": "DEC--TAN", "CTYPE2": "RA---TAN", "CRVAL1": 20.0, "CRVAL2": 150.0}
    frame = PictureFrame.of(read_image(placed(**turned)))
    assert pixel_to_sky(frame, 19.5, 14.5) == (pytest.approx(150), pytest.approx(20))
    old = {"RADESYS": "FK4", "EQUINOX": 1950.0}
    frame = PictureFrame.of(read_image(placed(**old)))
    ra, _ = pixel_to_sky(frame, 19.5, 14.5)
    assert 0.5 < float(ra) - 150 < 0.8


def test_no_sky_is_said() -> None:
    frame = PictureFrame(40, 30, "upper")
    for ask in (
        lambda: pixel_to_sky(frame, 1, 1),
        lambda: sky_to_pixel(frame, 1, 1),
        lambda: compass(frame),
    ):
        with pytest.raises(ValueError, match="no celestial coordinates"):
            ask()
    with pytest.raises(ValueError, match="origin must be 0 or 1"):
        picture_to_pixel(frame, 1, 1, origin=2)
    frame = PictureFrame.of(read_image(placed()))
    with pytest.raises(ValueError, match="cannot be turned into pixels"):
        sky_to_pixel(frame, 150, 200)


@pytest.mark.parametrize(
    "change",
    [
        {"width": None},
        {"width": 0},
        {"width": -3},
        {"height": 1.5},
        {"height": "30"},
        {"width": True},
        {"width": 10**12},
        {"origin": "left"},
        {"origin": None},
        {"wcs": 5},
        {"wcs": ""},
        {"wcs": "nonsense"},
        {"wcs": "CTYPE1  = 'RA---TAN'"},
        {"wcs": "WCSAXES = 999999"},
    ],
    ids=str,
)
def test_senseless_facts_are_refused(change: dict[str, Any]) -> None:
    facts = image_facts(read_image(placed())) | change
    with pytest.raises(ValueError, match=r"must be|cannot be read") as refused:
        PictureFrame.from_facts(facts)
    assert len(str(refused.value)) < 300


def test_real_stamps_come_back() -> None:
    folder = os.environ.get("GALAXYLOOP_DATA")
    files = [
        "lvm_decals_fits/fits/cutout_8.81057071685791_0.6959794759750366.fits",
        "fits_formats/abell2670_decam/150_gband.fits",
        "fits_formats/legacypipe_ccd/ksb_160203_125658_ooi_r_v1-ccd2.fits",
        "multiband_scenes_truth/decam_phosim/img_g.fits",
        "multiband_scenes_truth/hst_hsc_pair/Cut_HST1.fits",
    ]
    if not folder or not (Path(folder) / files[0]).is_file():
        pytest.skip("GALAXYLOOP_DATA does not name a folder with survey images.")
    for name in files:
        image = read_image((Path(folder) / name).read_bytes())
        for frame in (PictureFrame.of(image), PictureFrame.from_facts(image_facts(image))):
            u, v = np.meshgrid(np.linspace(0, frame.width, 9), np.linspace(0, frame.height, 9))
            sky = pixel_to_sky(frame, *picture_to_pixel(frame, u, v))
            back = pixel_to_picture(frame, *sky_to_pixel(frame, *sky))
            np.testing.assert_allclose(back, (u, v), atol=1e-5)
