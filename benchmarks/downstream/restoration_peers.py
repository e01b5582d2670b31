"""What people would restore with instead: filters of scikit-image, tuned on training stamps."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage import restoration

from models.degradation import centred
from models.restoration_filters import deconvolved

Floats = NDArray[np.float32]
_EDGE = 16


@dataclass(frozen=True)
class Observed:
    """A degraded stamp, in units of its peak, with all that was done to it.

    Attributes
    ----------
    image : float32 [bands, h, w]
    psf : float64 [p, p]
        [1, 1] where nothing was blurred.
    noise : float
        Standard deviation per pixel.
    """

    image: Floats
    psf: NDArray[np.float64]
    noise: float


def wiener(seen: Observed, balance: float) -> Floats:
    """Wiener-Hunt with a Laplacian."""
    return _planes(seen, lambda plane: restoration.wiener(plane, seen.psf, balance, clip=False))


def adaptive_wiener(seen: Observed, factor: float) -> Floats:
    """Wiener with the power spectrum of the image itself (what our network starts from)."""
    planes = torch.from_numpy(seen.image / (factor * seen.noise))[None]
    psf = None if seen.psf.size == 1 else centred(seen.psf, len(seen.psf))[None]
    return deconvolved(planes, psf).wiener[0].numpy() * factor * seen.noise


def richardson_lucy(seen: Observed, iterations: int, offset: float) -> Floats:
    """Richardson-Lucy on the image raised by `offset` sigma, so that it is positive."""
    if seen.psf.size == 1:
        return seen.image
    lift = offset * seen.noise

    def one(plane: NDArray[np.float64]) -> Any:
        positive = np.maximum(plane + lift, 1e-4)
        return (
            restoration.richardson_lucy(
                positive, seen.psf, iterations, clip=False, filter_epsilon=1e-6
            )
            - lift
        )

    return _planes(seen, one)


def wavelet(seen: Observed, factor: float, method: str, name: str) -> Floats:
    """Soft thresholds of wavelets, averaged over four shifts."""
    image = np.moveaxis(seen.image, 0, -1)
    options = {
        "sigma": factor * seen.noise, "method": method, "wavelet": name, "mode": "soft",
        "rescale_sigma": False,
    }  # fmt: skip
    if len(seen.image) == 1:
        out = restoration.cycle_spin(
            image[..., 0], restoration.denoise_wavelet, 1, func_kw=options, workers=1
        )[..., None]
    else:
        options |= {"channel_axis": -1}
        out = restoration.cycle_spin(
            image, restoration.denoise_wavelet, 1, func_kw=options, workers=1, channel_axis=-1
        )
    return np.moveaxis(np.asarray(out, np.float32), -1, 0)


def non_local_means(seen: Observed, factor: float, patch: int) -> Floats:
    """Non-local means, all bands at once."""
    alone = len(seen.image) == 1
    out = restoration.denoise_nl_means(
        seen.image[0] if alone else np.moveaxis(seen.image, 0, -1),
        patch_size=patch, patch_distance=7,
        h=factor * seen.noise, sigma=seen.noise, fast_mode=True,
        channel_axis=None if alone else -1,
    )  # fmt: skip
    bands = np.asarray(out, np.float32)
    return bands[None] if alone else np.moveaxis(bands, -1, 0)


PEERS: dict[str, tuple[Callable[..., Floats], list[tuple[Any, ...]]]] = {
    "Wiener": (wiener, [(10.0**power,) for power in np.arange(-3, 2.6, 0.5)]),
    "Wiener, spectrum": (adaptive_wiener, [(0.85,), (1.0,), (1.2,), (1.5,)]),
    "Richardson-Lucy": (
        richardson_lucy, list(itertools.product((2, 4, 7, 12, 20, 35), (0.0, 3.0)))
    ),
    "wavelet": (
        wavelet,
        list(itertools.product((0.7, 1.0, 1.4), ("BayesShrink",), ("db2", "sym8")))
        + list(itertools.product((0.2, 0.35, 0.5, 0.7), ("VisuShrink",), ("db2",))),
    ),
    "non-local means": (
        non_local_means, list(itertools.product((0.4, 0.6, 0.8, 1.0, 1.3), (3, 5)))
    ),
}  # fmt: skip


def best_options(
    peer: str, training: Iterable[tuple[Observed, Floats]], score: Callable[[Floats, Floats], float]
) -> tuple[Any, ...]:
    """Return the options of a peer with the highest mean score on (degraded, clean) stamps."""
    run, grid = PEERS[peer]
    pairs = list(training)
    means = [
        np.mean([score(run(seen, *options), clean) for seen, clean in pairs]) for options in grid
    ]
    return grid[int(np.argmax(means))]


def _planes(seen: Observed, one: Callable[[NDArray[np.float64]], Any]) -> Floats:
    h, w = seen.image.shape[1:]
    out = []
    for plane in seen.image:
        padded = np.pad(plane.astype(np.float64), _EDGE, mode="reflect")
        out.append(np.asarray(one(padded), np.float32)[_EDGE : _EDGE + h, _EDGE : _EDGE + w])
    return np.stack(out)
