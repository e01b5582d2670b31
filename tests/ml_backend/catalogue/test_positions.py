"""Positions: what catalogues write, and names made of them."""

from __future__ import annotations

import pytest
from astropy.coordinates import SkyCoord

from ml_backend.bulk.items import SourceError
from ml_backend.catalogue.positions import Position, PositionError, degrees_per, read_position
from ml_backend.catalogue.viewers import links_html, viewer_links


@pytest.mark.parametrize(
    ("ra", "dec", "expected"),
    [
        ("10.5", "-1.25", (10.5, -1.25)),
        ("0", "90", (0, 90)),
        ("360", "-90", (0, -90)),
        ("1e2", "+5", (100, 5)),
        ("00:42:44.3", "+41:16:09", (10.684583, 41.269167)),
        ("00 42 44.3", "41 16 09", (10.684583, 41.269167)),
        ("0h42m44.3s", "41d16m09s", (10.684583, 41.269167)),
        ("12:00:00", "-0:30:00", (180, -0.5)),
    ],
)
def test_positions_are_read(ra: str, dec: str, expected: tuple[float, float]) -> None:
    found = read_position(ra, dec)
    assert (found.ra, found.dec) == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("ra", "dec", "said"),
    [
        ("", "1", "no ra"),
        ("1", "", "no dec"),
        ("360.1", "1", "outside 0 to 360"),
        ("-0.1", "1", "outside 0 to 360"),
        ("1", "90.01", "outside -90 to 90"),
        ("1", "-91", "outside -90 to 90"),
        ("inf", "1", "no number"),
        ("nan", "1", "no number"),
        ("north", "1", "'north', which is no number"),
        ("1 2 three", "1", "no number"),
        ("=1+1", "1", "no number"),
        ("9" * 4000 + ":", "1", "no number"),
        ("25:61:99", "1", "no number|outside"),
    ],
)
def test_positions_that_are_refused(ra: str, dec: str, said: str) -> None:
    with pytest.raises(PositionError, match=said):
        read_position(ra, dec)


def test_units_are_heeded() -> None:
    assert degrees_per("", "ra") == degrees_per("deg", "ra") == 1
    assert degrees_per("rad", "ra") == pytest.approx(57.29578)
    assert degrees_per("hourangle", "ra") == pytest.approx(15)
    assert read_position("12", "0", (15, 1)).ra == 180
    for unit in ("mag", "furlong per fortnight"):
        with pytest.raises(SourceError, match="no unit of an angle"):
            degrees_per(unit, "ra")


@pytest.mark.parametrize(
    ("position", "name"),
    [
        (Position(10.684583, 41.269167), "J004244.29+411609.0"),
        (Position(359.9999999, -0.00001), "J235959.99-000000.0"),
        (Position(0, 90), "J000000.00+900000.0"),
    ],
)
def test_names_are_truncated_not_rounded(position: Position, name: str) -> None:
    assert position.name == name


@pytest.mark.parametrize("other", [(10, 20.001), (10.5, -20), (190, -20), (10, 20)])
def test_separations_are_astropys(other: tuple[float, float]) -> None:
    ours = Position(10, 20).separation(Position(*other))
    theirs = SkyCoord(10, 20, unit="deg").separation(SkyCoord(*other, unit="deg")).arcsec
    assert ours == pytest.approx(theirs, abs=1e-6)


def test_links_lead_to_the_position() -> None:
    links = viewer_links(Position(10.858006, -1.2))
    assert set(links) == {"legacy_viewer", "sdss_skyserver", "aladin_lite", "simbad"}
    assert all(link.startswith("https://") for link in links.values())
    assert "ra=10.858006&dec=-1.200000" in links["legacy_viewer"]
    north = viewer_links(Position(10.858006, 1.2))
    assert "Coord=10.858006d%2B1.200000d" in north["simbad"], "a bare + would be a space"
    assert "target=10.858006+%2B1.200000" in north["aladin_lite"]
    html = links_html(links)
    assert html.count("<a href=") == 4
    assert "&amp;dec=" in html
