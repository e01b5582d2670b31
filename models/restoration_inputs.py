"""What may be restored: checks of images, masks, PSFs and noise before the network sees them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from models.degradation import centred
from models.stretch import sky_level

SMALLEST = 8
"""Least side of an image, pixels."""
WIDEST = 12.0
"""Widest PSF that is undone, FWHM in pixels."""


class RestorationError(ValueError):
    """An image cannot be restored, or weights cannot be read; the message says why."""


def width_of(psf: NDArray[np.floating]) -> float:
    """FWHM in pixels of a PSF: of the circle whose area is that above half of its maximum.

    0 for a point; the area is taken between pixels by interpolation.
    """
    if max(psf.shape) == 1 or np.count_nonzero(psf > 1e-6 * psf.max()) <= 1:
        return 0.0
    fine = F.interpolate(
        torch.from_numpy(np.asarray(psf, np.float32))[None, None], scale_factor=8, mode="bicubic"
    )
    area = float((fine > fine.max() / 2).sum()) / 64
    return float(min(2 * np.sqrt(area / np.pi), WIDEST))


def planes_of(image: ArrayLike) -> NDArray[np.float32]:
    """Return an image as finite float32 [bands, h, w]; `RestorationError` if it is none."""
    planes = np.array(image, dtype=np.float32)
    if planes.ndim == 2:
        planes = planes[None]
    if planes.ndim != 3 or not len(planes) or min(planes.shape[1:]) < SMALLEST:
        raise RestorationError(
            f"An image to restore is [bands, h, w] of at least {SMALLEST} pixels on a side, not "
            f"{list(planes.shape)}."
        )
    if not np.isfinite(planes).all():
        raise RestorationError("The image holds NaN or infinite values; mask and fill them first.")
    return planes


def mask_of(mask: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return a mask as bool of the image's shape; `RestorationError` if it does not fit."""
    if mask is None:
        return np.zeros(shape, dtype=np.bool_)
    bad = np.asarray(mask, dtype=np.bool_)
    if bad.shape not in (shape, shape[1:], (1, *shape[1:])):
        raise RestorationError(
            f"The mask must be {list(shape[1:])} or {list(shape)}, not {list(bad.shape)}."
        )
    bad = np.array(np.broadcast_to(bad, shape))
    if bad.all(axis=(1, 2)).any():
        raise RestorationError("The mask leaves a band without a single pixel; leave it out.")
    return bad


def sky_of(plane: NDArray[np.float32], good: NDArray[np.bool_]) -> float:
    """Sky of a plane [h, w], from its good pixels."""
    return sky_level(np.where(good, plane, np.nan))[0]


def noise_given(noise: ArrayLike | None, bands: int) -> Tensor | None:
    """Return noise per band as a float32 tensor [bands]; None where it is not given."""
    if noise is None:
        return None
    sigma = np.broadcast_to(np.asarray(noise, dtype=np.float32), (bands,))
    if not (np.isfinite(sigma).all() and sigma.min() > 0):
        raise RestorationError(f"The noise must be finite and above 0, not {noise}.")
    return torch.from_numpy(np.array(sigma))


def kernel_of(psf: ArrayLike) -> Tensor:
    """Return a PSF as a centred float32 tensor [p, p] of unit sum."""
    kernel = np.asarray(psf, dtype=np.float64)
    if (
        kernel.ndim != 2
        or not all(side % 2 for side in kernel.shape)
        or not np.isfinite(kernel).all()
        or kernel.sum() <= 0
    ):
        raise RestorationError("A PSF is [p, q] with odd sides, finite, with a positive sum.")
    return centred(kernel, max(kernel.shape))
