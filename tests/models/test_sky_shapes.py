"""Shapes measured on the sky: checked against the sky itself, corner by corner."""

from __future__ import annotations

import math

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import SkyCoord
from astropy.wcs import WCS

from models.answers import Box, Ellipse, Mask, Point, Polygon, Shape
from models.picture_frame import PictureFrame, pixel_to_picture, sky_to_pixel
from models.sky_shapes import Measures, measure

WIDTH, HEIGHT = 300, 200
SCALE = 0.262
MATRICES = {
    "north up": ([-1, 0], [0, 1]),
    "turned by 37 degrees": (
        [-math.cos(0.6458), math.sin(0.6458)],
        [math.sin(0.6458), math.cos(0.6458)],
    ),
    "mirrored": ([1, 0], [0, 1]),
    "upside down": ([1, 0], [0, -1]),
}


def frame(kind: str = "north up", first_row: str = "lower", dec: float = 2.0) -> PictureFrame:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---TAN", "DEC--TAN"]
    wcs.wcs.crval = [150.0, dec]
    wcs.wcs.crpix = [120.0, 90.0]
    wcs.wcs.cd = np.array(MATRICES[kind], float) * SCALE / 3600
    return PictureFrame(WIDTH, HEIGHT, first_row, wcs)  # type: ignore[arg-type]


def back(places: SkyCoord, where: PictureFrame) -> np.ndarray:
    """Sky -> picture, through the WCS."""
    x, y = sky_to_pixel(where, places.ra.deg, places.dec.deg)
    return np.stack(pixel_to_picture(where, x, y), axis=-1)


def corners_on_picture(told: Measures, where: PictureFrame) -> np.ndarray:
    """The corners of a box, from what was said of the sky alone."""
    middle = SkyCoord(told.ra, told.dec, unit="deg")
    found = []
    for along, across in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
        step = complex(along * told.sky_length / 2, across * told.sky_breadth / 2)
        angle = told.position_angle + math.degrees(math.atan2(step.imag, step.real))
        found.append(middle.directional_offset_by(angle * u.deg, abs(step) * u.arcsec))
    return back(SkyCoord(found), where)


@pytest.mark.parametrize("first_row", ["lower", "upper"])
@pytest.mark.parametrize("kind", MATRICES)
@pytest.mark.parametrize("rotation", [0.0, 30.0, 90.0, 151.0, 300.0])
def test_a_box_comes_back_from_the_sky(kind: str, first_row: str, rotation: float) -> None:
    where = frame(kind, first_row)
    box = Box(140, 70, 60, 25, rotation)
    told = measure(box, where)
    assert told.sky_length == pytest.approx(60 * SCALE, rel=1e-4)
    assert told.sky_breadth == pytest.approx(25 * SCALE, rel=1e-4)
    assert told.sky_area == pytest.approx(1500 * SCALE**2, rel=1e-4)
    corners = corners_on_picture(told, where)
    for corner in box.corners:
        assert np.hypot(*(corners - corner).T).min() < 0.1


@pytest.mark.parametrize("dec", [-89.99, 60.0, 89.995])
def test_a_box_comes_back_near_the_poles(dec: float) -> None:
    where = frame("turned by 37 degrees", dec=dec)
    box = Box(100, 60, 80, 20, 20)
    corners = corners_on_picture(measure(box, where), where)
    for corner in box.corners:
        assert np.hypot(*(corners - corner).T).min() < 0.1


@pytest.mark.parametrize("kind", MATRICES)
def test_ends_of_an_ellipse_come_back(kind: str) -> None:
    where = frame(kind)
    ellipse = Ellipse(150, 100, 12, 40, 25)
    told = measure(ellipse, where)
    middle = SkyCoord(told.ra, told.dec, unit="deg")
    turn = math.radians(ellipse.angle)
    for angle, half, away in (
        (told.position_angle, told.sky_length / 2, (40 * math.cos(turn), 40 * math.sin(turn))),
        (
            told.position_angle + 90,
            told.sky_breadth / 2,
            (-12 * math.sin(turn), 12 * math.cos(turn)),
        ),
    ):
        end = back(middle.directional_offset_by(angle * u.deg, half * u.arcsec), where)
        wanted = np.array([[150 + away[0], 100 + away[1]], [150 - away[0], 100 - away[1]]])
        assert np.hypot(*(wanted - end).T).min() < 0.1


