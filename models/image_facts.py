"""What is stated of an image in a task: size, bands, scale, place, unit."""

from __future__ import annotations

import math
from typing import Any

from models.galaxy_image import GalaxyImage
from models.picture_frame import PictureFrame, compass, picture_to_pixel, pixel_to_sky

FACTS = (
    *("width", "height", "kind", "bands", "origin", "pixel_scale", "unit", "missing", "flagged"),
    *("ra", "dec", "north", "mirrored", "wcs", "notes"),
)
"""Names of all that may be stated."""


def image_facts(image: GalaxyImage) -> dict[str, Any]:
    """State what a task's data should carry of an image, as JSON can hold it.

    What the file does not say is left out. `PictureFrame.from_facts` needs no more than this to
    turn what a person draws into pixels and sky coordinates.

    Parameters
    ----------
    image : GalaxyImage

    Returns
    -------
    dict
        ``width``, ``height`` (pixels); ``kind`` ("rgb8", "flux"); ``bands`` (names, separated by
        commas); ``origin`` ("lower": the first row of the file is the bottom one of the picture,
        "upper"); ``pixel_scale`` (arcsec); ``unit`` (of the pixels, as the file has it);
        ``missing``, ``flagged`` (numbers of values, if not 0); ``ra``, ``dec`` (ICRS degrees of
        the centre of the image); ``north`` (degrees, counter-clockwise from up on the picture),
        ``mirrored`` (true where east lies clockwise of north); ``wcs`` (cards of a FITS header,
        one per line); ``notes`` (sentences).
    """
    height, width = image.pixels.shape[1:]
    facts: dict[str, Any] = {
        "width": width,
        "height": height,
        "kind": image.kind,
        "bands": ",".join(image.bands),
        "origin": image.origin,
        "pixel_scale": None if image.pixel_scale is None else float(image.pixel_scale),
        "unit": image.unit,
        "missing": image.missing or None,
        "flagged": int(image.flagged.sum()) or None if image.flagged is not None else None,
        "notes": " ".join(image.notes) or None,
    }
    if image.wcs is not None:
        facts |= _place(PictureFrame.of(image))
    return {name: value for name, value in facts.items() if value is not None}


def _place(frame: PictureFrame) -> dict[str, Any]:
    stated: dict[str, Any] = {}
    try:
        centre = picture_to_pixel(frame, frame.width / 2, frame.height / 2)
        ra, dec = (float(angle) for angle in pixel_to_sky(frame, *centre))
        if math.isfinite(ra) and math.isfinite(dec):
            directions = compass(frame)
            stated |= {"ra": ra, "dec": dec}
            stated |= {"north": round(directions.north, 4), "mirrored": directions.mirrored}
    except ValueError:
        pass
    try:
        assert frame.wcs is not None
        header = frame.wcs.to_header(relax=True)
        text = header.tostring(sep="\n", endcard=False, padding=False)
        stated["wcs"] = "\n".join(line.rstrip() for line in text.split("\n"))
    except Exception:  # noqa: BLE001 - what wcslib cannot write must not cost the rest
        pass
    return stated
