"""What simulated galaxies are made of: components with shapes and colours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from models.colours import Colours, mix
from models.profiles import (
    Array,
    edge_on_disc,
    elliptical_radius,
    knots_in_disc,
    render,
    rotate,
    sersic,
    spiral_pattern,
    tidal_tail,
)


@dataclass
class Galaxy:
    """A galaxy before the PSF: float64 `bands` [3, size, size] in units of its own r flux."""

    bands: Array
    x: float
    y: float
    axis_ratio: float
    angle: float
    parameters: dict[str, float] = field(default_factory=dict)

    PARAMETERS: ClassVar[tuple[str, ...]] = (
        "sersic_n",
        "bulge_fraction",
        "arms",
        "pitch",
        "arm_strength",
        "handedness",
        "bar_strength",
        "ring_strength",
        "dust",
        "separation",
        "flux_ratio",
    )


def elliptical(
    rng: np.random.Generator,
    size: int,
    colours: Colours,
    radius: float,
    centre: tuple[float, float] | None = None,
) -> Galaxy:
    """Sersic galaxy with n 2 to 5.5 and axis ratio 0.4 to 1, a little bluer outside."""
    x, y = centre or _centre(rng, size)
    ratio, angle = float(rng.uniform(0.4, 1.0)), float(rng.uniform(0, np.pi))
    n = float(rng.uniform(2.0, 5.5))
    halo = mix(-2.5 * float(np.log10(colours.old[0])) - 0.08, colours.slope)
    inner = render(
        lambda dx, dy: sersic(elliptical_radius(dx, dy, ratio, angle), radius, n, ratio), size, x, y
    )
    rows, columns = np.indices((size, size), dtype=np.float64)
    outside = elliptical_radius(columns - x, rows - y, ratio, angle) / radius
    blend = outside / (1.0 + outside)
    bands = _coloured(inner * (1 - blend), colours.old) + _coloured(inner * blend, halo)
    return Galaxy(bands, x, y, ratio, angle, {"sersic_n": n, "bulge_fraction": 1.0})


def spiral(
    rng: np.random.Generator,
    size: int,
    colours: Colours,
    radius: float,
    centre: tuple[float, float] | None = None,
) -> Galaxy:
    """Inclined disc with 2 to 4 logarithmic arms, knots, a bulge, and perhaps a bar and a ring."""
    x, y = centre or _centre(rng, size)
    ratio, angle = float(rng.uniform(0.4, 1.0)), float(rng.uniform(0, np.pi))
    scale = radius / 1.45
    arms = int(rng.choice([2, 3, 4], p=[0.72, 0.16, 0.12]))
    pitch = float(np.radians(rng.uniform(10, 32)))
    strength = float(rng.uniform(0.35, 0.95))
    sharpness = float(rng.uniform(0.8, 4.0))
    handedness, phase = int(rng.choice([-1, 1])), float(rng.uniform(0, 2 * np.pi))
    bulge_fraction = float(rng.uniform(0.05, 0.35))
    barred, ringed = rng.random() < 0.4, rng.random() < 0.25
    bar_strength = float(rng.uniform(0.08, 0.25)) if barred else 0.0
    ring_strength = float(rng.uniform(0.15, 0.4)) if ringed else 0.0
    start = scale * float(rng.uniform(0.7, 1.1))

    def plane(dx: Array, dy: Array) -> tuple[Array, Array]:
        along, across = rotate(dx, dy, angle)
        across = across / ratio
        return np.hypot(along, across), np.arctan2(across, along)

    def smooth(dx: Array, dy: Array) -> Array:
        return sersic(plane(dx, dy)[0], 1.678 * scale, 1.0, ratio)

    def winding(dx: Array, dy: Array) -> Array:
        distance, azimuth = plane(dx, dy)
        pattern = spiral_pattern(
            distance, azimuth, arms, pitch, sharpness, handedness, phase, start
        )
        fade = 1.0 / (1.0 + np.exp(-(distance - start) / (0.2 * start)))
        return smooth(dx, dy) * (1 + fade * (pattern - 1))

    between, along_arms = render(smooth, size, x, y), render(winding, size, x, y)
    middle = mix(-1.25 * float(np.log10(colours.old[0] * colours.young[0])), colours.slope)
    disc = 1.0 - bulge_fraction
    knot_share = disc * strength * float(rng.uniform(0.05, 0.2))
    disc_share = disc * (1 - bar_strength - ring_strength) - knot_share
    bands = _coloured(disc_share * (1 - strength) * between, middle)
    bands += _coloured(disc_share * strength * along_arms, colours.young)
    bulge_radius = scale * float(rng.uniform(0.2, 0.4))
    bulge_n = float(rng.uniform(1.0, 4.0))
    bulge_ratio = 0.5 + 0.5 * ratio
    bulge = render(
        lambda dx, dy: sersic(
            elliptical_radius(dx, dy, bulge_ratio, angle), bulge_radius, bulge_n, bulge_ratio
        ),
        size,
        x,
        y,
    )
    bands += _coloured(bulge_fraction * bulge, colours.old)

    # Knots lie where the arms are bright: arm azimuths with some scatter, exponential in radius.
    count = int(rng.integers(25, 70))
    distance = start + rng.exponential(1.0 * scale, count)
    azimuth = phase + handedness * np.log(distance / start) / np.tan(pitch)
    azimuth += 2 * np.pi * rng.integers(arms, size=count) / arms + rng.normal(0, 0.15, count)
    knots = knots_in_disc(rng, size, (x, y), distance, azimuth, ratio, angle)
    bands += _coloured(knot_share * knots, colours.knots)

    bar_end = start * 1.1
    if barred:
        tilt = float(phase)

        def bar(dx: Array, dy: Array) -> Array:
            distance, azimuth = plane(dx, dy)
            u, v = distance * np.cos(azimuth - tilt), distance * np.sin(azimuth - tilt)
            shape = (np.abs(u) / bar_end) ** 2.5 + (np.abs(v) / (0.3 * bar_end)) ** 2.5
            return np.exp(-1.5 * shape)

        bands += _coloured(disc * bar_strength * _unit(render(bar, size, x, y)), colours.old)
    if ringed:
        place = start * float(rng.uniform(1.3, 2.2))

        def ring(dx: Array, dy: Array) -> Array:
            return np.exp(-0.5 * ((plane(dx, dy)[0] - place) / (0.13 * place)) ** 2)

        population = colours.young if rng.random() < 0.7 else middle
        bands += _coloured(disc * ring_strength * _unit(render(ring, size, x, y)), population)
    parameters = {
        "sersic_n": 1.0,
        "bulge_fraction": bulge_fraction,
        "arms": float(arms),
        "pitch": float(np.degrees(pitch)),
        "arm_strength": strength,
        "handedness": float(handedness),
        "bar_strength": bar_strength,
        "ring_strength": ring_strength,
    }
    return Galaxy(bands, x, y, ratio, angle, parameters)


def edge_on(rng: np.random.Generator, size: int, colours: Colours, radius: float) -> Galaxy:
    """Disc seen edge-on: vertical sech^2, a dust lane, a bulge."""
    x, y = _centre(rng, size)
    angle = float(rng.uniform(0, np.pi))
    scale = radius * float(rng.uniform(0.55, 0.9))
    thickness = float(rng.uniform(0.1, 0.3))
    bulge_fraction = float(rng.uniform(0.03, 0.35))
    dust = float(rng.uniform(0.3, 2.5)) if rng.random() < 0.6 else 0.0
    shift = float(rng.normal(0, 0.25)) * thickness * scale

    def disc(dx: Array, dy: Array) -> Array:
        along, across = rotate(dx, dy, angle)
        return edge_on_disc(along, across, scale, thickness * scale)

    def lane(dx: Array, dy: Array) -> Array:
        along, across = rotate(dx, dy, angle)
        height = np.cosh(np.minimum(np.abs(across - shift) / (0.35 * thickness * scale), 30.0))
        return np.exp(-np.abs(along) / (1.5 * scale)) / height**2

    bulge_radius, n = scale * float(rng.uniform(0.15, 0.35)), float(rng.uniform(1.5, 4.0))
    bulge = render(
        lambda dx, dy: sersic(elliptical_radius(dx, dy, 0.7, angle), bulge_radius, n, 0.7),
        size,
        x,
        y,
    )
    middle = mix(-1.25 * float(np.log10(colours.old[0] * colours.young[0])), colours.slope)
    bands = _coloured((1 - bulge_fraction) * render(disc, size, x, y, core=12), middle)
    bands += _coloured(bulge_fraction * bulge, colours.old)
    # Attenuation in r and i relative to g (Calzetti et al. 2000).
    depth = dust * render(lane, size, x, y, core=12)
    bands *= np.exp(-depth[None] * np.array([1.0, 0.75, 0.58])[:, None, None])
    parameters = {"sersic_n": 1.0, "bulge_fraction": bulge_fraction, "dust": dust}
    return Galaxy(bands, x, y, thickness, angle, parameters)


def merger(rng: np.random.Generator, size: int, colours: Colours, radius: float) -> Galaxy:
    """Two galaxies within a few radii of each other, lopsided, most of them with tidal tails."""
    x, y = _centre(rng, size)
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
        build = elliptical if rng.random() < 0.4 else spiral
        part = build(rng, size, colours, extent, place)
        parts.append(part)
        bands += flux * _lopsided(rng, part, extent)
    tails = int(rng.choice([0, 1, 2], p=[0.15, 0.35, 0.5]))
    turn = int(rng.choice([-1, 1]))
    for place, side in list(zip(places, (-1, 1), strict=True))[:tails]:
        tail = tidal_tail(rng, size, place, bearing + (np.pi if side < 0 else 0.0), radius, turn)
        population = colours.young if rng.random() < 0.7 else colours.old
        bands += _coloured(float(rng.uniform(0.08, 0.22)) * tail, population)
    if rng.random() < 0.5:
        middle = ((places[0][0] + places[1][0]) / 2, (places[0][1] + places[1][1]) / 2)
        halo = render(
            lambda dx, dy: sersic(elliptical_radius(dx, dy, 0.6, bearing), 1.8 * radius, 1.0, 0.6),
            size,
            *middle,
        )
        bands += _coloured(0.15 * halo, colours.old)
    main = parts[0].parameters
    parameters = {
        "sersic_n": main["sersic_n"],
        "bulge_fraction": main["bulge_fraction"],
        "separation": separation,
        "flux_ratio": ratio,
    }
    return Galaxy(bands, x, y, _flattening(bands[1], x, y), bearing % np.pi, parameters)


def _centre(rng: np.random.Generator, size: int) -> tuple[float, float]:
    """Near the middle of the frame, as survey cut-outs are, but not exactly."""
    x, y = (size - 1) / 2 + rng.normal(0.0, 0.008 * size, size=2)
    return float(x), float(y)


def _coloured(light: Array, colour: Array) -> Array:
    return light[None] * colour[:, None, None]


def _unit(image: Array) -> Array:
    return image / image.sum()


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
