"""All that is measured on a stamp without a label: its shape and colours, and its textures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from models import morphometry, scattering

MEASUREMENTS = morphometry.FEATURES + scattering.COEFFICIENTS


def measure_all(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Measure pictures with a galaxy near their centre.

    Parameters
    ----------
    pictures : uint8 [n, h, h, 3]
        At least 32 pixels on a side.

    Returns
    -------
    ndarray
        float32 `[n, MEASUREMENTS]`, finite: those of `models.morphometry`, then the coefficients of
        `models.scattering`. None changes when a picture is turned or mirrored, but for its pixels.
    """
    shapes = np.zeros((len(pictures), morphometry.FEATURES), dtype=np.float32)
    for row, picture in enumerate(pictures):
        shapes[row] = morphometry.measure(picture)
    return np.concatenate([shapes, scattering.scatter(pictures)], axis=1)
