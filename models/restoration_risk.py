"""Signs that a restoration went wrong: from its error map, its residuals, and what the LVM sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter

from models.restorer import Restored
from models.scenes import Scene

SIGNS = (
    "noise over peak", "mean deviation", "largest deviation", "deviation on the galaxy",
    "residual", "correlation of the residual", "largest residual", "dark holes",
    "width of the PSF", "share of galaxy", "change of contrast", "gain in sharpness",
)  # fmt: skip
_EPSILON = 1e-6


def signs_of(scene: Scene, values: NDArray[np.float32], restored: Restored) -> NDArray[np.float32]:
    """Describe a restoration by `SIGNS` and the mean of the LVM's coarsest feature map.

    Parameters
    ----------
    scene : Scene
    values : float32 [bands, h, w]
        What was restored.
    restored : Restored

    Returns
    -------
    float32 [len(SIGNS) + c]
        Logarithms where ranges span decades; all are free of the image's unit.
    """
    noise = np.maximum(restored.noise, 1e-30)[:, None, None]
    sky = np.median(restored.image, axis=(1, 2), keepdims=True)
    image = (restored.image - sky) / noise
    deviation = restored.deviation / noise
    residual = (values - restored.image) / noise
    smooth = np.stack([uniform_filter(plane, 3, mode="nearest") for plane in image])
    light = smooth.max(axis=0)
    galaxy = light > max(2.0, 0.15 * float(light.max()))
    near = np.stack([uniform_filter(plane, 5, mode="nearest") for plane in residual])
    edges = [float(np.abs(np.diff(part, axis=2)).mean()) for part in (restored.image, values)]
    signs = [
        _log(1 / max(float(light.max()), _EPSILON)),
        _log(float(deviation.mean())),
        _log(float(np.percentile(deviation, 99.5))),
        _log(float(deviation[:, galaxy].mean()) if galaxy.any() else float(deviation.mean())),
        _log(float(residual.std())),
        _log(5 * float(near.std()) / max(float(residual.std()), _EPSILON)),
        _log(float(np.abs(residual).max())),
        float((image < -5 * np.maximum(deviation, 0.2)).mean()),
        restored.fwhm / 6,
        float(galaxy.mean()),
        _log(float(image.std()) / max(float(((values - sky) / noise).std()), _EPSILON)),
        _log(edges[0] / max(edges[1], 1e-30)),
    ]
    seen = scene.pyramid[-1].mean(dim=(1, 2)).float().cpu().numpy()
    return np.concatenate([np.array(signs, dtype=np.float32), seen.astype(np.float32)])


def _log(value: float) -> float:
    return float(np.log(np.clip(value, _EPSILON, 1e9)))
