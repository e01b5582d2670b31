"""Wavelet scattering: which textures a picture has at which scales and distances from its centre.

Moduli of wavelet transforms, averaged, and moduli of wavelet transforms of these moduli (Mallat
2012, Comm. Pure Appl. Math. 65, 1331, arXiv 1101.2286; Bruna & Mallat 2013, IEEE TPAMI 35, 1872,
arXiv 1203.1513). The windows of the averages are round and centred, and orientations are averaged
over or taken relative to each other, so a picture that is turned or mirrored gives the same
numbers. The wavelets are plain Gaussians in Fourier space, which let a little of what is even pass
(exp(-2)): where a picture has no texture, moduli do not vanish, and their ratios do not diverge.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

# Side that pictures are brought to, pixels.
SIDE = 96
SCALES = 4
ORIENTATIONS = 8
# Standard deviations of the Gaussian windows, as shares of the side.
WINDOWS = (0.06, 0.12, 0.22)
# Centre frequency of the finest wavelet, cycles per pixel, and its width as a share of that; each
# further scale halves both. Across its direction a wavelet is wider by the last number.
FREQUENCY, BANDWIDTH, ASPECT = 0.375, 0.5, 1.4
# Angles between the wavelets of first and second order, in steps of half a turn / ORIENTATIONS.
# Those to the left and to the right of each other change places in a mirror.
PARALLEL, CROSSED, LEFT, RIGHT = 0, ORIENTATIONS // 2, ORIENTATIONS // 4, -ORIENTATIONS // 4
# What a picture without any light has instead of none, and what is added to relative spreads: where
# no direction stands out, their logarithm would be one of rounding.
FAINTEST, ISOTROPIC = 1e-5, 0.02
# Pictures per pass: few enough to stay in the processor's cache.
BATCH = 4

_PAIRS = SCALES * (SCALES - 1) // 2
COEFFICIENTS = len(WINDOWS) * (3 + 2 * 3 * SCALES + 4 * _PAIRS)


@torch.inference_mode()
def scatter(pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Scattering coefficients of pictures with a galaxy at their centre.

    Parameters
    ----------
    pictures : uint8 [n, h, h, 3]

    Returns
    -------
    ndarray
        float32 `[n, COEFFICIENTS]`, finite: logarithms of, for every window, the mean of each band;
        for every scale and band the first order's mean and relative spread over orientations; for
        every pair of scales the second order of the bands' mean at four relative orientations
        (parallel, crossed, and the stronger and weaker of both sides), relative to the first.
    """
    rows = [
        _coefficients(_prepared(pictures[first : first + BATCH]))
        for first in range(0, len(pictures), BATCH)
    ]
    found: NDArray[np.float32] = torch.cat([torch.zeros(0, COEFFICIENTS), *rows]).numpy()
    return found


def _prepared(pictures: NDArray[np.uint8]) -> Tensor:
    """Bands between 0 and 1, float32 `[n, 3, SIDE, SIDE]`."""
    images = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255
    return interpolate(images, (SIDE, SIDE), mode="bilinear", antialias=True)


def _coefficients(images: Tensor) -> Tensor:
    spectrum = torch.fft.fft2(images)
    found = [_averages(images).flatten(1)]
    for scale in range(SCALES):
        first = _moduli(spectrum[:, :, None], SIDE, scale)
        means = _averages(first)
        mean = means.mean(2)
        found += [mean.flatten(1), (means.std(2) / (mean + 1e-4) + ISOTROPIC).flatten(1)]
        light = first.mean(1)
        found += _second_order(torch.fft.fft2(light), scale, mean.mean(1) + 1e-4)
    return torch.cat(found, dim=1).clamp_min(FAINTEST).log()


def _second_order(spectrum: Tensor, scale: int, reference: Tensor) -> list[Tensor]:
    """Coarser textures of the moduli of one scale, `[n, windows]` for each scale and angle."""
    found = []
    for coarser in range(scale + 1, SCALES):
        sides = {}
        for angle in (PARALLEL, CROSSED, LEFT, RIGHT):
            second = _moduli(spectrum, spectrum.shape[-1], coarser, angle)
            sides[angle] = _averages(second).mean(1) / reference
        left, right = sides[LEFT], sides[RIGHT]
        found += [
            sides[PARALLEL], sides[CROSSED],
            torch.maximum(left, right), torch.minimum(left, right),
        ]  # fmt: skip
    return found


def _moduli(spectrum: Tensor, side: int, scale: int, turned: int = 0) -> Tensor:
    """Moduli of a wavelet transform from spectra `[..., ORIENTATIONS or 1, side, side]`.

    A coarse wavelet has no high frequencies; without these the grid is as much smaller.
    """
    filters = _wavelets(side, scale)
    small = filters.shape[-1]
    if small < side:
        kept = torch.cat([torch.arange(small // 2), torch.arange(side - small // 2, side)])
        spectrum = spectrum[..., kept[:, None], kept]
    return torch.fft.ifft2(spectrum * filters.roll(-turned, 0)).abs()


def _averages(maps: Tensor) -> Tensor:
    """Means `[..., windows]` of maps `[..., side, side]` under the windows."""
    return maps.flatten(-2) @ _windows(maps.shape[-1])


@cache
def _windows(side: int) -> Tensor:
    """Centred round windows that sum to 1, `[side * side, windows]`."""
    axis = torch.arange(side, dtype=torch.float64) - (side - 1) / 2
    squares = axis[:, None] ** 2 + axis**2
    windows = torch.stack([torch.exp(-squares / (2 * (share * side) ** 2)) for share in WINDOWS])
    return (windows / windows.sum((1, 2), keepdim=True)).flatten(1).T.float().contiguous()


@cache
def _wavelets(side: int, scale: int) -> Tensor:
    """Spectra of the wavelets of one scale that leave a grid of their own size.

    Parameters
    ----------
    side : int
        Of the grid they are applied to, which covers the whole picture.
    scale : int
        From 0, the finest.

    Returns
    -------
    Tensor
        complex64 `[ORIENTATIONS, small, small]`. The smaller grid has the same centre: its points
        lie between those of the larger one, which is a phase.
    """
    small = min(side, SIDE, 2 * SIDE >> scale)
    # In cycles per pixel of the picture.
    unit = torch.fft.fftfreq(small, dtype=torch.float64) * small / SIDE
    rows, columns = torch.meshgrid(unit, unit, indexing="ij")
    centre = FREQUENCY / 2**scale
    width = centre * BANDWIDTH
    angles = torch.arange(ORIENTATIONS, dtype=torch.float64)[:, None, None] * (
        torch.pi / ORIENTATIONS
    )
    along = columns * angles.cos() + rows * angles.sin()
    across = rows * angles.cos() - columns * angles.sin()
    spectra = torch.exp(-(((along - centre) / width) ** 2 + (across / (ASPECT * width)) ** 2) / 2)
    # The highest frequency has no sign: a filter that let it pass would prefer some directions.
    spectra[:, small // 2] = 0
    spectra[:, :, small // 2] = 0
    shift = (SIDE / small - SIDE / side) / 2
    phase = torch.polar(torch.ones_like(rows), 2 * torch.pi * shift * (rows + columns))
    return (spectra * phase * (small / side) ** 2).to(torch.complex64)
