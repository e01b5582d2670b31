"""What simulated galaxies are made of: components with shapes and colours; the smooth ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from models.colours import Colours, mix
from models.profiles import (
    Array,
    edge_on_disc,
    elliptical_radius,
    render,
    rotate,
    sersic,
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
    x, y = centre or centre_of(rng, size)
    ratio, angle = float(rng.uniform(0.4, 1.0)), float(rng.uniform(0, np.pi))
    n = float(rng.uniform(2.0, 5.5))
    halo = mix(-2.5 * float(np.log10(colours.old[0])) - 0.08, colours.slope)
    inner = render(
        lambda dx, dy: sersic(elliptical_radius(dx, dy, ratio, angle), radius, n, ratio), size, x, y
    )
    rows, columns = np.indices((size, size), dtype=np.float64)
    outside = elliptical_radius(columns - x, rows - y, ratio, angle) / radius
    blend = outside / (1.0 + outside)
    bands = coloured(inner * (1 - blend), colours.old) + coloured(inner * blend, halo)
    return Galaxy(bands, x, y, ratio, angle, {"sersic_n": n, "bulge_fraction": 1.0})


def edge_on(rng: np.random.Generator, size: int, colours: Colours, radius: float) -> Galaxy:
    """Disc seen edge-on: vertical sech^2, a dust lane, a bulge."""
    x, y = centre_of(rng, size)
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
    bands = coloured((1 - bulge_fraction) * render(disc, size, x, y, core=12), middle)
    bands += coloured(bulge_fraction * bulge, colours.old)
    # Attenuation in r and i relative to g (Calzetti et al. 2000).
    depth = dust * render(lane, size, x, y, core=12)
    bands *= np.exp(-depth[None] * np.array([1.0, 0.75, 0.58])[:, None, None])
    parameters = {"sersic_n": 1.0, "bulge_fraction": bulge_fraction, "dust": dust}
    return Galaxy(bands, x, y, thickness, angle, parameters)


def centre_of(rng: np.random.Generator, size: int) -> tuple[float, float]:
    """Near the middle of the frame, as survey cut-outs are, but not exactly."""
    x, y = (size - 1) / 2 + rng.normal(0.0, 0.008 * size, size=2)
    return float(x), float(y)


def coloured(light: Array, colour: Array) -> Array:
    """Give light `[size, size]` a colour `[3]`."""
    return light[None] * colour[:, None, None]


def unit(image: Array) -> Array:
    """Bring light to a sum of one."""
    return image / image.sum()
