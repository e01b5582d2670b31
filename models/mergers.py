"""Simulated mergers: two galaxies that pull each other apart."""

from __future__ import annotations

import numpy as np

from models.colours import Colours
from models.discs import lenticular, spiral
from models.galaxies import Galaxy, centre_of, coloured, elliptical
from models.profiles import Array, elliptical_radius, render, rotate, sersic, tidal_tail


def merger(rng: np.random.Generator, size: int, colours: Colours, radius: float) -> Galaxy:
    """Two galaxies within a few radii of each other, lopsided, most of them with tidal tails."""
    x, y = centre_of(rng, size)
    ratio = float(np.exp(rng.uniform(np.log(0.25), 0.0)))
    second_radius = 0.7 * radius * ratio**0.4
    separation = float(rng.uniform(0.8, 2.2)) * 0.8 * radius + 0.02 * size
    bearing = float(rng.uniform(0, 2 * np.pi))
    offset = np.array([np.cos(bearing), np.sin(bearing)]) * separation
    share = ratio / (1 + ratio)
    places = (
        (x - share * offset[0], y - share * offset[1]),
        (x + (1 - share) * offset[0], y + (1 - share) * offset[1]),
    )
    bands = np.zeros((3, size, size))
    parts = []
    for place, extent, flux in zip(
        places, (0.7 * radius, second_radius), (1 - share, share), strict=True
    ):
        build = (elliptical, lenticular, spiral)[int(rng.choice(3, p=[0.3, 0.15, 0.55]))]
        part = build(rng, size, colours, extent, place)
        parts.append(part)
        bands += flux * _lopsided(rng, part, extent)
    tails = int(rng.choice([0, 1, 2], p=[0.15, 0.35, 0.5]))
    turn = int(rng.choice([-1, 1]))
    for place, side in list(zip(places, (-1, 1), strict=True))[:tails]:
        tail = tidal_tail(rng, size, place, bearing + (np.pi if side < 0 else 0.0), radius, turn)
        population = colours.young if rng.random() < 0.7 else colours.old
        bands += coloured(float(rng.uniform(0.08, 0.22)) * tail, population)
    if rng.random() < 0.5:
        middle = ((places[0][0] + places[1][0]) / 2, (places[0][1] + places[1][1]) / 2)
        halo = render(
            lambda dx, dy: sersic(elliptical_radius(dx, dy, 0.6, bearing), 1.8 * radius, 1.0, 0.6),
            size,
            *middle,
        )
        bands += coloured(0.15 * halo, colours.old)
    main = parts[0].parameters
    parameters = {
        "sersic_n": main["sersic_n"],
        "bulge_fraction": main["bulge_fraction"],
        "separation": separation,
        "flux_ratio": ratio,
    }
    return Galaxy(bands, x, y, _flattening(bands[1], x, y), bearing % np.pi, parameters)


def _lopsided(rng: np.random.Generator, galaxy: Galaxy, radius: float) -> Array:
    """Brighten one side of a galaxy and dim the other (an m = 1 distortion), flux kept."""
    rows, columns = np.indices(galaxy.bands.shape[1:], dtype=np.float64)
    towards = float(rng.uniform(0, 2 * np.pi))
    along, _ = rotate(columns - galaxy.x, rows - galaxy.y, towards)
    factor = 1.0 + float(rng.uniform(0.2, 0.8)) * np.tanh(along / radius)
    bands = galaxy.bands * factor
    return bands * (galaxy.bands.sum() / bands.sum())


def _flattening(light: Array, x: float, y: float) -> float:
    """Axis ratio from second moments, for shapes that have no parameter of their own."""
    rows, columns = np.indices(light.shape, dtype=np.float64)
    dx, dy = columns - x, rows - y
    total = light.sum()
    moments = np.array(
        [
            [(light * dx * dx).sum(), (light * dx * dy).sum()],
            [(light * dx * dy).sum(), (light * dy * dy).sum()],
        ]
    )
    small, large = np.linalg.eigvalsh(moments / total)
    return float(np.sqrt(max(small, 1e-6) / large))
