"""Survey images on this machine: which of them covers a position, in which band."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.io import fits
from astropy.wcs import WCS
from astropy.wcs.utils import proj_plane_pixel_scales

from ml_backend.bulk.folder import read_folder
from ml_backend.bulk.items import SourceError, listed
from models.galaxy_image import MAX_BANDS

_COMPANIONS = re.compile(
    r"(?:^|[^a-z])(?:invvar|ivar|weights?|wht|wt|var|err|error|sigma|mask|maskbits|dq|flags|nexp"
    r"|depth|galdepth|psfdepth|psfsize|psf|model|chi2|exp)(?:[^a-z]|$)"
)
_ORDER = "ugrizyYJHK"
"""From blue to red; other bands follow in the order in which they are found."""


@dataclass(frozen=True)
class Plane:
    """One band of one survey image.

    Attributes
    ----------
    path : Path
    hdu : int
        Number of the extension.
    index : int or None
        Which plane of a cube; None: the image is flat.
    band : str
        "" where nobody names it.
    wcs : WCS
        Celestial, two axes.
    shape : tuple of int
        Height and width, pixels.
    scale : float
        Arcseconds per pixel.
    unit : str
        As the header states it.
    """

    path: Path
    hdu: int
    index: int | None
    band: str
    wcs: WCS
    shape: tuple[int, int]
    scale: float
    unit: str


@dataclass
class SurveyImages:
    """Planes of survey images by band; made by `find_survey_images`.

    Attributes
    ----------
    planes : list of Plane
    notes : list of str
        What was left out.
    """

    planes: list[Plane]
    notes: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        corners = [_centre_and_radius(plane) for plane in self.planes]
        self._centres = np.array([centre for centre, _ in corners])
        self._reach = np.array([radius for _, radius in corners])

    @property
    def bands(self) -> tuple[str, ...]:
        """All bands, from blue to red."""
        found = list(dict.fromkeys(plane.band for plane in self.planes))
        return tuple(sorted(found, key=lambda band: (_ORDER + band).index(band)))

    def chosen(self, bands: str) -> tuple[str, ...]:
        """Return the bands of a text like "grz" or "g,r,z"; all for an empty one.

        Raises
        ------
        SourceError
            There is no such band.
        """
        if not bands.strip():
            return self.bands
        parts = bands.replace(",", " ").split()
        names = tuple(parts) if len(parts) > 1 or parts[0] in self.bands else tuple(parts[0])
        unknown = [name for name in names if name not in self.bands]
        if unknown:
            there = ", ".join(band or "one without a name" for band in self.bands)
            raise SourceError(f"No survey image is in band {listed(unknown)}. There are: {there}.")
        return names

    def near(self, ra: float, dec: float, band: str) -> list[Plane]:
        """Return the planes of a band that may cover a position (degrees), nearest centre first."""
        angles = _angles(self._centres, _direction(ra, dec))
        chosen = np.flatnonzero(angles <= self._reach)
        return [
            self.planes[place]
            for place in chosen[np.argsort(angles[chosen], kind="stable")]
            if self.planes[place].band == band
        ]


def find_survey_images(sources: Sequence[str]) -> SurveyImages:
    """Read the headers of survey images.

    Parameters
    ----------
    sources : sequence of str
        Files or folders (with all below them), each optionally as ``BAND=PATH``, which names the
        band in place of the header. Files and extensions that are by name weights, masks, models
        or the like are left out.

    Raises
    ------
    SourceError
        A source does not exist, or none holds an image with celestial coordinates.
    """
    planes: list[Plane] = []
    without: list[str] = []
    for source in sources:
        band, path = _named_band(source)
        for file in _files(path):
            found = list(_planes(file, band))
            planes += found
            if not found:
                without.append(str(file))
    if not planes:
        raise SourceError(
            f"No FITS image with celestial coordinates in {listed(sources)}. Cut-outs are made "
            "from FITS images whose header has a WCS."
        )
    nameless = sorted({str(plane.path) for plane in planes if not plane.band})
    if nameless and len(nameless) < len({plane.path for plane in planes}):
        raise SourceError(
            f"Nobody says which band {listed(nameless)} is in (no BAND or FILTER in its header), "
            "but others have one. Name it: --survey-images g=PATH."
        )
    notes = []
    if without:
        notes.append(
            f"{len(without)} files hold no survey image that can be used: {listed(without)}."
        )
    return SurveyImages(planes, notes)


def _named_band(source: str) -> tuple[str, Path]:
    found = re.match(r"([A-Za-z0-9_-]{1,16})=(.+)", source)
    band, path = (found[1], Path(found[2])) if found else ("", Path(source))
    if not path.exists():
        raise SourceError(f"The survey image {path} does not exist.")
    return band, path


def _files(path: Path) -> Iterator[Path]:
    if not path.is_dir():
        yield path
        return
    for item in read_folder(path).items:
        file = Path(item.address)
        if not _COMPANIONS.search(file.name.lower()):
            yield file


def _planes(path: Path, named: str) -> Iterator[Plane]:
    """Read the planes of a file; a file that is broken has none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with fits.open(path, memmap=True) as file:
                primary = file[0].header
                for number, hdu in enumerate(file):
                    if hdu.is_image and not _COMPANIONS.search(hdu.name.lower()):
                        yield from _planes_of(path, number, hdu, primary, file, named)
        except Exception:  # noqa: BLE001 - astropy raises anything on broken bytes
            return


