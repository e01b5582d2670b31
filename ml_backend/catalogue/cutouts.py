"""Cut-outs of survey images on this machine, all bands on one grid of pixels."""

from __future__ import annotations

import io
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.nddata import Cutout2D, NoOverlapError
from astropy.wcs import WCS
from scipy.ndimage import map_coordinates

from ml_backend.catalogue.positions import Position
from ml_backend.catalogue.survey_images import Plane, SurveyImages
from ml_backend.errors import FetchError

MOST_PIXELS = 4096
"""Longest side of a cut-out, pixels."""
_SOURCE = "SRCFILES"
_OPEN_FILES = 8
_TRIES = 4
_ALIGNED = 0.05  # pixels: a shift that nobody sees
_SAME_SCALE = 0.01

Pixels = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Cutout:
    """A galaxy cut out.

    Attributes
    ----------
    data : bytes
        FITS: float32 [bands, H, W], NaN where nothing is known, with WCS and BANDS.
    scale : float
        Arcseconds per pixel.
    coverage : float
        Least share of a band's pixels that are known, in [0, 1].
    source : str
        Names of the images that it is from.
    """

    data: bytes
    scale: float
    coverage: float
    source: str


class Cutter:
    """Cuts galaxies out; keeps a few files open.

    Parameters
    ----------
    images : SurveyImages
    side : float
        Angular side, arcseconds.
    bands : sequence of str, optional
        By default all that the images have.
    least : float
        Least share of each band that must be known, in [0, 1]. Pixels that are not finite, and
        exact zeros of float images (as co-added surveys write them), are not known.
    """

    def __init__(
        self,
        images: SurveyImages,
        side: float,
        bands: tuple[str, ...] = (),
        least: float = 0.9,
    ) -> None:
        self._images, self._side, self._least = images, side, least
        self._bands = bands or images.bands
        self._open: OrderedDict[Path, fits.HDUList] = OrderedDict()

    def cut(self, position: Position) -> Cutout:
        """Cut out one galaxy.

        Raises
        ------
        FetchError
            No image covers it, or too little of it, or the images cannot be brought together.
        """
        sky = SkyCoord(position.ra, position.dec, unit="deg")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reference: WCS | None = None
            parts: list[Pixels] = []
            used: list[Plane] = []
            for band in self._bands:
                pixels, grid, plane = self._best(sky, position, band, reference, used)
                reference = reference or grid
                parts.append(pixels)
                used.append(plane)
            if reference is None:
                raise FetchError("No bands are asked for.")
            coverage = min(float(np.isfinite(part).mean()) for part in parts)
            names = ", ".join(dict.fromkeys(plane.path.name for plane in used))
            data = _fits(np.stack(parts), reference, self._bands, used[0].unit, names)
        return Cutout(data, used[0].scale, coverage, names)

    def covered(self, position: Position) -> bool:
        """Tell, from headers alone, whether every band has an image at a position."""
        sky = SkyCoord(position.ra, position.dec, unit="deg")
        return all(
            any(_inside(plane, sky) for plane in self._images.near(position.ra, position.dec, band))
            for band in self._bands
        )

    def close(self) -> None:
        """Close the files."""
        while self._open:
            self._open.popitem()[1].close()

    def _best(
        self,
        sky: SkyCoord,
        position: Position,
        band: str,
        reference: WCS | None,
        used: list[Plane],
    ) -> tuple[Pixels, WCS, Plane]:
        """Return the cut-out of a band from the image that knows most of it."""
        best: tuple[float, Pixels, WCS, Plane] | None = None
        problem = ""
        near = self._images.near(position.ra, position.dec, band)
        near = [plane for plane in near if _inside(plane, sky)]
        # The image that holds the bands before comes first, then the one with most room around.
        files = {plane.path for plane in used}
        near.sort(key=lambda plane: (plane.path not in files, -_room(plane, sky)))
        for plane in near[:_TRIES]:
            try:
                if reference is None:
                    pixels, grid = self._first(plane, sky)
                else:
                    pixels, grid = self._onto(plane, reference, used[0]), reference
            except FetchError as error:
                problem = str(error)
                continue
            share = float(np.isfinite(pixels).mean())
            if best is None or share > best[0]:
                best = share, pixels, grid, plane
            if share == 1:
                break
        where = f" in band {band}" if band else ""
        if best is None:
            raise FetchError(problem or f"No survey image covers it{where}.")
        if best[0] < self._least or not best[0]:
            raise FetchError(
                f"Only {100 * best[0]:.0f} % of the cut-out is covered{where}, by "
                f"{best[3].path.name}; at least {100 * self._least:.0f} % are asked for."
            )
        return best[1], best[2], best[3]

    def _first(self, plane: Plane, sky: SkyCoord) -> tuple[Pixels, WCS]:
        size = units.Quantity(self._side, units.arcsec)
        count = round(self._side / plane.scale)
        if not 1 <= count <= MOST_PIXELS:
            raise FetchError(
                f"A side of {self._side:g} arcsec is {count:,} pixels of {plane.path.name}; 1 to "
                f"{MOST_PIXELS} are cut out. Change --side."
            )
        x, y = (float(value) for value in plane.wcs.world_to_pixel(sky))
        reach = count / 2 + 2
        pixels, left, low = self._window(plane, x - reach, x + reach, y - reach, y + reach)
        grid = plane.wcs[low : low + pixels.shape[0], left : left + pixels.shape[1]]
        try:
            found = Cutout2D(_known(pixels), sky, size, wcs=grid, mode="partial", fill_value=np.nan)
        except NoOverlapError:
            raise FetchError(f"{plane.path.name} does not reach it.") from None
        return np.asarray(found.data, np.float32), found.wcs

    def _onto(self, plane: Plane, reference: WCS, first: Plane) -> Pixels:
        """Bring a band onto the grid of the first: shifted by whole pixels where that is exact."""
        if abs(plane.scale / first.scale - 1) > _SAME_SCALE:
            raise FetchError(
                f"{plane.path.name} has {plane.scale:.3g} arcsec per pixel, {first.path.name} "
                f"{first.scale:.3g}: bring them onto one scale first, or choose bands by --bands."
            )
        height, width = reference.array_shape
        rows, columns = np.mgrid[:height, :width]
        sky = reference.pixel_to_world(columns, rows)
        x, y = plane.wcs.world_to_pixel(sky)
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise FetchError(f"{plane.path.name} does not reach it.")
        steps = np.round(x), np.round(y)
        exact = max(np.abs(x - steps[0]).max(), np.abs(y - steps[1]).max()) < _ALIGNED
        window, left, low = self._window(plane, x.min(), x.max(), y.min(), y.max())
        at = [steps[1] - low, steps[0] - left] if exact else [y - low, x - left]
        found = map_coordinates(
            _known(window), at, order=0 if exact else 1, mode="constant", cval=np.nan
        )
        return np.asarray(found, np.float32)

    def _window(
        self, plane: Plane, left: float, right: float, low: float, high: float
    ) -> tuple[npt.NDArray[Any], int, int]:
        """Read the part of a plane between coordinates; return it, and where it begins (x, y).

        Of plain and of tile compressed files no more is read.
        """
        columns = slice(max(0, int(left) - 1), max(0, int(right) + 3))
        rows = slice(max(0, int(low) - 1), max(0, int(high) + 3))
        try:
            section = self._file(plane)[plane.hdu].section
            where = (rows, columns) if plane.index is None else (plane.index, rows, columns)
            pixels = np.asarray(section[where])
            pixels = pixels.reshape(pixels.shape[-2:])
        except Exception as error:  # noqa: BLE001 - astropy raises anything on broken bytes
            raise _broken(plane, error) from None
        if not pixels.size:
            raise FetchError(f"{plane.path.name} does not reach it.")
        return pixels, columns.start, rows.start

    def _file(self, plane: Plane) -> fits.HDUList:
        """Open a file, or find it open; a few stay so."""
        if plane.path not in self._open:
            self._open[plane.path] = fits.open(plane.path, memmap=True)
            if len(self._open) > _OPEN_FILES:
                self._open.popitem(last=False)[1].close()
        self._open.move_to_end(plane.path)
        return self._open[plane.path]


