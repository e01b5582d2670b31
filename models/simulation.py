"""Simulated galaxies with known truth: what the sky, the telescope and the stretch do to them.

A galaxy is a sum of components (bulge, disc, arms, star-forming knots, bar, ring, tails), each
with its own colour. Neighbours are added, the scene is convolved with the PSF, photons are
counted, and an asinh colour image is made as the SDSS and Legacy Surveys viewers make it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.signal import fftconvolve

from models.colours import Colours
from models.discs import lenticular, spiral
from models.galaxies import Galaxy, edge_on, elliptical
from models.mergers import merger
from models.profiles import Array, deposit, elliptical_radius, moffat_psf, render, sersic
from models.stretch import lupton_rgb

KINDS = ("elliptical", "lenticular", "spiral", "edge_on", "merger")
LOOKS = ("sdss", "legacy")
_BUILDERS: dict[str, Callable[[np.random.Generator, int, Colours, float], Galaxy]] = {
    "elliptical": elliptical,
    "lenticular": lenticular,
    "spiral": spiral,
    "edge_on": edge_on,
    "merger": merger,
}


@dataclass(frozen=True)
class SimulatedGalaxy:
    """One simulated image and all that is known about it.

    Attributes
    ----------
    rgb : uint8 [H, W, 3]
        What people see.
    kind : str
        One of `KINDS`.
    box : tuple of four floats
        x0, y0, x1, y1 in pixels of the smallest box around `mask` (x1 and y1 exclusive).
    mask : bool [H, W]
        Pixels where the galaxy alone, seen through the PSF, exceeds the noise of the r band.
    parameters : dict of floats
        See `simulate`.
    clean : uint8 [H, W, 3]
        `rgb` without noise: the same scene, PSF, and stretch.
    flux : float32 [3, H, W]
        g, r and i (or z) as measured: sky subtracted, in units of the r band's sky noise.
    scene : float32 [3, H, W]
        `flux` without noise: what an endless exposure through the same PSF would measure.
    """

    rgb: NDArray[np.uint8]
    kind: str
    box: tuple[float, float, float, float]
    mask: NDArray[np.bool_]
    parameters: dict[str, float]
    clean: NDArray[np.uint8]
    flux: NDArray[np.float32]
    scene: NDArray[np.float32]


def simulate(
    rng: np.random.Generator,
    kind: str | None = None,
    size: int = 128,
    look: str | None = None,
    extent: tuple[float, float] = (0.05, 0.12),
) -> SimulatedGalaxy:
    """Simulate one galaxy near the centre of a frame.

    Parameters
    ----------
    rng : numpy.random.Generator
        The only source of randomness: the same state gives the same galaxy.
    kind : str or None
        One of `KINDS`; None draws one with equal chances.
    size : int
        Side of the frame, 32 to 1024 pixels.
    look : str or None
        "sdss" (gri, black sky) or "legacy" (grz, grey sky); None draws one.
    extent : (float, float)
        Range of the half-light radius as a fraction of the frame, log-uniform.

    Returns
    -------
    SimulatedGalaxy
        Its `parameters` are: `flux_blue`, `flux_middle`, `flux_red` (total in g, r, and i or z, in
        units of the r band's sky noise), `x`, `y` (centre, px), `half_light_radius` (px, along the
        major axis, from the light itself, before the PSF), `axis_ratio` (0.1-1), `position_angle`
        (deg, 0-180, from +x towards +y as drawn, y downwards), `sersic_n` (2-5.5; 1 for discs),
        `bulge_fraction` (0-1), `arms` (0, 2-4), `pitch` (deg, 10-32), `arm_strength` (0-1),
        `handedness` (-1, 0, 1), `bar_strength`, `ring_strength` (0-1, share of the disc's light),
        `dust` (optical depth in g), `separation` (px, mergers), `flux_ratio` (mergers, fainter over
        brighter), `psf_fwhm` (px, 1.6-7.5 at 128 px), `sky` (electrons per pixel, 150-1500), `snr`
        (within the mask, r band), `look` (0 sdss, 1 legacy). What a kind does not have is 0.

    Raises
    ------
    ValueError
        If `kind`, `look`, `size` or `extent` are outside what is stated.
    """
    if kind is not None and kind not in KINDS:
        raise ValueError(f"There is no kind of galaxy called {kind!r}; use one of {KINDS}.")
    if look is not None and look not in LOOKS:
        raise ValueError(f"There is no look called {look!r}; use one of {LOOKS}.")
    if not 32 <= size <= 1024:
        raise ValueError(f"The size must be 32 to 1024 pixels, not {size}.")
    if not 0 < extent[0] <= extent[1] <= 0.3:
        raise ValueError(f"The extent must be two rising fractions in (0, 0.3], not {extent}.")
    kind = kind or str(rng.choice(KINDS))
    look = look or str(rng.choice(LOOKS))
    colours = Colours.draw(rng, look)
    radius = size * float(np.exp(rng.uniform(*np.log(extent))))
    galaxy = _BUILDERS[kind](rng, size, colours, radius)
    # Brightness is set by the mean surface brightness within the half-light radius, because that,
    # and not the flux, decides whether structure can be seen above the sky.
    measured = _half_light_radius(galaxy)
    surface = float(np.exp(rng.uniform(np.log(7), np.log(70))))
    area = np.pi * measured**2 * max(galaxy.axis_ratio, 0.15)
    bands = galaxy.bands * (2 * surface * area / galaxy.bands[1].sum())
    # Stamps scaled to their galaxies show small ones through a wide PSF, but not unresolved ones.
    pixel = size / 128
    widest = float(np.clip(1.2 * measured, 3.2 * pixel, 7.5 * pixel))
    fwhm = float(np.exp(rng.uniform(np.log(1.6 * pixel), np.log(widest))))
    psf = moffat_psf(fwhm, beta=float(rng.uniform(2.5, 4.5)))
    target = _convolve(bands, psf)
    scene = target + _convolve(_neighbours(rng, size, colours), psf)
    sky = float(np.exp(rng.uniform(np.log(150), np.log(1500))))
    noisy = _expose(rng, scene, sky, float(rng.uniform(0.0, 0.3)) * fwhm)

    mask = target[1] > 1.0
    mask[round(galaxy.y), round(galaxy.x)] = True
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    signal = float(target[1][mask].sum())
    variance = float((1.0 + target[1][mask] / np.sqrt(sky)).sum())
    parameters = {
        **dict.fromkeys(Galaxy.PARAMETERS, 0.0),
        **galaxy.parameters,
        "flux_blue": float(bands[0].sum()),
        "flux_middle": float(bands[1].sum()),
        "flux_red": float(bands[2].sum()),
        "x": galaxy.x,
        "y": galaxy.y,
        "half_light_radius": measured,
        "axis_ratio": galaxy.axis_ratio,
        "position_angle": float(np.degrees(galaxy.angle) % 180.0),
        "psf_fwhm": fwhm,
        "sky": sky,
        "snr": signal / float(np.sqrt(variance)),
        "look": float(LOOKS.index(look)),
    }
    brightness = float(np.exp(rng.normal(0.0, 0.15)))
    return SimulatedGalaxy(
        rgb=_show(noisy, look, brightness),
        kind=kind,
        box=(float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)),
        mask=mask,
        parameters=parameters,
        clean=_show(scene, look, brightness),
        flux=noisy.astype(np.float32),
        scene=scene.astype(np.float32),
    )


def _half_light_radius(galaxy: Galaxy) -> float:
    """Radius along the major axis of the ellipse that holds half of the r band's light."""
    light = galaxy.bands[1]
    rows, columns = np.indices(light.shape, dtype=np.float64)
    radius = elliptical_radius(
        columns - galaxy.x, rows - galaxy.y, max(galaxy.axis_ratio, 0.05), galaxy.angle
    ).ravel()
    order = np.argsort(radius)
    growth = np.cumsum(light.ravel()[order])
    return float(radius[order[np.searchsorted(growth, growth[-1] / 2)]]) + 0.25


def _convolve(bands: Array, psf: Array) -> Array:
    # Single precision halves the time; its error stays far below the noise.
    single = bands.astype(np.float32)
    blurred = fftconvolve(single, psf[None].astype(np.float32), mode="same", axes=(1, 2))
    return np.maximum(blurred, 0.0).astype(np.float64)


def _neighbours(rng: np.random.Generator, size: int, colours: Colours) -> Array:
    """Foreground stars and background galaxies, fainter ones more often."""
    bands = np.zeros((3, size, size))
    scale = (size / 128) ** 2
    stars = int(rng.poisson(3.5))
    for _ in range(stars):
        x, y = rng.uniform(-2, size + 2, size=2)
        flux = scale * min(60.0 * float(rng.pareto(0.8) + 1.0), 8000.0)
        point = deposit(np.array([x]), np.array([y]), np.array([flux]), size)
        bands += point * colours.star(rng)[:, None, None]
    for _ in range(int(rng.poisson(3.5))):
        x, y = rng.uniform(0, size, size=2)
        radius = float(rng.uniform(0.6, 2.2)) * size / 128
        ratio, angle, n = rng.uniform(0.35, 1.0), rng.uniform(0, np.pi), rng.uniform(1.0, 3.0)
        flux = scale * min(50.0 * float(rng.pareto(1.2) + 1.0), 1500.0)

        def profile(
            dx: Array,
            dy: Array,
            radius: float = radius,
            ratio: float = ratio,
            angle: float = angle,
            n: float = n,
        ) -> Array:
            return sersic(elliptical_radius(dx, dy, ratio, angle), radius, n, ratio)

        image = flux * render(profile, size, x, y, core=3)
        bands += image * colours.background(rng)[:, None, None]
    return bands


def _expose(rng: np.random.Generator, scene: Array, sky: float, correlation: float) -> Array:
    """Count photons over a sky of `sky` electrons (r band) and subtract the sky again.

    Resampling of survey images correlates neighbouring pixels; `correlation` is the width of
    the smoothing in pixels. The noise keeps its strength.
    """
    noisy = np.empty_like(scene)
    root = np.sqrt(sky)
    for index, level in enumerate((0.6 * sky, sky, 1.4 * sky)):
        noise = (rng.poisson(scene[index] * root + level) - level) / root - scene[index]
        if correlation > 0.3:
            before = noise.std()
            noise = gaussian_filter(noise, correlation)
            noise *= before / noise.std()
        noisy[index] = scene[index] + noise
    return noisy


def _show(bands: Array, look: str, brightness: float) -> NDArray[np.uint8]:
    red_first = bands[::-1]
    if look == "sdss":
        level = 0.013 * brightness
        scales = (0.78 * level, level, 1.5 * level)
        return lupton_rgb(red_first, scales, softening=2.25, offset=0.01)
    level = 0.006 * brightness
    return lupton_rgb(red_first, (0.6 * level, level, 1.6 * level), softening=20.0, offset=0.016)