def _planes_of(
    path: Path, number: int, hdu: Any, primary: Any, file: Any, named: str
) -> Iterator[Plane]:
    shape = tuple(hdu.shape)
    while len(shape) > 2 and shape[0] == 1 and len(shape) > 3:
        shape = shape[1:]
    if len(shape) not in (2, 3) or (len(shape) == 3 and shape[0] > MAX_BANDS):
        return
    wcs = WCS(hdu.header, fobj=file)
    if not wcs.has_celestial:
        return
    wcs = wcs.celestial
    scale = float(np.mean(proj_plane_pixel_scales(wcs))) * 3600
    if not np.isfinite(scale) or scale <= 0:
        return
    count = shape[0] if len(shape) == 3 else 1
    bands = [named] if named and count == 1 else _bands(hdu.header, primary, count)
    unit = str(hdu.header.get("BUNIT") or primary.get("BUNIT") or "").strip()
    for index, band in enumerate(bands):
        place = index if len(shape) == 3 else None
        yield Plane(path, number, place, band, wcs, (shape[-2], shape[-1]), scale, unit)


def _bands(header: Any, primary: Any, count: int) -> Iterable[str]:
    for cards in (header, primary):
        text = str(cards.get("BANDS", "")).strip()
        parts = text.replace(",", " ").split()
        names = parts if len(parts) == count else list(text)
        if len(names) != count:
            names = [str(cards.get(f"BAND{index}", "")).strip() for index in range(count)]
        if all(names):
            return names
        if count == 1:
            for key in ("BAND", "FILTER", "FILTER1", "FILTER2"):
                words = str(cards.get(key, "")).split()
                if words and not words[0].upper().startswith("CLEAR"):
                    return [words[0]]
    return [""] if count == 1 else [str(index + 1) for index in range(count)]


def _centre_and_radius(plane: Plane) -> tuple[npt.NDArray[np.float64], float]:
    """Return where a plane looks, and how far its corners are from there (radians)."""
    height, width = plane.shape
    x = np.array([width / 2, -0.5, width - 0.5, -0.5, width - 0.5])
    y = np.array([height / 2, -0.5, -0.5, height - 0.5, height - 0.5])
    sky = plane.wcs.pixel_to_world(x, y).icrs
    directions = _direction(sky.ra.deg, sky.dec.deg).T
    radius = _angles(directions[1:], directions[0])
    # Corners off the sky (all-sky maps): any position may be covered.
    return directions[0], float(np.nan_to_num(radius.max() * 1.05 + 1e-4, nan=np.pi))


def _direction(ra: Any, dec: Any) -> npt.NDArray[np.float64]:
    a, d = np.radians(ra), np.radians(dec)
    return np.array([np.cos(d) * np.cos(a), np.cos(d) * np.sin(a), np.sin(d)])


def _angles(
    directions: npt.NDArray[np.float64], other: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    return np.asarray(np.arccos(np.clip(directions @ other, -1, 1)))
