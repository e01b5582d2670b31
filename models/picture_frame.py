"""Where a point of the drawn picture lies in the file and on the sky, and back.

Three systems, and one rule for each:

- *Picture*: ``(u, v)`` in pixels of the picture, from the outer corner of its top left pixel,
  u to the right and v down. The centre of the top left pixel is (0.5, 0.5), the outer corner of the
  bottom right one (width, height). Label Studio's percentages are ``100 u / width`` and
  ``100 v / height``.
- *Pixel*: ``(x, y)`` in pixels of the file, x along its rows. The centre of the first pixel is
  (0, 0), as in numpy and astropy, or (1, 1) with ``origin=1``, as in FITS headers, DS9 and
  SExtractor.
- *Sky*: ICRS right ascension and declination, degrees.

FITS images have their first row at the bottom (``first_row="lower"``), so v and y run against
each other; pictures have it at the top. Pictures are drawn one picture pixel per pixel and are
neither turned nor mirrored beyond that, so both steps are exact: whole and half pixels come back to
the bit. North and east lie where the WCS puts them; `compass` says where.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from astropy.coordinates import SkyCoord
from astropy.io import fits
from astropy.units import rad
from astropy.wcs import WCS
from numpy.typing import ArrayLike, NDArray

from models.galaxy_image import GalaxyImage

Points = tuple[NDArray[np.float64], NDArray[np.float64]]


@dataclass(frozen=True)
class PictureFrame:
    """Size, orientation and sky coordinates of an image that was drawn.

    Attributes
    ----------
    width, height : int
        Of the picture and the image, pixels.
    first_row : {"upper", "lower"}
        Where the first row of the file lies in the picture.
    wcs : astropy.wcs.WCS or None
        Celestial coordinates of columns and rows.
    """

    width: int
    height: int
    first_row: Literal["upper", "lower"]
    wcs: WCS | None = None

    @classmethod
    def of(cls, image: GalaxyImage) -> PictureFrame:
        """Frame of an image as `draw` and `to_rgb8` draw it."""
        height, width = image.pixels.shape[1:]
        return cls(width, height, image.origin, image.wcs)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> PictureFrame:
        """Frame from what `image_facts` stated, as task data hold it; the file is not needed.

        Raises
        ------
        ValueError
            Width, height or origin are missing or senseless, or the WCS cannot be read.
        """
        width, height, origin = (facts.get(name) for name in ("width", "height", "origin"))
        for length in (width, height):
            if not isinstance(length, int) or isinstance(length, bool) or not 0 < length < 2**31:
                raise ValueError(f"width and height must be whole numbers above 0, not {length!r}.")
        if origin not in ("upper", "lower"):
            raise ValueError(f"origin must be upper or lower, not {origin!r}.")
        text = facts.get("wcs")
        if text is None:
            return cls(int(str(width)), int(str(height)), origin)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                wcs = WCS(fits.Header.fromstring(text, sep="\n"), naxis=2)
            if not wcs.has_celestial:
                raise ValueError("it is not celestial")
        except Exception as error:  # noqa: BLE001 - astropy raises anything on broken cards
            reason = str(error).strip().split("\n")[0][:160]
            raise ValueError(f"The wcs of the task cannot be read: {reason}.") from None
        return cls(int(str(width)), int(str(height)), origin, wcs)


def picture_to_pixel(frame: PictureFrame, u: ArrayLike, v: ArrayLike, origin: int = 0) -> Points:
    """Turn picture coordinates into pixel coordinates (see the module); exact.

    Parameters
    ----------
    frame : PictureFrame
    u, v : float or array
        Pixels from the top left corner, right and down.
    origin : {0, 1}
        Coordinates of the centre of the first pixel.

    Returns
    -------
    x, y : float64, as `u` and `v`
    """
    across, down = np.asarray(u, dtype=np.float64), np.asarray(v, dtype=np.float64)
    up = frame.height - down if frame.first_row == "lower" else down
    shift = _shift(origin)
    return across + shift, up + shift


def pixel_to_picture(frame: PictureFrame, x: ArrayLike, y: ArrayLike, origin: int = 0) -> Points:
    """Turn pixel coordinates into picture coordinates; the inverse of `picture_to_pixel`."""
    shift = _shift(origin)
    across = np.asarray(x, dtype=np.float64) - shift
    up = np.asarray(y, dtype=np.float64) - shift
    return across, frame.height - up if frame.first_row == "lower" else up


def pixel_to_sky(frame: PictureFrame, x: ArrayLike, y: ArrayLike, origin: int = 0) -> Points:
    """Turn pixel coordinates into ICRS degrees, distortions included.

    Returns
    -------
    ra, dec : float64
        Right ascension 0 to 360. NaN for points that the projection does not reach.

    Raises
    ------
    ValueError
        The image has no celestial coordinates, or in a frame that cannot be turned into ICRS.
    """
    wcs = _sky(frame)
    try:
        world = wcs.pixel_to_world(
            np.asarray(x, dtype=np.float64) - origin, np.asarray(y, dtype=np.float64) - origin
        ).icrs
    except Exception as error:  # noqa: BLE001 - astropy raises anything on odd coordinates
        reason = str(error).strip().split("\n")[0][:160]
        raise ValueError(f"The image's coordinates cannot be turned into ICRS: {reason}.") from None
    return np.asarray(world.ra.deg, dtype=np.float64), np.asarray(world.dec.deg, dtype=np.float64)


def sky_to_pixel(frame: PictureFrame, ra: ArrayLike, dec: ArrayLike, origin: int = 0) -> Points:
    """Turn ICRS degrees into pixel coordinates; the inverse of `pixel_to_sky`.

    Raises
    ------
    ValueError
        As of `pixel_to_sky`, or the inverse of a distortion does not converge.
    """
    wcs = _sky(frame)
    try:
        x, y = wcs.world_to_pixel(SkyCoord(ra, dec, unit="deg", frame="icrs"))
    except Exception as error:  # noqa: BLE001 - nor need an inverse converge
        reason = str(error).strip().split("\n")[0][:160]
        raise ValueError(f"The position cannot be turned into pixels: {reason}.") from None
    return np.asarray(x, dtype=np.float64) + origin, np.asarray(y, dtype=np.float64) + origin


@dataclass(frozen=True)
class Compass:
    """Directions on the picture at one of its points.

    Attributes
    ----------
    north, east : float
        Degrees from the upward direction of the picture, counter-clockwise, 0 to 360.
    mirrored : bool
        East lies clockwise of north, other than on the sky as seen from Earth.
    """

    north: float
    east: float
    mirrored: bool

    def position_angle(self, clockwise_from_right: float) -> float:
        """Turn an angle on the picture into a position angle on the sky.

        Parameters
        ----------
        clockwise_from_right : float
            Degrees from the right, clockwise: how Label Studio gives rotations.

        Returns
        -------
        float
            Degrees from north through east, 0 to 360.
        """
        counter = -90.0 - clockwise_from_right - self.north
        return (-counter if self.mirrored else counter) % 360.0


def compass(frame: PictureFrame, u: float | None = None, v: float | None = None) -> Compass:
    """Say where north and east lie on the picture, at a point or else at its centre.

    Raises
    ------
    ValueError
        The image has no celestial coordinates, or none at this point.
    """
    across = frame.width / 2 if u is None else u
    down = frame.height / 2 if v is None else v
    ra, dec = pixel_to_sky(frame, *picture_to_pixel(frame, across, down))
    # Half a pixel to the right and up, as position angles and separations on the sky.
    right = pixel_to_sky(frame, *picture_to_pixel(frame, across + 0.5, down))
    above = pixel_to_sky(frame, *picture_to_pixel(frame, across, down - 0.5))
    try:
        centre = SkyCoord(ra, dec, unit="deg")
        steps = []
        for place in (right, above):
            other = SkyCoord(*place, unit="deg")
            angle = float(centre.position_angle(other).to_value(rad))
            size = float(centre.separation(other).to_value(rad))
            steps.append((size * np.cos(angle), size * np.sin(angle)))
        # Columns: a step to the right, one up; rows: how far north, how far east that leads.
        jacobian = np.array(steps).T
        inverse = np.linalg.inv(jacobian)
    except (ValueError, np.linalg.LinAlgError):
        raise ValueError("The image has no coordinates at this point of the picture.") from None
    if not np.isfinite(inverse).all():
        raise ValueError("The image has no coordinates at this point of the picture.")
    north, east = (float(np.degrees(np.arctan2(-step[0], step[1])) % 360.0) for step in inverse.T)
    return Compass(north, east, bool(np.linalg.det(jacobian) < 0))


def _shift(origin: int) -> float:
    if origin not in (0, 1):
        raise ValueError(f"origin must be 0 or 1, not {origin!r}.")
    return origin - 0.5


def _sky(frame: PictureFrame) -> WCS:
    if frame.wcs is None:
        raise ValueError("The image has no celestial coordinates.")
    return frame.wcs
