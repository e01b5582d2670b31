"""Region files for DS9 and whatever reads its format: what was marked, on the sky or in pixels."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord

from ml_backend.catalogue.cells import clean_text
from ml_backend.catalogue.formats import FormatError
from ml_backend.catalogue.objects import MarkedObject
from ml_backend.catalogue.results import Results
from ml_backend.labelstudio.config import RegionControl
from models.answers import Box, Ellipse, Mask, Point, Polygon
from models.picture_frame import picture_to_pixel, pixel_to_sky

if TYPE_CHECKING:
    from regions import Region

System = Literal["sky", "image"]
COLOURS = {"people": "green", "model": "cyan"}
SUFFIX = ".reg"


@dataclass
class RegionReport:
    """What was written: files, regions, and what was left out."""

    files: int = 0
    regions: int = 0
    masks: int = 0
    """Objects left out because regions hold no masks."""
    without_sky: int = 0
    """Objects left out because their pictures have no WCS."""


def need_regions() -> None:
    """Raise `FormatError` unless what writes regions is installed."""
    try:
        import regions  # noqa: F401
    except ImportError:
        raise FormatError(
            "Region files need the package regions: pip install 'galaxyloop[regions]'."
        ) from None


def check_path(path: Path, system: str) -> None:
    """Raise `FormatError` where `write_regions` would, before anything is gathered."""
    need_regions()
    if path.suffix.lower() == SUFFIX and system == "image":
        raise FormatError(
            "Pixels mean nothing without their image, so one file for all galaxies is in sky "
            "coordinates. Name a folder in place of a .reg file."
        )


def write_regions(results: Results, path: Path, system: System = "sky") -> RegionReport:
    """Write what was marked as region files.

    Parameters
    ----------
    results : Results
    path : Path
        A file that ends in ``.reg``: one for all galaxies, on the sky. Else a folder: one file
        per galaxy.
    system : {"sky", "image"}
        Of the files in a folder: ICRS where the picture has a WCS, else, or always with
        ``"image"``, pixels of the galaxy's file.

    Raises
    ------
    FormatError
        The disk fails, the package ``regions`` is missing, or pixels are wanted in one file for
        all galaxies.
    """
    check_path(path, system)
    report, controls = RegionReport(), shape_controls(results)
    single = path.suffix.lower() == SUFFIX
    together: list[Region] = []
    try:
        if not single:
            path.mkdir(parents=True, exist_ok=True)
        for row in range(len(results)):
            sky = single or system == "sky"
            made = list(_of_row(results, row, controls, sky, single, report))
            if single:
                together += made
            elif made:
                _write(made, path / f"{file_stem(results, row)}{SUFFIX}", report)
        if single:
            _write(together, path, report)
    except OSError as error:
        raise FormatError(f"{path} cannot be written: {error.strerror or error}.") from None
    return report


def shape_controls(results: Results) -> list[str]:
    """Return the names of the controls that mark places."""
    return [c.name for c in results.config.answered if isinstance(c, RegionControl)]


def file_stem(results: Results, row: int) -> str:
    """Return a name for a file about one galaxy: its id as far as file names hold it, its task."""
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "_", results.ids[row]).strip("._")[:80]
    number = str(results.task_ids[row])
    return number if plain in ("", number) else f"{plain}-{number}"


def sky_region(one: MarkedObject) -> Region | None:
    """Return an object as a region in ICRS; None where it is a mask or has no sky.

    Angles are position angles plus 90 degrees: counted from west through north, as DS9 does it.
    """
    import regions

    told, shape = one.measures, one.shape
    if not np.isfinite([told.ra, told.dec]).all() or isinstance(shape, Mask):
        return None
    middle = SkyCoord(told.ra, told.dec, unit="deg", frame="icrs")
    if isinstance(shape, Point):
        return regions.PointSkyRegion(middle)
    if isinstance(shape, Polygon):
        points = picture_to_pixel(one.frame, *np.asarray(shape.points, np.float64).T)
        ra, dec = pixel_to_sky(one.frame, *points)
        if not (np.isfinite(ra).all() and np.isfinite(dec).all()):
            return None
        return regions.PolygonSkyRegion(SkyCoord(ra, dec, unit="deg", frame="icrs"))
    sides = np.array([told.sky_length, told.sky_breadth])
    if not (np.isfinite(sides).all() and (sides > 0).all()):
        return None
    angle = (told.position_angle + 90) % 360 * units.deg
    kind = regions.RectangleSkyRegion if isinstance(shape, Box) else regions.EllipseSkyRegion
    return kind(middle, *(sides * units.arcsec), angle=angle)


def pixel_region(one: MarkedObject) -> Region | None:
    """Return an object as a region in pixels of the galaxy's file; None where it is a mask."""
    import regions

    told, shape = one.measures, one.shape
    middle = regions.PixCoord(told.x - 1, told.y - 1)
    if isinstance(shape, Point):
        return regions.PointPixelRegion(middle)
    if isinstance(shape, Polygon):
        points = picture_to_pixel(one.frame, *np.asarray(shape.points, np.float64).T)
        return regions.PolygonPixelRegion(regions.PixCoord(*points))
    if isinstance(shape, Box | Ellipse):
        box = isinstance(shape, Box)
        kind = regions.RectanglePixelRegion if box else regions.EllipsePixelRegion
        return kind(middle, told.length, told.breadth, angle=told.rotation * units.deg)
    return None


def _of_row(
    results: Results,
    row: int,
    controls: list[str],
    sky: bool,
    single: bool,
    report: RegionReport,
) -> Iterator[Region]:
    for one in results.objects.everything(row, controls):
        if isinstance(one.shape, Mask):
            report.masks += 1
            continue
        made = sky_region(one) if sky else None
        if made is None and single:
            report.without_sky += 1
            continue
        made = made if made is not None else pixel_region(one)
        if made is None:
            continue
        made.meta.update(_meta(results, one, single))
        made.visual.update({"color": COLOURS[one.source]})
        if one.source == "model":
            made.visual["linestyle"] = "dashed"
        yield made


def _meta(results: Results, one: MarkedObject, single: bool) -> dict[str, Any]:
    sure = f"{one.confidence:.2f}" if one.source == "model" else f"{one.persons}/{one.asked}"
    if sure == "nan":
        sure = ""
    words = [results.ids[one.row] if single else "", one.shape.label or one.control, sure]
    tags = [results.ids[one.row], one.control, one.source]
    return {
        "text": _plain(" ".join(word for word in words if word)),
        "tag": [_plain(tag) for tag in tags],
    }


def _plain(text: str) -> str:
    # The format has no escapes: braces, quotes, "#" and ";" would end a text or a line.
    return re.sub(r"[{}\"'#;|\\]", "_", clean_text(text, 200)).encode("ascii", "replace").decode()


def _write(made: list[Region], path: Path, report: RegionReport) -> None:
    from regions import Regions

    # More digits than the package writes by itself: a box comes back to a thousandth of a pixel.
    text = (
        Regions(made).serialize(format="ds9", precision=9)
        if made
        else "# Region file format: DS9\n"
    )
    with tempfile.TemporaryDirectory(dir=path.absolute().parent, prefix=".export-") as folder:
        draft = Path(folder) / path.name
        draft.write_text(text, encoding="utf-8")
        os.replace(draft, path)
    report.files += 1
    report.regions += len(made)
