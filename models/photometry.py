"""Quick measurements of the galaxy in the middle of an image: brightness, size, shape, noise.

What an embedding cannot tell, because an LVM sees stamps that were stretched and resampled, is
read off the pixels here: a few passes over a few thousand pixels, under two milliseconds each.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.scenes import Scene

Singles = NDArray[np.float32]

NAMES = (
    *("log_flux_first", "log_flux_middle", "log_flux_last", "log_flux_light", "log_snr"),
    *("log_size", "log_r50", "log_r80", "log_concentration"),
    *("axis_ratio", "ellipticity", "cos2", "sin2", "stretch_cos2", "stretch_sin2"),
    *(f"stretch{scale}_{part}" for scale in range(3) for part in ("cos2", "sin2")),
    *(f"log_window{scale}" for scale in range(6)),
    *("log_noise", "log_peak", "off_centre", "log_scale"),
)
"""What the columns of `quick_measurements` are; see there."""

MEASURED = len(NAMES)
# Larger images are binned until they are no larger: a galaxy fills a good part of its stamp.
_SIDE = 144
_STEPS = 10
# Widths of the fixed round windows, as fractions of the shorter side.
_WINDOWS = (0.02, 0.035, 0.06, 0.1, 0.16, 0.25)


@dataclass(frozen=True)
class Outline:
    """An ellipse with the second moments of a galaxy's light, in pixels of the image.

    Attributes
    ----------
    x, y : float
        Centre; the centre of the first pixel is (0.5, 0.5).
    sigma : float
        Root of the second moment along the major axis, above 0.
    axis_ratio : float
        Minor over major axis, in (0, 1].
    angle : float
        Of the major axis, degrees clockwise from +x on the screen, in [0, 180).
    r50 : float
        Semi-major axis of the similar ellipse that holds half of the light.
    snr : float
        Signal to noise of the light within the Gaussian window that fits best.
    """

    x: float
    y: float
    sigma: float
    axis_ratio: float
    angle: float
    r50: float
    snr: float


@dataclass(frozen=True)
class Measurement:
    """`outline` of the galaxy and the float32 `[MEASURED]` numbers of `quick_measurements`."""

    outline: Outline
    numbers: Singles


def quick_measurements(
    image: Scene | NDArray[Any], at: tuple[float, float] | None = None
) -> Singles:
    """Measure the galaxy in the middle of an image, or at another place.

    Parameters
    ----------
    image : Scene, or array [H, W], [bands, H, W] or uint8 [H, W, 3]
        Flux is used where a scene has it, else the picture's values. 8 pixels a side at least.
    at : (x, y), optional
        Where the galaxy is, in pixels of the image.

    Returns
    -------
    float32 [MEASURED]
        Finite. Logarithms are to base 10, of flux in units of the pixels (first, middle and last
        band, and their mean weighted by noise) and of lengths in pixels, floored at half their
        noise; angles enter as the cosine and sine of twice the angle; ``stretch`` is second moments
        within Gaussian windows over their light; ``window`` is light in fixed round windows over
        its noise (signed, compressed by asinh); ``log_scale`` is of arcseconds per pixel, 0 where
        that is not known.

    Raises
    ------
    ValueError
        If a value is not finite, or the shape is not that of an image.
    """
    return measure_galaxy(image, at).numbers


def measure_galaxy(
    image: Scene | NDArray[Any], at: tuple[float, float] | None = None
) -> Measurement:
    """Measure the galaxy in the middle (or at `at`), see `quick_measurements`.

    The shape is that of adaptive moments: the window is an elliptical Gaussian with the moments
    that are measured through it (Bernstein & Jarvis 2002, AJ 123, 583). Half of the light is told
    by the growth of the light along that ellipse.
    """
    pixel_scale = image.pixel_scale if isinstance(image, Scene) else None
    planes = _planes(image)
    height, width = planes.shape[1:]
    x, y = at if at is not None else (width / 2, height / 2)
    bands, left, top, binning = _part(planes, x, y)
    side = bands.shape[1]
    bands, noise = _above_sky(bands)
    precise = (noise.min() / noise.astype(np.float64)) ** 2
    light = np.tensordot((precise / precise.sum()).astype(np.float32), bands, axes=1)
    # Of one pixel of `light`; the bands' noises are independent.
    sky = float(noise.min() / math.sqrt(precise.sum()))

    cx, cy = (x - left) / binning, (y - top) / binning
    cx, cy = _recentred(light, cx, cy, sky)
    alone = _without_neighbours(light, cx, cy, sky)
    bands, light = bands[:, alone[0], alone[1]], light[alone]
    moments, inside, snr = _adaptive(light, cx, cy, sky)
    major, ratio, angle = _axes(moments)
    radius = _elliptical_radius(side, cx, cy, ratio, angle).ravel()
    reach = float(np.clip(4.0 * major, 4.0, 0.45 * side))
    r20, r50, r80, total = _growth(light.ravel(), radius, reach, major)
    aperture = radius <= reach
    count = float(aperture.sum())
    fluxes = bands.reshape(len(bands), -1) @ aperture.astype(np.float32) * binning**2
    floors = 0.5 * noise * math.sqrt(count) * binning**2
    windows, stretches = _windows(light, cx, cy, sky)
    chosen = [0, len(bands) // 2, len(bands) - 1]
    shape = (1 - ratio) / (1 + ratio)
    turn = np.array([math.cos(2 * angle), math.sin(2 * angle)])
    peak = float(light.flat[int(radius.argmin())])
    numbers = np.concatenate(
        [
            np.log10(np.maximum(fluxes, floors))[chosen],
            [math.log10(max(total, 0.5 * sky * math.sqrt(count)) * binning**2)],
            [math.log10(max(snr, 0.5))],
            np.log10(np.array([major, r50, r80]) * binning),
            [math.log10(r80 / r20)],
            [ratio, shape],
            turn,
            inside,
            stretches,
            windows,
            [
                math.log10(sky * binning),
                math.asinh(peak / sky),
                math.hypot(cx * binning + left - x, cy * binning + top - y) / (side * binning),
                math.log10(pixel_scale) if pixel_scale else 0.0,
            ],
        ]
    ).astype(np.float32)
    outline = Outline(
        cx * binning + left,
        cy * binning + top,
        major * binning,
        ratio,
        math.degrees(angle) % 180.0,
        r50 * binning,
        snr,
    )
    return Measurement(outline, numbers)


def _planes(image: Scene | NDArray[Any]) -> NDArray[Any]:
    if isinstance(image, Scene):
        values: NDArray[Any] = image.flux if image.flux is not None else image.pixels
    else:
        values = np.asarray(image)
    if values.ndim == 2:
        values = values[None]
    elif values.ndim == 3 and values.dtype == np.uint8 and values.shape[2] == 3:
        values = np.moveaxis(values, -1, 0)
    if values.ndim != 3 or not len(values) or min(values.shape[1:]) < 8:
        raise ValueError(
            f"An image of at least 8 x 8 pixels is measured, not an array of {values.shape}."
        )
    if values.dtype == np.uint8:
        return values
    planes = np.asarray(values, dtype=np.float32)
    if not np.isfinite(planes).all():
        raise ValueError("The image holds NaN or infinite values; fill them before measuring.")
    return planes


def _part(planes: NDArray[Any], x: float, y: float) -> tuple[Singles, int, int, int]:
    """Cut a square around the place, binned: planes, left, top, pixels per bin."""
    height, width = planes.shape[1:]
    whole = min(height, width)
    binning = max(1, -(-whole // _SIDE))
    side = whole // binning * binning
    left = int(np.clip(round(x - side / 2), 0, width - side))
    top = int(np.clip(round(y - side / 2), 0, height - side))
    cut = planes[:, top : top + side, left : left + side].astype(np.float32)
    if binning > 1:
        few = side // binning
        cut = cut.reshape(len(cut), few, binning, side).sum(axis=2)
        cut = cut.reshape(len(cut), few, few, binning).mean(axis=3) / np.float32(binning)
    return cut, left, top, binning


def _above_sky(bands: Singles) -> tuple[Singles, Singles]:
    """Subtract the sky of each band, from the rim; return its noise per pixel, too."""
    rim = bands[:, _rim(bands.shape[1])]
    sky, noise = np.zeros(len(bands), np.float32), np.zeros(len(bands), np.float32)
    for band, values in enumerate(rim):
        for _ in range(3):
            middle = float(np.median(values))
            spread = 1.4826 * float(np.median(np.abs(values - middle)))
            kept = values[np.abs(values - middle) <= 2.5 * max(spread, 1e-30)]
            if len(kept) in (len(values), 0) or len(kept) < 16:
                break
            values = kept
        sky[band], noise[band] = middle, spread
    above = bands - sky[:, None, None]
    # A rim without noise (8-bit black, padding) must not make noise of everything else.
    largest = np.abs(above).max(axis=(1, 2))
    noise = np.maximum(noise, 1e-3 * largest)
    noise[noise < 1e-30] = noise.max() if noise.max() >= 1e-30 else 1.0
    return above, noise


@lru_cache(maxsize=64)
def _grid(side: int) -> tuple[Singles, Singles]:
    places = np.arange(side, dtype=np.float32) + np.float32(0.5)
    return places[None, :], places[:, None]


@lru_cache(maxsize=64)
def _rim(side: int) -> NDArray[np.bool_]:
    columns, rows = _grid(side)
    away = np.maximum(np.abs(columns - side / 2), np.abs(rows - side / 2))
    return np.asarray(away >= 0.42 * side)


def _recentred(light: Singles, x: float, y: float, sky: float) -> tuple[float, float]:
    """Move to the centre of the light nearby, as far as it stands above the noise."""
    side = len(light)
    columns, rows = _grid(side)
    width = max(1.5, side / 20)
    start = (x, y)
    for _ in range(3):
        dx, dy = columns - x, rows - y
        across, down = np.exp(dx * dx * (-0.5 / width**2)), np.exp(dy * dy * (-0.5 / width**2))
        rest = down.T @ light
        total = float((rest @ across.T)[0, 0])
        # Where nothing stands out, the place that was given counts.
        sure = total / (total + 3 * sky * width * math.sqrt(math.pi)) if total > 0 else 0.0
        if sure <= 0:
            return start
        x += 2 * sure * float((rest @ (across * dx).T)[0, 0]) / total
        y += 2 * sure * float(((down * dy).T @ light @ across.T)[0, 0]) / total
        if math.hypot(x - start[0], y - start[1]) > side / 8:
            return start
    return x, y


def _without_neighbours(
    light: Singles, x: float, y: float, sky: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows and columns [side, side] to look at instead of each pixel.

    A galaxy is nearly symmetric, its neighbours are not about it: a pixel that is clearly brighter
    than the one across the centre gives way to that.
    """
    side = len(light)
    rows, columns = np.indices(light.shape)
    across, over = round(2 * x) - 1 - columns[0], round(2 * y) - 1 - rows[:, 0]
    inside = ((across >= 0) & (across < side))[None] & ((over >= 0) & (over < side))[:, None]
    across, over = across.clip(0, side - 1), over.clip(0, side - 1)
    # The brightest nearby, so that the centre need not be known to a pixel.
    other = light.copy()
    for _ in range(2):
        np.maximum(other[1:], other[:-1], out=other[1:])
        np.maximum(other[:-1], other[1:], out=other[:-1])
        np.maximum(other[:, 1:], other[:, :-1], out=other[:, 1:])
        np.maximum(other[:, :-1], other[:, 1:], out=other[:, :-1])
    other = other[over][:, across]
    bright = inside & (light > 1.5 * np.maximum(other, 0) + 3 * sky)
    return np.where(bright, over[:, None], rows), np.where(bright, across[None], columns)


