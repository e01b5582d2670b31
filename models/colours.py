"""Colours of stellar populations, as fluxes in three bands."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from models.profiles import Array


@dataclass(frozen=True)
class Colours:
    """Band fluxes (g, r, and i or z; r is one) of stellar populations in one image.

    Attributes
    ----------
    old, young, knots : float [3]
        Bulges and ellipticals; discs and arms; star-forming regions.
    slope : float
        Colour of the third band per magnitude of g - r: 0.5 for i, 0.85 for z.
    """

    old: Array
    young: Array
    knots: Array
    slope: float

    @classmethod
    def draw(cls, rng: np.random.Generator, look: str) -> Colours:
        """Draw colours for one image; g - r of old stars 0.5-0.95 (reddened by redshift)."""
        slope = 0.5 if look == "sdss" else 0.85
        old = float(rng.uniform(0.5, 0.95))
        young = float(rng.uniform(0.25, min(0.6, old - 0.1)))
        knots = float(rng.uniform(0.0, young - 0.1))
        return cls(mix(old, slope), mix(young, slope), mix(knots, slope), slope)

    def star(self, rng: np.random.Generator) -> Array:
        """Band fluxes of a star, g - r from 0.1 to 1.3."""
        return mix(float(rng.uniform(0.1, 1.3)), self.slope)

    def background(self, rng: np.random.Generator) -> Array:
        """Band fluxes of a distant galaxy, g - r from 0.4 to 1.4."""
        return mix(float(rng.uniform(0.4, 1.4)), self.slope)


def mix(colour: float, slope: float) -> Array:
    """Band fluxes for a g - r of `colour` magnitudes; r - i (or z) is `slope` times it."""
    return np.array([10 ** (-0.4 * colour), 1.0, 10 ** (0.4 * slope * colour)])
