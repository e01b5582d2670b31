"""Light of galaxies on a pixel grid: profiles, points, tails of unit flux, and the PSF."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.special import gamma, i0e, k1

Array = NDArray[np.float64]
CORE = 6
SUBPIXELS = 5


def sersic_b(n: float) -> float:
    """Return ``b_n``, which makes the effective radius hold half of the light.

    Asymptotic expansion of Ciotti & Bertin 1999 (A&A 352, 447), eq. 18; better than 1e-4 for
    ``n`` >= 0.5.
    """
    return (
        2 * n
        - 1 / 3
        + 4 / (405 * n)
        + 46 / (25515 * n**2)
        + 131 / (1148175 * n**3)
        - 2194697 / (30690717750 * n**4)
    )


def elliptical_radius(x: Array, y: Array, axis_ratio: float, angle: float) -> Array:
    """Radius along the major axis of the ellipse through each point, in pixels.

    Parameters
    ----------
    x, y : float arrays
        Offsets from the centre, pixels.
    axis_ratio : float
        Minor over major axis, (0, 1].
    angle : float
        Position angle of the major axis from the x axis towards the y axis, radians.
    """
    along, across = rotate(x, y, angle)
    return np.hypot(along, across / axis_ratio)


def rotate(x: Array, y: Array, angle: float) -> tuple[Array, Array]:
    """Coordinates along and across an axis at `angle` (radians) from the x axis."""
    cosine, sine = np.cos(angle), np.sin(angle)
    return x * cosine + y * sine, y * cosine - x * sine


def sersic(radius: Array, half_light_radius: float, n: float, axis_ratio: float = 1.0) -> Array:
    """Sersic profile of unit flux (Sersic 1963), at elliptical radii of the same `axis_ratio`."""
    b = sersic_b(n)
    norm = b ** (2 * n) / (2 * np.pi * n * half_light_radius**2 * gamma(2 * n) * axis_ratio)
    return norm * np.exp(-b * (radius / half_light_radius) ** (1 / n))


def edge_on_disc(along: Array, across: Array, scale: float, height: float) -> Array:
    """Self-gravitating exponential disc seen edge-on, unit flux.

    ``(R/h) K1(R/h) sech^2(z/z0)`` of van der Kruit & Searle 1981 (A&A 95, 105), with
    ``h`` = `scale` and ``z0`` = `height` in pixels.
    """
    reduced = np.maximum(np.abs(along) / scale, 1e-6)
    vertical = 1.0 / np.cosh(np.minimum(np.abs(across) / height, 30.0)) ** 2
    return reduced * k1(reduced) * vertical / (2 * np.pi * scale * height)


def spiral_pattern(
    radius: Array,
    azimuth: Array,
    arms: int,
    pitch: float,
    sharpness: float,
    handedness: int,
    phase: float,
    start: float,
) -> Array:
    """Logarithmic spiral arms: a factor on the disc whose azimuthal mean is one.

    Parameters
    ----------
    radius, azimuth : float arrays
        In the plane of the disc, pixels and radians.
    arms : int
        Number of arms, >= 1.
    pitch : float
        Pitch angle, radians, (0, pi/2).
    sharpness : float
        Concentration of the (von Mises) profile across an arm; 0 is a smooth disc.
    handedness : int
        +1 or -1: the sense in which the arms wind outwards.
    phase : float
        Azimuth of an arm at `start`, radians.
    start : float
        Radius where the phase holds, pixels.
    """
    winding = handedness * np.log(np.maximum(radius, 0.2) / start) / np.tan(pitch)
    angle = arms * (azimuth - winding - phase)
    return np.exp(sharpness * (np.cos(angle) - 1.0)) / float(i0e(sharpness))


def moffat_psf(fwhm: float, beta: float = 3.0) -> Array:
    """Moffat PSF (Moffat 1969) of unit sum on an odd grid of about eight FWHM.

    Parameters
    ----------
    fwhm : float
        Full width at half maximum, pixels.
    beta : float
        Slope of the wings, > 1.
    """
    half = int(np.ceil(4.0 * fwhm))
    offsets = np.arange(-half, half + 1)
    fine = (np.arange(SUBPIXELS) - (SUBPIXELS - 1) / 2) / SUBPIXELS
    line = (offsets[:, None] + fine).reshape(-1)
    core = fwhm / (2 * np.sqrt(2 ** (1 / beta) - 1))
    dense = (1 + (line[:, None] ** 2 + line[None, :] ** 2) / core**2) ** -beta
    side = offsets.size
    psf = dense.reshape(side, SUBPIXELS, side, SUBPIXELS).mean(axis=(1, 3))
    return psf / psf.sum()


def render(
    profile: Callable[[Array, Array], Array], size: int, x: float, y: float, core: int = CORE
) -> Array:
    """Draw a profile on a square grid; pixels near its centre are averaged over sub-pixels.

    Parameters
    ----------
    profile : callable
        Gives the surface brightness at offsets (dx, dy) from the centre, pixels.
    size : int
        Side of the grid, pixels.
    x, y : float
        Centre, pixels; integer values are centres of pixels.
    core : int
        Half side of the part that is averaged over 5 x 5 sub-pixels; cusps need it.

    Returns
    -------
    float64 [size, size]
    """
    columns = np.arange(size, dtype=np.float64)
    dx, dy = np.meshgrid(columns - x, columns - y)
    image = profile(dx, dy)
    left, right = (int(np.clip(round(x) + step, 0, size)) for step in (-core, core + 1))
    low, high = (int(np.clip(round(y) + step, 0, size)) for step in (-core, core + 1))
    if left < right and low < high:
        fine = (np.arange(SUBPIXELS) - (SUBPIXELS - 1) / 2) / SUBPIXELS
        fine_x = (columns[left:right, None] + fine).reshape(-1) - x
        fine_y = (columns[low:high, None] + fine).reshape(-1) - y
        dense = profile(*np.meshgrid(fine_x, fine_y))
        shape = (high - low, SUBPIXELS, right - left, SUBPIXELS)
        image[low:high, left:right] = dense.reshape(shape).mean(axis=(1, 3))
    return image


def deposit(xs: Array, ys: Array, fluxes: Array, size: int) -> Array:
    """Spread point sources over their four nearest pixels; what falls outside is lost.

    Parameters
    ----------
    xs, ys, fluxes : float [n]
        Positions in pixels, fluxes in any unit.
    size : int
        Side of the grid.

    Returns
    -------
    float64 [size, size]
    """
    image = np.zeros((size, size))
    left, low = np.floor(xs).astype(int), np.floor(ys).astype(int)
    for step_x in (0, 1):
        for step_y in (0, 1):
            column, row = left + step_x, low + step_y
            share = (1 - np.abs(xs - column)) * (1 - np.abs(ys - row)) * fluxes
            inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
            np.add.at(image, (row[inside], column[inside]), share[inside])
    return image


def knots_in_disc(
    rng: np.random.Generator,
    size: int,
    centre: tuple[float, float],
    distance: Array,
    azimuth: Array,
    ratio: float,
    angle: float,
) -> Array:
    """Star-forming knots in the plane of a disc, unit flux, sizes below a pixel to two."""
    u, v = distance * np.cos(azimuth), ratio * distance * np.sin(azimuth)
    xs = centre[0] + u * np.cos(angle) - v * np.sin(angle)
    ys = centre[1] + u * np.sin(angle) + v * np.cos(angle)
    fluxes = rng.pareto(2.0, distance.size) + 0.3
    fluxes /= fluxes.sum()
    half = distance.size // 2
    compact = deposit(xs[:half], ys[:half], fluxes[:half], size)
    wide = deposit(xs[half:], ys[half:], fluxes[half:], size)
    return gaussian_filter(compact, 0.5 * size / 128) + gaussian_filter(wide, 1.2 * size / 128)


def tidal_tail(
    rng: np.random.Generator,
    size: int,
    start: tuple[float, float],
    bearing: float,
    radius: float,
    turn: int,
) -> Array:
    """Tidal tail of unit flux: an arc that leaves a galaxy and opens outwards, fading."""
    steps = np.linspace(0.0, 1.0, 240)
    reach = radius * (0.5 + float(rng.uniform(1.2, 3.2)) * steps)
    azimuth = bearing + turn * float(rng.uniform(0.8, 2.2)) * steps
    scatter = rng.normal(0.0, 0.12 * radius, size=(2, steps.size)) * (0.4 + steps)
    xs = start[0] + reach * np.cos(azimuth) + scatter[0]
    ys = start[1] + reach * np.sin(azimuth) + scatter[1]
    fading = np.exp(-1.3 * steps) * np.clip(12 * (1 - steps), 0, 1)
    tail = gaussian_filter(deposit(xs, ys, fading / fading.sum(), size), 0.11 * radius)
    return tail / tail.sum()