def _adaptive(
    light: Singles, x: float, y: float, sky: float
) -> tuple[tuple[float, float, float], tuple[float, float], float]:
    """Second moments (xx, yy, xy), the last window's own stretch, and signal to noise."""
    side = len(light)
    columns, rows = _grid(side)
    dx, dy = columns - x, rows - y
    xx, yy, xy = dx * dx, dy * dy, dx * dy
    least, most = 0.6, (0.22 * side) ** 2
    a = b = max(2.0, (side / 20) ** 2)
    c = 0.0
    stretch, snr = (0.0, 0.0), 0.0
    for _ in range(_STEPS):
        determinant = a * b - c * c
        scale = -0.5 / determinant
        window = np.exp(xx * (b * scale) + yy * (a * scale) - xy * (2 * c * scale))
        seen = window * light
        total = float(seen.sum())
        noise = sky * math.sqrt(math.pi * math.sqrt(determinant))
        snr = total / noise
        if snr < 1:
            break
        found = (
            2 * float((seen.sum(axis=0) @ xx[0]) / total),
            2 * float((seen.sum(axis=1) @ yy[:, 0]) / total),
            2 * float((seen * xy).sum() / total),
        )
        # Noise may ask for anything: a step goes at most half-way, the fainter the shorter.
        step = 0.75 * snr / (snr + 4)
        a = min(max(a + step * (found[0] - a), least), most)
        b = min(max(b + step * (found[1] - b), least), most)
        c += step * (found[2] - c)
        bound = 0.97 * math.sqrt(a * b)
        c = min(max(c, -bound), bound)
        size = a + b
        stretch = ((found[0] - found[1]) / size, 2 * found[2] / size)
    clipped = float(np.clip(stretch[0], -2, 2)), float(np.clip(stretch[1], -2, 2))
    return (a, b, c), clipped, snr