def _inside(plane: Plane, sky: SkyCoord) -> bool:
    return _room(plane, sky) >= -0.5


def _room(plane: Plane, sky: SkyCoord) -> float:
    """Return the pixels between a position and the nearest edge; negative outside."""
    x, y = (float(value) for value in plane.wcs.world_to_pixel(sky))
    if not (np.isfinite(x) and np.isfinite(y)):
        return -np.inf
    height, width = plane.shape
    return min(x, y, width - 1 - x, height - 1 - y)


def _known(values: Any) -> Pixels:
    """Return pixels as float32 with NaN where nothing is known."""
    values = np.asarray(values)
    pixels: Pixels = values.astype(np.float32)
    unknown = ~np.isfinite(pixels)
    if values.dtype.kind == "f":
        unknown |= values == 0
    pixels[unknown] = np.nan
    return pixels


def source_in(data: bytes) -> str:
    """Return the names of the images that a cut-out is from, as its header keeps them."""
    try:
        return str(fits.getheader(io.BytesIO(data)).get(_SOURCE, ""))
    except (OSError, ValueError):
        return ""


def _fits(pixels: Pixels, grid: WCS, bands: tuple[str, ...], unit: str, source: str) -> bytes:
    header = grid.to_header()
    named = [band for band in bands if band]
    if named and all(len(band) == 1 for band in named):
        header["BANDS"] = "".join(named)
    else:
        for index, band in enumerate(named):
            header[f"BAND{index}"] = band
    if unit:
        header["BUNIT"] = unit.encode("ascii", "replace").decode()
    header[_SOURCE] = source.encode("ascii", "backslashreplace").decode()
    made = io.BytesIO()
    fits.PrimaryHDU(pixels, header).writeto(made)
    return made.getvalue()


def _broken(plane: Plane, error: Exception) -> FetchError:
    reason = str(error).strip().split("\n")[0][:160].rstrip(". ") or type(error).__name__
    return FetchError(f"{plane.path.name} is broken or cut short: {reason}.")