def test_angles_are_from_north_through_east() -> None:
    # East is left: what points up and left, or down and right, is between north and east.
    told = measure(Ellipse(150, 100, 40, 12, 30), frame())
    assert told.position_angle == pytest.approx(60, abs=0.05)
    upright = measure(Ellipse(150, 100, 12, 40), frame()).position_angle
    assert min(upright, 180 - upright) < 0.05
    assert measure(Ellipse(150, 100, 40, 12, 30), frame("mirrored")).position_angle == (
        pytest.approx(120, abs=0.05)
    )


def test_an_ellipse_on_oblong_pixels_is_an_ellipse_on_the_sky() -> None:
    where = frame()
    assert where.wcs is not None
    where.wcs.wcs.cd = np.array([[-2, 0], [0, 1]]) * SCALE / 3600
    told = measure(Ellipse(150, 100, 20, 20, 45), where)
    assert told.length == told.breadth == pytest.approx(40)
    assert told.sky_length == pytest.approx(80 * SCALE, rel=1e-4)
    assert told.sky_breadth == pytest.approx(40 * SCALE, rel=1e-4)
    assert told.position_angle == pytest.approx(90, abs=0.05)


@pytest.mark.parametrize("first_row", ["lower", "upper"])
def test_pixels_are_those_of_fits_headers(first_row: str) -> None:
    where = frame(first_row=first_row)
    told = measure(Point(0.5, 0.5), where)
    assert (told.x, told.y) == (1, HEIGHT if first_row == "lower" else 1)
    assert math.isnan(told.length)
    turned = measure(Box(100, 100, 40, 10, 30), where)
    assert turned.rotation == pytest.approx(150 if first_row == "lower" else 30)
    x, y = where.wcs.world_to_pixel(SkyCoord(told.ra, told.dec, unit="deg"))  # type: ignore[union-attr]
    assert (x + 1, y + 1) == pytest.approx((told.x, told.y), abs=1e-6)


def test_areas_and_centroids() -> None:
    pixels = np.zeros((HEIGHT, WIDTH), bool)
    pixels[20:30, 50:90] = True
    square = Polygon(((50, 20), (90, 20), (90, 30), (50, 30)))
    for shape in (Mask(pixels), square):
        told = measure(shape, frame())
        assert told.area == pytest.approx(400)
        assert told.sky_area == pytest.approx(400 * SCALE**2, rel=1e-4)
        assert (told.x, told.y) == pytest.approx((70.5, HEIGHT - 25 + 0.5))
    line = Polygon(((50, 20), (60, 20), (70, 20)))
    assert measure(line, frame()).area == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("shape", [Box(1, 2, 3, 4), Point(1, 1), Ellipse(5, 5, 2, 1)])
def test_without_a_sky_only_pixels_are_told(shape: Shape) -> None:
    told = measure(shape, PictureFrame(WIDTH, HEIGHT, "upper"))
    assert math.isfinite(told.x)
    assert math.isnan(told.ra)
    assert math.isnan(told.sky_length)


def test_beyond_the_projection_only_pixels_are_told() -> None:
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = ["RA---AIT", "DEC--AIT"]
    wcs.wcs.crval, wcs.wcs.crpix, wcs.wcs.cdelt = [0, 0], [180.5, 90.5], [-1, 1]
    told = measure(Point(1, 1), PictureFrame(360, 180, "lower", wcs))
    assert math.isnan(told.ra)
    assert told.x == 1.5


def test_what_is_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="empty mask"):
        measure(Mask(np.zeros((3, 3), bool)), PictureFrame(3, 3, "upper"))