def _axes(moments: tuple[float, float, float]) -> tuple[float, float, float]:
    """Root of the larger moment, axis ratio, and angle in radians."""
    a, b, c = moments
    half = math.hypot((a - b) / 2, c)
    large, small = (a + b) / 2 + half, max((a + b) / 2 - half, 1e-3)
    return math.sqrt(large), math.sqrt(small / large), 0.5 * math.atan2(2 * c, a - b)


def _elliptical_radius(side: int, x: float, y: float, ratio: float, angle: float) -> Singles:
    columns, rows = _grid(side)
    dx, dy = columns - x, rows - y
    cosine, sine = math.cos(angle), math.sin(angle)
    along, across = dx * cosine + dy * sine, (dy * cosine - dx * sine) / ratio
    return np.sqrt(along * along + across * across)


def _growth(
    light: Singles, radius: Singles, reach: float, major: float
) -> tuple[float, float, float, float]:
    """Radii of 20, 50 and 80 % of the light within `reach`, and that light."""
    rings = 48
    place = np.minimum((radius * (rings / reach)).astype(np.int32), rings)
    grown = np.cumsum(np.bincount(place, weights=light, minlength=rings + 1)[:rings])
    total = float(grown[-1])
    if total <= 0:
        return 0.67 * major, 1.18 * major, 1.79 * major, total
    edges = np.arange(1, rings + 1) * (reach / rings)
    rising = np.maximum.accumulate(np.maximum(grown, 0)) / total
    rising = np.concatenate([[0.0], rising])
    edges = np.concatenate([[0.0], edges])
    radii = [float(np.interp(share, rising, edges)) for share in (0.2, 0.5, 0.8)]
    r20, r50, r80 = np.maximum.accumulate(np.maximum(radii, 0.1))
    return float(r20), float(r50), float(r80), total


def _windows(light: Singles, x: float, y: float, sky: float) -> tuple[Singles, Singles]:
    """Light in round windows over its noise (compressed), and stretch in the inner three wide."""
    side = len(light)
    columns, rows = _grid(side)
    dx, dy = columns[0] - x, rows[:, 0] - y
    width = np.maximum(np.array(_WINDOWS, np.float32) * side, 0.8)[:, None]
    across = np.exp(-0.5 * (dx / width) ** 2)
    down = np.exp(-0.5 * (dy / width) ** 2)
    half = down @ light
    total = np.einsum("sc,sc->s", half, across)
    noise = sky * width[:, 0] * math.sqrt(math.pi)
    quadrupole = np.einsum("sc,sc->s", half, across * dx**2) - np.einsum(
        "sc,sc->s", (down * dy**2) @ light, across
    )
    cross = np.einsum("sc,sc->s", (down * dy) @ light, across * dx)
    # The floor keeps windows without light from dividing by noise.
    size = width[:, 0] ** 2 * np.maximum(total, 2 * noise)
    wide = slice(2, 5)
    stretches = np.stack([quadrupole, 2 * cross], axis=1) / size[:, None]
    return np.arcsinh(total / noise), np.clip(stretches[wide], -2, 2).ravel()
