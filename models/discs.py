"""Simulated discs seen from above: spirals and lenticulars, with bars and rings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.colours import Colours, mix
from models.galaxies import Galaxy, centre_of, coloured, unit
from models.profiles import (
    Array,
    elliptical_radius,
    knots_in_disc,
    render,
    rotate,
    sersic,
    spiral_pattern,
)


@dataclass(frozen=True)
class _Plane:
    """The plane of an inclined disc in a frame of `size` pixels."""

    size: int
    x: float
    y: float
    ratio: float
    angle: float

    @classmethod
    def draw(
        cls, rng: np.random.Generator, size: int, centre: tuple[float, float] | None
    ) -> _Plane:
        x, y = centre or centre_of(rng, size)
        return cls(size, x, y, float(rng.uniform(0.4, 1.0)), float(rng.uniform(0, np.pi)))

    def polar(self, dx: Array, dy: Array) -> tuple[Array, Array]:
        """Distance from the centre (px) and azimuth within the plane."""
        along, across = rotate(dx, dy, self.angle)
        across = across / self.ratio
        return np.hypot(along, across), np.arctan2(across, along)

    def exponential(self, dx: Array, dy: Array, scale: float) -> Array:
        return sersic(self.polar(dx, dy)[0], 1.678 * scale, 1.0, self.ratio)

    def disc(self, scale: float) -> Array:
        """Exponential disc of unit flux."""
        return render(lambda dx, dy: self.exponential(dx, dy, scale), self.size, self.x, self.y)

    def bulge(self, radius: float, n: float) -> Array:
        """Sersic bulge of unit flux, rounder than the disc."""
        ratio = 0.5 + 0.5 * self.ratio

        def profile(dx: Array, dy: Array) -> Array:
            return sersic(elliptical_radius(dx, dy, ratio, self.angle), radius, n, ratio)

        return render(profile, self.size, self.x, self.y)

    def bar(self, end: float, tilt: float, width: float) -> Array:
        """Box-shaped bar of unit flux; `tilt` is its azimuth in the plane."""

        def profile(dx: Array, dy: Array) -> Array:
            distance, azimuth = self.polar(dx, dy)
            u, v = distance * np.cos(azimuth - tilt), distance * np.sin(azimuth - tilt)
            shape = (np.abs(u) / end) ** 2.5 + (np.abs(v) / (width * end)) ** 2.5
            return np.exp(-1.5 * shape)

        return unit(render(profile, self.size, self.x, self.y))

    def ring(self, place: float, width: float) -> Array:
        """Ring of unit flux at a distance from the centre; `width` is a share of it."""

        def profile(dx: Array, dy: Array) -> Array:
            return np.exp(-0.5 * ((self.polar(dx, dy)[0] - place) / (width * place)) ** 2)

        return unit(render(profile, self.size, self.x, self.y))


def spiral(
    rng: np.random.Generator,
    size: int,
    colours: Colours,
    radius: float,
    centre: tuple[float, float] | None = None,
) -> Galaxy:
    """Inclined disc with 2 to 4 logarithmic arms, knots, a bulge, and perhaps a bar and a ring."""
    plane = _Plane.draw(rng, size, centre)
    scale = radius / 1.45
    arms = int(rng.choice([2, 3, 4], p=[0.72, 0.16, 0.12]))
    pitch = float(np.radians(rng.uniform(10, 32)))
    strength = float(rng.uniform(0.2, 0.95))
    sharpness = float(rng.uniform(0.8, 4.0))
    handedness, phase = int(rng.choice([-1, 1])), float(rng.uniform(0, 2 * np.pi))
    bulge_fraction = float(rng.uniform(0.05, 0.35))
    bar_strength = float(rng.uniform(0.08, 0.25)) if rng.random() < 0.4 else 0.0
    ring_strength = float(rng.uniform(0.1, 0.4)) if rng.random() < 0.25 else 0.0
    start = scale * float(rng.uniform(0.7, 1.1))

    def winding(dx: Array, dy: Array) -> Array:
        distance, azimuth = plane.polar(dx, dy)
        pattern = spiral_pattern(
            distance, azimuth, arms, pitch, sharpness, handedness, phase, start
        )
        fade = 1.0 / (1.0 + np.exp(-(distance - start) / (0.2 * start)))
        return plane.exponential(dx, dy, scale) * (1 + fade * (pattern - 1))

    along_arms = render(winding, size, plane.x, plane.y)
    middle = mix(-1.25 * float(np.log10(colours.old[0] * colours.young[0])), colours.slope)
    disc = 1.0 - bulge_fraction
    knot_share = disc * strength * float(rng.uniform(0.05, 0.2))
    disc_share = disc * (1 - bar_strength - ring_strength) - knot_share
    bands = coloured(disc_share * (1 - strength) * plane.disc(scale), middle)
    bands += coloured(disc_share * strength * along_arms, colours.young)
    bulge = plane.bulge(scale * float(rng.uniform(0.2, 0.4)), float(rng.uniform(1.0, 4.0)))
    bands += coloured(bulge_fraction * bulge, colours.old)

    # Knots lie where the arms are bright: arm azimuths with some scatter, exponential in radius.
    count = int(rng.integers(25, 70))
    distance = start + rng.exponential(1.0 * scale, count)
    azimuth = phase + handedness * np.log(distance / start) / np.tan(pitch)
    azimuth += 2 * np.pi * rng.integers(arms, size=count) / arms + rng.normal(0, 0.15, count)
    place = (plane.x, plane.y)
    knots = knots_in_disc(rng, size, place, distance, azimuth, plane.ratio, plane.angle)
    bands += coloured(knot_share * knots, colours.knots)

    if bar_strength:
        bands += coloured(disc * bar_strength * plane.bar(1.1 * start, phase, 0.3), colours.old)
    if ring_strength:
        ring = plane.ring(start * float(rng.uniform(1.3, 2.2)), 0.13)
        population = colours.young if rng.random() < 0.7 else middle
        bands += coloured(disc * ring_strength * ring, population)
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
    return Galaxy(bands, plane.x, plane.y, plane.ratio, plane.angle, parameters)


def lenticular(
    rng: np.random.Generator,
    size: int,
    colours: Colours,
    radius: float,
    centre: tuple[float, float] | None = None,
) -> Galaxy:
    """Inclined disc of old stars without arms, a large bulge, often with a bar or rings.

    Rings lie where resonances put them: an inner one at the bar's end, an outer one at about twice
    its radius (Buta & Combes 1996); the dip between is what makes a faint one visible.
    """
    plane = _Plane.draw(rng, size, centre)
    scale = radius / 1.3
    bulge_fraction = float(rng.uniform(0.1, 0.6))
    bar_strength = float(rng.uniform(0.05, 0.25)) if rng.random() < 0.4 else 0.0
    ring_strength = float(rng.uniform(0.06, 0.45)) if rng.random() < 0.5 else 0.0
    end, tilt = scale * float(rng.uniform(0.7, 1.3)), float(rng.uniform(0, 2 * np.pi))
    disc = 1.0 - bulge_fraction
    middle = mix(-1.25 * float(np.log10(colours.old[0] * colours.young[0])), colours.slope)
    population = colours.old if rng.random() < 0.6 else middle
    bands = coloured(disc * (1 - bar_strength - ring_strength) * plane.disc(scale), population)
    bulge = plane.bulge(scale * float(rng.uniform(0.2, 0.5)), float(rng.uniform(1.0, 4.0)))
    bands += coloured(bulge_fraction * bulge, colours.old)
    if bar_strength:
        width = float(rng.uniform(0.25, 0.45))
        bands += coloured(disc * bar_strength * plane.bar(end, tilt, width), colours.old)
    if ring_strength:
        where = rng.choice(["inner", "outer", "both"], p=[0.4, 0.4, 0.2])
        places = {"inner": (1.0,), "outer": (2.1,), "both": (1.0, 2.1)}[str(where)]
        light = population if rng.random() < 0.6 else colours.young
        for place in places:
            distance = end * place * float(rng.uniform(0.9, 1.3))
            ring = plane.ring(distance, float(rng.uniform(0.08, 0.2)))
            bands += coloured(disc * ring_strength / len(places) * ring, light)
    parameters = {
        "sersic_n": 1.0,
        "bulge_fraction": bulge_fraction,
        "bar_strength": bar_strength,
        "ring_strength": ring_strength,
    }
    return Galaxy(bands, plane.x, plane.y, plane.ratio, plane.angle, parameters)
