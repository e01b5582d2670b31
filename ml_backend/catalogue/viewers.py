"""Links to the usual viewers of the sky, made of numbers alone."""

from __future__ import annotations

from urllib.parse import urlencode

from ml_backend.catalogue.positions import Position

CONE = 10.0
"""Radius of the search in SIMBAD, arcseconds."""


def viewer_links(position: Position, field: float = 60.0) -> dict[str, str]:
    """Return addresses by viewer, as a task holds them.

    Parameters
    ----------
    position : Position
    field : float
        Width of the view in Aladin Lite, arcseconds.
    """
    ra, dec = f"{position.ra:.6f}", f"{position.dec:+.6f}"
    plain = {"ra": ra, "dec": dec.removeprefix("+")}
    aladin = {"target": f"{ra} {dec}", "fov": f"{field / 3600:.5f}"}
    cone = {"Coord": f"{ra}d{dec}d", "Radius": f"{CONE:g}", "Radius.unit": "arcsec"}
    return {
        "legacy_viewer": "https://www.legacysurvey.org/viewer?"
        + urlencode({**plain, "layer": "ls-dr10", "zoom": 15}),
        "sdss_skyserver": "https://skyserver.sdss.org/dr18/VisualTools/navi?"
        + urlencode({**plain, "scale": 0.2}),
        "aladin_lite": "https://aladin.cds.unistra.fr/AladinLite/?" + urlencode(aladin),
        "simbad": "https://simbad.cds.unistra.fr/simbad/sim-coo?" + urlencode(cone),
    }


def links_html(links: dict[str, str]) -> str:
    """Return the links as one line for a ``<HyperText>`` tag."""
    names = {
        "legacy_viewer": "Legacy Surveys",
        "sdss_skyserver": "SDSS SkyServer",
        "aladin_lite": "Aladin Lite",
        "simbad": "SIMBAD",
    }
    return " · ".join(
        f'<a href="{address.replace("&", "&amp;")}" target="_blank" rel="noopener noreferrer">'
        f"{names[viewer]}</a>"
        for viewer, address in links.items()
    )
