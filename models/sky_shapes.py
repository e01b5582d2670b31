"""Where a shape lies in the file and on the sky: its centre, its size, and which way it points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from astropy.coordinates import SkyCoord
from numpy.typing import NDArray

from models.answers import Box, Ellipse, Mask, Point, Polygon, Shape
from models.picture_frame import PictureFrame, picture_to_pixel, pixel_to_sky

Floats = NDArray[np.float64]

_NAN = math.nan


@dataclass(frozen=True)
class Measures:
    """One shape, measured. What a shape does not have, or the sky does not tell, is NaN.

    Attributes
    ----------
    x, y : float
        Centre in pixels of the file; the centre of its first pixel is (1, 1), as in FITS headers
        and DS9. Of a polygon or mask the centroid of its area.
    length, breadth : float
        Longer and shorter side of a box, major and minor axis (whole, not semi-) of an ellipse,
        in pixels.
    rotation : float
        Direction of the length in the file, degrees from +x towards +y, in [0, 180).
    area : float
        In pixels.
    ra, dec : float
        Centre, ICRS degrees.
    sky_length, sky_breadth : float
        As `length` and `breadth`, in arcsec.
    position_angle : float
        Direction of the length on the sky, degrees from north through east, in [0, 180).
    sky_area : float
        In square arcsec.
    """

    x: float
    y: float
    length: float = _NAN
    breadth: float = _NAN
    rotation: float = _NAN
    area: float = _NAN
    ra: float = _NAN
    dec: float = _NAN
    sky_length: float = _NAN
    sky_breadth: float = _NAN
    position_angle: float = _NAN
    sky_area: float = _NAN


def measure(shape: Shape, frame: PictureFrame) -> Measures:
    """Measure a shape in the file and, where the frame has a WCS, on the sky.

    The centre is exact. Sizes and angles are those of the WCS's linear part at the centre (its
    Jacobian matrix), so they hold for images of any orientation, mirrored or sheared; what a
    distortion changes within the shape is not in them.

    Parameters
    ----------
    shape : Shape
        In pixels of the picture, see `models.answers`.
    frame : PictureFrame
        Of the same picture.

    Raises
    ------
    ValueError
        The shape is of no known kind, or its outline encloses nothing.
    """
    u, v = centre(shape)
    x, y = (float(value) for value in picture_to_pixel(frame, u, v, origin=1))
    axes = _axes(shape)
    flip = np.array([1.0, -1.0 if frame.first_row == "lower" else 1.0])[:, None]
    area = _area(shape)
    length, breadth, rotation = _spread(shape, flip * axes) if axes is not None else (_NAN,) * 3
    told = {"length": length, "breadth": breadth, "rotation": rotation, "area": area}
    if frame.wcs is None:
        return Measures(x, y, **told)
    ra, dec = (float(value) for value in pixel_to_sky(frame, x, y, origin=1))
    if not (math.isfinite(ra) and math.isfinite(dec)):
        return Measures(x, y, **told)
    told |= {"ra": ra, "dec": dec}
    matrix = sky_matrix(frame, u, v)
    if np.isfinite(matrix).all():
        if axes is not None:
            long, short, north = _spread(shape, matrix @ axes)
            told |= {"sky_length": long, "sky_breadth": short, "position_angle": (90 - north) % 180}
        told["sky_area"] = area * abs(float(np.linalg.det(matrix)))
    return Measures(x, y, **told)


def centre(shape: Shape) -> tuple[float, float]:
    """Return the centre of a shape on the picture, (x, y); of an area its centroid."""
    if isinstance(shape, Box):
        return shape.centre
    if isinstance(shape, Ellipse | Point):
        return shape.x, shape.y
    if isinstance(shape, Mask):
        rows, columns = np.nonzero(shape.pixels)
        if not rows.size:
            raise ValueError("an empty mask has no centre")
        return float(columns.mean()) + 0.5, float(rows.mean()) + 0.5
    if isinstance(shape, Polygon):
        points = np.asarray(shape.points, dtype=np.float64)
        origin = points.mean(axis=0)  # kept small, so that little is lost to rounding
        (x0, y0), (x1, y1) = (points - origin).T, (np.roll(points, -1, axis=0) - origin).T
        cross = x0 * y1 - x1 * y0
        if abs(cross.sum()) < 1e-9:
            return float(origin[0]), float(origin[1])
        moment = np.array([((x0 + x1) * cross).sum(), ((y0 + y1) * cross).sum()])
        x, y = origin + moment / (3 * cross.sum())
        return float(x), float(y)
    raise ValueError(f"a {shape.kind or type(shape).__name__} has no centre")


def sky_matrix(frame: PictureFrame, u: float, v: float) -> Floats:
    """Return how far east and north steps on the picture lead, from a point of it.

    Returns
    -------
    float64 [2, 2]
        Rows: arcsec to the east, to the north. Columns: per pixel to the right, downwards. NaN
        where the image has no coordinates.
    """
    steps = np.array([[0.5, 0.0], [-0.5, 0.0], [0.0, 0.5], [0.0, -0.5]])
    ra, dec = pixel_to_sky(frame, *picture_to_pixel(frame, u + steps[:, 0], v + steps[:, 1]))
    here = [float(value) for value in pixel_to_sky(frame, *picture_to_pixel(frame, u, v))]
    if not (np.isfinite(ra).all() and np.isfinite(dec).all() and np.isfinite(here).all()):
        return np.full((2, 2), _NAN)
    middle = SkyCoord(*here, unit="deg")
    around = SkyCoord(ra, dec, unit="deg")
    # Separation and position angle stay exact for half a pixel, also at the poles.
    away = middle.separation(around).to_value("arcsec")
    angle = middle.position_angle(around).to_value("rad")
    east, north = away * np.sin(angle), away * np.cos(angle)
    return np.array([[e[0] - e[1], e[2] - e[3]] for e in (east, north)])


def outline(shape: Box | Polygon) -> Floats:
    """Return the corners [n, 2] of a shape on the picture as (x, y)."""
    return shape.corners if isinstance(shape, Box) else np.asarray(shape.points, dtype=np.float64)


def _axes(shape: Shape) -> Floats | None:
    """Half the sides of a box, the semi-axes of an ellipse: columns (right, down), in pixels."""
    if isinstance(shape, Box):
        half = shape.width / 2, shape.height / 2
    elif isinstance(shape, Ellipse):
        half = shape.radius_x, shape.radius_y
    else:
        return None
    turn = math.radians(shape.rotation)
    turned = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]])
    return turned * np.array(half)


def _spread(shape: Shape, axes: Floats) -> tuple[float, float, float]:
    """Length, breadth, and degrees of the length from the first axis towards the second."""
    if isinstance(shape, Ellipse):
        # The image of a circle under a matrix: its singular values are the semi-axes.
        directions, sizes, _ = np.linalg.svd(axes)
        along = directions[:, 0]
    else:
        sizes = np.linalg.norm(axes, axis=0)
        along = axes[:, int(sizes.argmax())]
    angle = math.degrees(math.atan2(along[1], along[0])) % 180.0
    return 2 * float(sizes.max()), 2 * float(sizes.min()), angle % 180.0


def _area(shape: Shape) -> float:
    if isinstance(shape, Box):
        return shape.width * shape.height
    if isinstance(shape, Ellipse):
        return math.pi * shape.radius_x * shape.radius_y
    if isinstance(shape, Mask):
        return float(shape.pixels.sum())
    if isinstance(shape, Polygon):
        x, y = (outline(shape) - outline(shape).mean(axis=0)).T
        return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return _NAN
